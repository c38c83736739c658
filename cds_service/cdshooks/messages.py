"""What callers send, as CDS Hooks 2.0.1 writes it: for the description of the interface. Reading lets more pass.

Members that are not named here are let pass, here as there.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Text = Annotated[str, Meta(min_length=1)]


class Context(Struct, rename="camel", kw_only=True):
    user_id: Text
    patient_id: Text
    encounter_id: str | None = None


class DraftOrders(Struct, rename="camel", kw_only=True):
    """A Bundle of the orders that are being written."""

    resource_type: Literal["Bundle"] = "Bundle"
    entry: list[Any] | None = None


class OrderSignContext(Context, rename="camel", kw_only=True):
    draft_orders: DraftOrders


class OrderSelectContext(OrderSignContext, rename="camel", kw_only=True):
    """`selections`: `Type/id` of each order that was just selected."""

    selections: list[Text]


class _Call(Struct, rename="camel", kw_only=True, tag_field="hook"):
    hook_instance: Text
    prefetch: dict[str, Any] | None = None
    fhir_server: str | None = None
    fhir_authorization: dict[str, Any] | None = None
    extension: dict[str, Any] | None = None


class PatientViewCall(_Call, kw_only=True, rename="camel", tag="patient-view"):
    context: Context


class OrderSelectCall(_Call, kw_only=True, rename="camel", tag="order-select"):
    context: OrderSelectContext


class OrderSignCall(_Call, kw_only=True, rename="camel", tag="order-sign"):
    context: OrderSignContext


CALLS = {"patient-view": PatientViewCall, "order-select": OrderSelectCall, "order-sign": OrderSignCall}
"""By the hook."""


class AcceptedSuggestion(Struct):
    id: Text


class ReasonCode(Struct, kw_only=True, frozen=True):
    code: str = ""
    system: str = ""


class OverrideReason(Struct, rename="camel", kw_only=True, frozen=True):
    reason: ReasonCode = ReasonCode()
    user_comment: str = ""


class CardFeedback(Struct, rename="camel", kw_only=True):
    """What became of one card."""

    card: Annotated[str, Meta(min_length=1, max_length=200)]
    outcome: Literal["accepted", "overridden"]
    outcome_timestamp: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    accepted_suggestions: list[AcceptedSuggestion] = []
    override_reason: OverrideReason = OverrideReason()


class FeedbackCall(Struct):
    feedback: list[CardFeedback]

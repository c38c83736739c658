"""The kinds of facts: each takes exactly its own members, with their roles by name, and answers with one type.

A fact file gives `{"kind": "started-against-onset", "drug": "diuretics", "onset_of": "leg-cramps", "question": …}`; a member
that its kind does not use is refused. `condition`, `drug`, `orders` … name value sets, `analytes` those of `labs.json`.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Union

from cds_service.knowledge.composed_kinds import AllOf, AllShown, AnyOf, Kind, NewerThan, NotKnown, NotShown
from cds_service.model import ValueType

CONDITIONS = ("conditions",)
MEDICATIONS = ("medicationRequests", "medicationStatements")
HISTORY = ("crampHistory",)
DRAFTS = ("draftOrders",)


class _OfPatient(Kind):
    reads: ClassVar[tuple[str, ...]] = ("patient",)


class Age(_OfPatient, tag="age"):
    """Whole years at the day asked about."""

    type: ClassVar[ValueType] = "number"


class Deceased(_OfPatient, tag="deceased"):
    """Is a death on record?"""


class Replaced(_OfPatient, tag="replaced"):
    """Was this record merged into another?"""


class Unmatched(Kind, tag="unmatched"):
    """Does any entry of the lists match no set of ours?"""


class _OfCondition(Kind):
    reads: ClassVar[tuple[str, ...]] = CONDITIONS
    roles: ClassVar[dict[str, str]] = {"condition": "condition"}

    condition: str


class ActiveCondition(_OfCondition, tag="active-condition"):
    """Is it active, as a problem or as a diagnosis not resolved since?"""


class ProblemListItem(_OfCondition, tag="problem"):
    """Is it active and more than the diagnosis of one encounter?"""


class EncounterDiagnosis(_OfCondition, tag="encounter-diagnosis"):
    """Was it the diagnosis of an encounter of the last `days`, or of the current one?"""

    days: int


class EncounterReason(_OfCondition, tag="encounter-reason"):
    """Is it the reason of the encounter that is open?"""

    reads: ClassVar[tuple[str, ...]] = ("encounter",)


class BeganWithin(Kind, tag="began-within"):
    """Is one of them active that began, or failing an onset was recorded, in the last `days`?

    `unless`: words of an entry beside which it does not count, as where a code holds what is acute and what is chronic.
    """

    reads: ClassVar[tuple[str, ...]] = CONDITIONS
    roles: ClassVar[dict[str, str]] = {"conditions": "condition"}

    conditions: tuple[str, ...]
    days: int
    unless: tuple[str, ...] = ()


class DoneAfterCondition(Kind, tag="done-after-condition"):
    """Was the procedure done on a later day than that on which each of these conditions, of the last `days`, began?

    `unless`: as `began-within` has it.
    """

    reads: ClassVar[tuple[str, ...]] = ("conditions", "procedures")
    roles: ClassVar[dict[str, str]] = {"conditions": "condition", "procedure": "procedure"}

    conditions: tuple[str, ...]
    procedure: str
    days: int
    unless: tuple[str, ...] = ()


class RecordedWithin(Kind, tag="recorded-within"):
    """Is one of them on record, over or not, that began, or failing an onset was recorded, in the last `days`?"""

    reads: ClassVar[tuple[str, ...]] = CONDITIONS
    roles: ClassVar[dict[str, str]] = {"conditions": "condition"}

    conditions: tuple[str, ...]
    days: int


class BeganAgainstOnset(_OfCondition, tag="began-against-onset"):
    """Did the condition, of the last `days`, begin before or after that of `onset_of` began?"""

    type: ClassVar[ValueType] = "string"
    values: ClassVar[tuple[str, ...]] = ("before", "after")
    roles: ClassVar[dict[str, str]] = {"condition": "condition", "onset_of": "condition"}

    onset_of: str
    days: int


class VaccinatedBefore(Kind, tag="vaccinated-before"):
    """Was the vaccine given in the `years` before the day on which each of these conditions, of the last `days`, began?

    `years` by jurisdiction. A dose of that day or later does not count, nor one that was not completed or is subpotent.
    """

    reads: ClassVar[tuple[str, ...]] = ("conditions", "immunizations")
    roles: ClassVar[dict[str, str]] = {"conditions": "condition", "vaccine": "vaccine"}

    conditions: tuple[str, ...]
    vaccine: str
    days: int
    years: dict[str, int]


class Ongoing(_OfCondition, tag="ongoing"):
    """Did it begin in the last `days`, and is nothing of `ended_by` on record since, as Condition or as Procedure?"""

    reads: ClassVar[tuple[str, ...]] = ("conditions", "procedures")
    roles: ClassVar[dict[str, str]] = {"condition": "condition", "ended_by": "condition", "ended_by_procedure": "procedure"}

    ended_by: str
    ended_by_procedure: str
    days: int


class OfCourse(Kind, kw_only=True):
    """Of the whole course of a drug. `repeats`: how many days may lie between two issues; left out, that of `windows.json`."""

    repeats: int | None = None


class ConditionAfterDrug(OfCourse, tag="condition-after-drug", kw_only=True):
    """Did the condition begin, or failing an onset get recorded, after the drug was started?"""

    reads: ClassVar[tuple[str, ...]] = (*MEDICATIONS, *CONDITIONS)
    roles: ClassVar[dict[str, str]] = {"condition": "condition", "drug": "medication"}

    condition: str
    drug: str


class _OfDrug(Kind):
    reads: ClassVar[tuple[str, ...]] = MEDICATIONS
    roles: ClassVar[dict[str, str]] = {"drug": "medication"}

    drug: str


class Taking(_OfDrug, tag="taking"):
    """Is it on an active medication list?"""


class DaysTaken(OfCourse, tag="days-taken", kw_only=True):
    """For how many days it has been taken, from the first start of what is active, repeats joined."""

    reads: ClassVar[tuple[str, ...]] = MEDICATIONS
    roles: ClassVar[dict[str, str]] = {"drug": "medication"}
    drug: str
    type: ClassVar[ValueType] = "number"


class StartedAgainstOnset(OfCourse, tag="started-against-onset", kw_only=True):
    """Did the drug start before or after the condition of `onset_of` began?

    An issue after it is no start, as each renewal is a new one: `issued-after`, unless the ended ones are there as well.
    """

    type: ClassVar[ValueType] = "string"
    values: ClassVar[tuple[str, ...]] = ("before", "issued-after", "after")
    reads: ClassVar[tuple[str, ...]] = (*MEDICATIONS, *CONDITIONS)
    roles: ClassVar[dict[str, str]] = {"drug": "medication", "onset_of": "condition"}

    drug: str
    onset_of: str


class DoneSinceDrug(OfCourse, tag="done-since-drug", kw_only=True):
    """Was it done, as Procedure or as Observation of `observed_under`, on day `days` of the drug or later?"""

    reads: ClassVar[tuple[str, ...]] = ("procedures",)
    roles: ClassVar[dict[str, str]] = {"drug": "medication", "done": "observation"}

    drug: str
    done: str
    observed_under: str
    days: int


class OfAnalytes(Kind):
    """`days`: how long a result counts; left out, it counts for ever. Of several analytes the first is preferred."""

    roles: ClassVar[dict[str, str]] = {"analytes": "analyte"}

    analytes: tuple[str, ...]
    days: int | None = None


class AgainstRange(OfAnalytes, tag="against-range"):
    """Where does the latest result lie against its range?"""

    type: ClassVar[ValueType] = "string"
    values: ClassVar[tuple[str, ...]] = ("low", "in-range", "high")


class LatestValue(OfAnalytes, tag="latest-value"):
    """The latest result in the unit of its analyte; `choose`: which of several of one time.

    `alarms`: it is asked for a danger, so that what was seen stands though a newer one may not have been understood.
    """

    type: ClassVar[ValueType] = "number"

    choose: Literal["lowest", "highest"] | None = None
    alarms: bool = False


class TimesUpperLimit(OfAnalytes, tag="times-upper-limit"):
    """How many times the upper limit of its laboratory the latest result is. It alarms as `latest-value` can."""

    type: ClassVar[ValueType] = "number"


class AsLowBefore(OfAnalytes, tag="as-low-before", kw_only=True):
    """Was an earlier result of the last `days` at most `within` above the latest, in the unit of the analyte?"""

    within: int


class FellBy(OfAnalytes, tag="fell-by", kw_only=True):
    """Is a result on record of the last `days` that was higher than the latest by `by` or more, in the unit of the analyte?

    What is not on record was not higher: it is for what an earlier result would change.
    """

    by: int


class Measured(OfAnalytes, tag="measured"):
    """Was any of them measured, readable or not?"""


class MeasuredSince(OfAnalytes, tag="measured-since", kw_only=True):
    """Is a result of one of them read that is of the day on which one of `conditions`, of the last `days`, began, or later?"""

    reads: ClassVar[tuple[str, ...]] = CONDITIONS
    roles: ClassVar[dict[str, str]] = {"analytes": "analyte", "conditions": "condition"}

    conditions: tuple[str, ...]
    days: int


class OfEquation(Kind):
    roles: ClassVar[dict[str, str]] = {"equation": "equation"}

    equation: str
    days: int | None = None


class ReportedOrEstimated(OfEquation, tag="reported-or-estimated"):
    """The latest result that the equation gives, reported or, where a newer one can only be computed, estimated."""

    type: ClassVar[ValueType] = "number"


class IsEstimated(OfEquation, tag="is-estimated"):
    """Is the answer of `reported-or-estimated` an estimate?"""


class CodedAnswer(Kind, tag="coded-answer"):
    """Does the newest Observation `asked`, of the query `observed_under`, answer with a code of `answer`?"""

    roles: ClassVar[dict[str, str]] = {"asked": "observation", "answer": "condition"}

    asked: str
    answer: str
    observed_under: str


class OfHistory(Kind):
    """`days`: left out, the window of a cramp history in `windows.json`."""

    reads: ClassVar[tuple[str, ...]] = HISTORY

    days: int | None = None


class HistoryCompleted(OfHistory, tag="history-completed", kw_only=True):
    """Was our Questionnaire completed in the last `days`, with a yes to the question `says_yes_to`?

    A form that is blank, or says no there, is no evidence of anything, and was not taken.
    """

    says_yes_to: str


class OfQuestion(OfHistory, kw_only=True):
    link_id: str


class BooleanAnswer(OfQuestion, tag="boolean-answer"):
    """The yes or no to a question."""


class CodedAnswers(OfQuestion, tag="coded-answers", kw_only=True):
    """Was one of `options` chosen?"""

    options: tuple[str, ...]


class IntegerAnswer(OfQuestion, tag="integer-answer"):
    """The whole number given to a question."""

    type: ClassVar[ValueType] = "number"


class IntegerAtLeast(OfQuestion, tag="integer-at-least", kw_only=True):
    """Is the number given `least` or more?"""

    least: int


class BeingOrdered(Kind, tag="being-ordered"):
    """Is one of these drugs among the orders of the hook? With `reason`, an order for something else does not count."""

    reads: ClassVar[tuple[str, ...]] = DRAFTS
    roles: ClassVar[dict[str, str]] = {"drugs": "medication", "reason": "condition"}

    drugs: tuple[str, ...]
    reason: str | None = None


class OrderReason(Kind, tag="order-reason"):
    """Is one of these drugs ordered for the indication, for something else, or without a reason?"""

    type: ClassVar[ValueType] = "string"
    values: ClassVar[tuple[str, ...]] = ("indicated", "unstated", "other")
    reads: ClassVar[tuple[str, ...]] = (*DRAFTS, *CONDITIONS)
    roles: ClassVar[dict[str, str]] = {"drugs": "medication", "indication": "condition"}

    drugs: tuple[str, ...]
    indication: str


class OnOrder(Kind, tag="on-order"):
    """Is an order for it open that was made in the last `days`, or the window of orders in `windows.json`?"""

    reads: ClassVar[tuple[str, ...]] = ("orders",)
    roles: ClassVar[dict[str, str]] = {"order": "order"}

    order: str
    days: int | None = None


class Done(Kind, tag="done"):
    """Was the procedure done in the last `days`, or without these ever? `observed_under`: as an Observation too."""

    reads: ClassVar[tuple[str, ...]] = ("procedures",)
    roles: ClassVar[dict[str, str]] = {"procedure": "procedure"}

    procedure: str
    days: int | None = None
    observed_under: str = ""


# fmt: off
FactKind = Union[
    Age, Deceased, Replaced, Unmatched, ActiveCondition, ProblemListItem, EncounterDiagnosis, EncounterReason, BeganWithin,
    RecordedWithin, DoneAfterCondition, VaccinatedBefore, BeganAgainstOnset, Ongoing, ConditionAfterDrug, Taking, DaysTaken,
    StartedAgainstOnset, DoneSinceDrug, AgainstRange, LatestValue, TimesUpperLimit, AsLowBefore, FellBy, Measured,
    MeasuredSince, ReportedOrEstimated, IsEstimated, CodedAnswer, HistoryCompleted, BooleanAnswer, CodedAnswers, IntegerAnswer,
    IntegerAtLeast, BeingOrdered, OrderReason, OnOrder, Done, AnyOf, AllOf, AllShown, NewerThan, NotShown, NotKnown,
]
# fmt: on

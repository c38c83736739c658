"""The files of `logic/facts/`, one a topic, and the facts that they define: those written out, and those that are derived.

Most facts ask the same of another thing: is it active, taken, measured, on order? So a file declares its conditions, drugs,
results and orders once, and each declaration makes the facts that are asked of such a thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from cds_service.knowledge import composed_kinds
from cds_service.knowledge import fact_kinds as kinds
from cds_service.knowledge.fact_kinds import FactKind
from cds_service.knowledge.schema import Analyte, Equation
from cds_service.model import ValueType

_ACTIVE = "{verb} {says} an active condition?"
_TAKING = "Is {says} on an active medication list?"
_STARTED = "Did {says} start before or after {onset_of} began?"
_STARTED_NOT_KNOWN = "Is it not known whether {says} started before the cramps began?"
_RANGE = "Is the latest {says}{how} below, inside or above its range?"
_ADJUSTED = ", adjusted where it can be,"
_MEASURED = "Was {says} measured in the last {days} days?"
_ON_ORDER = "Is {says} on order, alone or in a panel, in the last {days} days?"
_ANSWER = "Cramp history: {text}"


_OF_ONE_FACT = (composed_kinds.NotShown, composed_kinds.NotKnown)


class _Declared(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`says`: the thing as it stands in a question, with its article where it has one."""

    says: str


class DeclaredCondition(_Declared):
    """`NAME`: is it active? `plural`: it is asked with *are*."""

    condition: str
    plural: bool = False


class DeclaredDrug(_Declared):
    """`taking_NAME`; with `started_against`, `NAME_start_against_cramps`: did it start before or after that condition began?

    And `…_not_known`: is that not known?
    """

    drug: str
    started_against: str | None = None


class DeclaredResult(_Declared):
    """`NAME_measured` in the last `days`; with `against_range`, `NAME_against_range`."""

    analytes: tuple[str, ...]
    days: int
    measured: bool = True
    against_range: bool = False


class DeclaredOrder(_Declared):
    """`NAME_on_order`, within the window of `logic/windows.json`."""

    order: str


class Windows(msgspec.Struct, forbid_unknown_fields=True):
    """How many days an order counts as open, and a cramp history as what holds now.

    `repeats`: how many days may lie between two issues of one course of a drug.
    """

    on_order: int
    repeats: int
    cramp_history: int


class FactFile(msgspec.Struct, forbid_unknown_fields=True):
    """One topic. `answers` maps a fact to the question of the Questionnaire that it reads, a yes or no."""

    conditions: dict[str, DeclaredCondition] = {}
    drugs: dict[str, DeclaredDrug] = {}
    results: dict[str, DeclaredResult] = {}
    orders: dict[str, DeclaredOrder] = {}
    answers: dict[str, str] = {}
    facts: dict[str, FactKind] = {}


@dataclass(frozen=True, slots=True)
class FactDefinition:
    """One fact: its question with the numbers filled in, its kind, and the queries, analytes and value sets that it rests on.

    `adjusted_by`: the analytes by which those are adjusted. `facts`: those that it is made of.
    """

    name: str
    topic: str
    question: str
    kind: FactKind
    queries: tuple[str, ...]
    analytes: tuple[str, ...]
    value_sets: tuple[str, ...]
    adjusted_by: tuple[str, ...]
    facts: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        return f"logic/facts/{self.topic}.json {self.name}"

    @property
    def type(self) -> ValueType:
        return self.kind.type

    @property
    def values(self) -> tuple[str, ...]:
        return self.kind.values


class FactMaker:
    """Makes the facts of topics from what they are asked of."""

    def __init__(
        self,
        windows: Windows,
        labs: Mapping[str, Analyte],
        equations: Mapping[str, Equation],
        questionnaire: Mapping[str, Any],
    ) -> None:
        self._windows, self._labs, self._equations = windows, labs, equations
        self._texts = {str(item.get("linkId")): str(item.get("text")) for item in questionnaire.get("item", ())}

    def facts(self, topic: str, file: FactFile) -> Iterator[FactDefinition]:
        for name, kind in self._kinds(file):
            yield self.define(name, topic, kind)

    def define(self, name: str, topic: str, kind: FactKind) -> FactDefinition:
        kind = self._with_window(kind)
        analytes = self._analytes(kind)
        return FactDefinition(
            name=name,
            topic=topic,
            question=kind.question.replace("{days}", str(getattr(kind, "days", ""))).replace(
                "{by}", str(getattr(kind, "by", ""))
            ),
            kind=kind,
            queries=tuple(dict.fromkeys((*kind.reads, *self._observed(kind, analytes)))),
            analytes=analytes,
            value_sets=tuple(dict.fromkeys(value_sets_of(kind))),
            adjusted_by=tuple(self._adjusting(analytes)),
            facts=(kind.fact,) if isinstance(kind, _OF_ONE_FACT) else getattr(kind, "facts", ()),
        )

    def _kinds(self, file: FactFile) -> Iterator[tuple[str, FactKind]]:
        for name, it in file.conditions.items():
            question = _ACTIVE.format(verb="Are" if it.plural else "Is", says=it.says)
            yield name, kinds.ActiveCondition(question=question, condition=it.condition)
        for name, drug in file.drugs.items():
            yield from self._of_drug(name, drug)
        for name, result in file.results.items():
            yield from self._of_result(name, result)
        for name, order in file.orders.items():
            question = _ON_ORDER.replace("{says}", order.says)
            yield f"{name}_on_order", kinds.OnOrder(question=question, order=order.order)
        for name, link_id in file.answers.items():
            question = _ANSWER.format(text=self._texts.get(link_id, link_id))
            yield name, kinds.BooleanAnswer(question=question, link_id=link_id)
        yield from file.facts.items()

    def _of_drug(self, name: str, drug: DeclaredDrug) -> Iterator[tuple[str, FactKind]]:
        yield f"taking_{name}", kinds.Taking(question=_TAKING.format(says=drug.says), drug=drug.drug)
        if drug.started_against:
            question = _STARTED.format(says=drug.says, onset_of=drug.started_against.replace("-", " "))
            started = kinds.StartedAgainstOnset(question=question, drug=drug.drug, onset_of=drug.started_against)
            yield f"{name}_start_against_cramps", started
            question = _STARTED_NOT_KNOWN.format(says=drug.says)
            yield (
                f"{name}_start_against_cramps_not_known",
                composed_kinds.NotKnown(question=question, fact=f"{name}_start_against_cramps"),
            )

    def _of_result(self, name: str, result: DeclaredResult) -> Iterator[tuple[str, FactKind]]:
        if result.measured:
            question = _MEASURED.replace("{says}", result.says)
            yield f"{name}_measured", kinds.Measured(question=question, analytes=result.analytes, days=result.days)
        if result.against_range:
            how = _ADJUSTED if any(self._labs[key].adjusted for key in result.analytes if key in self._labs) else ""
            question = _RANGE.format(says=result.says, how=how)
            ranged = kinds.AgainstRange(question=question, analytes=result.analytes, days=result.days)
            yield f"{name}_against_range", ranged

    def _with_window(self, kind: FactKind) -> FactKind:
        """An order and an answer count as long as `windows.json` says, where the fact says nothing else."""
        if isinstance(kind, kinds.OnOrder) and kind.days is None:
            return msgspec.structs.replace(kind, days=self._windows.on_order)
        if isinstance(kind, kinds.OfHistory) and kind.days is None:
            return msgspec.structs.replace(kind, days=self._windows.cramp_history)
        if isinstance(kind, kinds.OfCourse) and kind.repeats is None:
            return msgspec.structs.replace(kind, repeats=self._windows.repeats)
        return kind

    def _analytes(self, kind: FactKind) -> tuple[str, ...]:
        if isinstance(kind, kinds.OfEquation):
            equation = self._equations.get(kind.equation)
            return (equation.to, equation.of) if equation else ()
        return getattr(kind, "analytes", ())

    def _adjusting(self, analytes: tuple[str, ...]) -> Iterator[str]:
        for key in analytes:
            adjustment = self._labs[key].adjusted if key in self._labs else None
            if adjustment and adjustment.of in analytes:
                yield adjustment.by

    def _observed(self, kind: FactKind, analytes: tuple[str, ...]) -> Iterator[str]:
        yield from (self._labs[key].query for key in analytes if key in self._labs)
        if isinstance(kind, (kinds.CodedAnswer, kinds.DoneSinceDrug, kinds.Done)) and kind.observed_under:
            yield kind.observed_under


def value_sets_of(kind: FactKind) -> Iterator[str]:
    """The value sets that a kind names in its roles."""
    for member, role in kind.roles.items():
        if role in ("analyte", "equation"):
            continue
        given = getattr(kind, member)
        yield from (given,) if isinstance(given, str) else given or ()

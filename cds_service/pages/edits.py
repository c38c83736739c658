"""What if something on record were otherwise: a result, a condition, a drug, changed in the Bundle of an invented person."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from cds_service.chart.chart import Chart
from cds_service.chart.index import ChartIndex
from cds_service.chart.panels import ObservedPart
from cds_service.errors import Problem, RequestError
from cds_service.fhir.resources import CodeableConcept, Coding, Measurement
from cds_service.fhir.sections import measurement
from cds_service.knowledge import units
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import LatestValue
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import UNKNOWN
from cds_service.observations.timeline import last_measured
from cds_service.observations.values import latest_value

Measuring = Literal["record", "value", "missing"]
_A_MONTH = timedelta(days=30)
_NAN = Decimal("NaN")
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_encoder = msgspec.json.Encoder(decimal_format="number")
Resource = dict[str, Any]


class Slide(NamedTuple):
    """The values over which a result is tried out."""

    analyte: str
    title: str
    unit: str
    least: Decimal
    most: Decimal
    step: Decimal

    @property
    def values(self) -> Sequence[Decimal]:
        return [self.least + self.step * at for at in range(int((self.most - self.least) / self.step) + 1)]


class Added(NamedTuple):
    """A condition or a drug that is not on record, by its value set, and since when."""

    value_set: str
    title: str
    since: date


class Edits(NamedTuple):
    """`left_out` are references. With `measuring` as on record, `value` is where the slider stands."""

    slide: Slide
    measuring: Measuring
    value: Decimal
    conditions: tuple[Added, ...] = ()
    drugs: tuple[Added, ...] = ()
    left_out: frozenset[str] = frozenset()

    def touched(self, knowledge: Knowledge) -> tuple[str, ...]:
        """The queries that what is added would have come from: whoever adds it has asked them."""
        found = list[str]()
        if self.measuring == "value":
            found += _queries_of(self.slide.analyte, knowledge)
        for kind, some in (("Condition", self.conditions), ("MedicationRequest", self.drugs)):
            if some:
                found.append(next(key for key, query in knowledge.queries.items() if query.resource_type == kind))
        return tuple(found)


def _queries_of(analyte: str, knowledge: Knowledge) -> list[str]:
    """Those that results of an analyte come from."""
    about = [fact for fact in knowledge.facts.values() if analyte in (*fact.analytes, *fact.adjusted_by)]
    asked = {key for fact in about for key in fact.queries}
    return [key for key, query in knowledge.queries.items() if key in asked and query.resource_type == "Observation"]


def slides(knowledge: Knowledge, jurisdiction: str) -> Mapping[str, Slide]:
    """What can be slid, in the unit that is read here."""
    found = {}
    for name, analyte in knowledge.labs.items():
        unit = analyte.shown.get(jurisdiction, analyte.unit)
        if unit in analyte.slide:
            found[name] = Slide(name, analyte.title, unit, *map(Decimal, analyte.slide[unit]))
    return found


def offered(knowledge: Knowledge, kind: str) -> Mapping[str, str]:
    """The titles of the value sets of a kind that some fact looks for, by name and sorted by title.

    What is recognised by words alone has no code to be added by.
    """
    asked = {name for fact in knowledge.facts.values() for name in fact.value_sets}
    titles = {
        name: parts[0].title
        for name, parts in knowledge.value_sets.items()
        if name in asked and parts[0].kind == kind and any(rows for part in parts for rows in part.codes.values())
    }
    return dict(sorted(titles.items(), key=lambda item: item[1].lower()))


class Given:
    """The fields of the form, read with every problem noted."""

    def __init__(self, fields: Mapping[str, Sequence[str]], day: date) -> None:
        self._fields, self._day = fields, day
        self.problems: list[Problem] = []

    def all(self, name: str) -> list[str]:
        return [value for value in dict.fromkeys(self._fields.get(name, ())) if value]

    def last(self, name: str, known: Iterable[str], otherwise: str) -> str:
        """One of what is known."""
        found = next(reversed(self.all(name)), otherwise)
        if found in known:
            return found
        self.problems.append(Problem(name, f"{found[:60]!r} is unknown", "choose one of the list"))
        return otherwise

    def number(self, name: str, slide: Slide, otherwise: Decimal) -> Decimal:
        text = next(reversed(self.all(name)), "")
        try:
            value = Decimal(text) if text else otherwise
        except InvalidOperation:
            value = _NAN
        if value.is_finite() and slide.least <= value <= slide.most:
            return value
        self.problems.append(Problem(name, f"{text[:60]!r} is no value to try", f"give one from {slide.least} to {slide.most}"))
        return otherwise

    def added(self, name: str, known: Mapping[str, str]) -> Iterator[Added]:
        for value_set in self.all(name):
            if value_set in known:
                yield Added(value_set, known[value_set], self._since(f"since-{value_set}"))
            else:
                self.problems.append(Problem(name, f"{value_set[:60]!r} is unknown", "choose one of the list"))

    def _since(self, name: str) -> date:
        text = next(reversed(self.all(name)), "")
        try:
            return date.fromisoformat(text) if text else self._day - _A_MONTH
        except ValueError:
            self.problems.append(Problem(name, f"{text[:60]!r} is no date", "give YYYY-MM-DD"))
            return self._day


def read_changes(fields: Mapping[str, Sequence[str]], view: ChartIndex, listed: Iterable[str]) -> Edits:
    """What a form asks for. `listed`: references of what stands on record, each of which can be left out.

    Raises RequestError (400) naming every field that cannot be.
    """
    given, knowledge = Given(fields, view.as_of), view.knowledge
    known = slides(knowledge, view.jurisdiction)
    if not known:
        raise RequestError(404, "nothing-to-slide", "not-found", [Problem("labs", "name nothing that can be slid", "")])
    measured = [name for name in known if view.measured.get(f"lab:{name}")]
    slide = known[given.last("analyte", known, next(iter(measured or known)))]
    measuring, value = _slid(given, slide, on_record(slide, view))
    changes = Edits(
        slide,
        measuring,
        value,
        tuple(given.added("condition", offered(knowledge, "condition"))),
        tuple(given.added("drug", offered(knowledge, "medication"))),
        frozenset(listed) - set(given.all("keep")) if given.all("asked") else frozenset(),
    )
    if given.problems:
        raise RequestError(400, "invalid-request", "value", given.problems)
    return changes


def _slid(given: Given, slide: Slide, stands: Decimal) -> tuple[Measuring, Decimal]:
    """What the slider says. The form tells of what it was (`slid`) and where it stood (`stood`): when another result is chosen
    the old value says nothing, and who moved it, with no script to tick the box, meant it.
    """
    was, stood = (next(reversed(given.all(name)), "") for name in ("slid", "stood"))
    if was and was != slide.analyte:
        return "record", stands
    measuring: Any = given.last("measured", get_args(Measuring), "record")
    moved = bool(stood) and stood != next(reversed(given.all("value")), "")
    if measuring == "record" and not moved:
        return "record", stands
    return "value" if moved else measuring, given.number("value", slide, stands)


def on_record(slide: Slide, view: ChartIndex) -> Decimal:
    """Where the slider stands at first: nearest to the latest result, else in the middle."""
    latest = latest_value(*_ever(slide, view), view).value
    middle = slide.values[len(slide.values) // 2]
    if latest is UNKNOWN or not isinstance(latest, Decimal):
        return middle
    here = Decimal(units.say_in(latest, view.knowledge.factors[slide.analyte].named(slide.unit)))
    return min(slide.values, key=lambda value: abs(value - here))


def _ever(slide: Slide, view: ChartIndex) -> tuple[FactDefinition, LatestValue]:
    kind = LatestValue(question=slide.title, analytes=(slide.analyte,))
    query = view.knowledge.labs[slide.analyte].query
    return FactDefinition(slide.analyte, "", slide.title, kind, (query,), (slide.analyte,), (), ()), kind


def numbered(bundle: dict[str, Any]) -> dict[str, Any]:
    """The same record with an id for each resource, so that each can be left out."""
    entries = [entry for entry in bundle["entry"] if entry.get("resource")]
    named = [entry | {"resource": {"id": f"entry-{at}"} | entry["resource"]} for at, entry in enumerate(entries)]
    return bundle | {"entry": named}


def changed(bundle: dict[str, Any], changes: Edits, view: ChartIndex) -> dict[str, Any]:
    """The record of a person as it would be, but for what is slid; `view` sees it as it is."""
    gone = set(changes.left_out)
    measured = view.measured.get(f"lab:{changes.slide.analyte}", ()) if changes.measuring == "missing" else ()
    gone |= {f"Observation/{item.id}" for item, part in measured if part is item}
    entries = [entry for entry in bundle["entry"] if _reference(entry["resource"]) not in gone]
    kept = [part for entry in entries for part in _without_components(entry, measured, view.chart)]
    return bundle | {"entry": [*kept, *({"resource": item} for item in _additions(changes, view))]}


def add_result(call: dict[str, Any], changes: Edits, view: ChartIndex) -> None:
    """Put what was slid under the query that it would have come from: another that failed must not pass for answered."""
    if changes.measuring == "value":
        section = call["prefetch"][_queries_of(changes.slide.analyte, view.knowledge)[0]]
        result = _result(changes.slide, changes.value, view) | {"subject": _subject(view)}
        section["entry"] = [*section["entry"], {"resource": result}]


def _reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _without_components(entry: dict[str, Any], measured: Iterable[ObservedPart], chart: Chart) -> list[dict[str, Any]]:
    """The entry, or what it keeps as results of their own: a panel without one of its results would leave that open."""
    resource = entry["resource"]
    gone = [(item, part) for item, part in measured if part is not item and item.id == resource["id"]]
    if not gone or resource["resourceType"] != "Observation":
        return [entry]
    written = [component for component in resource["component"] if component]
    read = chart.components_of(gone[0][0])
    kept = [component for component, said in zip(written, read, strict=True) if all(said != part for _, part in gone)]
    whole = {name: value for name, value in resource.items() if name != "component"}
    return [{"resource": whole | part | {"id": f"{whole['id']}-{at}"}} for at, part in enumerate(kept)]


def _additions(changes: Edits, view: ChartIndex) -> Iterator[Resource]:
    subject = _subject(view)
    for condition in changes.conditions:
        yield _condition(condition, view.knowledge) | {"subject": subject}
    for drug in changes.drugs:
        yield _prescription(drug, view.knowledge) | {"subject": subject}


def _subject(view: ChartIndex) -> Resource:
    return {"reference": f"Patient/{view.chart.patient.id}"}


def _result(slide: Slide, value: Decimal, view: ChartIndex) -> Resource:
    """A result of the day, later than any other of it; the laboratory's range is that of the last on record."""
    code, display = next(iter(view.knowledge.labs[slide.analyte].loinc.items()))
    last = last_measured(_ever(slide, view)[1], view)
    said = measurement(last.measured[1]) if last else None
    return {
        "resourceType": "Observation",
        "id": f"what-if-{slide.analyte}",
        "status": "final",
        "code": {"coding": [{"system": view.knowledge.systems["loinc"].url, "code": code, "display": display}]},
        "effectiveDateTime": f"{view.as_of}T23:59:59Z",
        "valueQuantity": {"value": _as_reported(value), "unit": slide.unit},
        "referenceRange": written_ranges(said) if said else [],
    }


def _as_reported(value: Decimal) -> int | float:
    """22 and not 22.0, where whole numbers are reported."""
    return int(value) if value.as_tuple().exponent == 0 else float(value)


def written_ranges(said: Measurement) -> list[Any]:
    """As written, each limit with its unit: one without was in the unit of its result, which may be another."""
    if said.value_quantity is None:
        return []
    unit = {"unit": said.value_quantity.unit, "code": said.value_quantity.code, "system": said.value_quantity.system}
    ranges = [item for item in json.loads(_encoder.encode(said.reference_range or [])) if item]
    for limit in (item[side] for item in ranges for side in ("low", "high") if item.get(side)):
        if not limit.get("unit") and not limit.get("code"):
            limit |= unit
    return ranges


def _condition(added: Added, knowledge: Knowledge) -> Resource:
    return {
        "resourceType": "Condition",
        "id": f"what-if-{added.value_set}",
        "clinicalStatus": {"coding": [{"system": _CLINICAL, "code": "active"}]},
        "code": _concept(added.value_set, knowledge),
        "onsetDateTime": added.since.isoformat(),
        "recordedDate": added.since.isoformat(),
    }


def _prescription(added: Added, knowledge: Knowledge) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": f"what-if-{added.value_set}",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": _concept(added.value_set, knowledge),
        "authoredOn": added.since.isoformat(),
    }


def _concept(value_set: str, knowledge: Knowledge) -> Resource:
    """A code of this value set and of as few others as can be, under its title: who has a cancer need not smoke."""
    part = knowledge.value_sets[value_set][0]
    codes = [(system, row) for system, rows in part.codes.items() for row in rows]
    system, row = min(codes, key=lambda item: len(knowledge.terminology.matches(_coded(item[0], item[1], knowledge))))
    name = row[2] if len(row) > 2 and row[2] else part.title
    return {
        "coding": [{"system": knowledge.systems[system].url, "code": row[0], "display": row[1]}],
        "text": name[:1].upper() + name[1:],
    }


def _coded(system: str, row: Sequence[str], knowledge: Knowledge) -> CodeableConcept:
    return CodeableConcept(coding=[Coding(system=knowledge.systems[system].url, code=row[0])])

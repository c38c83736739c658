"""`logic/` and `cards/` read from disk, strictly: unknown keys, wrong types and broken logic are refused with file and place.

What is right about each file alone is settled here; how the files fit together is settled by `checks`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cds_service.errors import KnowledgeError, LogicError, Problem
from cds_service.jsonlogic.compile import Expression, compile_rule
from cds_service.knowledge.schema import (
    Analyte,
    CardFile,
    Disjoint,
    Equation,
    FactDefinition,
    Group,
    GroupsFile,
    Order,
    OrderUse,
    OverrideReasons,
    Panel,
    Phrase,
    Query,
    RuleFile,
    Service,
    Source,
    Statement,
    SystemFile,
    ValueSet,
    Wording,
)
from cds_service.knowledge.terminology import CodeEntry, System, Terminology
from cds_service.knowledge.units import Factors
from cds_service.model import FactType, FactTypes


@dataclass(frozen=True)
class Suggestable:
    order: str
    when: Expression
    recommended_when: Expression


@dataclass(frozen=True)
class Rule:
    """A rule ready to run, with where it was read."""

    file: RuleFile
    topic: str
    place: str
    applies_when: Expression
    fires_when: Expression
    orders: tuple[Suggestable, ...]

    @cached_property
    def id(self) -> str:
        return self.file.id

    @cached_property
    def facts(self) -> frozenset[str]:
        parts = [self.applies_when, self.fires_when]
        parts += [part for use in self.orders for part in (use.when, use.recommended_when)]
        return frozenset(name for part in parts for name in part.facts)


@dataclass(frozen=True)
class CardText:
    """The words of one rule: each line with the condition under which it is said."""

    file: CardFile
    place: str
    lines: tuple[tuple[Expression, str], ...]

    @property
    def facts(self) -> frozenset[str]:
        return frozenset(name for expression, _ in self.lines for name in expression.facts)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Everything the service knows, immutable, and equal to nothing but itself. `fingerprint` changes when any file does."""

    root: Path
    facts: Mapping[str, FactDefinition]
    queries: Mapping[str, Query]
    labs: Mapping[str, Analyte]
    panels: Mapping[str, Panel]
    equations: Mapping[str, Equation]
    orders: Mapping[str, Order]
    services: Mapping[str, Service]
    speaks_when: Mapping[str, Expression]
    concerned_when: Mapping[str, Expression]
    sources: Mapping[str, Source]
    evidence: Mapping[str, Statement]
    uncited: Mapping[str, str]
    systems: Mapping[str, SystemFile]
    value_sets: Mapping[str, tuple[ValueSet, ...]]
    disjoint: tuple[Disjoint, ...]
    one_source: Mapping[str, Mapping[str, tuple[str, ...]]]
    negations: tuple[str, ...]
    questionnaire: Mapping[str, Any]
    rules: tuple[Rule, ...]
    groups: tuple[Group, ...]
    override_reasons: OverrideReasons
    wording: Wording
    cards: Mapping[str, CardText]
    spelling: Mapping[str, Mapping[str, str]]
    phrases: tuple[Phrase, ...]
    fingerprint: str

    @cached_property
    def types(self) -> FactTypes:
        return fact_types(self.facts)

    @cached_property
    def factors(self) -> Mapping[str, Factors]:
        return {name: Factors(analyte.units, analyte.decimals) for name, analyte in self.labs.items()}

    @cached_property
    def terminology(self) -> Terminology:
        parts = [part for parts in self.value_sets.values() for part in parts]
        return Terminology(
            systems={
                key: System(item.url, item.aliases, item.prefix_match, item.pad, item.also, item.lists_all)
                for key, item in self.systems.items()
            },
            entries=[*_set_entries(parts), *_lab_entries(self.labs)],
            names={part.id: part.names for part in parts if part.names},
            phrases={part.id: part.phrases for part in parts if part.phrases},
            negations=self.negations,
        )

    @cached_property
    def searchable(self) -> dict[str, tuple[str, ...]]:
        """The codes that a search of results or procedures names, by value set and by `lab:<analyte>`.

        Of an analyte also its panels: a search by code does not look at the components, where the result may stand.
        """
        found = {f"lab:{name}": (*item.loinc, *item.snomed, *self._panels_with(name)) for name, item in self.labs.items()}
        for key, parts in self.value_sets.items():
            if parts[0].kind in ("observation", "procedure"):
                found[key] = tuple(row[0] for part in parts for rows in part.codes.values() for row in rows)
        return found

    def _panels_with(self, analyte: str) -> tuple[str, ...]:
        return tuple(code for code, panel in self.panels.items() if analyte in panel.holds)

    @cached_property
    def articles(self) -> tuple[Source, ...]:
        """The sources that statements are cited from."""
        return tuple(source for source in self.sources.values() if source.cites)

    def coding(self, system: str, code: str) -> dict[str, str]:
        """A FHIR Coding with the one display of its code. KeyError as `display`."""
        return {"system": self.systems[system].url, "code": code, "display": self.display(system, code)}

    def display(self, system: str, code: str) -> str:
        """The one display of a code, wherever it stands. KeyError if no value set or analyte has it."""
        return self._displays[system, code]

    @cached_property
    def _displays(self) -> dict[tuple[str, str], str]:
        rows = {
            (system, row[0]): row[1]
            for parts in self.value_sets.values()
            for part in parts
            for system, listed in part.codes.items()
            for row in listed
        }
        for analyte in self.labs.values():
            rows |= {("loinc", code): display for code, display in analyte.loinc.items()}
            rows |= {("snomed", code): display for code, display in analyte.snomed.items()}
        return rows

    def service_on(self, hook: str) -> str:
        """The first service on a hook. StopIteration if there is none."""
        return next(key for key, service in self.services.items() if service.hook == hook)

    def rules_of(self, service_id: str) -> tuple[Rule, ...]:
        """The rules that a service may speak: of its topics and its hook, in the order of the cards."""
        service = self.services[service_id]
        order = {group.id: position for position, group in enumerate(self.groups)}
        chosen = [rule for rule in self.rules if rule.topic in service.topics and service.hook in rule.file.hooks]
        return tuple(sorted(chosen, key=lambda rule: (order[rule.file.group], rule.topic, rule.place)))


def fact_types(facts: Mapping[str, FactDefinition]) -> FactTypes:
    return {name: FactType(item.type, item.values) for name, item in facts.items()}


def _set_entries(parts: list[ValueSet]) -> Iterator[CodeEntry]:
    for part in parts:
        for system, rows in part.codes.items():
            for row in rows:
                yield CodeEntry(part.id, system, row[0], row[-1])


def _lab_entries(labs: Mapping[str, Analyte]) -> Iterator[CodeEntry]:
    for name, analyte in labs.items():
        for system, listed in (("loinc", analyte.loinc), ("snomed", analyte.snomed)):
            for code, display in listed.items():
                yield CodeEntry(f"lab:{name}", system, code, display)


T = TypeVar("T")


class Reader:
    """Reads strict JSON below one root and gathers every problem instead of stopping at the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self._digest = hashlib.sha256()

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()[:12]

    def read(self, path: str, shape: type[T]) -> T | None:
        try:
            data = (self.root / path).read_bytes()
            self._digest.update(path.encode() + b"\0" + data)
            loaded = json.loads(data, parse_float=Decimal, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
            return msgspec.convert(loaded, shape)
        except OSError as error:
            self.report(path, f"cannot be read ({error.strerror})", "restore the file, or point CDS_KNOWLEDGE elsewhere")
        except RecursionError:
            self.report(path, "is nested too deeply", "write flatter logic")
        except msgspec.ValidationError as error:
            self.report(path, str(error), "see CONTRIBUTING.md for the members of this file")
        except ValueError as error:
            self.report(path, f"is not strict JSON: {error}", "mend the JSON")
        return None

    def logic(self, logic: object, types: FactTypes, place: str, *, allow_missing: bool = False) -> Expression | None:
        try:
            return compile_rule(logic, types, place, allow_missing=allow_missing)
        except LogicError as error:
            self.problems += error.problems
            return None

    def report(self, place: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(place, message, remedy))

    def names(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"member {repeated!r} is given twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def load_knowledge(root: Path) -> Knowledge:
    """Read `root/logic` and `root/cards`. Raises KnowledgeError with every problem found."""
    reader = Reader(root)
    facts = reader.read("logic/facts.json", dict[str, FactDefinition]) or {}
    services = reader.read("logic/services.json", dict[str, Service]) or {}
    groups = reader.read("cards/groups.json", GroupsFile)
    types = fact_types(facts)
    queries = reader.read("logic/queries.json", dict[str, Query]) or {}
    labs = reader.read("logic/labs.json", dict[str, Analyte]) or {}
    panels = reader.read("logic/panels.json", dict[str, Panel]) or {}
    equations = reader.read("logic/equations.json", dict[str, Equation]) or {}
    orders = reader.read("logic/orders.json", dict[str, Order]) or {}
    sources = reader.read("logic/sources.json", dict[str, Source]) or {}
    evidence = reader.read("logic/evidence.json", dict[str, Statement]) or {}
    uncited = reader.read("logic/uncited.json", dict[str, str]) or {}
    systems = reader.read("logic/systems.json", dict[str, SystemFile]) or {}
    disjoint = reader.read("logic/disjoint.json", tuple[Disjoint, ...]) or ()
    one_source = reader.read("logic/one_source.json", dict[str, dict[str, tuple[str, ...]]]) or {}
    negations = reader.read("logic/negations.json", tuple[str, ...]) or ()
    questionnaire = reader.read("logic/questionnaire.json", dict[str, Any]) or {"url": "", "title": "", "item": []}
    spelling = reader.read("cards/spelling.json", dict[str, dict[str, str]]) or {}
    phrases = reader.read("cards/phrases.json", tuple[Phrase, ...]) or ()
    value_sets = _read_value_sets(reader)
    speaks_when = _by_service(reader, services, types, "speaks_when")
    concerned_when = _by_service(reader, services, types, "concerned_when")
    rules = tuple(_each(reader, "logic/rules/*/*.json", lambda path: _read_rule(reader, path, types)))
    cards = {card.file.rule: card for card in _each(reader, "cards/*/*.json", lambda path: _read_card(reader, path, types))}
    if reader.problems or groups is None:
        raise KnowledgeError(reader.problems)
    return Knowledge(
        root=root,
        facts=facts,
        queries=queries,
        labs=labs,
        panels=panels,
        equations=equations,
        orders=orders,
        services=services,
        speaks_when=speaks_when,
        concerned_when=concerned_when,
        sources=sources,
        evidence=evidence,
        uncited=uncited,
        systems=systems,
        value_sets=value_sets,
        disjoint=disjoint,
        one_source=one_source,
        negations=negations,
        questionnaire=questionnaire,
        rules=rules,
        groups=groups.groups,
        override_reasons=groups.override_reasons,
        wording=groups.wording,
        cards=cards,
        spelling=spelling,
        phrases=phrases,
        fingerprint=reader.fingerprint,
    )


def _each(reader: Reader, pattern: str, read: Callable[[str], T | None]) -> Iterator[T]:
    for path in reader.names(pattern):
        if not path.endswith(".cases.json") and (item := read(path)) is not None:
            yield item


def _by_service(reader: Reader, services: Mapping[str, Service], types: FactTypes, member: str) -> dict[str, Expression]:
    compiled = {
        key: reader.logic(getattr(service, member), types, f"logic/services.json {key}.{member}")
        for key, service in services.items()
    }
    return {key: expression for key, expression in compiled.items() if expression}


def _read_value_sets(reader: Reader) -> dict[str, tuple[ValueSet, ...]]:
    found: dict[str, tuple[ValueSet, ...]] = {}
    for path in reader.names("logic/value_sets/*.json") + reader.names("logic/value_sets/licensed/*.json"):
        if path.endswith("/lock.json"):
            continue
        part = reader.read(path, ValueSet)
        if part:
            found[part.id] = (*found.get(part.id, ()), part)
    return found


def _read_rule(reader: Reader, path: str, types: FactTypes) -> Rule | None:
    file = reader.read(path, RuleFile)
    if file is None:
        return None
    applies = reader.logic(file.applies_when, types, f"{path} applies_when")
    fires = reader.logic(file.fires_when, types, f"{path} fires_when")
    orders = [_read_order_use(reader, use, types, f"{path} orders[{at}]") for at, use in enumerate(file.orders)]
    if applies is None or fires is None:
        return None
    return Rule(file, Path(path).parent.name, path, applies, fires, tuple(use for use in orders if use))


def _read_order_use(reader: Reader, use: OrderUse, types: FactTypes, place: str) -> Suggestable | None:
    when = reader.logic(use.when, types, f"{place}.when")
    recommended = reader.logic(use.recommended_when, types, f"{place}.recommended_when")
    return Suggestable(use.order, when, recommended) if when and recommended else None


def _read_card(reader: Reader, path: str, types: FactTypes) -> CardText | None:
    file = reader.read(path, CardFile)
    if file is None:
        return None
    if file.rule != Path(path).stem:
        reader.report(path, f"rule is {file.rule!r}", "name the rule as the file")
        return None
    lines = [
        (reader.logic(line.when, types, f"{path} lines[{at}].when", allow_missing=True), line.say)
        for at, line in enumerate(file.lines)
    ]
    return CardText(file, path, tuple((expression, say) for expression, say in lines if expression))

"""Everything that the service knows, ready to use: `load` reads it from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cds_service.jsonlogic.compile import Expression
from cds_service.knowledge.card_files import CardFile, Group, Imperatives, OverrideReasons, Phrase, Wording
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.recognition import Lexicon, OwnWords, Recognition
from cds_service.knowledge.schema import (
    Analyte,
    AnswerWords,
    Disjoint,
    Equation,
    Order,
    OtherWords,
    Panel,
    Query,
    RuleFile,
    Service,
    Source,
    Statement,
    Statuses,
    SystemFile,
    ValueSet,
)
from cds_service.knowledge.sites import SitedConcept, sited_concepts
from cds_service.knowledge.terminology import CodeEntry, PhraseIndex, System, Terminology
from cds_service.knowledge.units import Factors, fold
from cds_service.model import FactType, FactTypes


@dataclass(frozen=True)
class Suggestable:
    order: str
    when: Expression
    recommended_when: Expression
    priority: str = ""


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
    """The words of one rule, those included that its group shares: each line with the condition under which it is said."""

    file: CardFile
    place: str
    lines: tuple[tuple[Expression, str], ...]

    @property
    def facts(self) -> frozenset[str]:
        return frozenset(name for expression, _ in self.lines for name in expression.facts)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Everything the service knows, immutable, and equal to nothing but itself. `fingerprint` changes when any file does.

    `doubted`: the names in files that could not be read; of what is served there are none.
    """

    root: Path
    facts: Mapping[str, FactDefinition]
    statuses: Statuses
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
    other_words: OtherWords
    answer_words: AnswerWords
    drug_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    questionnaire: Mapping[str, Any]
    rules: tuple[Rule, ...]
    groups: tuple[Group, ...]
    override_reasons: OverrideReasons
    wording: Wording
    cards: Mapping[str, CardText]
    spelling: Mapping[str, Mapping[str, str]]
    phrases: tuple[Phrase, ...]
    imperatives: Imperatives
    fingerprint: str
    doubted: frozenset[str] = frozenset()

    @cached_property
    def types(self) -> FactTypes:
        return fact_types(self.facts)

    @cached_property
    def rule_by_id(self) -> Mapping[str, Rule]:
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def factors(self) -> Mapping[str, Factors]:
        every = frozenset(fold(spelling) for analyte in self.labs.values() for spelling in analyte.units)
        return {name: Factors(analyte.units, analyte.decimals, every) for name, analyte in self.labs.items()}

    @cached_property
    def terminology(self) -> Terminology:
        parts = [part for parts in self.value_sets.values() for part in parts]
        return Terminology(
            systems={
                key: System(item.url, item.aliases, item.prefix_match, item.pad, item.also, item.complete)
                for key, item in self.systems.items()
            },
            entries=[*_set_entries(parts), *_lab_entries(self.labs)],
            names={part.id: part.names for part in parts if part.names},
            phrases={part.id: part.phrases for part in parts if part.phrases and not part.site},
            negations=self.negations,
        )

    @cached_property
    def recognition(self) -> Recognition:
        parts = [part for parts in self.value_sets.values() for part in parts]
        own = OwnWords(
            analytes={key: analyte.names for key, analyte in self.labs.items()},
            conditions=[phrase for part in parts for phrase in part.phrases],
            drugs=[name for part in parts for name in part.names],
            titles=[part.title for part in parts],
            displays=[text for lab in self.labs.values() for codes in (lab.loinc, lab.snomed) for text in codes.values()],
        )
        return Recognition(self.terminology, self.other_words, self.drug_names, self.vocabulary, own)

    @cached_property
    def lexicon(self) -> Lexicon:
        return Lexicon(self.terminology, self.recognition)

    @cached_property
    def sited(self) -> tuple[SitedConcept, ...]:
        """The concepts whose place in the body decides."""
        parts = [part for parts in self.value_sets.values() for part in parts]
        sites = {part.id: part.site for part in parts if part.site}
        return sited_concepts(sites, {part.id: part.phrases for part in parts})

    @cached_property
    def condition_words(self) -> PhraseIndex[None]:
        """All words that may name a condition of ours: where none of them stands, it is none in words."""
        parts = [part for parts in self.value_sets.values() for part in parts]
        things = [thing for part in parts if part.site for thing in part.site.things]
        return PhraseIndex([([*things, *(phrase for part in parts for phrase in part.phrases)], None)])

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

    @cached_property
    def sets_of_no_result(self) -> frozenset[str]:
        """Value sets of what is ordered or given: of what a result with such a code is, they say nothing."""
        kinds = ("order", "medication", "vaccine")
        return frozenset(part.id for parts in self.value_sets.values() for part in parts if part.kind in kinds)

    def _panels_with(self, analyte: str) -> tuple[str, ...]:
        return tuple(code for code, panel in self.panels.items() if analyte in panel.holds)

    @cached_property
    def articles(self) -> tuple[Source, ...]:
        """The sources that statements are cited from."""
        return tuple(source for source in self.sources.values() if source.cites)

    def facts_behind(self, rule: Rule) -> list[str]:
        """The facts that a rule, its card and its orders ask for, those included that these are made of."""
        pending = [self.orders[use.order].pending_fact for use in rule.orders]
        asked = dict.fromkeys((*sorted(rule.facts), *sorted(self.cards[rule.id].facts), *pending))
        return list(dict.fromkeys(part for name in asked for part in self.with_parts(name)))

    def with_parts(self, name: str) -> Iterator[str]:
        """A fact and those that it is made of."""
        yield name
        for part in self.facts[name].facts:
            yield from self.with_parts(part)

    def codes_behind(self, rule: Rule) -> list[str]:
        """The value sets and then the analytes that these facts look for, each once."""
        definitions = [self.facts[name] for name in self.facts_behind(rule)]
        sets = dict.fromkeys(key for item in definitions for key in item.value_sets)
        return [*sets, *dict.fromkeys(key for item in definitions for key in (*item.analytes, *item.adjusted_by))]

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

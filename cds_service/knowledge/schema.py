"""The formats of the files in `logic/` and `cards/`: each member, its type, nothing else allowed.

CONTRIBUTING.md shows them filled in.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

import msgspec

Priority = Literal["", "urgent", "asap", "stat"]
"""Of a ServiceRequest, as FHIR has it; empty: it goes without saying, so routine."""


class KnowledgeFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class SystemFile(KnowledgeFile):
    """A code system. `also`: systems whose codes some senders write under this one's address.

    `complete`: our sets hold all codes of their meaning, so that any other code says that it is something else.
    `copyright`: what whoever passes its codes on has to say.
    """

    url: str
    aliases: tuple[str, ...]
    shape: str
    check: str | None
    prefix_match: bool
    pad: str
    also: tuple[str, ...]
    complete: bool
    copyright: str = ""


class BodySite(KnowledgeFile):
    """How a thing is recognised that has its place in the body: words of the thing beside words of the place.

    `allowed`: words that elsewhere deny a condition and here do not.
    `without_site`: the value set of codes that name the thing alone; some of them are `assumed_in` a jurisdiction that has
    no better code, as `system|code`.
    """

    without_site: str
    allowed: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]
    other_places: tuple[str, ...]
    assumed_in: dict[str, tuple[str, ...]]


class ValueSet(KnowledgeFile):
    """`phrases` name a condition in words, `names` a drug; `site`: where its place in the body decides."""

    id: str
    title: str
    purpose: str
    includes: str
    excludes: str
    kind: str
    release: str
    origin: str
    codes: dict[str, tuple[tuple[str, ...], ...]]
    phrases: tuple[str, ...]
    names: tuple[str, ...]
    site: BodySite | None = None


class Disjoint(KnowledgeFile):
    """Value sets that share no code, by pairs; `shared` names by system the codes that stand in two of them on purpose."""

    sets: tuple[str, ...]
    why: str
    shared: dict[str, tuple[str, ...]] = {}


class AdultRange(KnowledgeFile):
    """Two limits, of which one is empty where the source gives none."""

    low: str
    high: str
    source: str

    @property
    def limits(self) -> tuple[Decimal | None, Decimal | None]:
        return (Decimal(self.low) if self.low else None, Decimal(self.high) if self.high else None)


class Adjustment(KnowledgeFile):
    """A result corrected by another of the same day: `of + per * (base - by)`."""

    of: str
    by: str
    per: str
    base: str


class Analyte(KnowledgeFile):
    """One measurable thing. `units` maps each spelling to its factor to `unit`; `ranges` is by jurisdiction, as is
    `shown`: the unit that its clinicians read, where that is not `unit`. `decimals`: how laboratories report it in `unit`,
    to which what is converted is rounded. `query`: under which its results are asked for; `names`: as words name it.
    `possible`: beyond it no value can be a living person's; `usual`: beyond it none is normal on the word of its laboratory.
    `adjusted`: how it can be computed where the laboratory has not. `slide`: by unit the least, the most and the step over
    which a value is tried out.
    """

    title: str
    unit: str
    molar_mass: str
    units: dict[str, str]
    loinc: dict[str, str]
    snomed: dict[str, str]
    ranges: dict[str, AdultRange]
    query: str
    names: tuple[str, ...]
    possible: AdultRange | None
    note: str
    shown: dict[str, str] = {}
    decimals: int | None = None
    adjusted: Adjustment | None = None
    slide: dict[str, tuple[str, str, str]] = {}
    usual: AdultRange | None = None


class Panel(KnowledgeFile):
    """An Observation, by its LOINC code, whose components are results. `holds` names their analytes."""

    display: str
    holds: tuple[str, ...]
    origin: str


class GenderTerms(KnowledgeFile):
    """What differs by administrative gender: with `x` the result over `pivot`, `min(x, 1)^below * max(x, 1)^above * times`."""

    pivot: str
    below: str
    above: str
    times: str


class Equation(KnowledgeFile):
    """An analyte estimated from another: `scale * yearly^age *` the terms of the gender, rounded to `decimals`.

    `of` is read in `unit`. Nobody below `least_age` is estimated, and nothing beyond `plausible`, the least and the most.
    """

    title: str
    of: str
    unit: str
    to: str
    decimals: int
    least_age: int
    plausible: tuple[int, int]
    scale: str
    yearly: str
    by_gender: dict[str, GenderTerms]
    source: str


class OtherWords(KnowledgeFile):
    """Words that say of what an entry is, or that they do not say: see `knowledge/recognition.py`.

    `generic` words say nothing of what, and `kinds` are those of them that name a trouble of some part of the body.
    `short_words` are read though they are short or hold a digit, in this case of letters only: `Ab`, `CO2`. Words with one
    of the `endings`, as only English has them, are read too. A display of one of
    the `speaking_systems` may say what an entry is for names beside it that are not read. `test_groups` may hold a test of
    ours, and so may `symbols`, but neither in the names of `elsewhere`. `salts` count only beside the name of a drug, and those
    of them that are `metals` not beside one of the `supplements`. `other_quantities` are by analyte what makes another of it,
    and in doubt beside any else.
    """

    placeholders: tuple[str, ...]
    statements_of_none: tuple[str, ...]
    generic: tuple[str, ...]
    kinds: tuple[str, ...]
    readable: tuple[str, ...]
    endings: tuple[str, ...]
    short_words: tuple[str, ...]
    speaking_systems: tuple[str, ...]
    test_groups: tuple[str, ...]
    symbols: tuple[str, ...]
    elsewhere: tuple[str, ...]
    supplies: tuple[str, ...]
    supply_words: tuple[str, ...]
    other_drugs: tuple[str, ...]
    drug_words: tuple[str, ...]
    salts: tuple[str, ...]
    metals: tuple[str, ...]
    supplements: tuple[str, ...]
    company_words: tuple[str, ...]
    other_specimens: tuple[str, ...]
    blood_specimens: tuple[str, ...]
    other_measures: tuple[str, ...]
    other_quantities: dict[str, tuple[str, ...]]
    doubtful_specimens: tuple[str, ...]
    muscle_or_leg: tuple[str, ...]


class AnswerWords(KnowledgeFile):
    """The words, or codes of one letter, in which a question is answered yes or no, and those that stand for an end.

    `not_ended`: all that stands there, and it says of none; among other words it leaves open whether `ended` is meant.
    """

    yes: tuple[str, ...]
    no: tuple[str, ...]
    ended: tuple[str, ...]
    not_ended: tuple[str, ...]


class Statuses(KnowledgeFile):
    """Which FHIR statuses and intents count as what. Each list stands here alone."""

    active_condition: tuple[str, ...]
    untrue_condition: tuple[str, ...]
    current_request: tuple[str, ...]
    current_statement: tuple[str, ...]
    ended_request: tuple[str, ...]
    intent_without_order: tuple[str, ...]
    reported_result: tuple[str, ...]
    preliminary_result: tuple[str, ...]
    unreported_result: tuple[str, ...]
    awaited_result: tuple[str, ...]
    open_order: tuple[str, ...]
    undone_procedure: tuple[str, ...]
    completed_response: tuple[str, ...]
    withdrawn_response: tuple[str, ...]
    completed_vaccination: tuple[str, ...]
    withdrawn_draft: tuple[str, ...]


class Query(KnowledgeFile):
    """A FHIR query, or with `from_context` what the call itself brings, for which nothing is asked of the EHR.

    `adds_to`: the query whose answer is whole without this one, as many EHRs do not have what this one asks for.
    """

    title: str
    resource_type: str
    template: str
    mandatory: bool
    from_context: bool = False
    adds_to: str = ""


class Order(KnowledgeFile):
    """An orderable test. The displays of its (system, code) stand in the value sets; `pending_fact`: is it on order?

    `codes_in`: by jurisdiction, where its laboratories are asked by other codes. `stands_for`: of a panel, the orders that it
    takes the place of where most of them are offered; `jurisdiction`: where it is ordered, everywhere if empty.
    """

    title: str
    label: str
    description: str
    codes: tuple[tuple[str, str], ...]
    pending_fact: str
    codes_in: dict[str, tuple[tuple[str, str], ...]] = {}
    stands_for: tuple[str, ...] = ()
    jurisdiction: tuple[str, ...] = ()


class Service(KnowledgeFile):
    """What an EHR may call. `concerned_when`: whether a call concerns it at all, by what the call itself brings. Only then
    are mandatory data demanded.
    """

    hook: str
    title: str
    description: str
    usage_requirements: str
    topics: tuple[str, ...]
    speaks_when: Any
    reason_fact: str
    concerned_when: Any = True


class Source(KnowledgeFile):
    title: str
    publisher: str
    edition: str
    url: str
    licence: str
    cites: str = ""
    jurisdiction: str = ""


class Statement(KnowledgeFile):
    use: str
    topic: str
    says: str


class OrderUse(KnowledgeFile):
    """A test that a rule offers. `priority`: of the request, where it is another than its group's; see `Group`."""

    order: str
    when: Any
    recommended_when: Any
    priority: Priority = ""


class RuleFile(KnowledgeFile):
    """One rule. `priority` ranks it in its group, the lowest number first, and no two rules of a group share one.

    `replaces` names the rules, of any group, that need no line of their own where this one fires, as it tells the same.
    `not_again_for`: days in which it is not shown again to a patient for whom it was shown; 0: always.
    """

    id: str
    version: str
    status: str
    title: str
    why: str
    hooks: tuple[str, ...]
    jurisdiction: tuple[str, ...]
    applies_when: Any
    fires_when: Any
    group: str
    priority: int
    replaces: tuple[str, ...]
    orders: tuple[OrderUse, ...]
    evidence: tuple[str, ...]
    sources: tuple[str, ...]
    may_mislead_when: str
    authored_by: str
    checked_by: str | None
    review_by: str
    not_again_for: int = 0

"""Over the whole cast, seeded: what is missing, damaged or not sent never makes a rule fire, and order never matters."""

from __future__ import annotations

import copy
import gc
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cds_service.cards.approvals import Approval, Approvals
from cds_service.cdshooks.request import ON_ORDERS, read_request
from cds_service.facts.evaluate import ChartFacts, FactValues
from cds_service.model import Fact, Outcome
from cds_service.rules.evaluate import find
from cds_service.samples.people import Person
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings
from tests.support.cast import CAST, PEOPLE, cards_of, conductor_of, excused, request_of, service_of

Json = dict[str, Any]

NEVER: tuple[Any, ...] = (None, [], {}, "", "\u0000", 7, True, [None], {"x": 1}, "2026-13-45", -1e9)
EVERY = os.environ.get("DAMAGED_RECORDS") == "all"
FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}
SHUFFLES = 4
# Criteria for quinine that nobody supplied are not shown, and the card says just that.
UNSHOWN = {"quinine-first-line"}
# Where the newest result cannot be read, an older one that lies out of its range still alarms, and says so.
OLDER_ALARMS = {"yuri-twice": {"high-potassium"}}
# A member that is left out or emptied may say less than before, and then less is known: its wrong value is what harms.
SAYS_WHETHER_IT_COUNTS = {
    "clinicalStatus",
    "verificationStatus",
    "abatementDateTime",
    "recordedDate",
    "status",
    "intent",
    "doNotPerform",
    "deceasedBoolean",
    "deceasedDateTime",
    "referenceRange",
    "interpretation",
    "category",
    "subject",
    "questionnaire",
    "bodySite",
    "comparator",
}


def answer(person: Person, request: Json, *, in_brief: bool = False, service: DecisionService | None = None) -> Decision | None:
    """None where the request is refused: data that must be there are not."""
    from cds_service.errors import RequestError

    try:
        parsed = read_request(json.dumps(request).encode(), person.hook)
        service = service or conductor_of(person.jurisdiction)
        return service.answer(service_of(person), parsed, person.day, in_brief=in_brief)
    except RequestError:
        return None


def fired(decision: Decision | None) -> set[str]:
    return {item.rule_id for item in decision.findings if item.outcome.value == "fires"} if decision else set()


def entries(request: Json) -> Iterator[tuple[str, int]]:
    for key, section in request["prefetch"].items():
        if isinstance(section, dict) and section.get("resourceType") == "Bundle":
            for at in range(len(section.get("entry") or ())):
                yield key, at


def offered(rules: set[str]) -> set[str]:
    """A test is offered where none was found: that a result is gone is a reason for it, as it would be for a person."""
    knowledge = conductor_of("us").knowledge
    return ({rule.id for rule in knowledge.rules if rule.file.group == "workup"} | UNSHOWN | excused(knowledge)) & rules


@pytest.mark.untraced
@PEOPLE
def test_what_was_not_sent_or_failed_never_makes_a_rule_fire(person: Person) -> None:
    request = request_of(person)
    before = fired(answer(person, request))
    knowledge = conductor_of("us").knowledge
    queries, may_fire = knowledge.queries, before | UNSHOWN | excused(knowledge)
    for kind in {query.resource_type for query in queries.values()}:
        # The helper sends all of one type under its first key, so all keys of the type go together.
        keys = [key for key in request["prefetch"] if queries[key].resource_type == kind]
        without = {key: value for key, value in request["prefetch"].items() if key not in keys}
        assert fired(answer(person, request | {"prefetch": without})) <= may_fire, f"without {kind}"
        failed = request["prefetch"] | dict.fromkeys(keys, FAILED)
        assert fired(answer(person, request | {"prefetch": failed})) <= may_fire, f"failed {kind}"


Place = tuple[Any, Any, tuple[str, ...]]
"""What holds a value, under which key or at which index, and the members that lead there."""


def places(node: Any, path: tuple[str, ...] = ()) -> Iterator[Place]:
    """Every place in a resource, at any depth."""
    members: list[tuple[Any, Any, tuple[str, ...]]] = []
    if isinstance(node, dict):
        members = [(key, value, (*path, key)) for key, value in node.items() if key not in ("id", "resourceType")]
    elif isinstance(node, list):
        members = [(at, value, path) for at, value in enumerate(node)]
    for key, value, own in members:
        yield node, key, own
        yield from places(value, own)


def is_allowed(old: Any, new: Any) -> bool:
    """Whether FHIR could have the new value in place of the old one: then it is another record, not a damaged one."""
    kinds = [float if isinstance(item, (int, float)) and not isinstance(item, bool) else type(item) for item in (old, new)]
    return kinds[0] is kinds[1] or new in (None, [], {}, "")


@contextmanager
def replaced(changes: list[tuple[Place, Any]]) -> Iterator[None]:
    before = [(holder, key, holder[key]) for (holder, key, _), _ in changes]
    for (holder, key, _), wrong in changes:
        holder[key] = wrong
    try:
        yield
    finally:
        for holder, key, value in reversed(before):
            holder[key] = value


@pytest.mark.untraced
@PEOPLE
def test_a_damaged_resource_never_makes_a_rule_fire(person: Person) -> None:
    """At each place of each resource, at any depth, stands in turn what FHIR does not allow there; then at several at once.

    About 10,000 damaged records over the cast, seeded; 210,000 with DAMAGED_RECORDS=all, which takes a quarter of an hour.
    """
    request = request_of(person)
    before = fired(answer(person, request))
    rng = random.Random(person.id)

    def try_with(changes: list[tuple[Place, Any]], told: str) -> None:
        harmless = any(
            is_allowed(place[0][place[1]], wrong) or SAYS_WHETHER_IT_COUNTS & {*place[2]} for place, wrong in changes
        )
        with replaced(changes):
            new = fired(answer(person, request)) - before
        assert harmless or not new - offered(new) - OLDER_ALARMS.get(person.id, set()), told

    for key, at in entries(request):
        found = list(places(request["prefetch"][key]["entry"][at].get("resource") or {}))
        for place in found:
            for wrong in NEVER if EVERY else rng.sample(NEVER, 1):
                try_with([(place, wrong)], f"{key}[{at}].{'.'.join(place[2])} = {wrong!r}")
        for _ in range(len(found) * 10 * EVERY):
            several = [(place, rng.choice(NEVER)) for place in rng.sample(found, min(3, len(found)))]
            try_with(several, f"{key}[{at}]: {[('.'.join(place[2]), wrong) for place, wrong in several]!r}")


@pytest.mark.untraced
@PEOPLE
def test_a_resource_that_is_gone_never_makes_a_finding_of_its_own(person: Person) -> None:
    """Without it a test or a form may be offered; nothing else comes of an absence, but quinine without its purpose or review.

    A pregnancy whose end is gone is one again, and where the only finding is gone, none is left to tell.
    """
    request = request_of(person)
    before = fired(answer(person, request))
    for key, at in entries(request):
        less = copy.deepcopy(request)
        gone = less["prefetch"][key]["entry"].pop(at)
        new = fired(answer(person, less)) - before
        if (gone.get("resource") or {}).get("resourceType") != "Observation":
            new -= {"quinine-us", "quinine-four-weeks", "severe-anaemia", "history-missing"}
            new -= {"pregnancy", "magnesium-in-pregnancy", "likely-idiopathic"}
        older = {rule for rule in new if rule.startswith(("low-", "high-", "raised-", "severe-", "reduced-", "abnormal-"))}
        assert not new - offered(new) - older, f"without {key}[{at}]"


@pytest.mark.untraced
@PEOPLE
def test_the_order_of_arrival_never_changes_the_cards(person: Person) -> None:
    request = request_of(person)
    expected = cards_of(found) if (found := answer(person, request)) else None
    rng = random.Random(person.id)
    for _ in range(SHUFFLES):
        shuffled = copy.deepcopy(request)
        for section in shuffled["prefetch"].values():
            if isinstance(section, dict) and section.get("entry"):
                rng.shuffle(section["entry"])
        keys = list(shuffled["prefetch"])
        rng.shuffle(keys)
        shuffled["prefetch"] = {key: shuffled["prefetch"][key] for key in keys}
        again = answer(person, shuffled)
        assert (cards_of(again) if again else None) == expected


@pytest.mark.untraced
@PEOPLE
def test_what_is_taken_from_the_ground_is_what_the_whole_chart_would_say(person: Person) -> None:
    """Every fact and finding, with each kind of data sent, not sent and failed, beside all of it worked out."""
    request = request_of(person)
    decision_service = conductor_of(person.jurisdiction)
    queries = decision_service.knowledge.queries
    variants = [request["prefetch"]]
    for kind in {query.resource_type for query in queries.values()} - {"Patient", "Condition"}:
        keys = [key for key in queries if queries[key].resource_type == kind]
        variants.append({key: value for key, value in request["prefetch"].items() if key not in keys})
        variants.append(request["prefetch"] | dict.fromkeys(keys, FAILED))
    for prefetch in variants:
        decision = answer(person, request | {"prefetch": prefetch})
        assert decision is not None
        whole = ChartFacts(decision.view, whole=True)
        for name, fact in whole.items():
            found = decision.facts[name]
            assert (found.value, found.state, found.reason) == (fact.value, fact.state, fact.reason), name
            assert found.evidence == fact.evidence, name
        if any(item.outcome is not Outcome.OUT_OF_SCOPE for item in decision.findings):
            rules = decision_service.rules[service_of(person)]
            afresh = find(rules, FactValues(whole), person.jurisdiction)
            assert [(item.rule_id, item.outcome) for item in decision.findings] == [
                (item.rule_id, item.outcome) for item in afresh
            ]
            # Of several parts that each keep a rule silent, one is named: which of them nobody is told.
            loud = [pair for pair in zip(decision.findings, afresh, strict=True) if pair[1].outcome is not Outcome.SILENT]
            assert [found for found, _ in loud] == [expected for _, expected in loud]


def displaced(request: Json) -> Iterator[Json]:
    """The same with something missing, failed, taken out, or standing where nobody asked for it."""
    prefetch = request["prefetch"]
    yield prefetch
    for key, at in list(entries(request))[::2]:
        section = prefetch[key]
        yield prefetch | {key: section | {"entry": section["entry"][:at] + section["entry"][at + 1 :]}}
    for key in prefetch:
        without = {name: value for name, value in prefetch.items() if name != key}
        yield without
        yield prefetch | {key: FAILED}
        yield without | {"item1": prefetch[key]}
        for other in {"electrolytes", "medicationRequests", "draftOrders"} & prefetch.keys() - {key}:
            yield without | {other: prefetch[key], "item1": prefetch[other]}
    every = [entry for section in prefetch.values() if section for entry in section.get("entry") or ()]
    yield {"patient": prefetch.get("patient"), "otherResults": {"resourceType": "Bundle", "entry": every}}


@pytest.mark.untraced
@PEOPLE
def test_an_answer_in_brief_has_the_same_cards_and_refusals(person: Person) -> None:
    request = request_of(person)
    for prefetch in displaced(request):
        asked = request | {"prefetch": prefetch}
        whole, brief = answer(person, asked), answer(person, asked, in_brief=True)
        assert (brief and cards_of(brief)) == (whole and cards_of(whole))
        if whole is None or brief is None:
            continue
        assert fired(brief) == fired(whole)
        out = Outcome.OUT_OF_SCOPE
        assert {item for item in brief.findings if item.outcome is out} == {
            item for item in whole.findings if item.outcome is out
        }


ALONE = [rule.id for rule in conductor_of("us").knowledge.rules if set(ON_ORDERS) & set(rule.file.hooks)]


@pytest.mark.untraced
@pytest.mark.parametrize("name", [*ALONE, "low-potassium", "quinine-caution", "self-care"])
def test_a_site_that_serves_one_rule_is_answered_alike_in_brief(name: str) -> None:
    """Then fewer queries tell whom the rules are for: what tells whether a call concerns the service is still asked."""
    knowledge = conductor_of("us").knowledge
    rule = knowledge.rule_by_id[name]
    signed = {(name, rule.file.version): Approval(name, rule.file.version, "Dr Anna Sample", "2026-11-01")}
    service = DecisionService(knowledge, Settings(serve="approved"), Approvals(signed, {}))
    for person in (person for person in CAST if person.hook in rule.file.hooks):
        request = request_of(person)
        empty: Json = {}
        for prefetch in (request["prefetch"], empty):
            asked = request | {"prefetch": prefetch}
            whole, brief = (answer(person, asked, in_brief=in_brief, service=service) for in_brief in (False, True))
            assert (brief and cards_of(brief)) == (whole and cards_of(whole)), person.id


def test_a_drug_that_is_named_beside_results_is_found_in_brief_too() -> None:
    """A list may refer to a Medication that came with another search."""
    person = next(person for person in CAST if person.id == "rufus-bitterpill")
    request = request_of(person)
    drugs = request["prefetch"]["medicationRequests"]["entry"]
    concept = drugs[0]["resource"].pop("medicationCodeableConcept")
    drugs[0]["resource"]["medicationReference"] = {"reference": "Medication/beside"}
    beside = {"resource": {"resourceType": "Medication", "id": "beside", "code": concept}, "search": {"mode": "include"}}
    request["prefetch"]["electrolytes"] = {"resourceType": "Bundle", "type": "searchset", "entry": [beside]}
    whole, brief = answer(person, request), answer(person, request, in_brief=True)
    assert whole is not None
    assert brief is not None
    assert cards_of(brief) == cards_of(whole)
    assert any("uinine" in card.summary for card in brief.cards)


def test_where_no_rule_applies_nothing_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the people whom an EHR shows have no leg cramps: of their results nothing is asked on the way to the EHR."""

    def refuse(chart: Any, lexicon: Any, knowledge: Any) -> None:
        raise AssertionError("results were looked at")

    person = next(person for person in CAST if person.id == "ada-stiffcalf")
    request = request_of(person)
    request["prefetch"]["conditions"] = {"resourceType": "Bundle", "type": "searchset", "entry": []}
    monkeypatch.setattr("cds_service.chart.index.Measuring", refuse)
    decision = answer(person, request, in_brief=True)
    assert decision is not None
    assert {item.outcome for item in decision.findings} == {Outcome.OUT_OF_SCOPE}
    assert not decision.not_understood
    with pytest.raises(AssertionError, match="results were looked at"):
        answer(person, request_of(person), in_brief=True)


def test_a_request_leaves_no_ring_of_objects_behind() -> None:
    """Such a ring keeps a patient's data until the collector comes by, and slows the next requests."""
    requests = [request_of(person) for person in CAST]
    for person, request in zip(CAST, requests, strict=True):
        answer(person, request)
    gc.collect()
    gc.disable()
    try:
        for person, request in zip(CAST, requests, strict=True):
            answer(person, request)
            answer(person, request, in_brief=True)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_order_of_the_rules_never_changes_the_findings() -> None:
    rng = random.Random(20261124)
    for person in CAST:
        found = answer(person, request_of(person))
        if found is None:
            continue
        rules = list(conductor_of(person.jurisdiction).rules[service_of(person)])
        expected = {item.rule_id: item for item in find(rules, found.values, person.jurisdiction)}
        rng.shuffle(rules)
        again = {item.rule_id: item for item in find(rules, found.values, person.jurisdiction)}
        assert again == expected


@pytest.mark.parametrize("key", ["patient", "conditions"])
def test_what_must_be_there_is_refused_where_it_is_not(key: str) -> None:
    request = request_of(CAST[0])
    del request["prefetch"][key]
    assert answer(CAST[0], request) is None


def test_what_must_be_there_is_demanded_before_any_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(facts: ChartFacts, name: str) -> Fact:
        raise AssertionError(f"{name} was asked for")

    person = next(person for person in CAST if person.hook == "patient-view")
    request = request_of(person)
    del request["prefetch"]["conditions"]
    monkeypatch.setattr(ChartFacts, "__getitem__", refuse)
    assert answer(person, request) is None

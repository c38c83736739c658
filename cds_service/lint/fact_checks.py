"""House rules about facts, queries, units and orders: one small function each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import InvalidOperation
from typing import Any

from cds_service.cards.compose import OrderSubject, service_request
from cds_service.cards.suggestions import NAME
from cds_service.errors import Problem
from cds_service.fetch.prefetch_templates import with_codes
from cds_service.knowledge import units
from cds_service.knowledge.fact_files import FactDefinition
from cds_service.knowledge.fact_kinds import BeingOrdered, CodedAnswers, HistoryCompleted, OfEquation, OfQuestion
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.schema import Analyte

Problems = Iterator[Problem]

LONGEST_TEMPLATE = 1800
_TOKEN = re.compile(r"{{(.*?)}}")
_TOKENS = ("context.patientId", "context.encounterId", "context.userId")


def facts_name_what_exists(knowledge: Knowledge) -> Problems:
    for fact in knowledge.facts.values():
        for role, given, known in _references(fact, knowledge):
            for missing in sorted(set(given) - set(known)):
                yield Problem(fact.place, f"{role} {missing!r} does not exist", "mend the name, or write it")


def facts_name_sets_of_their_kind(knowledge: Knowledge) -> Problems:
    """A drug where a condition is asked for would never be found, and nobody would notice."""
    for fact in knowledge.facts.values():
        for member, role in fact.kind.roles.items():
            given = getattr(fact.kind, member)
            for name in (given,) if isinstance(given, str) else given or ():
                kind = knowledge.value_sets[name][0].kind if name in knowledge.value_sets else role
                if kind != role and (role, kind) not in _ALSO_FIT:
                    yield Problem(fact.place, f"{member} names {name!r}, a set of kind {kind}", f"name a set of kind {role}")


def questions_leave_their_numbers_open(knowledge: Knowledge) -> Problems:
    """A number stands once: in `days`, `least` …; the question is filled from it."""
    for fact in knowledge.facts.values():
        if re.search(r"\d+ (?:days|weeks)", fact.kind.question):
            yield Problem(fact.place, "its question says a number of its own", "write {days}, which is filled in")
        if "{days}" in fact.kind.question and getattr(fact.kind, "days", None) is None:
            yield Problem(fact.place, "its question says {days}, and it has none", "give days, or ask otherwise")


_ALSO_FIT = {("observation", "procedure")}
"""A medication review is a Procedure or an Observation of the same code."""


def _references(fact: FactDefinition, knowledge: Knowledge) -> Iterator[tuple[str, Iterable[str], Any]]:
    equation = [fact.kind.equation] if isinstance(fact.kind, OfEquation) else []
    yield "query", fact.queries, knowledge.queries
    yield "value set", fact.value_sets, knowledge.value_sets
    yield "analyte", (*fact.analytes, *fact.adjusted_by), knowledge.labs
    yield "equation", equation, knowledge.equations
    yield "fact", fact.facts, knowledge.facts


def the_questionnaire_is_valid_and_read(knowledge: Knowledge) -> Problems:
    """A form with a question that nothing reads burdens people for nothing; a fact without its question never answers."""
    from fhir.resources.R4B.questionnaire import Questionnaire
    from pydantic import ValidationError

    place = "logic/questionnaire.json"
    try:
        Questionnaire.model_validate(knowledge.questionnaire)
    except ValidationError as error:
        yield Problem(place, f"is no valid FHIR R4 Questionnaire: {error.errors()[0]['msg']}", "mend it")
    questions = {str(item.get("linkId")): item for item in knowledge.questionnaire.get("item", ())}
    asked = set(questions)
    answers = [fact.kind for fact in knowledge.facts.values() if isinstance(fact.kind, OfQuestion)]
    read = {kind.link_id for kind in answers}
    read |= {fact.kind.says_yes_to for fact in knowledge.facts.values() if isinstance(fact.kind, HistoryCompleted)}
    for kind in answers:
        offered = {option["valueCoding"]["code"] for option in questions.get(kind.link_id, {}).get("answerOption", ())}
        for option in sorted(set(kind.options) - offered) if isinstance(kind, CodedAnswers) else ():
            yield Problem(place, f"{kind.link_id} offers no answer {option!r}", "offer it, or mend the fact")
    for name in sorted(read - asked):
        yield Problem(place, f"has no question {name!r}", "ask it, or mend the fact")
    for name in sorted(asked - read):
        yield Problem(place, f"question {name!r} is read by no fact", "remove it, or use it")


def nothing_is_orphaned(knowledge: Knowledge) -> Problems:
    """What nobody uses will be wrong one day without anyone noticing."""
    facts = _facts_in_use(knowledge)
    definitions = [knowledge.facts[name] for name in facts if name in knowledge.facts]
    kinds: dict[str, Mapping[str, Any]] = {
        "query": knowledge.queries,
        "value set": knowledge.value_sets,
        "analyte": knowledge.labs,
        "equation": knowledge.equations,
    }
    used: dict[str, set[str]] = {kind: set() for kind in kinds}
    used["value set"] = {sited.site.without_site for sited in knowledge.sited}
    for item in definitions:
        for kind, given, _ in _references(item, knowledge):
            if kind in used:
                used[kind] |= set(given)
    orders = {use.order for rule in knowledge.rules for use in rule.orders}
    panels = {name: order.stands_for for name, order in knowledge.orders.items() if order.stands_for}
    orders |= {name for name, held in panels.items() if orders.issuperset(held)} | set().union(*panels.values())
    for kind, defined, wanted in [
        ("fact", knowledge.facts, facts),
        ("order", knowledge.orders, orders),
        *((kind, defined, used[kind]) for kind, defined in kinds.items()),
    ]:
        # Facts do not name the query of their kind, so of those that could not be read nobody knows it.
        doubted = knowledge.doubted if kind != "query" or not knowledge.doubted else set(defined)
        for name in sorted(set(defined) - set(wanted) - doubted):
            yield Problem(f"logic {kind} {name}", "is used by nothing", "remove it, or use it")
    for name in sorted(orders - set(knowledge.orders)):
        yield Problem(f"logic/orders.json {name}", "does not exist", "write it, or mend the rule")


def _facts_in_use(knowledge: Knowledge) -> set[str]:
    names = {name for rule in knowledge.rules for name in rule.facts} | (knowledge.doubted & knowledge.facts.keys())
    names |= {name for card in knowledge.cards.values() for name in card.facts}
    names |= {order.pending_fact for order in knowledge.orders.values()}
    names |= {service.reason_fact for service in knowledge.services.values()}
    spoken = [*knowledge.speaks_when.values(), *knowledge.concerned_when.values()]
    names |= {name for expression in spoken for name in expression.facts}
    waiting = list(names)
    while waiting:
        item = knowledge.facts.get(waiting.pop())
        new = set(item.facts) - names if item else set()
        names |= new
        waiting += new
    return names


def panels_hold_what_exists(knowledge: Knowledge) -> Problems:
    for code, panel in knowledge.panels.items():
        for missing in sorted(set(panel.holds) - set(knowledge.labs)):
            yield Problem(f"logic/panels.json {code}", f"analyte {missing!r} does not exist", "mend the name, or write it")


def units_convert_exactly(knowledge: Knowledge) -> Problems:
    for name, analyte in knowledge.labs.items():
        place = f"logic/labs.json {name}"
        folded: dict[str, units.Factor] = {}
        for spelling, factor in analyte.units.items():
            try:
                read = units.read_factor(factor)
            except InvalidOperation:
                yield Problem(place, f"unit {spelling!r} has the factor {factor!r}", "write a decimal, a/b, or (x - a)/b")
                continue
            if folded.setdefault(units.fold(spelling), read) != read:
                yield Problem(place, f"unit {spelling!r} is given two factors", "keep the right one")
        if folded.get(units.fold(analyte.unit)) != units.ONE:
            yield Problem(place, f"its own unit {analyte.unit!r} has not the factor 1", "add it")
        for jurisdiction, unit in analyte.shown.items():
            if units.fold(unit) not in folded:
                yield Problem(place, f"is shown in {unit!r} in {jurisdiction}, which has no factor", "add it to units")
        yield from _ranges(analyte, place)


def _ranges(analyte: Analyte, place: str) -> Problems:
    for jurisdiction, given in analyte.ranges.items():
        low, high = given.limits
        if low is None and high is None:
            yield Problem(place, f"range of {jurisdiction} has no limit", "give one, or no range")
        elif low is not None and high is not None and low >= high:
            yield Problem(place, f"range of {jurisdiction} runs from {low} to {high}", "low lies below high")


def orders_make_valid_requests(knowledge: Knowledge) -> Problems:
    """What we send out is valid FHIR R4: asked of fhir.resources, here and not on each request."""
    from fhir.resources.R4B.servicerequest import ServiceRequest
    from pydantic import ValidationError

    for name, order in knowledge.orders.items():
        place = f"logic/orders.json {name}"
        pending = knowledge.facts.get(order.pending_fact)
        if pending is None or pending.type != "boolean":
            yield Problem(place, f"pending_fact {order.pending_fact!r} is no yes-or-no fact", "name one")
        try:
            for jurisdiction in ("", *order.codes_in):
                made = service_request(order, knowledge, OrderSubject("Patient/x", "Condition/x"), jurisdiction)
                ServiceRequest.model_validate(made)
        except KeyError as error:
            yield Problem(place, f"code {error} has no display", "use a code of a value set or of labs.json")
        except ValidationError as error:
            yield Problem(place, f"makes no valid ServiceRequest: {error.errors()[0]['msg']}", "mend it")


def removals_take_away_what_is_ordered(knowledge: Knowledge) -> Problems:
    """Each names a fact of its rule about what is being ordered, and what is shown of it stands alone."""
    for rule in knowledge.rules:
        card = knowledge.cards.get(rule.id)
        for item in card.file.removes if card else ():
            place = f"{card.place if card else ''} removes"
            fact = knowledge.facts.get(item.fact)
            if fact is None or not isinstance(fact.kind, BeingOrdered) or item.fact not in rule.facts:
                yield Problem(
                    place, f"{item.fact!r} is no order that the rule is about", "name a being-ordered fact of the rule"
                )
            for text in (item.label, item.description):
                if text.count("{") != 1 or NAME not in text:
                    shown = f"{text[:50]!r} does not name the draft, or names more"
                    yield Problem(place, shown, "write {name} once, and no other placeholder")


def a_call_concerns_by_what_it_brings(knowledge: Knowledge) -> Problems:
    """Whether mandatory data are needed is settled before any are there."""
    for key, expression in knowledge.concerned_when.items():
        for name in expression.facts:
            asked = [query for query in knowledge.facts[name].queries if not knowledge.queries[query].from_context]
            if asked or knowledge.facts[name].facts:
                text = f"{name!r} rests on more than the call itself"
                yield Problem(f"logic/services.json {key}.concerned_when", text, "ask only facts of queries from_context")


def templates_can_be_typed_by_hand(knowledge: Knowledge) -> Problems:
    for key, query in knowledge.queries.items():
        if bool(query.template) is query.from_context:
            yield Problem(f"logic/queries.json {key}", "needs a template, or from_context", "give one of the two")
        place = f"logic/queries.json {key}"
        template = with_codes(query, key, knowledge.facts, knowledge.searchable)
        if len(template) > LONGEST_TEMPLATE:
            yield Problem(place, f"takes {len(template)} characters", f"split it below {LONGEST_TEMPLATE}")
        names = [part.split("=")[0] for part in template.partition("?")[2].split("&") if part]
        for name, times in Counter(names).items():
            if times > 1:
                yield Problem(place, f"parameter {name!r} stands {times} times", "some clients join them: write it once")
        for token in _TOKEN.findall(template):
            if token not in _TOKENS:
                yield Problem(place, f"token {token!r} is not of CDS Hooks 2.0", f"use one of {', '.join(_TOKENS)}")


CODEBOOK = (
    facts_name_what_exists,
    facts_name_sets_of_their_kind,
    questions_leave_their_numbers_open,
    the_questionnaire_is_valid_and_read,
    nothing_is_orphaned,
    panels_hold_what_exists,
    units_convert_exactly,
    orders_make_valid_requests,
    removals_take_away_what_is_ordered,
    a_call_concerns_by_what_it_brings,
    templates_can_be_typed_by_hand,
)

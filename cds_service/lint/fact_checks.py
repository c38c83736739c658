"""House rules about facts, queries, codes, units and orders: one small function each."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from cds_service.cards.compose import service_request
from cds_service.cards.suggestions import NAME
from cds_service.errors import Problem
from cds_service.facts.evaluate import COMPOSED, OF_ONE_FACT, PICKERS
from cds_service.knowledge import units
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.prefetch_templates import with_codes
from cds_service.knowledge.schema import FactDefinition
from cds_service.lint.check_digits import CHECKS

Problems = Iterator[Problem]

LONGEST_TEMPLATE = 1800
_TOKEN = re.compile(r"{{(.*?)}}")
_TOKENS = ("context.patientId", "context.encounterId", "context.userId")
_TYPES = {
    "age_years": "number",
    "days_taken": "number",
    "latest_value": "number",
    "latest_or_estimated": "number",
    "counted": "number",
    "against_range": "string",
    "start_against_onset": "string",
    "began_against_onset": "string",
    "order_reason": "string",
}
_LOCK = "logic/value_sets/lock.json"


def facts_name_what_exists(knowledge: Knowledge) -> Problems:
    for name, item in knowledge.facts.items():
        if item.picker not in PICKERS and item.picker not in COMPOSED:
            yield _fact(name, f"picker {item.picker!r} is unknown", f"use one of {', '.join([*PICKERS, *COMPOSED])}")
        if item.type != _TYPES.get(item.picker, "boolean"):
            yield _fact(name, f"type {item.type!r} does not fit its picker", f"use {_TYPES.get(item.picker, 'boolean')}")
        if item.type == "string" and not item.values:
            yield _fact(name, "lists no values", "list every word that it may answer")
        if item.picker in OF_ONE_FACT and len(item.facts) != 1:
            yield _fact(name, f"rests on {len(item.facts)} facts", f"{item.picker} takes one: name it alone")
        equation = knowledge.equations.get(item.equation)
        if equation and item.analytes != (equation.to, equation.of):
            yield _fact(name, "asks for other analytes than its equation", f"use {equation.to}, then {equation.of}")
        for kind, given, known in _references(item, knowledge):
            for missing in sorted(set(given) - set(known)):
                yield _fact(name, f"{kind} {missing!r} does not exist", "mend the name, or write it")


def _fact(name: str, message: str, remedy: str) -> Problem:
    return Problem(f"logic/facts.json {name}", message, remedy)


def _references(item: FactDefinition, knowledge: Knowledge) -> Iterator[tuple[str, list[str], Any]]:
    sets = [*item.value_sets, *([item.site.value_set] if item.site else []), *filter(None, [item.after_drug])]
    adjusted = [item.adjustment.of, item.adjustment.by, item.adjustment.to] if item.adjustment else []
    yield "query", list(item.queries), knowledge.queries
    yield "value set", sets, knowledge.value_sets
    yield "analyte", [*item.analytes, *adjusted], knowledge.labs
    yield "equation", [item.equation] if item.equation else [], knowledge.equations
    yield "fact", [*item.facts, *([item.like] if item.like else [])], knowledge.facts


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
    read = {item.link_id for item in knowledge.facts.values() if item.link_id}
    for fact in knowledge.facts.values():
        offered = {option["valueCoding"]["code"] for option in questions.get(fact.link_id, {}).get("answerOption", ())}
        for option in sorted(set(fact.options) - offered):
            yield Problem(place, f"{fact.link_id} offers no answer {option!r}", "offer it, or mend the fact")
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
    for item in definitions:
        for kind, given, _ in _references(item, knowledge):
            if kind in used:
                used[kind] |= set(given)
    orders = {use.order for rule in knowledge.rules for use in rule.orders}
    for kind, defined, wanted in [
        ("fact", knowledge.facts, facts),
        ("order", knowledge.orders, orders),
        *((kind, defined, used[kind]) for kind, defined in kinds.items()),
    ]:
        for name in sorted(set(defined) - set(wanted)):
            yield Problem(f"logic {kind} {name}", "is used by nothing", "remove it, or use it")
    for name in sorted(orders - set(knowledge.orders)):
        yield Problem(f"logic/orders.json {name}", "does not exist", "write it, or mend the rule")


def _facts_in_use(knowledge: Knowledge) -> set[str]:
    names = {name for rule in knowledge.rules for name in rule.facts}
    names |= {name for card in knowledge.cards.values() for name in card.facts}
    names |= {order.pending_fact for order in knowledge.orders.values()}
    names |= {service.reason_fact for service in knowledge.services.values()}
    spoken = [*knowledge.speaks_when.values(), *knowledge.concerned_when.values()]
    names |= {name for expression in spoken for name in expression.facts}
    waiting = list(names)
    while waiting:
        item = knowledge.facts.get(waiting.pop())
        new = {*item.facts, *([item.like] if item.like else [])} - names if item else set()
        names |= new
        waiting += new
    return names


def codes_have_their_systems_shape(knowledge: Knowledge) -> Problems:
    for place, system, code, _ in _all_codes(knowledge):
        shape = knowledge.systems.get(system)
        if shape is None:
            yield Problem(place, f"system {system!r} is unknown", "name it in logic/systems.json")
        elif not re.fullmatch(shape.shape, code):
            yield Problem(place, f"{code!r} has not the shape of {system}", "copy it again from its source")
        elif shape.check and not CHECKS[shape.check](code):
            yield Problem(place, f"{code!r} fails the check digit of {system}", "copy it again from its source")


def _all_codes(knowledge: Knowledge) -> Iterator[tuple[str, str, str, str]]:
    for parts in knowledge.value_sets.values():
        for part in parts:
            for system, rows in part.codes.items():
                for row in rows:
                    yield f"logic/value_sets {part.id}", system, row[0], row[1] if len(row) > 1 else ""
    for name, analyte in knowledge.labs.items():
        for system, listed in (("loinc", analyte.loinc), ("snomed", analyte.snomed)):
            for code, display in listed.items():
                yield f"logic/labs.json {name}", system, code, display
    for code, panel in knowledge.panels.items():
        yield f"logic/panels.json {code}", "loinc", code, panel.display


def a_code_has_one_display(knowledge: Knowledge) -> Problems:
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for place, system, code, display in _all_codes(knowledge):
        first = seen.setdefault((system, code), (display, place))
        if not display.strip():
            yield Problem(place, f"{code} has no display", "give the display of its source")
        elif first[0] != display:
            yield Problem(place, f"{code} is {display!r} here and {first[0]!r} in {first[1]}", "choose one display")


def panels_hold_what_exists(knowledge: Knowledge) -> Problems:
    for code, panel in knowledge.panels.items():
        for missing in sorted(set(panel.holds) - set(knowledge.labs)):
            yield Problem(f"logic/panels.json {code}", f"analyte {missing!r} does not exist", "mend the name, or write it")


def a_set_holds_a_code_once(knowledge: Knowledge) -> Problems:
    for parts in knowledge.value_sets.values():
        counted = Counter((system, row[0]) for part in parts for system, rows in part.codes.items() for row in rows)
        for (system, code), times in counted.items():
            if times > 1:
                yield Problem(f"logic/value_sets {parts[0].id}", f"{system} {code} stands {times} times", "keep one")
        if len({part.kind for part in parts}) > 1:
            yield Problem(f"logic/value_sets {parts[0].id}", "its two files differ in kind", "give both the same")
        for part in parts:
            wide = 3 if part.kind == "medication" else 2
            if any(len(row) != wide for rows in part.codes.values() for row in rows):
                yield Problem(
                    f"logic/value_sets {part.id}",
                    f"a row has not {wide} members",
                    "code, display, for a drug its ingredient",
                )


def value_sets_match_their_lock(knowledge: Knowledge) -> Problems:
    """A value set changes only on purpose: by a person who reads the change and then runs `lock`."""
    try:
        locked = json.loads((knowledge.root / _LOCK).read_bytes())
    except (OSError, ValueError):
        yield Problem(_LOCK, "is missing or no JSON", "run: cds-service lock")
        return
    current = fingerprints(knowledge.root)
    for name in sorted(set(locked) | set(current)):
        if locked.get(name) != current.get(name):
            yield Problem(
                f"logic/value_sets/{name}", "is not what its lock says", "read the change, then run: cds-service lock"
            )


def fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    """Hash and number of codes of each value set file."""
    folder = root / "logic/value_sets"
    found = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("licensed/*.json")]):
        if path.name != "lock.json":
            data = path.read_bytes()
            codes = sum(map(len, json.loads(data)["codes"].values()))
            found[path.relative_to(folder).as_posix()] = {"sha256": hashlib.sha256(data).hexdigest(), "codes": codes}
    return dict(sorted(found.items()))


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
        for jurisdiction, limits in analyte.ranges.items():
            if Decimal(limits.low) >= Decimal(limits.high):
                yield Problem(place, f"range of {jurisdiction} runs from {limits.low} to {limits.high}", "low lies below high")


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
            ServiceRequest.model_validate(service_request(order, knowledge, "Patient/x", "Condition/x"))
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
            if fact is None or fact.picker != "being_ordered" or item.fact not in rule.facts:
                yield Problem(
                    place, f"{item.fact!r} is no order that the rule is about", "name a being_ordered fact of the rule"
                )
            for text in (item.label, item.description):
                if text.count("{") != 1 or NAME not in text:
                    told = f"{text[:50]!r} does not name the draft, or names more"
                    yield Problem(place, told, "write {name} once, and no other placeholder")


def a_call_concerns_by_what_it_brings(knowledge: Knowledge) -> Problems:
    """Whether mandatory data are needed is settled before any are there."""
    for key, expression in knowledge.concerned_when.items():
        for name in expression.facts:
            asked = [query for query in knowledge.facts[name].queries if not knowledge.queries[query].from_context]
            if asked or knowledge.facts[name].facts:
                told = f"{name!r} rests on more than the call itself"
                yield Problem(f"logic/services.json {key}.concerned_when", told, "ask only facts of queries from_context")


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
    the_questionnaire_is_valid_and_read,
    nothing_is_orphaned,
    codes_have_their_systems_shape,
    a_code_has_one_display,
    panels_hold_what_exists,
    a_set_holds_a_code_once,
    value_sets_match_their_lock,
    units_convert_exactly,
    orders_make_valid_requests,
    removals_take_away_what_is_ordered,
    a_call_concerns_by_what_it_brings,
    templates_can_be_typed_by_hand,
)

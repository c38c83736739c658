"""What `check` runs: every house rule of the knowledge, all problems at once; and the check of one record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from cds_service.errors import KnowledgeError, Problem
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import gather_knowledge, load_knowledge
from cds_service.lint.card_checks import (
    CARDBOOK,
    a_card_joins_one_that_merges,
    facts_can_be_told,
    leaflets_tell_and_show,
    lines_keep_the_numbers_of_their_rule,
    override_reasons_exist_and_are_used,
    placeholders_are_facts_of_the_rule,
    spelling_is_used,
)
from cds_service.lint.case_checks import CASEBOOK, cases_can_be_read, cases_kill_every_mutant
from cds_service.lint.code_provenance import (
    CODES,
    VERIFICATION,
    disjoint_sets_share_no_code,
    doubt_about_code,
    fingerprints,
    value_sets_match_their_lock,
)
from cds_service.lint.fact_case_checks import FACT_CASE_RULES, fact_cases_notice_every_status, facts_have_cases
from cds_service.lint.fact_checks import (
    CODEBOOK,
    a_call_concerns_by_what_it_brings,
    facts_name_what_exists,
    nothing_is_orphaned,
    orders_make_valid_requests,
    panels_hold_what_exists,
    removals_take_away_what_is_ordered,
    templates_can_be_typed_by_hand,
)
from cds_service.lint.release import nothing_changed_without_a_version
from cds_service.lint.rule_checks import (
    RULEBOOK,
    a_review_is_not_due,
    a_rule_decides_on_what_is_known,
    a_rule_replaces_other_rules,
    every_rule_belongs_to_a_service,
    evidence_is_cited_and_exists,
    rule_cases_and_card_stand_together,
    sources_exist_and_are_used,
    who_checked_a_rule_has_signed_it,
)
from cds_service.rules.shadow import shadow_names
from cds_service.samples.records import resources_in
from cds_service.security.clients import ClientSchema
from cds_service.security.code_map import MapSchema
from cds_service.settings import Jurisdiction

HouseRule = Callable[[Knowledge], Iterator[Problem]]

HOUSE_RULES = (*RULEBOOK, *CASEBOOK, *CARDBOOK, *CODEBOOK, *CODES, *VERIFICATION, nothing_changed_without_a_version)

# Not asked again at every start: what costs time or imports and can only change with the files, and what concerns only writers.
_NOT_AT_START = (
    cases_kill_every_mutant,
    orders_make_valid_requests,
    disjoint_sets_share_no_code,
    a_review_is_not_due,
    who_checked_a_rule_has_signed_it,
    nothing_changed_without_a_version,
)


# What these tell may only seem so where a file could not be read: it may define or use what they miss.
_OF_WHAT_IS_MISSING = (
    rule_cases_and_card_stand_together,
    every_rule_belongs_to_a_service,
    evidence_is_cited_and_exists,
    sources_exist_and_are_used,
    a_rule_replaces_other_rules,
    placeholders_are_facts_of_the_rule,
    a_card_joins_one_that_merges,
    override_reasons_exist_and_are_used,
    leaflets_tell_and_show,
    facts_name_what_exists,
    nothing_is_orphaned,
    panels_hold_what_exists,
    orders_make_valid_requests,
    removals_take_away_what_is_ordered,
    value_sets_match_their_lock,
    *VERIFICATION,
    nothing_changed_without_a_version,
)

# What these look at has to be whole.
_OF_WHAT_IS_SOUND = (
    *(rule for rule in CASEBOOK if rule is not cases_can_be_read),
    a_rule_decides_on_what_is_known,
    who_checked_a_rule_has_signed_it,
    facts_can_be_told,
    lines_keep_the_numbers_of_their_rule,
    a_call_concerns_by_what_it_brings,
    templates_can_be_typed_by_hand,
    orders_make_valid_requests,
    nothing_changed_without_a_version,
)

_NAMES = re.compile(r"'([^']+)'|\b(\w+(?:[-_]\w+)+)\b|([\w-]+)(?=(?:\.cases)?\.json)")
_BESIDE_FACTS = re.compile(r"logic/(?!rules/|evidence|sources|uncited|release|approvals)")


def check(root: Path) -> list[Problem]:
    """Every problem of the knowledge under `root`, sorted by place; empty if there is none."""
    try:
        knowledge, unread, unsound = gather_knowledge(root)
    except KnowledgeError as error:
        return sorted(error.problems)
    if knowledge is None:
        return sorted(set(unread))
    problems = {*unread, *_ask_what_is_there(knowledge, unsound)}
    # The charts of cases are read as a patient's: where a fact or a code is wrong already, they could only stumble over it.
    if not any(_BESIDE_FACTS.match(problem.place) for problem in problems):
        lacking = _ask(knowledge, [facts_have_cases])
        # Which statuses are noticed is known only where all cases are there.
        rest = [rule for rule in FACT_CASE_RULES if not lacking or rule is not fact_cases_notice_every_status]
        problems.update(lacking, _ask(knowledge, rest))
    return sorted(problems)


def load_checked(root: Path) -> Knowledge:
    """The knowledge under `root`, fit to be served. Raises KnowledgeError with every problem found."""
    knowledge = load_knowledge(root)
    rules = [rule for rule in HOUSE_RULES if rule not in _NOT_AT_START]
    # Where a fact names what does not exist, the other rules could only stumble over it.
    problems = list(facts_name_what_exists(knowledge)) or _ask(knowledge, rules)
    if problems:
        raise KnowledgeError(sorted(set(problems)))
    return knowledge


def _ask(knowledge: Knowledge, rules: Iterable[HouseRule]) -> list[Problem]:
    return [problem for rule in rules for problem in rule(knowledge)]


def _ask_what_is_there(knowledge: Knowledge, unsound: Container[str]) -> Iterator[Problem]:
    """All house rules, each of as much as it can look at; without what is only told because a file could not be read."""
    sound = _sound(knowledge, unsound)
    for rule in (rule for rule in HOUSE_RULES if rule is not spelling_is_used or not knowledge.doubted):
        for problem in rule(sound if rule in _OF_WHAT_IS_SOUND else knowledge):
            if rule not in _OF_WHAT_IS_MISSING or not _named(problem) & knowledge.doubted:
                yield problem


def _named(problem: Problem) -> set[str]:
    return {name for found in _NAMES.findall(f"{problem.place} {problem.message}") for name in found if name}


def _sound(knowledge: Knowledge, unsound: Container[str]) -> Knowledge:
    """Without the facts that name what does not exist, and without what asks for these or was refused."""
    broken = {place.rpartition(" ")[2] for place in (problem.place for problem in facts_name_what_exists(knowledge))}
    while more := {name for name, fact in knowledge.facts.items() if name not in broken and broken.intersection(fact.facts)}:
        broken |= more
    known = knowledge.facts.keys() - broken
    cards = {key: card for key, card in knowledge.cards.items() if card.facts <= known}
    orders = {key: order for key, order in knowledge.orders.items() if order.pending_fact in known}
    return replace(
        knowledge,
        facts={name: fact for name, fact in knowledge.facts.items() if name in known},
        cards=cards,
        orders=orders,
        rules=tuple(rule for rule in knowledge.rules if rule.id not in unsound and rule.facts <= known),
        speaks_when={key: item for key, item in knowledge.speaks_when.items() if known.issuperset(item.facts)},
        concerned_when={key: item for key, item in knowledge.concerned_when.items() if known.issuperset(item.facts)},
    )


def lock(root: Path) -> int:
    """Write the lock of the value sets anew and return how many files it holds. Raises KnowledgeError if any cannot be read."""
    load_knowledge(root)
    found = fingerprints(root)
    (root / "logic/value_sets/lock.json").write_text(json.dumps(found, indent=2) + "\n")
    return len(found)


def check_resources(loaded: Mapping[str, Any], name: str) -> list[Problem]:
    """Every resource of a record that is not valid R4, with its place. `name`: of the file."""
    from fhir.resources.R4B import get_fhir_model_class
    from pydantic import ValidationError

    problems = []
    for place, resource in resources_in(loaded):
        try:
            get_fhir_model_class(str(resource.get("resourceType"))).model_validate(resource)
        except ValidationError as error:
            for item in error.errors():
                where = ".".join([place, *map(str, item["loc"])])
                problems.append(Problem(f"{name} {where}", item["msg"], "see hl7.org/fhir/R4"))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            remedy = "give a resource type of FHIR R4"
            problems.append(Problem(f"{name} {place}", f"is no readable resource: {type(error).__name__}", remedy))
    return problems


def client_schema(knowledge: Knowledge, development: bool = False) -> ClientSchema:
    """What a file of clients may refer to."""
    tests = {name: [f"{system}|{code}" for system, code in order.codes] for name, order in knowledge.orders.items()}
    codes = MapSchema(tests, partial(doubt_about_code, knowledge))
    return ClientSchema(tuple(knowledge.queries), get_args(Jurisdiction), development, codes, shadow=shadow_names(knowledge))

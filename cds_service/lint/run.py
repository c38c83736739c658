"""What `check` runs: every house rule of the knowledge, all problems at once; and the check of one record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cds_service.errors import KnowledgeError, Problem
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import load_knowledge
from cds_service.lint.card_checks import CARDBOOK
from cds_service.lint.case_checks import CASEBOOK, cases_kill_every_mutant
from cds_service.lint.code_provenance import CODES, VERIFICATION, disjoint_sets_share_no_code, fingerprints
from cds_service.lint.fact_case_checks import FACT_CASE_RULES
from cds_service.lint.fact_checks import CODEBOOK, facts_name_what_exists, orders_make_valid_requests
from cds_service.lint.release import nothing_changed_without_a_version
from cds_service.lint.rule_checks import RULEBOOK, a_review_is_not_due, who_checked_a_rule_has_signed_it
from cds_service.samples.records import resources_in

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


def check(root: Path) -> list[Problem]:
    """Every problem of the knowledge under `root`, sorted by place; empty if there is none."""
    try:
        knowledge = load_knowledge(root)
    except KnowledgeError as error:
        return sorted(error.problems)
    problems = _ask(knowledge, HOUSE_RULES)
    # The charts of cases are read as a patient's: where something is wrong already, they could only stumble over it.
    return sorted(set(problems or _ask(knowledge, FACT_CASE_RULES)))


def load_checked(root: Path) -> Knowledge:
    """The knowledge under `root`, fit to be served. Raises KnowledgeError with every problem found."""
    knowledge = load_knowledge(root)
    problems = sorted(set(_ask(knowledge, [rule for rule in HOUSE_RULES if rule not in _NOT_AT_START])))
    if problems:
        raise KnowledgeError(problems)
    return knowledge


def _ask(knowledge: Knowledge, rules: Sequence[HouseRule]) -> list[Problem]:
    # Where a fact names what does not exist, the other rules could only stumble over it.
    return list(facts_name_what_exists(knowledge)) or [problem for rule in rules for problem in rule(knowledge)]


def lock(root: Path) -> int:
    """Write the lock of the value sets anew and return how many files it holds."""
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

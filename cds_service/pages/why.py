"""Why a person gets these cards and no others: every rule with its state, its tree, and what would make it fire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cds_service.explain.explanation import Explanation, explain
from cds_service.pages.logic_tree import Branch, LogicTree
from cds_service.pages.sandbox import Trial


class Trees(NamedTuple):
    applies: Branch
    fires: Branch
    evidence: tuple[str, ...]


class Reasons(NamedTuple):
    told: Explanation
    trees: Mapping[str, Trees]


def explained(trial: Trial) -> Reasons:
    """The explanation of one answer, with the trees of all rules of its service."""
    decision_service = trial.decision_service
    knowledge, rules = decision_service.knowledge, decision_service.rules[trial.service_id]
    speaks_when = knowledge.speaks_when[trial.service_id]
    told = explain(trial.decision, rules, speaks_when, knowledge, trial.choice.jurisdiction)
    grow = LogicTree(knowledge, trial.decision.facts, trial.choice.day).grow
    trees = {rule.id: Trees(grow(rule.applies_when.source), grow(rule.fires_when.source), rule.file.evidence) for rule in rules}
    return Reasons(told, trees)

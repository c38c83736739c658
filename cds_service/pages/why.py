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
    explanation: Explanation
    trees: Mapping[str, Trees]


def explained(trial: Trial) -> Reasons:
    """The explanation of one answer, with the trees of all rules of its service."""
    decision = trial.decision
    grow = LogicTree(decision.knowledge, decision).grow
    trees = {
        rule.id: Trees(grow(rule.applies_when.source), grow(rule.fires_when.source), rule.file.evidence)
        for rule in decision.rules
    }
    return Reasons(explain(decision), trees)

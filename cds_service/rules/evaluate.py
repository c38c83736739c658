"""Stage 3: rules and facts give findings. A rule decides; it never looks anything up itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from types import MappingProxyType

from cds_service.jsonlogic.compile import Evaluation
from cds_service.knowledge.knowledge import Rule
from cds_service.model import UNKNOWN, Finding, Outcome, Value

_NOTHING: Mapping[str, Finding] = MappingProxyType({})


def find(
    rules: Iterable[Rule], values: Mapping[str, Value], jurisdiction: str, settled: Mapping[str, Finding] = _NOTHING
) -> list[Finding]:
    """One finding a rule, in the order of the rules. What several rules share as `applies_when` is decided once.

    `settled`: what rules are known to find wherever they apply, as `precompute` gave it.
    """
    scopes: dict[str, Evaluation] = {}
    findings = []
    for rule in rules:
        key = rule.applies_when.key
        scope = scopes.get(key)
        if scope is None:
            scope = scopes[key] = rule.applies_when(values)
        findings.append((scope.value is True and settled.get(rule.id)) or decide(rule, values, jurisdiction, scope))
    return findings


def find_by_scope(rules: Iterable[Rule], values: Mapping[str, Value], jurisdiction: str) -> tuple[Finding, ...]:
    """What is found where no rule applies for sure, by their scopes alone; nothing where one does, and must be decided.

    A rule that may apply is unknown here, though its own condition might have kept it silent: it was not asked.
    """
    scopes: dict[str, Evaluation] = {}
    for rule in rules:
        key = rule.applies_when.key
        if key not in scopes:
            scopes[key] = rule.applies_when(values)
            if scopes[key].value is True:
                return ()
    outcomes = {False: Outcome.OUT_OF_SCOPE, UNKNOWN: Outcome.UNKNOWN}
    told = {key: (outcomes[scope.value], scope.because) for key, scope in scopes.items()}
    return tuple(
        Finding(rule.id, *told[rule.applies_when.key])
        if jurisdiction in rule.file.jurisdiction
        else Finding(rule.id, Outcome.OUT_OF_SCOPE)
        for rule in rules
    )


def precompute(rules: Iterable[Rule], values: Mapping[str, Value], jurisdiction: str) -> dict[str, Finding]:
    """What rules find wherever they apply and their facts are these; left out where they fire, as then the scope tells."""
    applying = Evaluation(True, ())
    found = {rule.id: decide(rule, values, jurisdiction, applying) for rule in rules}
    return {name: finding for name, finding in found.items() if finding.outcome is not Outcome.FIRES}


def decide(rule: Rule, values: Mapping[str, Value], jurisdiction: str, scope: Evaluation | None = None) -> Finding:
    """Fires, silent, unknown or out of scope, with the facts that settled it; `scope` if `applies_when` is answered."""
    if jurisdiction not in rule.file.jurisdiction:
        return Finding(rule.id, Outcome.OUT_OF_SCOPE)
    scope = scope or rule.applies_when(values)
    if scope.value is False:
        return Finding(rule.id, Outcome.OUT_OF_SCOPE, scope.because)
    answer = rule.fires_when(values)
    if answer.value is False:
        return Finding(rule.id, Outcome.SILENT, answer.because)
    if scope.value is UNKNOWN or answer.value is UNKNOWN:
        # A rule that may not apply, and one that may not fire, say the same thing: nothing yet.
        unsettled = [part.because for part in (scope, answer) if part.value is UNKNOWN]
        return Finding(rule.id, Outcome.UNKNOWN, _joined(unsettled))
    return Finding(rule.id, Outcome.FIRES, _joined([scope.because, answer.because]))


def _joined(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(parts)))

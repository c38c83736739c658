"""Stage 3: rules and facts give findings. A rule decides; it never looks anything up itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


class ScopeFindings:
    """What rules find where none of them applies for sure, by their scopes alone: there are few ways, and each is kept.

    A rule that may apply is unknown here, though its own condition might have kept it silent: it was not asked.
    """

    def __init__(self, rules: Sequence[Rule], jurisdiction: str) -> None:
        self._rules, self._jurisdiction = rules, jurisdiction
        self._scopes = {rule.applies_when.key: rule.applies_when for rule in rules}
        self._kept: dict[tuple[Evaluation, ...], tuple[Finding, ...]] = {}

    def find(self, values: Mapping[str, Value]) -> tuple[Finding, ...]:
        """Nothing where a rule applies, and must be decided."""
        asked = []
        for applies in self._scopes.values():
            scope = applies(values)
            if scope.value is True:
                return ()
            asked.append(scope)
        scopes = tuple(asked)
        if scopes not in self._kept:
            self._kept[scopes] = self._found(dict(zip(self._scopes, scopes, strict=True)))
        return self._kept[scopes]

    def _found(self, scopes: Mapping[str, Evaluation]) -> tuple[Finding, ...]:
        told = {key: Outcome.UNKNOWN if scope.value is UNKNOWN else Outcome.OUT_OF_SCOPE for key, scope in scopes.items()}
        return tuple(
            Finding(rule.id, told[rule.applies_when.key], scopes[rule.applies_when.key].because)
            if self._jurisdiction in rule.file.jurisdiction
            else Finding(rule.id, Outcome.OUT_OF_SCOPE)
            for rule in self._rules
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

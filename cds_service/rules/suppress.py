"""Which rules that fire are not shown again, as they were overridden for this patient, or are shown once in a while.

An override answers what was known that day. So a rule speaks again as soon as something that it rests on was recorded
later; a critical one never falls silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from cds_service.knowledge.knowledge import Rule
from cds_service.model import Facts, Finding, Outcome
from cds_service.rules.advise import RankedRules


def suppressed(served: RankedRules, findings: Iterable[Finding], facts: Facts, silenced: Mapping[str, date]) -> dict[str, date]:
    """The rules to leave unsaid, each with its day, out of those `silenced` for this patient."""
    critical = {group.id for group in served.knowledge.groups if group.indicator == "critical"}
    rules = served.rules
    return {
        item.rule_id: day
        for item in findings
        if (day := silenced.get(item.rule_id)) is not None
        and item.outcome is Outcome.FIRES
        and rules[item.rule_id].file.group not in critical
        and not _news(item, rules[item.rule_id], facts, day)
    }


def _news(finding: Finding, rule: Rule, facts: Facts, day: date) -> bool:
    """Whether something that settled the rule was recorded after a day. Whom the rule is for is no news.

    Days are compared as written; a bare year or month counts from its start.
    """
    own = [name for name in finding.because if name not in rule.applies_when.facts]
    return any(item.date.strip()[:10] > day.isoformat() for name in own for item in facts[name].evidence)

"""Where the time of one answer goes, measured in this process without HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from cds_service import hooks
from cds_service.engine import find
from cds_service.facts import ChartFacts, FactValues
from cds_service.knowledge import load_knowledge
from cds_service.prefetch import read_chart
from cds_service.service import Conductor
from cds_service.settings import Settings

_AS_OF = date(2026, 11, 20)
_SERVICE = "leg-cramps-patient-view"
_REPEATS = 100


def time_stages(content: bytes) -> dict[str, int]:
    """Microseconds of each stage, the median of many."""
    knowledge = load_knowledge(Path(__file__).resolve().parent.parent)
    conductor = Conductor(knowledge, Settings(), {})
    request = hooks.read_request(content, "patient-view")
    queries, rules = conductor.queries[_SERVICE], conductor.rules[_SERVICE]
    chart = read_chart(request, queries)
    answered = conductor.answer(_SERVICE, request, _AS_OF)
    names = {name for rule in rules for name in rule.facts}

    def facts() -> Any:
        found = ChartFacts(chart, knowledge, _AS_OF, "us")
        return [found[name] for name in names]

    whole = _median(lambda: conductor.answer(_SERVICE, request, _AS_OF))
    values = FactValues(answered.facts)
    stages = {
        "parse": _median(lambda: hooks.read_request(content, "patient-view")),
        "chart": _median(lambda: read_chart(request, queries)),
        "facts": _median(facts),
        "rules": _median(lambda: find(rules, values, "us")),
        "encode": _median(lambda: hooks.encode(hooks.Answer(answered.cards))),
    }
    stages["cards"] = max(0, whole - stages["chart"] - stages["facts"] - stages["rules"])
    return stages


def _median(work: Callable[[], Any]) -> int:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(sorted(times)[_REPEATS // 2] * 1e6)

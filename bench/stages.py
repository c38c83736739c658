"""Where the time of one answer goes, measured in this process without HTTP."""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cds_service.audit.recorder import Recorder
from cds_service.cdshooks import request as hooks
from cds_service.cdshooks.response import CdsResponse, encode
from cds_service.chart.index import ChartIndex
from cds_service.chart.read import read_chart
from cds_service.facts.evaluate import ChartFacts
from cds_service.knowledge.load import load_knowledge
from cds_service.rules.evaluate import find
from cds_service.service import DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store

_AS_OF = date(2026, 11, 20)
_SERVICE = "leg-cramps-patient-view"
_REPEATS = 100
_KEPT = 2000


def time_stages(content: bytes) -> dict[str, int]:
    """Microseconds of each stage, the median of many."""
    knowledge = load_knowledge(Path(__file__).resolve().parent.parent)
    decision_service = DecisionService(knowledge, Settings())
    request = hooks.read_request(content, "patient-view")
    queries, rules = decision_service.queries[_SERVICE], decision_service.rules[_SERVICE]
    chart = read_chart(request, queries)
    decision = decision_service.answer(_SERVICE, request, _AS_OF)
    names = {name for rule in rules for name in rule.facts}

    def facts() -> Any:
        found = ChartFacts(ChartIndex(chart, knowledge, _AS_OF, "us"))
        return [found[name] for name in names]

    whole = _median(lambda: decision_service.answer(_SERVICE, request, _AS_OF))
    stages = {
        "parse": _median(lambda: hooks.read_request(content, "patient-view")),
        "chart": _median(lambda: read_chart(request, queries)),
        "facts": _median(facts),
        "rules": _median(lambda: find(rules, decision.values, "us")),
        "encode": _median(lambda: encode(CdsResponse(decision.cards))),
    }
    stages["cards"] = max(0, whole - stages["chart"] - stages["facts"] - stages["rules"])
    return stages


def time_keeping(content: bytes) -> dict[str, int]:
    """Microseconds a request of what is kept of it: what the answer waits for, and what the writer does beside it."""
    return asyncio.run(_keeping(content))


async def _keeping(content: bytes) -> dict[str, int]:
    knowledge = load_knowledge(Path(__file__).resolve().parent.parent)
    chosen = Settings(patient_key=SecretStr("an invented key, made for this measurement"))
    decision_service = DecisionService(knowledge, chosen)
    request = hooks.read_request(content, "patient-view")
    decision = decision_service.answer(_SERVICE, request, _AS_OF)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite+aiosqlite:///{folder}/cds.sqlite")
        await store.open()
        recorder = Recorder(chosen, decision_service, store)
        await asyncio.to_thread(recorder.metrics.prepare)

        def note() -> None:
            patient = recorder.patient(request, "")
            recorder.silenced(patient, None)
            # Each answer has cards of its own.
            for item in decision.shown:
                item.card.uuid = str(uuid.uuid4())
            recorder.note(request, decision, 0.0, "", patient)

        hot = _median(note)
        for _ in range(_KEPT - _REPEATS):
            note()
        spent = time.process_time()
        assert await recorder.catch_up()
        wrote = time.process_time() - spent
        await store.close()
    return {"before the answer": hot, "writer": round(wrote / _KEPT * 1e6)}


def _median(work: Callable[[], Any]) -> int:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return round(sorted(times)[_REPEATS // 2] * 1e6)

"""The desk beside the door: what is kept of each answer, and what feedback has taught. Nothing here makes an answer wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo

from cds_service.audit.codes_seen import CodesSeen, by_system, unknown_codes, unknown_units
from cds_service.audit.journal import AnswerRecord, Journal, kept, outcomes
from cds_service.audit.metrics import Metrics
from cds_service.audit.overrides import Overrides
from cds_service.audit.queries import Purged, purge, read_reactions
from cds_service.cards.approvals import signatures_of
from cds_service.cdshooks.feedback import Feedback
from cds_service.cdshooks.request import HookRequest
from cds_service.knowledge.schema import RuleFile
from cds_service.log import log
from cds_service.model import State
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings
from cds_service.store.database import Store

_PAUSE = 0.5
_LONGEST_PAUSE = 10.0
_REFRESH = timedelta(seconds=2)
_FIRST_PURGE = 600.0
_PURGE = 86_400.0


class Recorder:
    """Opened with `start`, which needs a running loop, and closed with `close`, which writes down what still waits."""

    def __init__(self, settings: Settings, decision_service: DecisionService, store: Store) -> None:
        knowledge, key = decision_service.knowledge, settings.patient_key
        self._settings, self._store, self._fingerprint = settings, store, knowledge.fingerprint
        served = {rule.id: rule.file for rules in decision_service.rules.values() for rule in rules}
        self._longest = longest_rest(served.values())
        self.journal = Journal(store)
        self.codes = CodesSeen(store)
        self._signatures = signatures_of(knowledge)
        secret = key.get_secret_value() if key else None
        self.overrides = Overrides(store, secret, settings.override_days, served.values(), self._signatures)
        self.metrics = Metrics(knowledge.services, knowledge.override_reasons.displays)
        self._counts = (len(served.keys() - decision_service.shadow), len(decision_service.lapsed))
        self._feedback: list[str] = []
        self._refreshed_at = datetime.min.replace(tzinfo=UTC)
        self._stopping = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._chores = [asyncio.create_task(self._tend()), asyncio.create_task(self._purge())]

    async def close(self) -> None:
        self._stopping.set()
        await asyncio.gather(*self._chores)
        self.journal.give_up()
        self.metrics.close()

    def patient(self, request: HookRequest, client: str) -> str | None:
        return self.overrides.patient(client, request.fhir_server, request.patient_id)

    def silenced(self, patient: str | None, zone: tzinfo | None) -> Mapping[str, date]:
        """The rules that were overridden or shown lately for this patient, as far as is known here, each with its day there."""
        return self.overrides.of(patient, datetime.now(UTC), zone) if patient else {}

    def note(self, request: HookRequest, decision: Decision, started: float, client: str, patient: str | None) -> None:
        """Keep what is kept of an answer. `started` by `time.perf_counter`."""
        now, unknown = datetime.now(UTC), unknown_codes(decision)
        noted = AnswerRecord(
            now,
            client,
            decision.service_id,
            request.hook_instance,
            self._fingerprint,
            outcomes(decision),
            {name: state for name, state in decision.chart.query_state.items() if state is not State.KNOWN},
            round((time.perf_counter() - started) * 1000, 2),
            patient,
            kept(decision.shown, self._signatures),
            decision.not_understood,
            by_system(unknown, decision.view),
            self.codes.common_units(client, request.patient_id, unknown_units(decision)),
            decision.shadowed,
            len(decision.with_shadow.cards) if decision.with_shadow else 0,
        )
        self.codes.note(client, request.patient_id, unknown, now)
        self.journal.note(noted)
        self.metrics.note(noted)

    def on_feedback(self, feedback: Iterable[Feedback]) -> None:
        """What was stored just now is to be counted, and to count."""
        self._feedback += [item.fingerprint for item in feedback]

    async def catch_up(self) -> bool:
        """Write what waits, then read what was learned. False where the database was not to be had."""
        now = datetime.now(UTC)
        written = await self.journal.flush()
        if written:
            await self.codes.flush()
        if written and (self._feedback or (self.overrides.wanted and now - self._refreshed_at >= _REFRESH)):
            await self._count_feedback()
            await self.overrides.refresh(now)
            self._refreshed_at = now
        self.metrics.drain(self.journal, self.overrides)
        return written

    async def _count_feedback(self) -> None:
        fresh, self._feedback = self._feedback, []
        with contextlib.suppress(Exception):
            self.metrics.react(await read_reactions(self._store, fresh) if fresh else ())

    async def _tend(self) -> None:
        await asyncio.to_thread(self.metrics.prepare, *self._counts)
        pause, stopping = _PAUSE, False
        while not stopping:
            stopping = await self._stops_within(pause)
            try:
                pause = _PAUSE if await self.catch_up() else min(pause * 2, _LONGEST_PAUSE)
            except Exception as error:
                log.exception("desk failed", error=type(error).__name__)

    async def _purge(self) -> None:
        pause = _FIRST_PURGE
        while not await self._stops_within(pause):
            pause = _PURGE
            try:
                log.info("purged", **(await purge_old(self._store, self._settings, self._longest))._asdict())
            except Exception as error:
                log.error("not purged", error=type(error).__name__)

    async def _stops_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
        return self._stopping.is_set()


def longest_rest(rules: Iterable[RuleFile]) -> int:
    """The most days for which one of these is not shown again."""
    return max((rule.not_again_for for rule in rules), default=0)


async def purge_old(store: Store, settings: Settings, longest: int) -> Purged:
    """Delete what is older than the site keeps. A hash goes earlier: when its card is too old to silence anything.

    An override comes some days after its card and then counts for its days. `longest`: as of `longest_rest`.
    """
    now = datetime.now(UTC)
    hashes = max(2 * settings.override_days, longest + 1)
    return await purge(store, now - timedelta(days=settings.retention_days), now - timedelta(days=hashes))

"""Which rules are not shown again to which patient, as they were overridden, or are shown once in a while: in memory.

The table is refreshed from the database beside the answering.

Answering looks only here, so a database that is slow or away delays nobody. A patient is a keyed hash: without the key
there is none, and nothing is ever silenced.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from types import MappingProxyType

from cds_service.audit.queries import Silenced, read_overrides, read_shown
from cds_service.knowledge.schema import RuleFile
from cds_service.log import log
from cds_service.store.database import Store

_NONE: Mapping[str, date] = MappingProxyType({})
_NEVER: Mapping[str, datetime] = MappingProxyType({})
# A card may be written down after feedback on it has come: what came lately is read again.
_OVERLAP = timedelta(minutes=15)
_WHOLE = timedelta(hours=1)


class Overrides:
    """`rules`: those served; `signatures` say by id what each is and rests on: of another one an override does not count.

    `failures` counts the times that the table could not be refreshed.
    """

    def __init__(
        self, store: Store, key: str | None, days: int, rules: Iterable[RuleFile], signatures: Mapping[str, str]
    ) -> None:
        served = list(rules)
        self._store, self._key, self._days = store, (key or "").encode(), timedelta(days=days)
        self._signatures = {rule.id: signatures[rule.id] for rule in served}
        self._once = {rule.id: timedelta(days=rule.not_again_for) for rule in served if rule.not_again_for}
        self._known: dict[str, dict[str, datetime]] = {}
        self._shown: dict[str, dict[str, datetime]] = {}
        self._read_whole_at = datetime.min.replace(tzinfo=UTC)
        self.failures = 0

    @property
    def wanted(self) -> bool:
        return bool(self._key and (self._days or self._once))

    def patient(self, client: str, fhir_server: str | None, patient_id: str) -> str | None:
        """A keyed hash that nobody without the key can make, also not by trying all ids. Ids are those of one server."""
        if not self.wanted:
            return None
        text = "\x1f".join((client, (fhir_server or "").rstrip("/"), patient_id))
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def of(self, patient: str | None, now: datetime, zone: tzinfo | None = None) -> Mapping[str, date]:
        """The rules not to be shown again to a patient, each with the day on which it was overridden, or last shown.

        A day is that of the zone, as the dates of the record are; without one, that of this machine.

        What is shown once in a while is shown all of the first day: a chart may be opened several times in one visit.
        """
        if not patient:
            return _NONE
        today = now.astimezone(zone).date()
        shown = {rule: at for rule, at in self._shown.get(patient, _NEVER).items() if at >= now - self._once[rule]}
        found = {rule: at for rule, at in self._known.get(patient, _NEVER).items() if at >= now - self._days}
        before_today = {rule: day for rule, at in shown.items() if (day := at.astimezone(zone).date()) < today}
        return before_today | {rule: at.astimezone(zone).date() for rule, at in found.items()}

    async def refresh(self, now: datetime) -> None:
        """Read what came lately, and now and then all of it, which forgets what counts no more."""
        if not self.wanted:
            return
        whole = now - self._read_whole_at >= _WHOLE
        longest = max(self._once.values(), default=timedelta())
        try:
            found = await read_overrides(self._store, now - (self._days if whole else min(_OVERLAP, self._days)))
            shown = await read_shown(self._store, now - (longest if whole else _OVERLAP), self._once) if self._once else []
        except Exception as error:
            self.failures += 1
            log.error("overrides not read", error=type(error).__name__)
            return
        if whole:
            self._known, self._shown, self._read_whole_at = {}, {}, now
        overridden_since = dict.fromkeys(self._signatures, now - self._days)
        shown_since = {rule: now - span for rule, span in self._once.items()}
        for item in found:
            self._take(item, self._known, overridden_since)
        for item in shown:
            # The first day counts: each later one would put off the next.
            self._take(item, self._shown, shown_since, min)

    def _take(
        self,
        item: Silenced,
        table: dict[str, dict[str, datetime]],
        since: Mapping[str, datetime],
        which: Callable[[datetime, datetime], datetime] = max,
    ) -> None:
        """Keep for each of its rules when it was overridden or shown; what is older than `since` counts no more."""
        for rule, signature in item.rules:
            if rule not in since or item.at < since[rule] or self._signatures.get(rule) != signature:
                continue
            known = table.setdefault(item.patient, {})
            before = known.get(rule, item.at)
            known[rule] = which(item.at, before) if before >= since[rule] else item.at

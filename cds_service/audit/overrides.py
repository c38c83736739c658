"""Which rules were overridden for which patient: a small table in memory, refreshed from the database beside the answering.

Answering looks only here, so a database that is slow or away delays nobody. A patient is a keyed hash: without the key
there is none, and nothing is ever silenced.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

from cds_service.audit.queries import Override, major, read_overrides
from cds_service.log import log
from cds_service.store.database import Store

_NONE: Mapping[str, date] = MappingProxyType({})
# A card may be written down after feedback on it has come: what came lately is read again.
_OVERLAP = timedelta(minutes=15)
_WHOLE = timedelta(hours=1)


class Overrides:
    """`versions`: the rules served, with their versions. `failures` counts the times that the table could not be refreshed."""

    def __init__(self, store: Store, key: str | None, days: int, versions: Mapping[str, str]) -> None:
        self._store, self._key, self._days = store, (key or "").encode(), timedelta(days=days)
        self._versions = {name: major(version) for name, version in versions.items()}
        self._known: dict[str, dict[str, datetime]] = {}
        self._read_whole_at = datetime.min.replace(tzinfo=UTC)
        self.failures = 0

    @property
    def wanted(self) -> bool:
        return bool(self._key and self._days)

    def patient(self, client: str, fhir_server: str | None, patient_id: str) -> str | None:
        """A keyed hash that nobody without the key can make, also not by trying all ids. Ids are those of one server."""
        if not self.wanted:
            return None
        text = "\x1f".join((client, (fhir_server or "").rstrip("/"), patient_id))
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def of(self, patient: str | None, now: datetime) -> Mapping[str, date]:
        """The rules overridden for a patient within the days that count, each with the day here on which it was."""
        found = self._known.get(patient) if patient else None
        if not found:
            return _NONE
        since = now - self._days
        return {rule: at.astimezone().date() for rule, at in found.items() if at >= since}

    async def refresh(self, now: datetime) -> None:
        """Read what came lately, and now and then all of it, which forgets what counts no more."""
        if not self.wanted:
            return
        whole = now - self._read_whole_at >= _WHOLE
        try:
            found = await read_overrides(self._store, now - (self._days if whole else min(_OVERLAP, self._days)))
        except Exception as error:
            self.failures += 1
            log.error("overrides not read", error=type(error).__name__)
            return
        if whole:
            self._known, self._read_whole_at = {}, now
        for item in found:
            self._take(item)

    def _take(self, item: Override) -> None:
        own = {rule for rule, version in item.rules if self._versions.get(rule) == major(version)}
        known = self._known.setdefault(item.patient, {}) if own else {}
        for rule in own:
            known[rule] = max(item.at, known.get(rule, item.at))

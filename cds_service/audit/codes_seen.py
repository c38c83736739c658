"""Which codes nobody knew, so that a site can map them: counted without patients, and written down only once several had them.

A code that few people have could tell who they are, and what stands beside it may be typed by hand. So until three patients
had a code, memory alone holds it and them, as digests under a key that dies with the process.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cds_service.audit.queries import utc
from cds_service.chart.index import ChartIndex
from cds_service.fhir.resources import CodeableConcept, Observation, codings
from cds_service.fhir.sections import measurement
from cds_service.knowledge.units import Unusable
from cds_service.log import log
from cds_service.service import Decision
from cds_service.store.database import Store, insert_once

LEAST_PATIENTS = 3
MOST_KEPT = 5000
OTHER = "other"
_MOST_HELD = 10_000
_MOST_CODINGS, _MOST_UNITS = 3, 50
# What looks like a code, and like the name of a code system: no blanks, nothing that a search or an address of a person holds.
_CODE = re.compile(r"[A-Za-z0-9](?:[\w.:/+-]{0,62}[A-Za-z0-9+])?", re.ASCII)
_SYSTEM = re.compile(r"[A-Za-z0-9](?:[\w.:/#+-]{0,198}[\w/])?", re.ASCII)
_UNIT = re.compile(r"(?!.*\d{4})[\w%/*^.\[\]{}()+-]{1,20}")
# Four digits in a row may be a date, a number of a record or of a telephone.
_WORDS = re.compile(r"(?!.*\d{4}).{1,100}")

Key = tuple[str, ...]


class SeenCode(NamedTuple):
    """One code of a client that is in no set and no map. `words`: its display, empty where it was not the same often enough."""

    client: str
    resource_type: str
    system: str
    code: str
    words: str
    answers: int
    last_seen: datetime


class UnknownCode(NamedTuple):
    """A code as it came, with its display; `system` and `words` may be empty."""

    resource_type: str
    system: str
    code: str
    words: str


def unknown_codes(decision: Decision) -> list[UnknownCode]:
    """The codes of the entries that nobody could identify, each once: only what looks like a code, and never words alone."""
    found = [item for kind, concept in decision.view.unidentified(decision.asked_of) for item in _coded(kind, concept)]
    return list({item[:3]: item for item in reversed(found)}.values())


def _coded(kind: str, concept: CodeableConcept) -> Iterator[UnknownCode]:
    for coding in codings(concept)[:_MOST_CODINGS]:
        system, code, words = ((text or "").strip() for text in (coding.system, coding.code, coding.display))
        if _CODE.fullmatch(code) and (not system or _SYSTEM.fullmatch(system)):
            yield UnknownCode(kind, system, code, words if _WORDS.fullmatch(words) and words.isprintable() else "")


def unknown_units(decision: Decision) -> set[str]:
    """The units of results that are not understood, as they came."""
    found: set[str] = set()
    if Observation.__name__ not in decision.asked_of:
        return found
    held = decision.view.measured
    for analyte, factors in decision.knowledge.factors.items():
        for _, part in held.get(f"lab:{analyte}", ()):
            quantity = said.value_quantity if (said := measurement(part)) else None
            if quantity and quantity.value is not None and isinstance(factors.of(quantity), Unusable):
                found.add((quantity.unit or quantity.code or "none").strip())
    return found


class CodesSeen:
    """What is held until several patients had it, and what waits to be written. It never makes an answer wait."""

    def __init__(self, store: Store) -> None:
        self._store, self._secret = store, secrets.token_bytes(32)
        self._held: dict[bytes, set[bytes] | None] = {}
        self._waiting: dict[Key, SeenCode] = {}
        self._units: set[str] = set()

    def note(self, client: str, patient_id: str, codes: Sequence[UnknownCode], at: datetime) -> None:
        """Patients are told apart by their id alone: the address of a server has several spellings, and one patient is one."""
        if not codes:
            return
        one = self._digest(client, patient_id)
        for item in codes:
            key = (client, *item[:3])
            words = item.words if item.words and self._had_by_enough((*key, item.words), one) else ""
            if self._had_by_enough(key, one):
                self._wait(key, SeenCode(*key, words, 1, at))

    def common_units(self, client: str, patient_id: str, units: Collection[str]) -> set[str]:
        """Those that look like a unit and several patients had, so many in all; the rest are `other`."""
        if not units:
            return set()
        one = self._digest(client, patient_id)
        common = {unit for unit in units if _UNIT.fullmatch(unit) and self._had_by_enough((client, "unit", unit), one)}
        self._units |= set(sorted(common - self._units)[: _MOST_UNITS - len(self._units)])
        return {unit if unit in common & self._units else OTHER for unit in units}

    def _digest(self, *parts: str) -> bytes:
        return hashlib.blake2b(repr(parts).encode(), key=self._secret, digest_size=16).digest()

    def _had_by_enough(self, what: Key, patient: bytes) -> bool:
        """Count this patient too, and say whether that makes enough. What is held as None was had by enough before."""
        key = self._digest(*what)
        had = self._held.setdefault(key, set())
        if had is None:
            return True
        had.add(patient)
        if len(had) >= LEAST_PATIENTS:
            self._held[key] = None
            return True
        if len(self._held) > _MOST_HELD:
            del self._held[next(iter(self._held))]
        return False

    def _wait(self, key: Key, seen: SeenCode) -> None:
        before = self._waiting.get(key)
        if before is not None:
            self._waiting[key] = seen._replace(words=seen.words or before.words, answers=before.answers + 1)
        elif len(self._waiting) < MOST_KEPT:
            self._waiting[key] = seen

    async def flush(self) -> None:
        """Write what waits. What the database would not take is given up: it is counted again as it comes again."""
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, {}
        try:
            await write_codes(self._store, list(rows.values()))
        except Exception as error:
            log.error("codes not written", codes=len(rows), error=type(error).__name__)


async def write_codes(store: Store, codes: Sequence[SeenCode], most: int = MOST_KEPT) -> None:
    """Add to what was counted before. Beyond `most` codes no new one is kept, so that no client can fill the database."""
    from sqlalchemy import String, bindparam, case, func, select

    from cds_service.store.tables import codes_seen as table

    engine = await store.open()
    # In one order, so that two workers never wait for each other.
    rows = dict(sorted((_fingerprint(item), item) for item in codes))
    said = bindparam("said", type_=String)
    update = (
        table.update()
        .where(table.c.fingerprint == bindparam("of"))
        .values(
            answers=table.c.answers + bindparam("more"),
            last_seen=bindparam("at"),
            words=case((said != "", said), else_=table.c.words),
        )
    )
    async with engine.begin() as connection:
        asked = select(table.c.fingerprint).where(table.c.fingerprint.in_(rows))
        known = {row.fingerprint for row in await connection.execute(asked)}
        kept = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        new = [name for name in rows if name not in known][: max(most - kept, 0)]
        if new:
            # With no answers yet: another worker may have written it since, and both are to be added up.
            fresh = [{**rows[name]._asdict(), "fingerprint": name, "answers": 0} for name in new]
            await connection.execute(insert_once(engine, table, "fingerprint"), fresh)
        counted = [
            {"of": name, "more": rows[name].answers, "at": rows[name].last_seen, "said": rows[name].words}
            for name in rows
            if name in known or name in new
        ]
        if counted:
            await connection.execute(update, counted)


def _fingerprint(item: SeenCode) -> str:
    return hashlib.sha256(repr(item[:4]).encode()).hexdigest()


async def read_codes(store: Store, since: datetime | None = None) -> list[SeenCode]:
    """What was seen, or seen since then: the most frequent first."""
    from sqlalchemy import select

    from cds_service.store.tables import codes_seen as table

    columns = [table.c[name] for name in SeenCode._fields]
    statement = select(*columns).order_by(table.c.answers.desc(), table.c.code)
    if since is not None:
        statement = statement.where(table.c.last_seen >= since)
    engine = await store.open()
    async with engine.connect() as connection:
        return [SeenCode(**row._mapping)._replace(last_seen=utc(row.last_seen)) for row in await connection.execute(statement)]


def by_system(codes: Iterable[UnknownCode], view: ChartIndex) -> Mapping[str, int]:
    """How many, by the short name of a code system that is read here; all others are `other`."""
    return Counter(view.lexicon.terminology.short_system(item.system) or OTHER for item in codes)

"""Eight weeks of invented answers in the database of the settings: four weeks ago a laboratory began to send a code of its own.

`CDS_DATABASE_URL=… python -m bench.weeks`, then the dashboard or `cds-service feedback`: to see what they say of it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from cds_service.audit.codes_seen import CodesSeen, by_system, unknown_codes, unknown_units
from cds_service.audit.journal import AnswerRecord, Journal, kept, outcomes
from cds_service.audit.overrides import Overrides
from cds_service.cards.approvals import signatures_of
from cds_service.cdshooks.request import read_request
from cds_service.model import State
from cds_service.population.run import HOOK, service_of
from cds_service.samples.people import fixtures_of, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings, read_settings
from cds_service.store.database import Store

DAYS, PEOPLE, OPENED = 56, 40, 30
_WITH, _WITHOUT = "ada-stiffcalf", "cora-allwell"
_CODE, _OWN = ("http://loinc.org", "2823-3"), ("https://hospital.example/laboratory", "KALI")


def _asking(service: DecisionService, settings: Settings) -> dict[str, Callable[[], Decision]]:
    """To ask about somebody with a low result, before and after the code was changed, and about somebody without."""
    folder = fixtures_of(settings.knowledge)
    cast = {person.id: person for person in read_cast(folder)}
    found: dict[str, Callable[[], Decision]] = {}
    for name, person, swapped in (("before", _WITH, False), ("after", _WITH, True), ("without", _WITHOUT, False)):
        bundle = read_bundle(patient_file(folder, cast[person]))
        if swapped:
            _swap(bundle)
        body = json.dumps(to_hook_request(bundle, dict(service.knowledge.queries), HOOK, None)).encode()
        found[name] = partial(service.answer, service.knowledge.service_on(HOOK), read_request(body, HOOK), cast[person].day)
    return found


def _swap(bundle: dict[str, object]) -> None:
    text = json.dumps(bundle["entry"])
    loaded = json.loads(text)
    for entry in loaded:
        code = entry["resource"].get("code") or {}
        for coding in code.get("coding") or ():
            if (coding.get("system"), coding.get("code")) == _CODE:
                entry["resource"]["code"] = {"coding": [{"system": _OWN[0], "code": _OWN[1]}]}
                break
    bundle["entry"] = loaded


def _answers(service: DecisionService, settings: Settings, codes: CodesSeen, overrides: Overrides) -> Iterator[AnswerRecord]:
    asking, rng = _asking(service, settings), random.Random(20261129)
    signatures, now = signatures_of(service.knowledge), datetime.now(UTC)
    for back in reversed(range(DAYS)):
        at = now - timedelta(days=back)
        for number in range(OPENED + rng.randrange(-4, 5)):
            person = rng.randrange(PEOPLE)
            low = "before" if back >= DAYS // 2 else "after"
            decision = asking[low if person % 2 else "without"]()
            unknown = unknown_codes(decision)
            codes.note("", str(person), unknown, at)
            yield AnswerRecord(
                at,
                "",
                decision.service_id,
                f"{back}-{number}",
                service.knowledge.fingerprint,
                outcomes(decision),
                {name: state for name, state in decision.chart.query_state.items() if state is not State.KNOWN},
                round(rng.uniform(2, 6), 2),
                overrides.patient("", None, str(person)),
                kept(decision.shown, signatures),
                decision.not_understood,
                by_system(unknown, decision.view),
                codes.common_units("", str(person), unknown_units(decision)),
                decision.shadowed,
                len(decision.with_shadow.cards) if decision.with_shadow else 0,
            )


async def main() -> None:
    settings = read_settings()
    service, store = service_of(settings), Store(settings.database_url)
    codes = CodesSeen(store)
    key = settings.patient_key.get_secret_value() if settings.patient_key else None
    overrides = Overrides(store, key, settings.override_days, [], {})
    journal = Journal(store, limit=DAYS * 2 * OPENED)
    for noted in _answers(service, settings, codes, overrides):
        journal.note(noted)
    written = len(journal)
    await journal.flush()
    await codes.flush()
    await store.close()
    print(f"wrote {written} answers of {DAYS} days")


if __name__ == "__main__":
    asyncio.run(main())

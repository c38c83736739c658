"""A rule overridden for a patient is not shown to her again for a time; what is urgent, new or another's speaks on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace
from starlette.testclient import TestClient

from cds_service.audit.journal import AnswerRecord, CardRecord, _answer, _cards
from cds_service.audit.overrides import Overrides
from cds_service.audit.queries import record_feedback, write
from cds_service.cdshooks.response import Card
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import Decision, DecisionService
from cds_service.store.database import Store
from tests.support.calls import CALL, make, request_of
from tests.support.cast import conductor_of
from tests.support.feedback import ACCEPTED, KEY, OVERRIDDEN, read, until
from tests.support.people import AS_OF, SERVICE, Json, body, bundle, concept, medication, observation, patient

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LOW = {"electrolytes": bundle(observation(3.1, when="2026-11-12"))}
DANGEROUS = {"electrolytes": bundle(observation(2.2, when="2026-11-18"))}
DIURETIC = {
    "medicationRequests": bundle(medication(concept("4603", "http://www.nlm.nih.gov/research/umls/rxnorm", "furosemide")))
}
DAY = date(2026, 11, 15)


def decision(decision_service: DecisionService, prefetch: Json, overridden: Mapping[str, date]) -> Decision:
    return decision_service.answer(SERVICE, request_of(body(prefetch)), AS_OF, overridden)


def spoken(found: Decision) -> set[str]:
    return {rule.id for item in found.shown for rule in item.rules}


def summaries(cards: Any) -> str:
    return " | ".join(card.summary if isinstance(card, Card) else card["summary"] for card in cards)


def test_a_silenced_rule_is_found_and_not_shown(decision_service: DecisionService) -> None:
    plain, silent = decision(decision_service, LOW, {}), decision(decision_service, LOW, {"low-potassium": DAY})
    assert spoken(plain) - spoken(silent) == {"low-potassium"}
    assert silent.findings == plain.findings
    assert silent.suppressed == {"low-potassium": DAY}
    assert "Potassium" not in summaries(silent.cards)


def test_of_a_card_of_several_rules_only_the_lines_of_the_silenced_one_go(decision_service: DecisionService) -> None:
    both = {"electrolytes": bundle(observation(3.1), observation(128, code="2951-2", id="o2"))}
    (results,) = [item for item in decision(decision_service, both, {"low-potassium": DAY}).shown if item.group == "results"]
    assert [rule.id for rule in results.rules] == ["low-sodium"]
    assert "otassium" not in results.card.summary + results.card.detail.partition("\n\n")[0]


def test_a_card_whose_rules_are_all_silenced_is_not_shown(decision_service: DecisionService) -> None:
    groups = [item.group for item in decision(decision_service, LOW, {}).shown]
    assert [item.group for item in decision(decision_service, LOW, {"low-potassium": DAY}).shown] == [
        group for group in groups if group != "results"
    ]


def test_what_is_urgent_never_falls_silent(decision_service: DecisionService, knowledge: Knowledge) -> None:
    every_rule = {rule.id: date(2999, 1, 1) for rule in knowledge.rules}
    found = decision(decision_service, DANGEROUS, every_rule)
    assert spoken(found) == {"severe-potassium"}
    assert found.shown[0].card.indicator == "critical"


def test_a_result_of_after_the_override_speaks_again_and_one_of_that_day_does_not(decision_service: DecisionService) -> None:
    for when, silent in (("2026-11-14", True), ("2026-11-15T23:59:00Z", True), ("2026-11-16", False)):
        found = decision(decision_service, {"electrolytes": bundle(observation(3.1, when=when))}, {"low-potassium": DAY})
        assert ("low-potassium" in found.suppressed) is silent, when


def test_a_drug_started_after_the_override_speaks_again(decision_service: DecisionService) -> None:
    drug = concept("4603", "http://www.nlm.nih.gov/research/umls/rxnorm", "furosemide")
    for when, silent in (("2026-11-01", True), ("2026-11-17", False)):
        prefetch = {"medicationRequests": bundle(medication(drug, authoredOn=when))}
        assert ("diuretic" in decision(decision_service, prefetch, {"diuretic": DAY}).suppressed) is silent, when


def test_cramps_recorded_anew_are_no_news_for_a_rule(decision_service: DecisionService) -> None:
    """Each visit for cramps records them once more; that would undo every override."""
    call = body(LOW)
    call["prefetch"]["conditions"]["entry"][0]["resource"] |= {"onsetDateTime": "2026-11-19", "recordedDate": "2026-11-19"}
    found = decision_service.answer(SERVICE, request_of(call), AS_OF, {"low-potassium": DAY})
    assert found.suppressed == {"low-potassium": DAY}


def test_a_rule_that_does_not_fire_is_not_called_silenced(decision_service: DecisionService) -> None:
    assert decision(decision_service, {}, {"low-potassium": DAY}).suppressed == {}


# Over HTTP, with a database


def ask(client: TestClient, prefetch: Json, patient_id: str = "p1") -> list[Json]:
    call = body(prefetch, patientId=patient_id)
    call["prefetch"]["patient"]["id"] = patient_id
    for section in call["prefetch"].values():
        for entry in section.get("entry", ()):
            entry["resource"]["subject"] = {"reference": f"Patient/{patient_id}"}
    found: list[Json] = client.post(CALL, json=call).json()["cards"]
    return found


def override(client: TestClient, card: Json) -> None:
    item = OVERRIDDEN | {"card": card["uuid"], "outcomeTimestamp": datetime.now(UTC).isoformat()}
    assert client.post(f"{CALL}/feedback", json={"feedback": [item]}).status_code == 200


def today(prefetch: Json) -> Json:
    """The same results, taken yesterday."""
    yesterday = (date.today() - timedelta(days=1)).isoformat()
    for section in prefetch.values():
        for entry in section["entry"]:
            entry["resource"]["effectiveDateTime"] = yesterday
    return prefetch


def results_of(cards: list[Json]) -> list[Json]:
    return [card for card in cards if card["source"]["topic"]["code"] == "LegCrampsResults"]


def test_an_overridden_card_is_not_shown_to_this_patient_again_and_to_others_it_is(
    decision_service: DecisionService, tmp_path: Path, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    low = today({"electrolytes": bundle(observation(3.1))})
    with make(decision_service, tmp_path, database_url=database_url, patient_key=KEY) as client:
        (card,) = results_of(ask(client, low))
        override(client, card)
        assert until(lambda: not results_of(ask(client, low)))
        assert '"silenced":1' in capfd.readouterr().err
        assert results_of(ask(client, low, "another"))
        urgent = ask(client, today({"electrolytes": bundle(observation(2.2))}))
        assert urgent[0]["indicator"] == "critical"
    # A worker started later knows it from the database.
    with make(decision_service, tmp_path, database_url=database_url, patient_key=KEY) as client:
        assert until(lambda: not results_of(ask(client, low)))


def test_without_a_key_or_with_no_days_nothing_is_silenced(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    low = today({"electrolytes": bundle(observation(3.1))})
    choices: tuple[dict[str, Any], ...] = ({}, {"patient_key": KEY, "override_days": 0})
    for choice in choices:
        with make(decision_service, tmp_path, database_url=database_url, **choice) as client:
            (card,) = results_of(ask(client, low))
            override(client, card)
            time.sleep(1.2)
            assert results_of(ask(client, low))


# The table of overrides, against the database


async def kept(
    store: Store, table: Overrides, card: str, indicator: str = "warning", *, client: str = "", at: datetime = NOW, **rules: str
) -> None:
    """One card shown to the patient p1, in the group of its first rule."""

    spoke_for = tuple((name.replace("_", "-"), signature) for name, signature in rules.items())
    noted = AnswerRecord(
        at,
        client,
        SERVICE,
        "i",
        "k",
        {},
        {},
        1.0,
        table.patient("", None, "p1"),
        (CardRecord(card, spoke_for[0][0], indicator, (), (), spoke_for),),
    )
    await write(store, [_answer(noted)], _cards(noted))


def table_of(store: Store, days: int = 30, key: str | None = KEY, **rests: int) -> Overrides:
    rules = conductor_of("us").knowledge.rule_by_id
    signatures = {"low-potassium": "1.4.0+a", "thyroid": "0.2.0+b", "self-care": "0.3.0+c"}
    files = [rules[name].file for name in signatures]
    resting = [replace(file, not_again_for=rests.get(file.id, file.not_again_for)) for file in files]
    return Overrides(store, key, days, resting, signatures)


@pytest.mark.asyncio
async def test_what_is_shown_once_in_a_while_is_not_shown_again_on_the_next_days(database_url: str) -> None:
    """Self-care, for thirty days, with feedback or without; and all of the first day, as a chart is opened more than once."""
    store = Store(database_url)
    table = table_of(store)
    await kept(store, table, "shown", "info", self_care="0.3.0+c", thyroid="0.2.0+b")
    await table.refresh(NOW)
    own = table.patient("", None, "p1")
    day = NOW.astimezone().date()
    assert table.of(own, NOW + timedelta(minutes=5)) == {}
    assert table.of(own, NOW + timedelta(days=1)) == {"self-care": day}
    assert table.of(own, NOW + timedelta(days=30)) == {"self-care": day}
    assert table.of(own, NOW + timedelta(days=31)) == {}
    assert table.of(table.patient("", None, "p2"), NOW + timedelta(days=1)) == {}
    # Shown again within the days, by a worker that did not know yet: the first time counts.
    await kept(store, table, "again", "info", at=NOW + timedelta(days=2), self_care="0.3.0+c")
    await table.refresh(NOW + timedelta(days=2, minutes=1))
    assert table.of(own, NOW + timedelta(days=3)) == {"self-care": day}
    await store.close()


@pytest.mark.asyncio
async def test_what_rests_does_so_for_its_own_days_also_where_overrides_do_not_count(database_url: str) -> None:
    store = Store(database_url)
    table = table_of(store, days=0, thyroid=10)
    assert table.wanted
    await kept(store, table, "shown", "info", self_care="0.3.0+c", thyroid="0.2.0+b")
    await record_feedback(store, SERVICE, read(OVERRIDDEN | {"card": "shown"}), NOW)
    own = table.patient("", None, "p1")
    day = NOW.astimezone().date()
    await table.refresh(NOW)
    assert table.of(own, NOW) == {}
    assert table.of(own, NOW + timedelta(days=9)) == {"self-care": day, "thyroid": day}
    # Its days are over while those of the other run: shown again, it rests anew.
    again = NOW + timedelta(days=12)
    assert table.of(own, again) == {"self-care": day}
    await kept(store, table, "again", "info", at=again, thyroid="0.2.0+b")
    await table.refresh(again)
    await table.refresh(again + timedelta(seconds=5))
    assert table.of(own, again + timedelta(days=1)) == {"self-care": day, "thyroid": again.astimezone().date()}
    await store.close()


@pytest.mark.asyncio
async def test_an_override_counts_for_the_rule_as_it_was_for_its_days(database_url: str) -> None:
    store = Store(database_url)
    table = table_of(store)
    await kept(store, table, "warned", low_potassium="1.4.0+a", thyroid="0.2.0+other", gone="1.0.0+d")
    await kept(store, table, "urgent", "critical", thyroid="0.2.0+b")
    await kept(store, table, "taken", thyroid="0.2.0+b")
    items = [OVERRIDDEN | {"card": "warned"}, OVERRIDDEN | {"card": "urgent"}, ACCEPTED | {"card": "taken"}]
    await record_feedback(store, SERVICE, read(*items), NOW)
    await table.refresh(NOW)
    own = table.patient("", None, "p1")
    # Neither what was signed otherwise, nor what is not served, nor the urgent card, nor what was accepted.
    assert table.of(own, NOW) == {"low-potassium": NOW.astimezone().date()}
    assert table.of(own, NOW + timedelta(days=29)) == {"low-potassium": NOW.astimezone().date()}
    assert table.of(own, NOW + timedelta(days=31)) == {}
    assert table.of(table.patient("", None, "p2"), NOW) == table.of(None, NOW) == {}
    await table.refresh(NOW + timedelta(days=31))
    assert table._known == {}
    await store.close()


@pytest.mark.asyncio
async def test_an_override_is_of_the_day_that_it_is_where_the_site_is(database_url: str) -> None:
    """So that a result of the next day there is news."""
    store = Store(database_url)
    table = table_of(store)
    evening = datetime(2026, 11, 21, 1, tzinfo=UTC)
    await kept(store, table, "warned", at=evening, low_potassium="1.4.0+a")
    said = OVERRIDDEN | {"card": "warned", "outcomeTimestamp": evening.isoformat()}
    await record_feedback(store, SERVICE, read(said), evening)
    await table.refresh(evening)
    own = table.patient("", None, "p1")
    assert table.of(own, evening, ZoneInfo("America/New_York")) == {"low-potassium": date(2026, 11, 20)}
    assert table.of(own, evening, ZoneInfo("Europe/London")) == {"low-potassium": date(2026, 11, 21)}
    await store.close()


@pytest.mark.asyncio
async def test_feedback_that_comes_before_its_card_counts_once_the_card_is_written(database_url: str) -> None:
    store = Store(database_url)
    table = table_of(store)
    await record_feedback(store, SERVICE, read(OVERRIDDEN | {"card": "late"}), NOW)
    await table.refresh(NOW)
    own = table.patient("", None, "p1")
    assert table.of(own, NOW) == {}
    await kept(store, table, "late", low_potassium="1.4.0+a")
    await table.refresh(NOW + timedelta(seconds=10))
    assert set(table.of(own, NOW)) == {"low-potassium"}
    await store.close()


@pytest.mark.asyncio
async def test_another_client_can_silence_nothing(database_url: str) -> None:
    store = Store(database_url)
    table = table_of(store)
    await kept(store, table, "hers", client="https://ehr.example", low_potassium="1.4.0+a")
    await record_feedback(store, SERVICE, read(OVERRIDDEN | {"card": "hers"}), NOW, "https://other.example")
    await table.refresh(NOW)
    assert table.of(table.patient("", None, "p1"), NOW) == {}
    await store.close()


@pytest.mark.asyncio
async def test_a_clock_that_is_ahead_silences_nothing_for_longer(database_url: str) -> None:
    store = Store(database_url)
    table = table_of(store)
    await kept(store, table, "c", low_potassium="1.4.0+a")
    await record_feedback(store, SERVICE, read(OVERRIDDEN | {"card": "c", "outcomeTimestamp": "2999-01-01T00:00:00Z"}), NOW)
    await table.refresh(NOW)
    assert table.of(table.patient("", None, "p1"), NOW + timedelta(days=31)) == {}
    await store.close()


@pytest.mark.asyncio
async def test_while_the_database_is_away_what_is_known_goes_on_counting(tmp_path: Path) -> None:
    (tmp_path / "way").write_text("")
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/way/cds.sqlite")
    table = table_of(store)
    table._known = {"h": {"low-potassium": NOW}}
    await table.refresh(NOW)
    assert table.failures == 1
    assert set(table.of("h", NOW)) == {"low-potassium"}


def test_a_patient_is_told_apart_by_client_server_and_id_and_by_nothing_without_the_key() -> None:
    store = Store("sqlite+aiosqlite:///:memory:")
    table = table_of(store)
    hashes = {
        table.patient(client, server, name)
        for client in ("", "https://ehr.example")
        for server in (None, "https://fhir.example")
        for name in ("p1", "p2")
    }
    assert len(hashes) == 8
    assert table.patient("", "https://fhir.example/", "p1") == table.patient("", "https://fhir.example", "p1")
    assert table_of(store, key="another key that nobody has seen").patient("", None, "p1") not in hashes
    assert table_of(store, key=None).patient("", None, "p1") is None
    asyncio.run(table_of(store, key=None).refresh(NOW))
    assert patient()["id"] not in str(hashes)

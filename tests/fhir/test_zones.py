"""A site that has named its time zone: days are counted and told there, and moments that had not come are not read."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from cds_service.errors import SettingsError
from cds_service.fhir import resources, zones
from cds_service.fhir.resources import (
    Condition,
    Encounter,
    Immunization,
    MedicationRequest,
    MedicationStatement,
    Observation,
    Procedure,
    QuestionnaireResponse,
    ServiceRequest,
)
from cds_service.fhir.zones import in_zone, write_in, zone_named
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.run import client_schema
from cds_service.model import UNKNOWN, State
from cds_service.security.clients import Client, read_clients
from cds_service.service import Decision, DecisionService
from cds_service.settings import Settings, read_settings
from tests.support.calls import CALL, make, request_of
from tests.support.people import SERVICE, Json, body, bundle, observation
from tests.support.signing import DISCOVERY, ISS, Signer, bearer, clients_file

NEW_YORK, LONDON, AUCKLAND = ZoneInfo("America/New_York"), ZoneInfo("Europe/London"), ZoneInfo("Pacific/Auckland")
LATE = "2026-11-28T23:30-05:00"


@pytest.mark.parametrize(
    ("text", "zone", "written"),
    [
        (LATE, NEW_YORK, "2026-11-28T23:30:00-05:00"),
        (LATE, LONDON, "2026-11-29T04:30:00+00:00"),
        ("2026-11-28T23:30:00.123Z", AUCKLAND, "2026-11-29T12:30:00.123000+13:00"),
        ("2026-06-30T23:30:00Z", LONDON, "2026-07-01T00:30:00+01:00"),
        ("2026-11-28", LONDON, "2026-11-28"),
        ("2026-11", LONDON, "2026-11"),
        ("2026-11-28T23:30:00", AUCKLAND, "2026-11-28T23:30:00"),
        ("yesterday", LONDON, "yesterday"),
        ("0001-01-01T00:00:00+00:00", NEW_YORK, "0001-01-01T00:00:00+00:00"),
    ],
)
def test_a_moment_is_written_as_the_day_that_it_is_there(text: str, zone: ZoneInfo, written: str) -> None:
    assert in_zone(text, zone) == written
    assert in_zone(written, zone) == written


DATES = re.compile(r"date|period|instant|authored|issued")
PERIOD = {"start": LATE, "end": LATE}
DATED: dict[type[Any], Json] = {
    Condition: {"onsetDateTime": LATE, "abatementPeriod": PERIOD, "onsetPeriod": PERIOD, "recordedDate": LATE},
    MedicationRequest: {
        "authoredOn": LATE,
        "dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": PERIOD}}}, {"timing": None}, None],
        "dispenseRequest": {"validityPeriod": PERIOD},
    },
    MedicationStatement: {"effectivePeriod": PERIOD, "dateAsserted": LATE},
    Observation: {"effectiveDateTime": LATE, "effectivePeriod": {"start": LATE}, "issued": LATE, "effectiveInstant": LATE},
    ServiceRequest: {"authoredOn": LATE, "occurrenceDateTime": LATE},
    Procedure: {"performedDateTime": LATE, "performedPeriod": PERIOD},
    Encounter: {"period": PERIOD},
    QuestionnaireResponse: {"authored": LATE},
    Immunization: {"occurrenceDateTime": LATE},
}


@pytest.mark.parametrize("kind", DATED)
def test_every_date_that_is_read_is_written_so(kind: type[Any]) -> None:
    given = DATED[kind] | {"resourceType": kind.__name__}
    resource = msgspec.convert(given, kind)
    write_in(LONDON, resource)
    assert str(resource).count("2026-11-29") == str(given).count("2026-11-28")
    assert "2026-11-28" not in str(resource)


def test_no_member_of_a_date_is_forgotten() -> None:
    """Those of a patient are days of the calendar wherever she is, a draft order is of now, and no result is a date."""
    kinds = {kind for kind in vars(resources).values() if isinstance(kind, type) and issubclass(kind, resources.Resource)}
    for kind in kinds - {resources.Patient, resources.DraftOrder}:
        names = [name for name in kind.__struct_fields__ if DATES.search(name) and not name.startswith("value_")]
        assert {name for name in names if name not in zones._MEMBERS.get(kind, ())} == set(), kind


def service_in(knowledge: Knowledge, zone: str | None) -> DecisionService:
    return DecisionService(knowledge, Settings(time_zone=zone))


def decide(service: DecisionService, call: Json, as_of: date, asked_at: datetime | None = None) -> Decision:
    return service.answer(SERVICE, replace(request_of(call), asked_at=asked_at), as_of)


def low(when: str, **members: Any) -> Json:
    return body({"electrolytes": bundle(observation(3.1, when=when, **members))})


@pytest.mark.parametrize(
    ("zone", "told"),
    [("America/New_York", "28 Nov"), ("Europe/London", "29 Nov"), (None, "28 Nov"), ("Pacific/Auckland", "29 Nov")],
)
def test_cards_tell_the_day_of_the_zone(knowledge: Knowledge, zone: str | None, told: str) -> None:
    decision = decide(service_in(knowledge, zone), low(LATE), date(2026, 11, 30))
    assert f"Potassium 3.1 mmol/L ({told})" in decision.cards[0].summary


@pytest.mark.parametrize(
    ("zone", "when", "asked_about", "expected"),
    [
        (None, "2026-11-29", date(2026, 11, 28), "low"),
        ("Europe/London", "2026-11-29", date(2026, 11, 28), UNKNOWN),
        ("Europe/London", "2026-11-28", date(2026, 11, 28), "low"),
        ("Europe/London", LATE, date(2026, 11, 28), UNKNOWN),
        ("America/New_York", LATE, date(2026, 11, 28), "low"),
        # The last day of the window, of 90 days, in each place.
        ("Europe/London", "2026-08-30T23:30:00-04:00", date(2026, 11, 29), "low"),
        ("America/New_York", "2026-08-30T23:30:00-04:00", date(2026, 11, 29), UNKNOWN),
    ],
)
def test_a_day_counts_where_it_is_that_day(
    knowledge: Knowledge, zone: str | None, when: str, asked_about: date, expected: Any
) -> None:
    fact = decide(service_in(knowledge, zone), low(when), asked_about).facts["potassium_against_range"]
    assert fact.value == expected if expected is not UNKNOWN else fact.value != "low"


NOW = datetime(2026, 11, 28, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "state"),
    [(-5, State.KNOWN), (0, State.KNOWN), (10, State.KNOWN), (11, State.NOT_UNDERSTOOD), (600, State.NOT_UNDERSTOOD)],
)
def test_a_result_of_a_moment_that_had_not_come_is_not_understood(knowledge: Knowledge, minutes: int, state: State) -> None:
    when = (NOW + timedelta(minutes=minutes)).astimezone(NEW_YORK).isoformat()
    fact = decide(service_in(knowledge, "Europe/London"), low(when), NOW.date(), NOW).facts["potassium_against_range"]
    assert fact.state is state
    # Asked about the day as a whole, and without a zone, it counts.
    for service, asked_at in ((service_in(knowledge, "Europe/London"), None), (service_in(knowledge, None), NOW)):
        day = NOW.date()
        if (NOW + timedelta(minutes=minutes)).astimezone(LONDON).date() == day:
            assert decide(service, low(when), day, asked_at).facts["potassium_against_range"].value == "low"


def test_an_older_result_reassures_nobody_beside_one_that_is_still_to_come(knowledge: Knowledge) -> None:
    to_come = observation(3.1, when="2026-11-28T18:00:00Z", id="o2")
    call = body({"electrolytes": bundle(observation(4.2, when="2026-11-27"), to_come)})
    fact = decide(service_in(knowledge, "Europe/London"), call, NOW.date(), NOW).facts["potassium_against_range"]
    assert fact.value is UNKNOWN


def test_a_result_that_cannot_be_used_is_of_the_day_that_it_is_there(knowledge: Knowledge) -> None:
    decision = decide(service_in(knowledge, "Europe/London"), low(LATE, status="unheard"), date(2026, 11, 30))
    assert [item.when[:10] for item in decision.chart.damaged["electrolytes"]] == ["2026-11-29"]


def test_an_answer_that_was_cut_goes_back_a_day_less(knowledge: Knowledge) -> None:
    """Its last day as written may be the next in the zone."""
    next_page = [{"relation": "next", "url": "https://ehr.example/next"}]
    results = [observation(4.2, when=day, id=day) for day in ("2026-11-20", "2026-08-28")]
    call = body({"electrolytes": bundle(*results, link=next_page)})
    found = [decide(service_in(knowledge, zone), call, date(2026, 11, 28)).chart.oldest for zone in (None, "Europe/London")]
    assert [days["electrolytes"] for days in found] == [date(2026, 8, 28), date(2026, 8, 29)]


def client_in(knowledge: Knowledge, folder: Path, zone: Any) -> Client:
    table = {"iss": ISS, "jku": "https://ehr.example/jwks.json", "time_zone": zone}
    (client,) = read_clients(clients_file(folder, table), client_schema(knowledge))
    return client


def test_a_client_has_its_own_zone_or_that_of_the_site(knowledge: Knowledge, tmp_path: Path) -> None:
    site = service_in(knowledge, "Europe/London")
    assert site.for_client(client_in(knowledge, tmp_path, "America/New_York")).dialect.zone == NEW_YORK
    assert site.for_client(Client(ISS)).dialect.zone == LONDON


@pytest.mark.parametrize("name", ["Europe/Camford", "", "../etc/passwd", "/etc/passwd", "Europe", "\0", 7])
def test_a_zone_that_nobody_knows_stops_the_start(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    with pytest.raises(SettingsError, match="time_zone"):
        client_in(knowledge, tmp_path, name)
    if isinstance(name, str) and name not in ("", "\0"):
        monkeypatch.setenv("CDS_TIME_ZONE", name)
        with pytest.raises(SettingsError, match="CDS_TIME_ZONE"):
            read_settings()
    with pytest.raises(ValueError, match="no time zone"):
        zone_named(str(name))


def test_over_http_today_is_that_of_the_clients_zone(
    decision_service: DecisionService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One moment is two days: a result of the 29th is of today to one client, and of tomorrow to the other."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2026, 11, 28, 22, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr("cds_service.fhir.zones.datetime", Clock)
    signers = {zone: Signer(f"https://ehr.example/{zone}") for zone in ("Pacific/Auckland", "America/New_York")}
    tables = [
        {"iss": signer.iss, "jwks": signer.jwks(), "audiences": [DISCOVERY], "time_zone": zone}
        for zone, signer in signers.items()
    ]
    with make(decision_service, tmp_path, clients=clients_file(tmp_path, *tables)) as service:
        for zone, signer in signers.items():
            answer = service.post(CALL, json=low("2026-11-29"), headers=bearer(signer.token()))
            told = [card["summary"] for card in answer.json()["cards"]]
            assert any("3.1 mmol/L (29 Nov)" in summary for summary in told) is (zone == "Pacific/Auckland")

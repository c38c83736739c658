"""The cast: invented people, each judged at their own date, through every door, with whole answers kept and read.

Run `GOLDEN=write pytest tests/samples/test_people.py` to write the answers anew; then read the difference as a clinician would.
"""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cdshooks.request import AS_OF
from cds_service.knowledge.knowledge import Knowledge
from cds_service.samples.counts import rows, tally
from cds_service.samples.people import Person, exported, known_on, patient_file, read_bundle, shifted
from cds_service.settings import Settings
from tests.conftest import ROOT
from tests.support.cast import CAST, FIXTURES, PEOPLE, cards_of, conductor_of, decision, request_of, service_of, without_uuids

GOLDEN = ROOT / "tests/golden"


@PEOPLE
def test_each_gets_the_cards_that_the_cast_promises(person: Person) -> None:
    told = [
        (card.indicator, card.summary, tuple(("* " if s.is_recommended else "") + s.label for s in card.suggestions))
        for card in decision(person).cards
    ]
    assert told == [(card.indicator, card.summary, card.suggestions) for card in person.cards]


@PEOPLE
def test_each_whole_answer_is_the_one_that_was_read(person: Person) -> None:
    path = GOLDEN / f"{person.id}.json"
    answer = decision(person)
    shown = cards_of(answer)
    # What travels in the extension follows from the rules alone: their names say it, and a reader of the file can read it.
    for card, rules in zip(shown["cards"], answer.composed.speaks_for, strict=True):
        del card["extension"]
        card["rules"] = list(rules)
    text = json.dumps(shown, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@PEOPLE
def test_each_record_is_valid_fhir(person: Person) -> None:
    assert Bundle.model_validate_json(patient_file(FIXTURES, person).read_text())


def test_no_golden_answer_and_no_record_is_left_behind() -> None:
    names = {person.id for person in CAST}
    assert len(names) == len(CAST) >= 62
    assert {path.stem for path in GOLDEN.glob("*.json")} == names
    assert {path.stem for path in (FIXTURES / "patients").glob("*.json")} == names


def test_between_them_every_rule_fires_is_silent_and_is_unknown(knowledge: Knowledge) -> None:
    """All three of every rule: none is so made that what is missing could not leave it open."""
    seen: dict[str, set[str]] = {rule.id: set() for rule in knowledge.rules}
    for person in CAST:
        for finding in decision(person).findings:
            seen[finding.rule_id].add(finding.outcome.value)
    # It is for every adult with cramps, and the service does not speak to children at all.
    seen["self-care"].add("silent")
    wanted = {"fires", "silent", "unknown"}
    assert {name: sorted(wanted - outcomes) for name, outcomes in seen.items() if not wanted <= outcomes} == {}


def test_between_them_they_are_of_both_countries_and_carry_the_quirks() -> None:
    assert {person.jurisdiction for person in CAST} == {"us", "uk"}
    quirks = {quirk for person in CAST for quirk in person.quirks}
    assert len(quirks) >= 35
    assert all(person.story.endswith(".") for person in CAST)


def test_nobody_gets_more_than_six_cards(knowledge: Knowledge) -> None:
    counted = tally(knowledge, FIXTURES)
    assert max(counted.cards) <= 6
    assert counted.cards == tuple(len(person.cards) for person in CAST)
    assert counted.suggestions == tuple(sum(len(card.suggestions) for card in person.cards) for person in CAST)
    assert sum(cards for _, cards, _ in rows(counted)) == sum(given for _, _, given in rows(counted)) == len(CAST)


def test_of_more_findings_than_cards_the_rest_is_named() -> None:
    person = next(person for person in CAST if person.id == "nona-allatonce")
    told = decision(person).cards
    assert len(told) == 6
    for left_out in ("Alcohol use disorder", "Anemia", "Diabetes", "Hypothyroidism"):
        assert any(left_out in card.detail for card in told)
    assert "Leg cramps: self-care" in told[-1].detail


@pytest.mark.parametrize(
    ("name", "silent_because"),
    [
        ("pia-schoolyard", ("age_years",)),
        ("quill-atrest", ("deceased",)),
        ("lars-lastpage", ("deceased",)),
        ("dora-doubled", ("replaced",)),
        ("bert-quietleg", ()),
        ("wyn-nameless", ()),
    ],
)
def test_a_child_the_dead_a_merged_record_and_whoever_has_no_cramps_on_record_get_no_cards(
    name: str, silent_because: tuple[str, ...]
) -> None:
    answer = decision(next(person for person in CAST if person.id == name))
    assert answer.cards == ()
    assert answer.silent_because == silent_because


def test_what_a_merged_record_holds_twice_is_told_once() -> None:
    person = next(person for person in CAST if person.id == "dora-kept")
    told = "\n".join(card.detail for card in decision(person).cards)
    for once in ("Torsemide 10 mg tablet", "Other hypothyroidism"):
        assert told.count(once) == 1


@PEOPLE
def test_every_door_gives_the_same_answer(person: Person, tmp_path: Path) -> None:
    settings = Settings(
        guarded=True,
        jurisdiction=person.jurisdiction,  # type: ignore[arg-type]
        allow_as_of=True,
        database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite",
    )
    client = TestClient(build_app(settings, conductor_of(person.jurisdiction)))
    body = request_of(person) | {"extension": {AS_OF: person.as_of}}
    answer = client.post(f"/cds-services/{service_of(person)}", json=body)
    assert answer.status_code == 200
    assert without_uuids(answer.json()) == cards_of(decision(person))


@PEOPLE
def test_they_do_not_age(person: Person) -> None:
    """The exported record, judged on its new day, gives the same cards but for the dates told in them."""
    later = date(2031, 11, 20)
    moved = shifted(read_bundle(patient_file(FIXTURES, person)), (later - person.day).days)
    again = decision(person, later, moved)
    assert [card.indicator for card in again.cards] == [card.indicator for card in person.cards]
    assert [[s.label for s in card.suggestions] for card in again.cards] == [
        [label.removeprefix("* ") for label in card.suggestions] for card in person.cards
    ]


def test_the_exported_cast_is_valid_fhir() -> None:
    written = list(exported(FIXTURES, date(2031, 11, 20)))
    assert len(written) == len(CAST)
    for _, text in written:
        assert Bundle.model_validate_json(text)


def test_two_runs_give_the_same_bytes_but_for_uuids() -> None:
    person = CAST[0]
    assert cards_of(decision(person)) == cards_of(decision(person))
    first, second = (decision(person).cards for _ in range(2))
    assert not {card.uuid for card in first} & {card.uuid for card in second}


@pytest.mark.parametrize(
    ("resource", "is_kept"),
    [
        ({"resourceType": "Condition", "onsetDateTime": "2019", "recordedDate": "2026-01-01"}, True),
        ({"resourceType": "Condition", "recordedDate": "2020-01-02"}, False),
        ({"resourceType": "Condition", "abatementDateTime": "2026-01-01"}, True),
        ({"resourceType": "Condition"}, True),
        ({"resourceType": "Observation", "effectiveDateTime": "2020-01-01T23:59:59Z"}, True),
        ({"resourceType": "Observation", "effectivePeriod": {"start": "2020-01-02", "end": "2020-01-03"}}, False),
        ({"resourceType": "Observation", "effectivePeriod": {"end": "2020-01-03"}}, True),
        ({"resourceType": "Observation", "effectiveDateTime": "2020-01", "meta": {"lastUpdated": "2026-01-01"}}, True),
        ({"resourceType": "MedicationRequest", "status": "active", "authoredOn": "2026-01-01"}, False),
        ({"resourceType": "MedicationRequest", "status": "draft", "authoredOn": "2026-01-01"}, True),
    ],
)
def test_a_record_stands_on_a_day_as_it_was_known_then(resource: dict[str, Any], is_kept: bool) -> None:
    patient = {"resourceType": "Patient", "birthDate": "2020-06-01", "deceasedDateTime": "2026-01-01"}
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient}, {"resource": resource}]}
    kept, later = known_on(bundle, date(2020, 1, 1))
    alive = {"resourceType": "Patient", "birthDate": "2020-06-01"}
    assert [entry["resource"] for entry in kept["entry"]] == [alive, *([resource] if is_kept else [])]
    assert later == ([] if is_kept else [resource])

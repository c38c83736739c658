"""Nothing of a patient in logs and errors; settings that are told plainly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cds_service.errors import SettingsError
from cds_service.service import DecisionService
from cds_service.settings import read_settings
from tests.conftest import ROOT
from tests.support.calls import CALL, SECRETS, make, secret_call
from tests.support.people import body, bundle, concept, medication, observation, patient


@pytest.mark.parametrize("kind", ["answered", "refused", "failed", "malformed", "incomplete"])
def test_no_log_line_holds_anything_of_a_patient(
    decision_service: DecisionService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    call = secret_call()
    if kind == "refused":
        call["hook"] = "order-sign"
    if kind == "incomplete":
        del call["prefetch"]["conditions"]
    if kind == "failed":
        monkeypatch.setattr(DecisionService, "answer", lambda *given, **options: {"zebedee": 1}["Quokka Zebedee, 1944-04-14"])
    content = json.dumps(call)[: -1 if kind == "malformed" else None]
    client = make(decision_service, tmp_path)
    capfd.readouterr()
    answer = client.post(CALL, content=content, headers={"Content-Type": "application/json"})
    logged = capfd.readouterr()
    lines = [json.loads(line) for line in logged.err.splitlines()]
    assert len(lines) == 1
    assert logged.out == ""
    told = json.dumps(lines) + (answer.text if answer.status_code != 200 else "")
    assert not [secret for secret in SECRETS if secret.lower() in told.lower()]
    if kind == "failed":
        assert any("tests.system.test_privacy" in place for place in lines[0]["where"])


def test_the_log_counts_what_was_left_out(
    decision_service: DecisionService, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = observation(3.1, subject={"reference": "Patient/other"})
    client = make(decision_service, tmp_path)
    capfd.readouterr()
    unknown_drugs = bundle(*(medication(concept(text=name)) for name in ("Xyzzyforte 20", "Zebedolol retard")))
    client.post(CALL, json=body({"electrolytes": bundle(other, other, []), "medicationRequests": unknown_drugs}))
    line = json.loads(capfd.readouterr().err)
    assert (line["foreign_resources"], line["cards"]) == (2, 2)
    assert line["not_understood"] == {"other": 1, "MedicationRequest": 2}
    assert "self-care" in line["fired"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CDS_PORT", "http"),
        ("CDS_PORT", "70000"),
        ("CDS_JURISDICTION", "fr"),
        ("CDS_BODY_LIMIT", "1"),
        ("CDS_CORS_ORIGINS", "*"),
        ("CDS_CORS_ORIGINS", "https://ehr.example/path/"),
        ("CDS_SERVE", "all"),
        ("CDS_MAX_CARDS", "0"),
        ("CDS_ALLOW_AS_OF", "perhaps"),
        ("CDS_PATIENT_KEY", "too short a key"),
        ("CDS_RETENTION_DAYS", "29"),
        ("CDS_METRICS_FROM", "everyone"),
    ],
)
def test_a_setting_that_cannot_be_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert [problem.place for problem in caught.value.problems] == [name]
    assert "too short a key" not in str(caught.value)


def test_a_key_that_is_empty_is_none_and_one_that_is_set_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_PATIENT_KEY", "")
    assert read_settings().patient_key is None
    monkeypatch.setenv("CDS_PATIENT_KEY", "k" * 32)
    assert "kkk" not in repr(read_settings())


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_PORT", "8123")
    monkeypatch.setenv("CDS_CORS_ORIGINS", "https://a.example, https://b.example:8443")
    settings = read_settings()
    assert (settings.port, settings.cors_origins) == (8123, ("https://a.example", "https://b.example:8443"))
    assert settings.knowledge == ROOT


def test_the_log_says_why_the_service_did_not_speak_by_the_name_of_the_fact(
    decision_service: DecisionService, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    client = make(decision_service, tmp_path)
    capfd.readouterr()
    merged = patient(link=[{"other": {"reference": "Patient/quokka"}, "type": "replaced-by"}])
    assert client.post(CALL, json=body({"patient": merged})).json() == {"cards": []}
    line = json.loads(capfd.readouterr().err)
    assert (line["silent_because"], line["fired"]) == (["replaced"], [])
    assert "quokka" not in json.dumps(line)
    client.post(CALL, json=body())
    assert json.loads(capfd.readouterr().err)["silent_because"] == []

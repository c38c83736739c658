"""What if something on record were otherwise: what is changed is changed, nothing else, and told truly."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cds_service.fhir.resources import Measurement, Quantity, ReferenceRange
from cds_service.knowledge.fact_kinds import OfEquation
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.units import Unusable
from cds_service.model import Outcome
from cds_service.pages.edits import offered, slides, written_ranges
from cds_service.pages.sandbox import Sandbox
from cds_service.pages.what_if import Slides, WhatIf
from cds_service.service import DecisionService
from tests.conftest import ROOT
from tests.support.pages import make


@pytest.fixture(scope="module")
def bench(decision_service: DecisionService) -> Sandbox:
    return Sandbox(decision_service)


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    with make(decision_service, tmp_path) as made:
        yield made


def what_if(bench: Sandbox, name: str, **fields: Any) -> WhatIf:
    person = bench.person(name)
    given = {key.replace("_", "-"): value if isinstance(value, list) else [value] for key, value in fields.items()}
    return Slides(bench).what_if(person, bench.choice({}, person), given)


def fires(found: WhatIf, outcome: Outcome = Outcome.FIRES) -> set[str]:
    return {rule for rule, finding in found.trial.findings.items() if finding.outcome is outcome}


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        ("2.5", {"low-potassium", "severe-potassium"}),
        ("2.6", {"low-potassium"}),
        ("3.4", {"low-potassium"}),
        ("3.5", set()),
        ("5.1", set()),
        ("5.2", {"high-potassium"}),
        ("6.4", {"high-potassium"}),
        ("6.5", {"high-potassium", "severe-potassium"}),
    ],
)
def test_a_value_slid_across_a_boundary_turns_its_rules(bench: Sandbox, value: str, rules: set[str]) -> None:
    found = what_if(bench, "ada-stiffcalf", analyte="potassium", measured="value", value=value)
    assert {rule for rule in fires(found) if rule.endswith("-potassium")} == rules


@pytest.mark.untraced
@pytest.mark.parametrize("name", ["ada-stiffcalf", "cora-allwell", "basil-manyunits", "abel-oddments"])
@pytest.mark.parametrize("analyte", ["potassium", "calcium-total", "egfr", "tsh"])
def test_what_is_told_along_the_slider_is_what_is_shown_there(bench: Sandbox, name: str, analyte: str) -> None:
    stretches = what_if(bench, name, analyte=analyte).stretches
    told = [value for stretch in stretches for value in (stretch.first, stretch.last)]
    assert told == sorted(told)
    turning = {rule.id for stretch in stretches for rule in (*stretch.fires, *stretch.unknown)}
    for stretch in stretches:
        for value in (stretch.first, stretch.last):
            found = what_if(bench, name, analyte=analyte, measured="value", value=str(value))
            assert fires(found) & turning == {rule.id for rule in stretch.fires}, value
            assert fires(found, Outcome.UNKNOWN) & turning == {rule.id for rule in stretch.unknown}, value


def test_a_whole_number_is_told_as_one(bench: Sandbox) -> None:
    found = what_if(bench, "hedda-ninecauses", analyte="egfr", measured="value", value="22")
    assert any(item.card.summary.startswith("eGFR 22 mL/min") for item in found.cards)


def test_a_boundary_lies_where_the_answers_differ_and_nowhere_else(bench: Sandbox) -> None:
    found = what_if(bench, "ada-stiffcalf", analyte="potassium")
    assert [str(stretch.first) for stretch in found.stretches] == ["2.0", "2.6", "3.5", "5.2", "6.5"]
    assert [(stretch.at, stretch.steps) for stretch in found.stretches] == [(0, 6), (6, 9), (15, 17), (32, 13), (45, 6)]


def test_what_was_never_measured_is_neither_low_nor_normal(bench: Sandbox) -> None:
    found = what_if(bench, "ada-stiffcalf", analyte="potassium", measured="missing")
    assert found.trial.findings["low-potassium"].outcome is Outcome.UNKNOWN
    assert [card.summary for card in found.gone] == ["Potassium 3.1 mmol/L (12 Nov) may contribute to leg cramps"]
    assert {"low-potassium": "unknown"}.items() <= {turn.rule.id: turn.now for turn in found.turns}.items()


def test_a_component_is_left_out_alone(bench: Sandbox) -> None:
    found = what_if(bench, "abel-oddments", analyte="sodium", measured="missing")
    facts = found.trial.decision.facts
    assert facts["sodium_measured"].value is False
    assert facts["potassium_measured"].value is True


@pytest.mark.untraced
def test_nothing_is_changed_before_something_is_asked(bench: Sandbox, client: TestClient) -> None:
    for person in bench.cast[::8]:
        assert "As on record: nothing changes." in client.get(f"/try/{person.id}/what-if").text
    for person in bench.cast:
        found = what_if(bench, person.id)
        assert not found.turns
        assert not found.news
        cards = bench.try_person(person, bench.choice({}, person)).decision.cards
        assert [item.card.summary for item in found.cards] == [card.summary for card in cards]


@pytest.mark.untraced
@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_whatever_has_a_slider_can_be_slid_and_left_out(bench: Sandbox, jurisdiction: str) -> None:
    for analyte in slides(bench.decision_service.knowledge, jurisdiction):
        for measured in ("value", "missing"):
            person = bench.person("basil-manyunits")
            choice = bench.choice({"jurisdiction": jurisdiction}, person)
            found = Slides(bench).what_if(person, choice, {"analyte": [analyte], "measured": [measured]})
            view = found.trial.decision.view
            assert bool(view.measured.get(f"lab:{analyte}")) is (measured == "value"), analyte
            assert found.stretches[0].first == found.changes.slide.least


def test_what_is_not_ticked_any_more_is_gone(bench: Sandbox) -> None:
    on_record = what_if(bench, "ada-stiffcalf").record
    conditions = [row.reference for row in on_record.conditions]
    thyroid = next(row.reference for row in on_record.conditions if row.name == "Hypothyroidism")
    drugs = [bar.row.reference for bar in on_record.courses.bars]
    kept = [item for item in conditions + drugs if item != thyroid]
    found = what_if(bench, "ada-stiffcalf", asked="1", keep=kept)
    assert {(turn.rule.id, turn.was, turn.now) for turn in found.turns} == {("hypothyroidism", "fires", "silent")}
    assert found.changes.left_out == {thyroid}


def test_a_drug_begun_on_a_day_is_told_with_that_day(bench: Sandbox) -> None:
    found = what_if(bench, "cora-allwell", drug="quinine", since_quinine="2026-11-02")
    assert "quinine-us" in fires(found)
    assert "2 Nov" in next(item.card.detail or "" for item in found.cards if item.news == "new")


@pytest.mark.parametrize("kind", ["condition", "medication"])
def test_whatever_can_be_added_is_read_as_what_it_is(bench: Sandbox, kind: str) -> None:
    person = bench.person("cora-allwell")
    names = list(offered(bench.decision_service.knowledge, kind))
    found = what_if(bench, person.id, **{"condition" if kind == "condition" else "drug": names})
    view = found.trial.decision.view
    assert set(names) <= (view.conditions.keys() if kind == "condition" else view.drugs[0].keys())
    assert not found.trial.decision.chart.damaged["conditions"]


def test_one_condition_is_added_and_no_other(bench: Sandbox) -> None:
    found = what_if(bench, "cora-allwell", condition="cancer")
    view = found.trial.decision.view
    assert [name for name, held in view.conditions.items() if any("what-if" in (item.id or "") for item in held)] == ["cancer"]


def test_whoever_adds_a_result_has_asked_for_results(bench: Sandbox) -> None:
    withheld = [item for item in bench.cast if "electrolytes" in (*item.withheld, *item.failed_keys) and item.cards]
    assert withheld
    for person in withheld:
        found = what_if(bench, person.id, analyte="potassium", measured="value", value="2.4")
        assert "severe-potassium" in fires(found), person.id


@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_a_slider_reads_in_a_unit_of_the_place_and_reaches_beyond_every_limit(knowledge: Knowledge, jurisdiction: str) -> None:
    found = slides(knowledge, jurisdiction)
    assert set(knowledge.labs) - set(found) == {"urinalysis"}
    for name, slide in found.items():
        factors = knowledge.factors[name]
        assert not isinstance(factors.of(Quantity(value=Decimal(1), unit=slide.unit)), Unusable)
        assert slide.values[-1] == slide.most
        assert len(slide.values) <= 120
        range_here = knowledge.labs[name].ranges.get(jurisdiction)
        if range_here and slide.unit == knowledge.labs[name].unit:
            assert slide.least < Decimal(range_here.high) < slide.most


def test_every_number_that_a_rule_asks_for_lies_on_a_slider(knowledge: Knowledge) -> None:
    asked = {
        (analyte, Decimal(number))
        for rule in knowledge.rules
        for name, number in re.findall(r'\{"var": "(\w+)"\}, "?([\d.]+)"?\]', json.dumps(rule.fires_when.source, default=str))
        for analyte in knowledge.facts[name].analytes
        if knowledge.facts[name].type == "number" and not isinstance(knowledge.facts[name].kind, OfEquation)
    }
    assert len(asked) > 15
    for analyte, number in asked:
        least, most, _ = knowledge.labs[analyte].slide[knowledge.labs[analyte].unit]
        assert Decimal(least) < number < Decimal(most), analyte


def test_every_field_that_cannot_be_is_told_at_once(client: TestClient) -> None:
    path = "/try/ada-stiffcalf/what-if?analyte=gold&measured=value&value=NaN&condition=gloom&drug=quinine&since-quinine=soon"
    decision = client.get(path)
    assert decision.status_code == 400
    for place in ("analyte", "value", "condition", "since-quinine"):
        assert f"<code>{place}</code>" in decision.text
    assert "<code>measured</code>" in client.get("/try/ada-stiffcalf/what-if?measured=maybe").text


def test_another_result_does_not_take_over_the_value_of_the_one_before(bench: Sandbox) -> None:
    found = what_if(bench, "ada-stiffcalf", analyte="sodium", slid="potassium", measured="value", value="3.1", stood="3.1")
    assert (found.changes.slide.analyte, found.changes.measuring, str(found.changes.value)) == ("sodium", "record", "139")


def test_who_slides_without_a_script_means_it(bench: Sandbox) -> None:
    moved = what_if(bench, "ada-stiffcalf", slid="potassium", stood="3.1", value="2.4", measured="record")
    assert moved.invented == "Potassium 2.4 mmol/L"
    assert "severe-potassium" in fires(moved)
    assert what_if(bench, "ada-stiffcalf", slid="potassium", stood="2.4", value="2.4", measured="record").invented == ""


def test_what_is_not_on_record_is_told_in_a_line(bench: Sandbox) -> None:
    kept = ["Condition/c1", "MedicationRequest/m1"]
    given = {"analyte": "tsh", "measured": "missing", "drug": "quinine", "since_quinine": "2026-11-02", "keep": kept}
    found = what_if(bench, "ada-stiffcalf", asked="1", **given)
    assert found.invented.startswith("TSH never measured; Quinine since 2026-11-02; without ")
    assert "without Hypothyroidism" in found.invented
    assert found.news.startswith("2 new, ")
    assert ": Quinine with potassium 3.1 mmol/L" in found.news


@pytest.mark.parametrize("value", ["1.9", "7.1", "1e9", "Infinity", "-3", "<script>alert(1)</script>"])
def test_only_a_value_of_the_slider_is_tried(client: TestClient, value: str) -> None:
    decision = client.get("/try/ada-stiffcalf/what-if", params={"measured": "value", "value": value})
    assert decision.status_code == 400
    assert "<script>alert" not in decision.text


def test_the_range_of_the_laboratory_holds_for_what_is_slid(bench: Sandbox) -> None:
    """Ada's laboratory calls 5.1 normal; the default range of her country ends at 5.0."""
    assert "high-potassium" not in fires(what_if(bench, "ada-stiffcalf", measured="value", value="5.1"))
    assert "high-potassium" in fires(what_if(bench, "ada-stiffcalf", measured="value", value="5.2"))
    without = next(row for row in what_if(bench, "cora-allwell").record.series if row.name == "Potassium").rows[0]
    assert without.note == "default adult range"
    assert "high-potassium" in fires(what_if(bench, "cora-allwell", measured="value", value="5.1"))


def test_a_limit_without_a_unit_keeps_that_of_its_result() -> None:
    quantity = Quantity(value=Decimal(12), unit="mg/dL")
    limit = Quantity(value=Decimal(14))
    ranges = written_ranges(Measurement(value_quantity=quantity, reference_range=[ReferenceRange(high=limit)]))
    assert [(item["high"]["value"], item["high"]["unit"]) for item in ranges] == [(14, "mg/dL")]


def test_only_what_the_change_needs_is_taken_as_supplied(bench: Sandbox, client: TestClient) -> None:
    person = bench.person("nell-noresults")
    found = what_if(bench, person.id, analyte="potassium", measured="value", value="4.2")
    queries = bench.decision_service.knowledge.queries
    assert found.lifted == (queries["electrolytes"].title,)
    assert found.trial.decision.chart.query_state["otherResults"] != "known"
    page = client.get(f"/try/{person.id}/what-if?analyte=potassium&measured=value&value=4.2")
    assert f"taken to have supplied what it did not: {queries['electrolytes'].title}." in page.text


def test_what_failed_at_her_ehr_does_not_pass_for_unmeasured_beside_another_result(bench: Sandbox) -> None:
    """Nell's electrolytes could not be fetched: a TSH tells nothing of them."""
    found = what_if(bench, "nell-noresults", analyte="tsh", measured="value", value="12")
    assert "raised-tsh" in fires(found)
    assert "electrolytes" in fires(found, Outcome.UNKNOWN)
    assert found.lifted == (bench.decision_service.knowledge.queries["otherResults"].title,)
    assert not any("tests not done" in item.card.summary for item in found.cards)


def test_a_card_that_offers_something_else_has_changed(bench: Sandbox) -> None:
    found = what_if(bench, "nona-allatonce", condition="peripheral-neuropathy")
    numbness = next(item for item in found.cards if "numbness" in item.card.summary)
    assert numbness.news == "changed"


def test_a_value_between_two_steps_stands_in_the_stretch_below(client: TestClient) -> None:
    page = client.get("/try/ada-stiffcalf/what-if?measured=value&value=2.55").text
    assert page.count('aria-current="true"') == 1
    assert re.search(r'aria-current="true".*?2\.0 to 2\.5', page, re.DOTALL)


def test_htmx_is_the_file_that_was_published() -> None:
    """npm htmx.org 4.0.1, dist/htmx.min.js."""
    content = (ROOT / "cds_service/pages/static/htmx.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"

"""The terminal door, run as a person runs it."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from cds_service.knowledge.load import load_knowledge
from cds_service.knowledge.localise import spelled
from tests.conftest import COVERAGE, ROOT
from tests.support.people import SERVICE, body, bundle, concept, condition, medication, observation, patient
from tests.support.terminal import cds

ADA = "fixtures/patients/ada-stiffcalf.json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_run_prints_the_cards_without_colours_into_a_pipe() -> None:
    done = cds("run", ADA)
    assert done.returncode == 0
    assert "Potassium 3.1 mmol/L (12 Nov) may contribute to leg cramps" in done.stdout
    assert "[x] Order magnesium" in done.stdout
    assert "\x1b[" not in done.stdout


def test_the_date_and_the_jurisdiction_can_be_chosen() -> None:
    later = cds("run", ADA, "--as-of", "2027-11-20")
    assert "Potassium 3.1" not in later.stdout
    assert "not clinically reviewed" in cds("run", ADA, "--jurisdiction", "uk").stdout


def test_explain_names_every_rule_with_facts_resources_and_dates() -> None:
    knowledge = spelled(load_knowledge(ROOT), "us")
    told = " ".join(cds("explain", ADA).stdout.split())
    for rule in knowledge.rules_of(SERVICE):
        assert " ".join(rule.file.title.split()) in told
    assert "the latest potassium is below its range: 3.1 mmol/L, 12 Nov, laboratory's range 3.5 to 5.1 mmol/L" in told
    assert "[Observation/o4]" in told
    assert "none in 90 days: blood lead, blood mercury, glucose, calcium, magnesium and creatine kinase" in told


def test_explain_says_why_a_child_is_out_of_scope() -> None:
    told = cds("explain", "fixtures/patients/pia-schoolyard.json").stdout
    assert f"{len(load_knowledge(ROOT).rules_of(SERVICE))} rules, as the patient's age is 16" in told
    assert "It would speak if the patient's age is at least 18." in told


def test_explain_shows_a_unit_that_could_not_be_read() -> None:
    told = cds("explain", "fixtures/patients/milo-nounit.json").stdout
    assert "no unit: potassium (3.1, 11 Nov [Observation/o2])" in told
    assert "unit 'g/dL' unknown: sodium" in told


def test_the_catalogue_counts_cards_and_suggestions_of_the_cast(tree: Path) -> None:
    (tree / "docs").mkdir()
    told = cds("catalogue", knowledge=tree).stdout
    assert re.search(r"\d+ people: median \d", told)
    assert "## How many cards" in (tree / "logic/CATALOGUE.md").read_text()


def test_a_whole_hook_request_can_be_run(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(body({"electrolytes": bundle(observation(3.1))})))
    assert "Potassium 3.1" in cds("run", str(path), "--as-of", "2026-11-20").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.json"], "cannot be read"),
        (["run", ADA, "--as-of", "soon"], "'soon' is no date"),
        (["run", ADA, "--jurisdiction", "fr"], "'fr' is unknown"),
        (["check", "README.md"], "is no JSON"),
        (["new", "results/low-potassium", "--when", "taking_statin"], "exists already"),
        (["new", "results/Bad Name", "--when", "taking_statin"], "TOPIC/RULE"),
        (["new", "nowhere/new", "--when", "taking_statin"], "no topic"),
        (["new", "results/new", "--when", "taking_magic"], "--when column 1: 'taking_magic' is no fact"),
        (["new", "results/new", "--when", "age_years ** 2 > 3"], "--when column 1: 'age_years ** 2' has no form"),
        (["new", "results/new", "--when", "age_years > 'old'"], "string"),
        (["new", "results/new", "--when", "and"], "--when column 1: cannot be read from 'and' on"),
    ],
)
def test_a_persons_mistake_is_told_plainly(arguments: list[str], message: str) -> None:
    done = cds(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "problem" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["run"], ["unheard"], ["new", "x/y"], ["run", "--unheard", "x"]])
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    assert cds(*arguments).returncode == 2


def test_every_command_helps_with_an_example() -> None:
    listed = cds("--help").stdout
    for name in ("serve", "run", "explain", "check", "new", "catalogue", "lock", "demo"):
        assert name in listed
        assert "Example:" in cds(name, "--help").stdout
    assert cds("--version").stdout.strip() == "0.1.0"


def test_check_tells_every_problem_and_ends_with_one(tree: Path) -> None:
    (tree / "logic/rules/results/low-sodium.cases.json").unlink()
    (tree / "cards/results/low-sodium.json").unlink()
    done = cds("check", knowledge=tree)
    assert done.returncode == 1
    assert done.stderr.count("low-sodium") == 2
    assert "2 problems found" in done.stderr
    assert cds("check").stdout.strip() == "logic/ and cards/: no problems found."


def test_check_reads_a_patient_file() -> None:
    assert "no problems found" in cds("check", ADA).stdout


@pytest.mark.parametrize("command", ["run", "check", "explain"])
def test_a_bundle_of_two_patients_is_refused(tmp_path: Path, command: str) -> None:
    path = tmp_path / "two.json"
    path.write_text(json.dumps(bundle(patient(), patient(id="p2"), condition(concept(text="Leg cramps")))))
    done = cds(command, str(path))
    assert done.returncode == 1
    assert "entry: holds 2 Patients -> give exactly one" in done.stderr
    assert "card" not in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "explain"])
def test_what_was_left_out_of_a_file_is_told(tmp_path: Path, command: str) -> None:
    path = tmp_path / "odd.json"
    odd = [
        patient(),
        condition(concept(text="Vadkramp")),
        medication(concept(text="Xyzzyforte \x1b[31m"), id="m9"),
        observation(3.1, subject={"reference": "Patient/p2"}),
        {"resourceType": "Bundle", "type": "collection", "entry": []},
        {"resourceType": "MedicationOrder", "id": "o"},
    ]
    path.write_text(json.dumps(bundle(*odd)))
    told = cds(command, str(path)).stdout
    assert "Left out or not understood (5)" in told
    for line in (
        "Condition/c1 “Vadkramp”: could not be identified [entry[1].resource]",
        "MedicationRequest/m9 “Xyzzyforte (31m”: could not be identified [entry[2].resource]",
        "Bundle: is a Bundle inside a Bundle, which is not opened [entry[4].resource]",
        "1 resource of another patient [entry]",
        "MedicationOrder/o: came as MedicationOrder, which is not read here [entry[5].resource]",
    ):
        assert line in told
    assert "\x1b" not in told
    if command != "check":
        assert "No cards: it could not be decided whether recurrent leg cramps are on record" in " ".join(told.split())


def test_the_explanation_as_json_holds_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "odd.json"
    path.write_text(json.dumps(bundle(patient(), condition(concept(text="Vadkramp")))))
    told = json.loads(cds("explain", "--json", str(path)).stdout)
    (item,) = told["left_out"]["entries"]
    assert item == {
        "place": "entry[1].resource",
        "reference": "Condition/c1",
        "name": "Vadkramp",
        "reason": "could not be identified",
    }
    assert told["no_cards_as"].startswith("it could not be decided whether")


def test_a_call_says_itself_whose_it_is_and_what_it_holds_of_another_is_told(tmp_path: Path) -> None:
    path = tmp_path / "call.json"
    path.write_text(json.dumps(body({"patient": bundle(patient(), patient(id="p2"))})))
    done = cds("run", str(path), "--as-of", "2026-11-20")
    assert done.returncode == 0
    assert "1 resource of another patient [prefetch.patient]" in done.stdout


@pytest.mark.parametrize(
    "spoil",
    [
        lambda root: shutil.rmtree(root / "logic"),
        lambda root: (root / "logic/facts/cramps.json").write_text("{"),
        lambda root: (root / "cards/results/low-sodium.json").unlink(),
        lambda root: (root / "logic/rules/results/low-sodium.json").write_text("[]"),
    ],
    ids=["no folder", "no JSON", "no card", "another shape"],
)
def test_a_broken_knowledge_folder_stops_the_start_with_a_report(tree: Path, spoil: object) -> None:
    spoil(tree)  # type: ignore[operator]
    code = "from cds_service.app import create_app; create_app()"
    env = {"PATH": os.environ["PATH"], "CDS_KNOWLEDGE": str(tree), "PYTHONPATH": str(ROOT)} | COVERAGE
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tree, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "The service cannot start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_rule_is_three_files_that_fail_where_work_is_left(tree: Path) -> None:
    done = cds("new", "results/very-old", "--when", "age_years >= 90 and not (taking_statin or smoking)", knowledge=tree)
    assert done.returncode == 0, done.stderr
    rule = json.loads((tree / "logic/rules/results/very-old.json").read_text())
    assert rule["fires_when"] == {
        "and": [{">=": [{"var": "age_years"}, 90]}, {"!": [{"or": [{"var": "taking_statin"}, {"var": "smoking"}]}]}]
    }
    taken = [json.loads(path.read_text()).get("priority", 0) for path in (ROOT / "logic/rules/results").glob("*.json")]
    assert rule["priority"] == max(taken) + 10
    left = cds("check", knowledge=tree).stderr
    for message in ("no evidence", "TODO", "no row is fires", "no row is silent", "exactly on 90", "no row notices"):
        assert message in left


@pytest.mark.parametrize(
    ("condition", "logic"),
    [
        ("18 <= age_years < 65", {"and": [{"<=": [18, {"var": "age_years"}]}, {"<": [{"var": "age_years"}, 65]}]}),
        ("age_years > 64.5", {">": [{"var": "age_years"}, 64.5]}),
        ("tsh_against_range in ['low', 'high']", {"in": [{"var": "tsh_against_range"}, ["low", "high"]]}),
        ("smoking and diabetes and dehydration", {"and": [{"var": "smoking"}, {"var": "diabetes"}, {"var": "dehydration"}]}),
        ("age_years - 5 == 60", {"==": [{"-": [{"var": "age_years"}, 5]}, 60]}),
    ],
)
def test_nothing_of_a_condition_is_dropped(tree: Path, condition: str, logic: object) -> None:
    done = cds("new", "results/tried", "--when", condition, knowledge=tree)
    assert done.returncode == 0, done.stderr
    assert json.loads((tree / "logic/rules/results/tried.json").read_text())["fires_when"] == logic


def test_the_cast_is_listed_and_exported(tmp_path: Path) -> None:
    assert "ada-stiffcalf" in cds("fixtures", "list").stdout
    assert cds("fixtures", "export", "--as-of", "today", str(tmp_path / "out")).returncode == 0
    assert len(list((tmp_path / "out").glob("*.json"))) >= 20


def test_the_demo_signs_nothing_and_says_so(tmp_path: Path) -> None:
    done = cds("demo", cwd=tmp_path, CDS_CLIENTS="clients.toml")
    assert done.returncode == 1
    assert "CDS_CLIENTS: is set, and the demonstration signs nothing" in done.stderr


def test_a_draft_is_tried_from_the_terminal() -> None:
    draft = str(ROOT / "fixtures/drafts/quinine.json")
    cora = str(ROOT / "fixtures/patients/cora-allwell.json")
    for command in ("run", "explain"):
        told = cds(command, cora, "--hook", "order-sign", "--draft", draft).stdout
        assert "Quinine being ordered" in told
        assert "order-select" not in cds(command, cora).stdout
    assert "No cards" in cds("run", cora, "--hook", "order-select").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--draft", "x.json"], "goes with a hook on ordering"),
        (["--hook", "order-review"], "'order-review' is unknown"),
        (["--hook", "order-sign", "--draft", "nowhere.json"], "cannot be read"),
    ],
)
def test_a_draft_or_a_hook_that_does_not_fit_is_told_plainly(arguments: list[str], message: str) -> None:
    done = cds("run", ADA, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_of_drafts_is_tried_as_well(tmp_path: Path) -> None:
    draft = json.loads((ROOT / "fixtures/drafts/quinine.json").read_text())
    path = tmp_path / "drafts.json"
    path.write_text(
        json.dumps({"resourceType": "Bundle", "entry": [{"resource": draft}, {"resource": draft | {"id": "draft-2"}}]})
    )
    told = cds("run", ADA, "--hook", "order-select", "--draft", str(path)).stdout
    assert told.count("[ ] Remove Quinine sulfate 324 mg capsule") == 2


def test_the_exported_transactions_put_each_id_once_and_refer_to_nothing_elsewhere(tmp_path: Path) -> None:
    assert cds("fixtures", "export", "--as-of", "today", "--transaction", str(tmp_path)).returncode == 0
    put: list[str] = []
    for path in tmp_path.glob("*.json"):
        loaded = json.loads(path.read_text())
        assert loaded["type"] == "transaction"
        own = {f"{entry['resource']['resourceType']}/{entry['resource']['id']}" for entry in loaded["entry"]}
        assert own == {entry["request"]["url"] for entry in loaded["entry"]}
        assert {entry["request"]["method"] for entry in loaded["entry"]} == {"PUT"}
        put += sorted(own)
        referred = set(re.findall(r'"reference": "(Condition/[^"]+|Medication/[^"]+|Encounter/[^"]+)"', json.dumps(loaded)))
        assert all(name in own or name.endswith(("/elsewhere", "/gone")) for name in referred), referred - own
    assert len(set(put)) == len(put) > 300


def test_the_demo_starts_the_service_calls_it_and_ends(tmp_path: Path) -> None:
    done = cds("demo", cwd=tmp_path, CDS_PORT=str(free_port()))
    assert done.returncode == 0, done.stderr
    assert "Potassium 3.1 mmol/L (12 Nov)" in done.stdout
    assert "Serving on http://127.0.0.1:" in done.stdout


def test_the_demo_counts_nobody_and_logs_nothing_amid_the_cards(tmp_path: Path) -> None:
    done = cds("demo", cwd=tmp_path, CDS_PORT=str(free_port()), CDS_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/own.sqlite")
    assert "Potassium 3.1" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_cards_shown_at_the_start_count_nobody(tmp_path: Path) -> None:
    port = str(free_port())
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "CDS_PORT": port, "PYTHONUNBUFFERED": "1"} | COVERAGE
    command = [sys.executable, "-m", "cds_service.cli", "serve", "--try", "--show-cards"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=env, text=True, **pipes) as serving:  # type: ignore[call-overload]
        assert serving.stdout is not None
        shown: list[str] = []
        while not shown or not shown[-1].startswith("Serving on"):
            shown.append(serving.stdout.readline())
            assert shown[-1], serving.stderr and serving.stderr.read()
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            counted = answer.read().decode()
        serving.terminate()
    assert "Potassium 3.1 mmol/L (12 Nov)" in "".join(shown)
    assert 'service="leg-cramps-patient-view"' not in counted
    assert "cds_rules_shown_total{" not in counted


def test_a_port_that_is_taken_is_told_plainly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cds("demo", cwd=tmp_path, CDS_PORT=str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr

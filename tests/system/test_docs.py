"""Documents that cannot drift: what they say is run, parsed or compared."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from cds_service.knowledge.card_files import CardFile
from cds_service.knowledge.fact_files import FactFile
from cds_service.knowledge.schema import Analyte, RuleFile
from cds_service.lint.cases import CasesFile
from cds_service.lint.fact_cases import FactCase
from cds_service.settings import Settings
from cds_service.terminal.patient_files import Asking, ask, read_patient_file
from tests.conftest import ROOT
from tests.support.command_reference import written
from tests.support.documents import DOCUMENTS

FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def fences(document: str, kind: str) -> list[str]:
    return [body for found, body in FENCE.findall((ROOT / document).read_text()) if found == kind]


MODULES = sorted(path for path in (ROOT / "cds_service").rglob("*.py") if "migrations" not in path.parts)
ROOMS = sorted({path.parent for path in MODULES} - {ROOT / "cds_service"})
TEXTS = {".py", ".html", ".css", ".js", ".svg"}
CODE = sorted(path for path in (ROOT / "cds_service").rglob("*") if path.suffix in TEXTS)


def test_the_page_of_commands_is_what_the_program_has() -> None:
    assert (ROOT / "docs/commands.md").read_text(encoding="utf-8") == written(), "run: make commands"


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "make test" in fences("README.md", "sh")[0]
    assert [line for line in script.splitlines() if line.startswith("make")] == ["make check", "make test"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_json_block_is_json(document: str) -> None:
    for block in fences(document, "json"):
        json.loads(block)


def test_the_examples_of_a_rule_have_the_shape_that_is_read() -> None:
    rule, cases, card, *_ = fences("CONTRIBUTING.md", "json")
    assert list(json.loads(rule)) == [name for name in RuleFile.__struct_fields__ if name != "not_again_for"]
    assert json.loads(rule) == json.loads((ROOT / "logic/rules/results/low-potassium.json").read_text())
    assert msgspec.json.decode(cases, type=CasesFile).rule == "low-potassium"
    assert msgspec.json.decode(card, type=CardFile).rule == "low-potassium"


def test_the_examples_of_a_fact_are_those_of_the_topic() -> None:
    *_, declared, cases = fences("CONTRIBUTING.md", "json")
    topic = msgspec.json.decode((ROOT / "logic/facts/electrolytes.json").read_bytes(), type=FactFile)
    assert msgspec.json.decode(declared, type=FactFile).results.items() <= topic.results.items()
    written = (ROOT / "logic/facts/electrolytes.cases.json").read_bytes()
    own = msgspec.json.decode(written, type=dict[str, list[FactCase]])
    for name, rows in msgspec.json.decode(cases, type=dict[str, list[FactCase]]).items():
        assert [(row.chart, row.expect) for row in rows] == [(row.chart, row.expect) for row in own[name][: len(rows)]]


def test_contributing_names_each_member_of_a_topic_and_of_an_analyte() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    facts, analyte = text.split("## A fact")[1], text.split("## An analyte")[1].split("\n## ")[0]
    for name in FactFile.__struct_fields__:
        assert f"| `{name}` |" in facts, name
    rare = {"adjusted", "decimals"}
    assert [name for name in Analyte.__struct_fields__ if name not in rare and f"`{name}`" not in analyte] == []


def test_the_rooms_are_the_folders() -> None:
    rooms = next(block for block in fences("README.md", "") if block.startswith("logic/"))
    named = {line.split("/")[0] for line in rooms.splitlines() if line}
    hidden = {"var", "dist", "out"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))} - hidden
    assert named == folders


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*DOCUMENTS, "docs/tutorial.md", "logic/value_sets/README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / document).read_text()):
            assert ((ROOT / document).parent / target).exists(), f"{document}: {target}"


def test_every_setting_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `CDS_(\w+)` \| ([^|]+) \|", (ROOT / "deploy/README.md").read_text(), re.MULTILINE))
    fields = Settings.model_fields
    assert {name.lower() for name in rows} == set(fields)
    for name, shown in rows.items():
        default = fields[name.lower()].default
        if isinstance(default, (str, int)) and not isinstance(default, bool):
            assert shown.strip().strip("`") == str(default), name


def test_the_files_that_the_readme_points_at_exist() -> None:
    for path in re.findall(r"`((?:cds_service|logic|cards|docs)/[^`*]*)`", (ROOT / "README.md").read_text()):
        assert (ROOT / path).exists(), path


def test_the_readme_names_the_rooms_of_the_service_in_the_order_of_their_imports() -> None:
    """The layers of the import contract, without the modules that are no rooms."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer.split(" | ") for layer in contracts[0]["layers"]]
    rooms = [[name for name in layer if (ROOT / "cds_service" / name).is_dir() or name == "service"] for layer in layers]
    text = (ROOT / "README.md").read_text()
    chain = text[text.index("http pages terminal >") : text.index(" store net.") + len(" store net")]
    told = [layer.replace("service.py", "service").split() for layer in chain.split(">")]
    assert told == [layer for layer in rooms if layer]


def test_the_glossary_names_what_exists_and_every_room() -> None:
    text = (ROOT / "docs/glossary.md").read_text().split("|---|---|\n")[1]
    rows = text.splitlines()
    assert 0 < len(rows) <= 40
    named = set(re.findall(r"`([^`]+)`", text))
    rooms = {f"{room.name}/" for room in ROOMS if room.parent.name == "cds_service"}
    assert rooms <= named
    files = {name for name in named - rooms if "/" in name}
    assert [name for name in files if not (ROOT / name).exists()] == []
    assert named - rooms - files <= set(classes())


def test_no_text_calls_itself_what_nobody_has_determined() -> None:
    """Whether it is a medical device is a question for a regulator, who has not been asked."""
    sentence = "No regulatory status has been determined; not for real patients."
    for path in ("README.md", "cds_service/pages/templates/base.html"):
        assert sentence in (ROOT / path).read_text().replace("\n", " "), path
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    texts += [*(ROOT / "cds_service").rglob("*.html"), *(ROOT / "cards").rglob("*.*")]
    assert [path.name for path in texts if "medical device" in path.read_text().lower()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


SVG = "{http://www.w3.org/2000/svg}"


def drawn(name: str) -> dict[str, str]:
    """The words of a picture by the class of the element that holds them."""
    root = ElementTree.fromstring((ROOT / "docs/pictures" / name).read_text())
    groups = [item for item in root.iter() if item.get("class")]
    return {item.get("class", ""): "\n".join(text.text or "" for text in item.iter(f"{SVG}text")) for item in groups}


def test_the_card_that_is_drawn_is_one_that_the_service_gives() -> None:
    """Lines may be broken in a picture; words may not differ."""
    cards = ask(read_patient_file(ROOT / "fixtures/patients/ada-stiffcalf.json"), Asking()).decision.cards
    words = drawn("card.svg")
    card = next(card for card in cards if card.summary == words["summary"].replace("\n", " "))
    assert card.indicator == words["indicator"]
    lines = [line.removeprefix("- ") for line in card.detail.split("\n") if line]
    assert words["detail"].split("\n") == lines
    assert words["suggestions"].split("\n") == [suggestion.label for suggestion in card.suggestions]
    assert words["source"] == card.source.label


def test_a_picture_loads_nothing_from_elsewhere() -> None:
    for path in (ROOT / "docs/pictures").glob("*.svg"):
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "http" not in text, path.name
        assert "<script" not in text, path.name
        assert "<title" in text, path.name


def test_no_document_names_a_rule_that_does_not_exist() -> None:
    rules = {path.stem for path in (ROOT / "logic/rules").glob("*/*.json")} - {"cases"}
    listed = re.findall(r"^- \w[\w-]*: (.+)$", (ROOT / "CHANGELOG.md").read_text().replace("\n  ", " "), re.MULTILINE)
    named = {name.strip() for row in listed for name in row.split(",")}
    assert named
    assert named <= rules


# The questions about when a drug was started are made from the name of the condition, which this module still says itself.
CLINICAL_WORDS_LEFT = {"fact_files.py": {"cramp"}}


def test_the_code_holds_no_clinical_word() -> None:
    """Drugs, tests, codes and conditions live in logic/ and cards/. One value set's worth of words must not leak."""
    names = {
        name for path in (ROOT / "logic/value_sets").glob("*.json") for name in json.loads(path.read_bytes()).get("names", ())
    }
    words = names | {
        "potassium",
        "sodium",
        "magnesium",
        "calcium",
        "thyroid",
        "cramp",
        "diuretic",
        "statin",
        "quinine",
        "tsh",
        "2823-3",
    }
    told = {}
    for path in CODE:
        code = re.sub(r'("""[\s\S]*?""")|(#.*)', "", path.read_text())
        code = (
            code.replace("leg-cramps.example", "")
            .replace("example.leg-cramps", "")
            .replace("Recurrent leg cramps", "")
            .replace("leg-cramps-cds", "")
        )
        lowered = code.lower()
        # Most words stand nowhere, which is told without a pattern.
        found = {
            word for word in words if word.lower() in lowered and re.search(rf"\b{re.escape(word)}s?\b", code, re.IGNORECASE)
        }
        found -= CLINICAL_WORDS_LEFT.get(path.name, set())
        if found:
            told[path.name] = found
    assert told == {}


# A command of the terminal has a parameter for each of its options.
MANY_PARAMETERS = {"cds_service/cli.py explain", "cds_service/cli.py run", "cds_service/terminal/population.py population"}


def calls_in(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_no_function_takes_more_than_five_parameters() -> None:
    """Whoever needs more is handed the thing that holds them: a `Decision`, a `ChartIndex`."""
    many = set()
    for path in sorted((ROOT / "cds_service").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                if len([item for item in given if item.arg not in ("self", "cls")]) > 5:
                    many.add(f"{path.relative_to(ROOT)} {node.name}")
    assert many == MANY_PARAMETERS


LINT_CASES = "cds_service/lint/fact_cases.py"


def test_what_a_decision_holds_is_made_once() -> None:
    """The index of a chart, its facts and their values; the baseline makes those of an empty chart, `check` those of cases."""
    made = {"ChartIndex", "ChartFacts", "FactValues"}
    makers = {str(path.relative_to(ROOT)) for path in (ROOT / "cds_service").rglob("*.py") if made & calls_in(path)}
    assert makers == {"cds_service/service.py", "cds_service/facts/baseline.py", "cds_service/facts/evaluate.py", LINT_CASES}


# Still to be divided: the reading of entries from what is salvaged of them, and the choice of a result from its judgement.
LONG_MODULES_LEFT: set[str] = set()


def test_modules_stay_small() -> None:
    long = {path.name for path in CODE if len(path.read_text().splitlines()) > 400}
    assert long <= LONG_MODULES_LEFT


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module with its number of lines."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_functions_stay_small() -> None:
    long = {f"{path.relative_to(ROOT)} {name}" for path in MODULES for name, lines in functions(path) if lines > 40}
    assert long == set()


def test_a_room_holds_at_most_twelve_modules() -> None:
    """Whoever opens a folder can read the list of its modules at once."""
    counted = {room.name: len([path for path in MODULES if path.parent == room]) - 1 for room in ROOMS}
    assert {name: number for name, number in counted.items() if number > 12} == {}


def test_a_room_says_what_it_is_and_runs_nothing() -> None:
    """The `__init__.py` of a room is a docstring alone: whoever imports one module of a room imports no other by that."""
    for room in ROOMS:
        if (room / "__init__.py").exists():
            text = (room / "__init__.py").read_text()
            (docstring,) = ast.parse(text).body
            assert isinstance(docstring, ast.Expr), room.name
            assert isinstance(docstring.value, ast.Constant), room.name
            assert 1 <= len(text.splitlines()) <= 3, room.name


def classes() -> dict[str, list[str]]:
    """The modules in which each class name of the service stands."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    return places


def test_a_class_has_a_name_of_its_own() -> None:
    """Two classes of one name are taken for each other by readers and by searches."""
    assert {name: found for name, found in classes().items() if len(found) > 1} == {}


def test_no_test_file_imports_from_another() -> None:
    """What several need stands in `tests/support/`: a test file can be changed, moved or removed alone."""
    found = set()
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests."):
                names = [*node.module.split("."), *(item.name for item in node.names)]
            elif isinstance(node, ast.Import):
                names = [part for item in node.names for part in item.name.split(".") if item.name.startswith("tests.")]
            else:
                continue
            if any(name.startswith("test_") for name in names):
                found.add(f"{path.relative_to(ROOT)}: {node.lineno}")
    assert found == set()

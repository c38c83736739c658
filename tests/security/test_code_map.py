"""The file of an EHR's own codes: read strictly, every mistake told at once with its place and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cds_service.errors import SettingsError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.run import client_schema
from cds_service.security.clients import ClientSchema, read_clients
from cds_service.security.code_map import read_code_map
from tests.support.signing import ISS, clients_file

SYSTEM = "https://hospital.example/codes"
FOLDED = SYSTEM.replace("https", "http")
GOOD = {"system": SYSTEM, "code": "K", "means": "loinc|2823-3"}
ORDER = {"test": "potassium", "system": SYSTEM, "code": "LAB-K"}


@pytest.fixture(scope="module")
def known(knowledge: Knowledge) -> ClientSchema:
    return client_schema(knowledge)


def written(folder: Path, **tables: Any) -> Path:
    path = folder / "codes.json"
    path.write_text(json.dumps(tables))
    return path


def problems(path: Path, known: ClientSchema) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_code_map(path, known.codes)
    assert all(item.remedy for item in caught.value.problems)
    return [str(item).removeprefix(f"{path}: ") for item in caught.value.problems]


def test_a_map_is_what_its_tables_say(tmp_path: Path, known: ClientSchema) -> None:
    other = {"code": "X1", "other": True}
    found = read_code_map(written(tmp_path, code=[GOOD, other], order=[ORDER | {"display": "Potassium"}]), known.codes)
    assert found.codes == {(FOLDED, "K"): ("loinc|2823-3",), (FOLDED, "LAB-K"): ("loinc|2823-3", "snomed|59573005")}
    assert found.others == {("", "X1")}
    assert found.orders == {"potassium": {"system": SYSTEM, "code": "LAB-K", "display": "Potassium"}}


def test_an_order_code_of_two_tests_counts_as_both_unless_an_entry_says_what_it_means(
    tmp_path: Path, known: ClientSchema
) -> None:
    orders = [ORDER, ORDER | {"test": "electrolytes"}, ORDER | {"test": "calcium", "code": "K"}]
    found = read_code_map(written(tmp_path, code=[GOOD], order=orders), known.codes)
    assert found.codes[FOLDED, "LAB-K"] == ("loinc|2823-3", "snomed|59573005", "loinc|24326-1")
    assert found.codes[FOLDED, "K"] == ("loinc|2823-3",)


def test_an_order_code_that_is_declared_to_be_nothing_of_ours_does_not_count_when_it_comes_back(
    tmp_path: Path, known: ClientSchema
) -> None:
    found = read_code_map(
        written(tmp_path, code=[{"system": SYSTEM, "code": "LAB-K", "other": True}], order=[ORDER]), known.codes
    )
    assert (dict(found.codes), set(found.others), list(found.orders)) == ({}, {(FOLDED, "LAB-K")}, ["potassium"])


def test_every_mistake_is_told_at_once(tmp_path: Path, known: ClientSchema) -> None:
    codes = [
        GOOD,
        GOOD | {"means": "loinc|2823-4", "code": "a"},
        GOOD | {"means": "loinc|2823", "code": "b"},
        GOOD | {"means": "rxnorm|197361", "code": "c"},
        GOOD | {"means": "icd-9|250.00", "code": "d"},
        GOOD | {"means": "2823-3", "code": "e"},
        GOOD | {"system": f"{FOLDED.upper()}/|2026"},
        GOOD | {"code": "f", "other": True},
        {"system": SYSTEM, "code": "g"},
        {"system": SYSTEM, "code": "h", "other": False},
        {"system": "", "code": "i", "other": True},
        {"system": SYSTEM, "code": 7, "other": True},
        {"system": SYSTEM, "code": "j", "mean": "loinc|2823-3", "other": True},
        {"system": "http://loinc.org", "code": "2951-2", "means": "loinc|2823-3"},
    ]
    orders = [ORDER, ORDER, ORDER | {"test": "kalium"}, ORDER | {"test": "tsh", "display": ""}, {"test": "abi"}]
    told = problems(written(tmp_path, code=codes, order=orders, codes=[]), known)
    assert [text.split(" -> ")[0][:70] for text in told] == [
        "codes: is unknown",
        "code[1].means: 'loinc|2823-4' fails the check digit of loinc",
        "code[2].means: 'loinc|2823' has not the shape of loinc",
        "code[3].means: 'rxnorm|197361' is in none of our value sets and analytes"[:70],
        "code[4].means: 'icd-9|250.00' names no code system that is read here: "[:70],
        "code[5].means: '2823-3' is no system|code",
        "code[6]: 'K' of this system stands in code[0] too",
        "code[7]: needs means or other, and only one of them",
        "code[8]: needs means or other, and only one of them",
        "code[9].other: False cannot be",
        "code[10].system: '' cannot be",
        "code[11].code: 7 cannot be",
        "code[12].mean: is unknown",
        "code[13]: '2951-2' is understood without a map",
        "order[1].test: 'potassium' is given twice",
        "order[2].test: 'kalium' is no test of ours",
        "order[3].display: '' cannot be",
        "order[4].code: None cannot be",
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("codes.toml", b"[[code", "is no TOML"),
        ("codes.json", b"{", "is no JSON"),
        ("codes.json", b"[]", "is no object"),
        ("codes.json", b"{}", "maps nothing"),
        ("codes.json", b'{"code": 7}', "code: is no list of tables"),
        ("codes.toml", b"\xff", "is no TOML"),
        ("codes.toml", None, "cannot be read"),
    ],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, known: ClientSchema, name: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert [text for text in problems(path, known) if says in text]


def test_mistakes_of_clients_and_of_their_maps_are_told_together(tmp_path: Path, known: ClientSchema) -> None:
    written(tmp_path, code=[GOOD | {"means": "loinc|2823-4"}])
    table = {"iss": ISS, "jku": "http://ehr.example/keys", "code_map": "codes.json", "null_is_empty": "yes"}
    with pytest.raises(SettingsError) as caught:
        read_clients(clients_file(tmp_path, table), known)
    told = [item.place.removeprefix(f"{tmp_path}/") for item in caught.value.problems]
    assert told == ["clients.toml: client[0].jku", "codes.json: code[0].means", "clients.toml: client[0].null_is_empty"]

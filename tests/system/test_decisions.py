"""The records of decisions: each has its head and its sections, and the index tells of them what they tell themselves."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = ROOT / "docs/decisions"
HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>\S.*)\n\n"
    r"- Date: (?P<date>\d{4}-\d\d-\d\d)\n"
    r"- Status: (?P<status>accepted|superseded by \d{4})\n"
    r"- Replaces: (?P<replaces>-|\d{4})\n\n"
)
ROW = re.compile(r"^\| (\d+) \| \[(.+)\]\((.+)\) \| (\S+) \| (.+) \|$", re.MULTILINE)
SECTIONS = ["Context", "Decision", "Consequences"]
RECORDS = sorted(path for path in FOLDER.iterdir() if path.name != "README.md")


def head(path: Path) -> dict[str, str]:
    found = HEAD.match(path.read_text(encoding="utf-8"))
    assert found, f"{path.name}: the head is not number, title, date, status and what it replaces"
    return found.groupdict()


def file_name(number: str, title: str) -> str:
    return f"{int(number):04}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.md"


def test_there_are_records() -> None:
    assert len(RECORDS) >= 30


def test_the_numbers_have_no_gaps() -> None:
    assert [int(head(path)["number"]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem[:4])
def test_a_record_has_its_head_and_three_sections_that_say_something(path: Path) -> None:
    told = head(path)
    assert path.name == file_name(told["number"], told["title"])
    datetime.date.fromisoformat(told["date"])
    before, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert HEAD.fullmatch(before), f"{path.name}: something stands between the head and the first section"
    sections = dict(part.split("\n", 1) for part in parts)
    assert [part.split("\n", 1)[0] for part in parts] == SECTIONS
    assert all(text.strip() for text in sections.values()), f"{path.name}: a section is empty"


def test_the_index_tells_every_record_as_its_head_does() -> None:
    told = [(path.name[:4], head(path)["title"], path.name, head(path)["date"], head(path)["status"]) for path in RECORDS]
    table = (FOLDER / "README.md").read_text(encoding="utf-8").split("|---|---|---|---|\n")[1]
    assert ROW.findall(table) == told
    assert len(table.splitlines()) == len(told), "a line of the table is no row"


def test_what_is_superseded_and_what_replaces_it_name_each_other() -> None:
    heads = {path.name[:4]: head(path) for path in RECORDS}
    new_of_old = {number: told["status"][-4:] for number, told in heads.items() if told["status"] != "accepted"}
    old_of_new = {number: told["replaces"] for number, told in heads.items() if told["replaces"] != "-"}
    assert set(new_of_old.items()) == {(old, new) for new, old in old_of_new.items()}
    assert set(new_of_old.values()) | set(old_of_new.values()) <= set(heads)


def test_links_of_the_records_lead_somewhere() -> None:
    for path in [*RECORDS, FOLDER / "README.md"]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (FOLDER / target).exists(), f"{path.name}: {target}"

"""The pictures of the documents show what the pages say today."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.conftest import ROOT
from tests.support.pictures import FOLDER, PICTURES, WIDTH, Picture, opened, said
from tests.support.sites import chromium, running

EACH = pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("pictured") / "cds.sqlite") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@EACH
def test_a_picture_shows_what_its_page_says(browser: Browser, site: str, picture: Picture) -> None:
    page = opened(browser, site, picture)
    told = (FOLDER / f"{picture.name}.txt").read_text(encoding="utf-8")
    assert said(page, site) == told, f"{picture.path} has changed; look at it, then run: make pictures"
    page.close()


@EACH
def test_a_picture_is_small_and_shown_with_its_address(picture: Picture) -> None:
    data = (FOLDER / f"{picture.name}.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (WIDTH, picture.height)
    assert len(data) < 200_000
    text = (ROOT / "docs/pages.md").read_text(encoding="utf-8")
    assert f"](pages/{picture.name}.png)" in text
    assert f"](http://127.0.0.1:8000{picture.path})" in text


def test_no_picture_lies_there_that_nobody_makes() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{item.name}.{kind}" for item in PICTURES for kind in ("png", "txt")}


def test_the_port_of_a_run_stands_in_no_text() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt"))
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", text)) == {"8000"}

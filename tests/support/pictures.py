"""`make pictures`: pages pictured for the documents, each beside what it said when it was pictured.

A test compares that with what the page says now, so that no picture can tell of a page that is no longer so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page

from tests.conftest import ROOT
from tests.support.sites import PATIENCE, chromium, running

FOLDER = ROOT / "docs/pages"
WIDTH = 1280


class Picture(NamedTuple):
    """The upper `height` of a page, below `above` pixels that are left out."""

    name: str
    path: str
    height: int
    above: int = 0


PICTURES = (
    Picture("cards", "/try/ada-stiffcalf", 960),
    Picture("why", "/try/ada-stiffcalf/why", 960),
    Picture("what-if", "/try/ada-stiffcalf/what-if?measured=value&value=2.4", 960),
    # A rule that none of the people above has shown, as its page tells how often it was.
    Picture("rule", "/rules/severe-potassium", 960),
)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "cds.sqlite") as site, chromium() as browser:
        for picture in PICTURES:
            page = opened(browser, site, picture)
            clip = {"x": 0, "y": picture.above, "width": WIDTH, "height": picture.height}
            page.screenshot(path=FOLDER / f"{picture.name}.png", full_page=True, clip=clip)  # type: ignore[arg-type]
            (FOLDER / f"{picture.name}.txt").write_text(said(page, site), encoding="utf-8")
            page.close()


def opened(browser: Browser, site: str, picture: Picture) -> Page:
    page = browser.new_page(
        base_url=site, viewport={"width": WIDTH, "height": picture.height}, color_scheme="light", reduced_motion="reduce"
    )
    page.set_default_timeout(PATIENCE)
    page.goto(picture.path, wait_until="networkidle")
    return page


def said(page: Page, site: str) -> str:
    """The words of a page, without the port, which is another each time."""
    lines = page.locator("main").inner_text().replace(site, "http://127.0.0.1:8000").splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip()) + "\n"


if __name__ == "__main__":
    main()

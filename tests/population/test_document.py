"""The page about populations can be followed as it stands: an export, a run, a report that is read in a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.conftest import ROOT
from tests.support.documents import run, walks


def test_the_first_commands_of_the_page_lead_to_a_report(tree: Path) -> None:
    (block,) = walks("docs/population.md")
    write, ask = block.splitlines()
    run(tree, write.replace(".venv/bin/python", sys.executable))
    assert "2,000 patients, 11 of 111 rules fire." in run(tree, ask)
    out = tree / "var/population"
    assert {path.name for path in out.iterdir()} == {"report.html", "report.json", "decisions.ndjson"}
    report = json.loads((out / "report.json").read_text())
    assert report["patients"] == 2000
    assert report["cards"]["decisions"]["0"] + report["cards"]["decisions"]["4"] == 2000
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        opened = browser.new_page()
        opened.goto((out / "report.html").as_uri())
        assert opened.locator("h1").inner_text() == "What the rules would do"
        opened.evaluate((ROOT / "tests/axe/axe.min.js").read_text())
        assert opened.evaluate("axe.run(document).then((found) => found.violations.map((one) => one.id))") == []
        assert "Diuretic on the medication list" in opened.locator("table").first.inner_text()
        browser.close()


def test_a_service_loads_nothing_of_this() -> None:
    asked = "import sys, cds_service.app, cds_service.cli; print(*(name for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    heavy = ("cds_service.population", "pyarrow", "pyspark", "pysail", "pandas")
    assert "cds_service.service" in loaded
    assert [name for name in loaded if name.startswith(heavy)] == []

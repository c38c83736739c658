"""`make docs`: the documents become a site that needs no network, and a link that leads nowhere fails the build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

SITE = ROOT / "docs/site"


def build(sources: Path, settings: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    options = ["--fail-on-warning", "--keep-going", "--quiet", "-b", "html", "-c", str(settings), "-d", str(folder / "cache")]
    line = [sys.executable, "-m", "sphinx", *options, str(sources), str(folder / "site")]
    return subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT, SITE, tmp_path)
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert tmp_path / "site/docs/tutorial.html" in pages
    (first,) = re.findall(r'href="([^"]+)"', (tmp_path / "site/index.html").read_text(encoding="utf-8"))
    assert (tmp_path / "site" / first).is_file()
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+href="([^"]+)"', text)
        assert [found for pair in loaded for found in pair if re.match(r"(?:https?:)?//", found)] == [], page.name
    for style in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style.name


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs/site").mkdir(parents=True)
    shutil.copy(SITE / "conf.py", tmp_path / "docs/site/conf.py")
    (tmp_path / "docs/site/root").mkdir()
    (tmp_path / "docs/site/index.md").write_text("# Documents\n\n[gone](../gone.md)\n", encoding="utf-8")
    done = build(tmp_path, tmp_path / "docs/site", tmp_path / "out")
    assert done.returncode != 0
    assert "gone.md" in done.stderr


def test_make_builds_it_as_strictly() -> None:
    target = (ROOT / "Makefile").read_text().split("\ndocs: ")[1].split("\n\n")[0]
    assert "--fail-on-warning" in target
    assert "-c docs/site" in target

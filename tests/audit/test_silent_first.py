"""The page about silent rules can be followed as it stands: what a swapped code did is told, beside a rule in shadow."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.support.documents import run, walks, words


def test_eight_weeks_with_a_swapped_code_are_told_by_the_commands_of_the_page(tree: Path) -> None:
    population, weeks = walks("docs/silent-first.md")
    assert [population] == walks("docs/population.md")
    (tree / "var").mkdir()
    told = words(run(tree, weeks.strip().replace(".venv/bin/python", sys.executable).replace("\n", " && ")))
    assert "wrote 1686 answers of 56 days" in told
    for mark in (
        r"Fires: low-potassium: 0\.0% of answers, before 5\d\.\d%",
        r"Unknown: low-potassium: 50\.0% of answers, before 0\.0%",
        r"Codes that nobody knows \(cds-service codes-seen\), of other: 50\.0% of answers, before 0\.0%",
        r"diuretic: in shadow 15\.\d a day, 0 patients, cards a call \d\.\d would be \d\.\d",
    ):
        assert re.search(mark, told), mark
    assert not re.search(r"(Fires|Unknown): (diuretic|hypothyroidism|self-care):", told)

"""Two runs over the same people, under two versions of the knowledge or two settings: who gains and who loses what."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cds_service.errors import Problem, SettingsError
from cds_service.population.judge import Row
from cds_service.population.report import shown

_row = msgspec.json.Decoder(Row)
REPORT, DECISIONS = "report.json", "decisions.ndjson"


class FinishedRun(NamedTuple):
    """A run as it was written: how it was asked for, and its decisions by patient, day and visit."""

    report: Mapping[str, Any]
    rows: Mapping[tuple[str, str, int], Row]


def read_run(folder: Path) -> FinishedRun:
    """Raises SettingsError where the folder holds no run that was ended."""
    try:
        report = json.loads((folder / REPORT).read_bytes())
        rows = [_row.decode(line) for line in (folder / DECISIONS).read_bytes().splitlines()]
        if not isinstance(report, dict) or "rules" not in report:
            raise ValueError(REPORT)
    except (OSError, ValueError) as error:
        problem = Problem(
            str(folder), f"holds no run ({type(error).__name__})", "give the folder that --out named in a finished run"
        )
        raise SettingsError([problem]) from None
    # Several visits of a day are told apart by their order, which is the same in every run.
    seen = Counter[tuple[str, str]]()
    found = {}
    for row in rows:
        seen[row.patient, row.day] += 1
        found[row.patient, row.day, seen[row.patient, row.day]] = row
    return FinishedRun(report, found)


def compare(first: FinishedRun, second: FinishedRun) -> dict[str, Any]:
    """Counts with small numbers hidden, and by patient what changed. Raises SettingsError where these are other people."""
    _require_same_people(first, second)
    who = list(_changed(first.rows, second.rows))
    gained, lost = (Counter(name for item in who for name in item[part]) for part in ("gained", "lost"))
    cards_gained, cards_lost = (Counter(name for item in who for name in item[part]) for part in ("cards_gained", "cards_lost"))
    return {
        "patients": shown(len({item["patient"] for item in who})),
        "rules": _listed("rule", gained, lost),
        "cards": _listed("card", cards_gained, cards_lost),
        "who": who,
    }


def _require_same_people(first: FinishedRun, second: FinishedRun) -> None:
    if any(first.report.get(name) != second.report.get(name) for name in ("export", "key", "as_of", "at", "patients")):
        remedy = "compare runs over the same export as of the same day, with the same CDS_PATIENT_KEY set"
        raise SettingsError([Problem("compare", "these runs do not name the same people", remedy)])


def _changed(first: Mapping[Any, Row], second: Mapping[Any, Row]) -> Iterator[dict[str, Any]]:
    nothing = Row("", "", (), (), (), (), {})
    for key in sorted(first.keys() | second.keys()):
        before, after = first.get(key, nothing), second.get(key, nothing)
        cards = [{f"{card.group} ({card.indicator})" for card in row.cards} for row in (before, after)]
        found = {
            "gained": sorted(set(after.fires) - set(before.fires)),
            "lost": sorted(set(before.fires) - set(after.fires)),
            "cards_gained": sorted(cards[1] - cards[0]),
            "cards_lost": sorted(cards[0] - cards[1]),
        }
        if any(found.values()):
            yield {"patient": key[0], "day": key[1]} | found


def _listed(name: str, gained: Counter[str], lost: Counter[str]) -> list[dict[str, Any]]:
    return [{name: key, "gained": shown(gained[key]), "lost": shown(lost[key])} for key in sorted(gained.keys() | lost.keys())]

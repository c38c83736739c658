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


class FinishedRun(NamedTuple):
    """A run as it was written: how it was asked for, and its decisions by patient and day."""

    report: Mapping[str, Any]
    rows: Mapping[tuple[str, str], Row]


def read_run(folder: Path) -> FinishedRun:
    """Raises SettingsError where the folder holds no run that was ended."""
    try:
        report = json.loads((folder / "report.json").read_bytes())
        rows = [_row.decode(line) for line in (folder / "decisions.ndjson").read_bytes().splitlines()]
    except (OSError, ValueError) as error:
        problem = Problem(
            str(folder), f"holds no run ({type(error).__name__})", "give the folder that --out named in a finished run"
        )
        raise SettingsError([problem]) from None
    return FinishedRun(report, {(row.patient, row.day): row for row in rows})


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
    if first.report["patients"] != second.report["patients"] or first.report.get("key") != second.report.get("key"):
        remedy = "compare runs over the same export, with the same CDS_PATIENT_KEY set"
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

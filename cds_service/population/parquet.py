"""The decisions of a run as tables for analysis: findings, cards, facts and how far each query was answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from cds_service.errors import Problem, SettingsError
from cds_service.model import Outcome
from cds_service.population.judge import Row

_AT_ONCE = 20_000
_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "findings": ("patient", "day", "rule", "outcome"),
    "cards": ("patient", "day", "group", "indicator", "rules"),
    "facts": ("patient", "day", "fact", "value", "state"),
    "states": ("patient", "day", "query", "state"),
}


def write_parquet(rows: Iterable[Row], folder: Path) -> None:
    """One file a table. Raises SettingsError where pyarrow is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        remedy = 'install the extra: pip install "leg-cramps-cds[spark]"'
        raise SettingsError([Problem("--parquet", "needs pyarrow, which is not installed", remedy)]) from None
    folder.mkdir(parents=True, exist_ok=True)
    schemas = {name: pyarrow.schema([(column, pyarrow.string()) for column in columns]) for name, columns in _COLUMNS.items()}
    writers = {name: pyarrow.parquet.ParquetWriter(folder / f"{name}.parquet", schema) for name, schema in schemas.items()}
    coming = iter(rows)
    while batch := list(islice(coming, _AT_ONCE)):
        for name, columns in _COLUMNS.items():
            found = [dict(zip(columns, values, strict=True)) for row in batch for values in _TABLES[name](row)]
            writers[name].write_table(pyarrow.Table.from_pylist(found, schemas[name]))
    for writer in writers.values():
        writer.close()


def _findings(row: Row) -> Iterator[tuple[str, ...]]:
    for outcome, rules in ((Outcome.FIRES, row.fires), (Outcome.UNKNOWN, row.unknown)):
        for rule in rules:
            yield row.patient, row.day, rule, outcome.value


def _cards(row: Row) -> Iterator[tuple[str, ...]]:
    for card in row.cards:
        yield row.patient, row.day, card.group, card.indicator, " ".join(card.rules)


def _facts(row: Row) -> Iterator[tuple[str, ...]]:
    for name, value, state in row.facts:
        yield row.patient, row.day, name, value, state


def _states(row: Row) -> Iterator[tuple[str, ...]]:
    for query, state in row.states.items():
        yield row.patient, row.day, query, state


_TABLES: Mapping[str, Any] = {"findings": _findings, "cards": _cards, "facts": _facts, "states": _states}

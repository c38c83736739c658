"""The faults of `docs/reliability.md` and the load of `bench/soak.py`, each for a moment: nothing acknowledged is lost."""

from __future__ import annotations

import pytest

from bench.faults import FAULTS, PATIENCE, suffer
from bench.soak import soak


@pytest.mark.untraced
@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_acknowledged_is_lost_and_nobody_must_help(fault: str) -> None:
    row = suffer(fault, 0.4)
    assert row.lost == 0
    assert row.recovered < PATIENCE


@pytest.mark.untraced
def test_two_workers_answer_a_mixed_load(capsys: pytest.CaptureFixture[str]) -> None:
    soaked = soak(2, 1.0, 0.5)
    assert soaked.rate > 0
    assert [span.failed for span in soaked.spans] == [0, 0]
    assert all(span.statuses[200] for span in soaked.spans)

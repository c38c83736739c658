"""What the tests of cards and of the pages about them share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cds_service.app import build_app
from cds_service.service import DecisionService
from cds_service.settings import Settings


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(guarded=True, database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    with TestClient(build_app(settings, decision_service)) as opened:
        yield opened

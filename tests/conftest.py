"""What many tests share: the shipped knowledge, read once, and a service over it."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import load_knowledge
from cds_service.log import configure
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.databases import Cluster, cluster

# A service of a test is tried on this machine, as by `serve --try`, unless the test is about who may call.
os.environ["CDS_TRIAL"] = "true"

ROOT = Path(__file__).resolve().parent.parent

# So that what runs in a process of its own is measured too.
COVERAGE = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """`untraced`: a sweep that runs the same lines thousands of times is not measured, as tracing them takes minutes.

    Not the marker of pytest-cov: in a worker of xdist two measurements are under way, of which it stops one.
    """
    if item.get_closest_marker("untraced") is None:
        return (yield)
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(here)
        threading.settrace(in_threads)


@pytest.fixture(autouse=True)
def logged() -> None:
    """To the standard error of this test: that of an earlier one may be closed."""
    configure("info")


@pytest.fixture(scope="session")
def knowledge() -> Knowledge:
    return load_knowledge(ROOT)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the shipped knowledge and of the invented people, to break or to change."""
    for name in ("logic", "cards", "fixtures"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="session")
def decision_service(knowledge: Knowledge) -> DecisionService:
    return DecisionService(knowledge, Settings())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL for all tests of this process."""
    with cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite"
    running: Cluster = request.getfixturevalue("postgresql")
    return running.new_database()

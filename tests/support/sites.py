"""The service with its pages on a port of its own, and the browser that looks at it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from playwright.sync_api import Browser, sync_playwright

from cds_service.app import build_app
from cds_service.knowledge.load import load_knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A busy machine is waited for.
PATIENCE = 60_000


@contextmanager
def running(database: Path) -> Iterator[str]:
    """Its address, until the block ends."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        settings = Settings(database_url=f"sqlite+aiosqlite:///{database}", log_level="error", public_url=address)
        app = build_app(settings, DecisionService(load_knowledge(ROOT), settings))
        # From now on who comes waits, though the server may take its time to start.
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(timeout=20)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS, timeout=PATIENCE * 2)
        yield opened
        opened.close()

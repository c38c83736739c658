"""The command line, run as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import COVERAGE, ROOT


def cds(
    *arguments: str, knowledge: Path = ROOT, cwd: Path = ROOT, given: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "CDS_KNOWLEDGE": str(knowledge), "PYTHONPATH": str(ROOT)} | COVERAGE | env
    command = [sys.executable, "-m", "cds_service.cli", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, input=given, capture_output=True, text=True, timeout=60, check=False
    )

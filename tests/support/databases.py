"""Both databases for tests: a SQLite file each, and a PostgreSQL of our own, started once and with a fresh database each."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

REMEDY = "install it with: apt-get install postgresql (as root `make test` does so itself)"
_NUMBERS = count(1)


def binaries() -> Path:
    """Where Debian keeps the programs of the newest PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise AssertionError(f"these tests need PostgreSQL, which is not there: {REMEDY}")
    return found[-1].parent


class Cluster:
    """One PostgreSQL on a socket in a folder of its own, without a port. `durable`: as in production, else quick."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self._data = folder, folder / "data"
        # PostgreSQL refuses to run as root.
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._prefix:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=60"
        if not durable:
            options += " -c fsync=off -c full_page_writes=off"
        self._options = options
        self.start()

    def _run(self, program: str, *arguments: str) -> str:
        command = [*self._prefix, str(binaries() / program), *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self.folder / "log"), "-o", self._options, "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", how, "stop")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """While nothing of it moves: it neither answers nor refuses."""
        main = int((self._data / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(main)], capture_output=True, text=True, check=False).stdout.split()
        stopped = [main, *map(int, children)]
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                os.kill(process, signal.SIGCONT)

    def sql(self, statement: str, database: str = "postgres") -> list[list[str]]:
        """The rows of a statement as text."""
        found = self._run("psql", "-h", str(self.folder), "-U", "postgres", "-AtF", "\t", "-c", statement, database)
        return [line.split("\t") for line in found.splitlines()]

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"cds_{next(_NUMBERS)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql+asyncpg://postgres@/{name}?host={self.folder}"


@contextmanager
def cluster(*, durable: bool = False) -> Iterator[Cluster]:
    # A socket's path must be short, so not below pytest's own folder.
    with tempfile.TemporaryDirectory(prefix="cds-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        running = Cluster(Path(folder), durable=durable)
        try:
            yield running
        finally:
            running.stop("immediate")

"""The container's very command, started under the container's restrictions: another user, nothing to gain, nothing to write.

There may be no container engine where the tests run, so the kernel is asked for the same things directly.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.conftest import ROOT
from tests.support.fhir_servers import free_port
from tests.support.people import SERVICE, body

CONTAINERFILE = (ROOT / "deploy/Containerfile").read_text()
COMMAND: list[str] = json.loads(re.findall(r"^CMD (\[.*\])$", CONTAINERFILE, re.MULTILINE)[-1])
NOBODY = int(re.findall(r"^USER (\d+)$", CONTAINERFILE, re.MULTILINE)[-1])

SHIPPED = re.findall(r"^COPY (\w+)/ /srv/knowledge/\1/$", CONTAINERFILE, re.MULTILINE)


NOTHING_TO_GAIN = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
AS_NOBODY = [*NOTHING_TO_GAIN, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


def restrictions(writable: Path) -> tuple[list[str], bool]:
    """What this machine can enforce, and whether it is another user: as root all of it, else what needs no root."""
    if os.geteuid() != 0:
        return ["setpriv", "--no-new-privs"], False
    own = f'mount --bind "{writable}" "{writable}" && mount -o remount,ro,bind / && mount -o remount,rw,bind "{writable}"'
    script = f'{own} && exec "$@"'
    read_only = ["unshare", "--mount", "--propagation=private", "sh", "-c", script, "sh"]
    prefix = read_only if works([*read_only, "true"]) else []
    # The interpreter of the tests may lie where no other user may look.
    another = works([*AS_NOBODY, sys.executable, "-c", "import fastapi"])
    return [*prefix, *(AS_NOBODY if another else NOTHING_TO_GAIN)], another


@pytest.fixture
def container(tmp_path: Path) -> Iterator[tuple[str, Path, Path]]:
    """The service in its restrictions, over a copy of what the image holds."""
    image, state = tmp_path / "image", tmp_path / "state"
    for name in ("cds_service", *SHIPPED):
        shutil.copytree(ROOT / name, image / name, ignore=shutil.ignore_patterns("__pycache__"))
    state.mkdir()
    for folder in (*tmp_path.resolve().parents, tmp_path):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    prefix, another = restrictions(state)
    if another:
        os.chown(state, NOBODY, NOBODY)
    port = free_port()
    assert COMMAND[0] == "python"
    command = [sys.executable, *COMMAND[1:]]
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(image),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CDS_KNOWLEDGE": str(image),
        "CDS_DATABASE_URL": f"sqlite+aiosqlite:///{state}/cds.sqlite",
        "CDS_HOST": "127.0.0.1",
        "CDS_PORT": str(port),
        "CDS_GUARDED": "true",
        "CDS_PAGES": "demo",
    }
    process = subprocess.Popen([*prefix, *command], env=env, cwd="/", stderr=subprocess.PIPE)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", image, state
    finally:
        process.terminate()
        process.communicate(timeout=20)


def wait_until_ready(base: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()
        try:
            with urlopen(f"{base}/readyz", timeout=2):
                return
        except (URLError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError("not ready in 30 s")


def test_the_containers_command_serves_under_its_restrictions(container: tuple[str, Path, Path]) -> None:
    base, image, state = container
    before = set(image.rglob("*"))
    call = Request(f"{base}/cds-services/{SERVICE}", json.dumps(body()).encode(), {"Content-Type": "application/json"})
    with urlopen(call, timeout=10) as answer:
        assert json.loads(answer.read())["cards"]
    outcome = {"card": "x", "outcome": "accepted", "outcomeTimestamp": "2026-11-20T10:00:00Z"}
    feedback = json.dumps({"feedback": [outcome]}).encode()
    with urlopen(
        Request(f"{base}/cds-services/{SERVICE}/feedback", feedback, {"Content-Type": "application/json"}), timeout=10
    ) as answer:
        assert answer.read() == b"{}"
    assert set(image.rglob("*")) == before
    assert (state / "cds.sqlite").stat().st_uid == state.stat().st_uid


def test_the_demonstration_in_the_container_has_its_invented_people(container: tuple[str, Path, Path]) -> None:
    base, _, _ = container
    for path, says in (("/", "Ada Stiffcalf"), ("/try/ada-stiffcalf", "Potassium 3.1 mmol/L (12 Nov)")):
        with urlopen(f"{base}{path}", timeout=10) as answer:
            assert says in answer.read().decode()


def test_what_the_image_is_made_of_is_not_kept_from_its_builder() -> None:
    needed = set(re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE))
    needed = {name.rstrip("/") for line in needed for name in line.split()}
    assert {"cds_service", "logic", "cards", "fixtures", "pyproject.toml", "deploy/runtime.lock"} <= needed
    for name in needed:
        assert (ROOT / name).exists(), name
    for ignored in (".containerignore", ".dockerignore"):
        assert not needed & set((ROOT / ignored).read_text().split())


def test_the_image_runs_as_nobody_with_the_knowledge_as_its_own_layer() -> None:
    assert NOBODY >= 10_000
    last = CONTAINERFILE[CONTAINERFILE.rindex("FROM ") :]
    assert re.findall(r"^COPY (\w+)/ /srv/knowledge/", last, re.MULTILINE) == ["fixtures", "logic", "cards"]
    assert "CDS_KNOWLEDGE=/srv/knowledge" in last
    assert ("CDS_HOST=0.0.0.0" in last, "CDS_GUARDED" in last.partition("ENV ")[2]) == (True, False)
    assert "--require-hashes" in CONTAINERFILE
    assert "HEALTHCHECK" in last


def test_compose_is_read_only_and_holds_no_password() -> None:
    text = (ROOT / "deploy/compose.yaml").read_text()
    assert "CDS_CLIENTS: /etc/cds/clients.toml" in text
    assert "./clients.toml:/etc/cds/clients.toml:ro" in text
    assert not re.search(r"^ *CDS_GUARDED", text, re.MULTILINE)
    for wanted in ("read_only: true", "cap_drop:", "no-new-privileges:true", "service_healthy", "POSTGRES_PASSWORD:?"):
        assert wanted in text
    assert not re.search(r"PASSWORD: [^$]", text)


def test_the_unit_starts_the_same_command_hardened() -> None:
    text = (ROOT / "deploy/leg-cramps-cds.service").read_text()
    started = re.findall(r"^ExecStart=\S+/cds-service (.*)$", text, re.MULTILINE)[0].split()
    assert started == COMMAND[COMMAND.index("cds_service.cli") + 1 :]
    for wanted in ("NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "CapabilityBoundingSet=\n"):
        assert wanted in text


def test_the_locks_hold_hashes_and_no_address() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("runtime", "dev"):
        lock = (ROOT / f"deploy/{name}.lock").read_text()
        pinned = re.findall(r"^([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?:\[.*\])?==", lock, re.MULTILINE)
        assert lock.count("--hash=sha256:") >= len(pinned) > 20
        assert "://" not in lock
        wanted = re.findall(r'^    "([a-zA-Z0-9.-]+)(?:\[.*\])?>=', project, re.MULTILINE)
        needed = wanted if name == "dev" else wanted[:13]
        assert {item.replace(".", "-").lower() for item in needed} <= set(pinned)


def test_what_only_builds_is_not_needed_by_what_runs() -> None:
    """The image takes it out again: nothing that stays may ask for it."""
    (line,) = re.findall(r"^RUN /opt/cds/bin/pip uninstall --yes (.+)$", CONTAINERFILE, re.MULTILINE)
    gone = set(line.split())
    assert {"hatchling", "editables", "pip"} <= gone
    lock = (ROOT / "deploy/runtime.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9-]+(?:\.[a-z0-9-]+)*)==", lock, re.MULTILINE))
    # The lock is for every platform; some of it is not installed on this one.
    installed = {item.metadata["Name"].lower().replace("_", "-").replace(".", "-") for item in metadata.distributions()}
    kept = {name for name in pinned - gone if name.replace(".", "-") in installed}
    assert len(kept) > 40
    for name in kept:
        needed = [
            re.split(r"[ ;<>=!~\[(]", text)[0].lower() for text in metadata.requires(name) or () if "extra ==" not in text
        ]
        assert not gone & set(needed), name


def test_a_bill_of_materials_names_all_that_the_lock_pins(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON", "-o", str(out)]
    subprocess.run([*command, str(ROOT / "deploy/runtime.lock")], check=True, capture_output=True, timeout=60)
    named = {item["name"] for item in json.loads(out.read_text())["components"]}
    lock = (ROOT / "deploy/runtime.lock").read_text()
    assert set(re.findall(r"^([a-z0-9-]+(?:\.[a-z0-9-]+)*)==", lock, re.MULTILINE)) == named
    assert "cyclonedx-py requirements" in (ROOT / "Makefile").read_text()


def test_the_base_image_is_pinned_by_a_command(tmp_path: Path) -> None:
    """With a registry that is a script: there is none here."""
    digest = f"sha256:{'ab' * 32}"
    for name in ("pin-image.sh", "Containerfile"):
        shutil.copy(ROOT / "deploy" / name, tmp_path)
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text(f"#!/bin/sh\necho {digest}\n")
    skopeo.chmod(0o755)
    env = {"PATH": f"{skopeo.parent}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run(["/bin/sh", str(tmp_path / "pin-image.sh")], env=env, check=True, capture_output=True, timeout=20)
        froms = re.findall(r"^FROM (\S+)", (tmp_path / "Containerfile").read_text(), re.MULTILINE)
        assert [name.partition("@")[2] for name in froms] == [digest, digest]


def test_the_unit_is_tight(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy/leg-cramps-cds.service", tmp_path)
    analyzer = shutil.which("systemd-analyze")
    if analyzer is None:
        text = (ROOT / "deploy/leg-cramps-cds.service").read_text()
        assert all(f"{name}=yes" in text for name in ("PrivateUsers", "ProtectKernelTunables", "RestrictNamespaces"))
        return
    unit = str(tmp_path / "leg-cramps-cds.service")
    told = subprocess.run([analyzer, "security", "--offline=true", unit], capture_output=True, text=True, check=False).stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert float(exposure) <= 2.0

"""What it costs to let in only whom it should and to keep what is kept: a signed token, the audit row, the feedback map.

`python -m bench.signed` measures one worker at 60 kB without all three, with the two that are kept, and with each call
signed besides, RS384 and ES384, in turns of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from bench.__main__ import HOST, SERVICE, answer, server
from bench.bodies import SIZES, body
from cds_service.app import build_app, prepare
from cds_service.audit.recorder import Recorder
from cds_service.settings import read_settings

_ISS = "https://ehr.example/bench"
_PUBLIC = "https://cds.example"
_KEYS: dict[str, RSAKey | ECKey] = {
    "RS384": RSAKey.generate_key(2048, {"kid": "RS384", "use": "sig"}),
    "ES384": ECKey.generate_key("P-384", {"kid": "ES384", "use": "sig"}),
}
CONTESTANTS = ("nothing", "kept", "RS384", "ES384")


def bare() -> FastAPI:
    """The service without audit and feedback map, for comparison alone."""

    def nothing(*_: Any) -> None:
        return None

    Recorder.note = Recorder.patient = nothing  # type: ignore[method-assign, assignment]
    settings = read_settings()
    return build_app(settings, prepare(settings))


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def clients_file(folder: Path) -> Path:
    path = folder / "clients.toml"
    lines = ["[[client]]", f'iss = "{_ISS}"', f'audiences = ["{_PUBLIC}/cds-services"]']
    for key in _KEYS.values():
        lines += ["[[client.jwks.keys]]", *(f'{name} = "{value}"' for name, value in key.as_dict(private=False).items())]
    path.write_text("\n".join(lines))
    return path


def request(content: bytes, algorithm: str | None) -> bytes:
    head = f"POST {SERVICE} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    if algorithm:
        now = int(time.time())
        claims = {"iss": _ISS, "aud": _PUBLIC + SERVICE, "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
        header = {"alg": algorithm, "typ": "JWT", "kid": algorithm}
        head += f"Authorization: Bearer {jwt.encode(header, claims, _KEYS[algorithm], algorithms=[algorithm])}\r\n"
    return f"{head}\r\n".encode() + content


async def load(port: int, calls: list[bytes], concurrency: int) -> float:
    """Requests a second; each call is sent once."""
    waiting = iter(calls)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(HOST, port, limit=2**20)
        for call in waiting:
            writer.write(call)
            if not await answer(reader):
                raise SystemExit("a call was not answered 200")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return len(calls) / (time.perf_counter() - began)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--calls", type=int, default=600, help="of each measurement")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--at-once", type=int, nargs="*", default=[1, 8, 32])
    chosen = options.parse_args()
    content = body(*SIZES["60 kB"])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        kept = {"CDS_PATIENT_KEY": "bench" * 8}
        signed = kept | {"CDS_CLIENTS": str(clients_file(Path(folder))), "CDS_ALLOW_AS_OF": "true"}
        ports = {}
        for name, target, changes in (
            ("nothing", "bench.signed:bare", {}),
            ("kept", "cds_service.app:create_app", kept),
            ("RS384", "cds_service.app:create_app", signed),
        ):
            with environment(**changes):
                ports[name] = running.enter_context(server(target, factory=True)).port
        ports["ES384"] = ports["RS384"]
        for concurrency in chosen.at_once:
            compare(content, ports, concurrency, chosen)


def compare(content: bytes, ports: dict[str, int], concurrency: int, chosen: argparse.Namespace) -> None:
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(chosen.rounds):
        for name in CONTESTANTS:
            calls = [request(content, name if name in _KEYS else None) for _ in range(chosen.calls)]
            rates[name].append(asyncio.run(load(ports[name], calls, concurrency)))
    floor = statistics.median(rates["nothing"])
    told = ", ".join(
        f"{name} {statistics.median(rates[name]):.0f}/s ({statistics.median(rates[name]) / floor:.2f})" for name in rates
    )
    print(f"60 kB, {concurrency} at once: {told}", flush=True)


if __name__ == "__main__":
    main()

"""A client that signs its calls, with keys made when a test runs and changed at will, and the address its keys stand at."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jws, jwt
from joserfc.jwk import ECKey, RSAKey

from tests.support.people import SERVICE

Json = dict[str, Any]

ISS = "https://ehr.example/cds"
PUBLIC = "https://cds.hospital.example"
DISCOVERY = f"{PUBLIC}/cds-services"
AUDIENCE = f"{DISCOVERY}/{SERVICE}"
ALGORITHMS = ("ES384", "RS384", "ES256", "RS256")

_CURVES = {"ES384": "P-384", "ES256": "P-256"}


def make_key(algorithm: str, kid: str, bits: int = 2048) -> ECKey | RSAKey:
    if algorithm in _CURVES:
        return ECKey.generate_key(_CURVES[algorithm], {"kid": kid, "use": "sig"})
    return RSAKey.generate_key(bits, {"kid": kid, "use": "sig"})


class Signer:
    """One EHR. `rotate` gives it new keys; `token` signs what a test wants to differ."""

    def __init__(self, iss: str = ISS, jku: str | None = None) -> None:
        self.iss, self.jku, self._made = iss, jku, 0
        self.rotate()

    def rotate(self) -> None:
        self._made += 1
        self.keys = {algorithm: make_key(algorithm, f"{algorithm}-{self._made}") for algorithm in ("ES384", "RS384")}

    def jwks(self) -> Json:
        return {"keys": [key.as_dict(private=False) for key in self.keys.values()]}

    def header(self, algorithm: str = "ES384", /, **members: Any) -> Json:
        named: Json = {"alg": algorithm, "typ": "JWT", "kid": self.keys[algorithm].kid}
        return without_none(named | ({"jku": self.jku} if self.jku else {}) | members)

    def claims(self, **members: Any) -> Json:
        now = int(time.time())
        usual = {"iss": self.iss, "aud": AUDIENCE, "iat": now, "exp": now + 300, "jti": str(uuid.uuid4())}
        return without_none(usual | members)

    def token(self, algorithm: str = "ES384", header: Json | None = None, key: Any = None, **claims: Any) -> str:
        return sign(self.header(algorithm, **(header or {})), self.claims(**claims), key or self.keys[algorithm])


def without_none(members: Json) -> Json:
    return {name: value for name, value in members.items() if value is not None}


def sign(header: Json, claims: Any, key: Any) -> str:
    """Whatever the header says, signed as `alg` says; the library that signs checks little."""
    registry = jws.JWSRegistry(algorithms=[str(header["alg"])], strict_check_header=False)
    if isinstance(claims, dict):
        return jwt.encode(header, dict(claims), key, registry=registry, default_type=None)
    return jws.serialize_compact(header, claims, key, registry=registry)


def encoded(part: Any) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def clients_file(folder: Path, *tables: Json) -> Path:
    """A clients.toml of these tables; TOML takes the JSON of strings, numbers, booleans and lists of strings."""
    lines: list[str] = []
    for table in tables:
        flat = {name: value for name, value in table.items() if not isinstance(value, dict)}
        lines += ["[[client]]", *(f"{name} = {json.dumps(value)}" for name, value in flat.items())]
        for name, value in table.items():
            if name == "jwks":
                lines += [line for key in value["keys"] for line in ("[[client.jwks.keys]]", *_members(key))]
            elif isinstance(value, dict):
                lines += [f"[client.{name}]", *_members(value)]
    path = folder / "clients.toml"
    path.write_text("\n".join(lines))
    return path


def _members(table: Json) -> list[str]:
    return [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in table.items()]


class KeyServer:
    """Serves a key set on this machine and counts who asks. A test may change what it answers."""

    def __init__(self, address: str) -> None:
        self.address, self.asked = address, 0
        self.status, self.headers, self.content, self.delay = 200, {"Content-Type": "application/json"}, b"{}", 0.0

    def show(self, signer: Signer) -> None:
        self.content = json.dumps(signer.jwks()).encode()


@contextmanager
def key_server() -> Iterator[KeyServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.asked += 1
            time.sleep(shown.delay)
            self.send_response(shown.status)
            for name, value in shown.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(shown.content)))
            self.end_headers()
            self.wfile.write(shown.content)

        def log_message(self, *given: Any) -> None:
            """Tests say what they need themselves."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown = KeyServer(f"http://127.0.0.1:{server.server_port}/jwks.json")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

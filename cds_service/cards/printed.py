"""Pages to read or to print, for whoever follows a link of a card: one style, no script, no outside file."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import NamedTuple

FOLDER = "cards/leaflets"
LANGUAGES: Mapping[str, str] = {"us": "en-US", "uk": "en-GB"}


class Page(NamedTuple):
    """A rendered page with the Content-Security-Policy that lets in its own style and nothing else."""

    content: bytes
    policy: str
    tag: str


def laid_out(root: Path, language: str, title: str, body: str, footer: str) -> Page:
    """A page of its own, to read or to print. `body` is HTML; title and footer are text."""
    folder = root / FOLDER
    style = (folder / "page.css").read_text(encoding="utf-8")
    page = Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        language=language, title=html.escape(title), style=style, body=body, footer=html.escape(footer)
    )
    content = page.encode()
    return Page(content, _policy(style), f'"{hashlib.sha256(content).hexdigest()[:16]}"')


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

"""The terminal as it is: how wide, whether in colour, and which characters it can show."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import unicodedata
from typing import TextIO

WIDEST = 96
_NARROWEST = 24
_READABLE = "readable"
_IN_ASCII = {
    "“": '"',
    "”": '"',
    "„": '"',
    "‘": "'",
    "’": "'",
    "–": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "·": "-",
    "•": "*",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "≠": "not =",
    "µ": "u",
    "μ": "u",
    "ß": "ss",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "Æ": "AE",
    "ł": "l",
    "Ł": "L",
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{NON-BREAKING HYPHEN}": "-",
    "\N{MINUS SIGN}": "-",
}


def prepare() -> None:
    """What standard output and error cannot write is written readably, where Python would end with an error."""
    codecs.register_error(_READABLE, _in_readable_characters)
    sys.stdout, sys.stderr = _readable(sys.stdout), _readable(sys.stderr)


def _readable(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if codecs.lookup(stream.encoding).name != "ascii":
        stream.reconfigure(errors=_READABLE)
        return stream
    # To typer an ASCII stream is a mistake, and it would write UTF-8 all the same. ASCII is a part of UTF-8.
    return _Ascii(stream.detach(), encoding="utf-8", line_buffering=True)


class _Ascii(io.TextIOWrapper):
    """A stream of UTF-8 that is given nothing but ASCII."""

    def write(self, text: str) -> int:
        return super().write(text.encode("ascii", _READABLE).decode("ascii"))


def _in_readable_characters(error: UnicodeError) -> tuple[str, int]:
    """A handler of `codecs`: `“é…”` becomes `"e..."`, and what has no such form a question mark."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _IN_ASCII.get(character) or plain or ("" if unicodedata.combining(character) else "?")


def colour() -> bool | None:
    """False where colours are not wanted (NO_COLOR) or not understood; None: wherever there is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def width() -> int:
    """Columns to write in: those of the terminal, of which a text is best read in no more than WIDEST."""
    return max(_NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))

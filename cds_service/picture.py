"""`docs/card.svg`: cards of the first of the cast, as an EHR might show them. Drawn, so that it cannot go out of date."""

from __future__ import annotations

from html import escape
from textwrap import wrap

from cds_service.hooks import Card

_WIDTH = 760
_LINE = 22
_ACCENTS = {"critical": "#b3261e", "warning": "#a8640f", "info": "#2f5d8a"}
_WRAP = 92
_WRAP_SUMMARY = 66


def draw(cards: tuple[Card, ...]) -> str:
    """The cards one below the other as SVG."""
    parts: list[str] = []
    top = 16
    for card in cards:
        height, drawn = _card(card, top)
        parts.append(drawn)
        top += height + 14
    style = (
        "text{font-family:system-ui,-apple-system,'Segoe UI',sans-serif;font-size:14px;fill:#24292f}"
        ".s{font-weight:600;font-size:16px}.q{fill:#57606a;font-size:12.5px}"
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" role="img">'
    return f"{head}\n<title>Cards for an invented patient</title>\n<style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"


def _card(card: Card, top: int) -> tuple[int, str]:
    accent = _ACCENTS[card.indicator]
    rows: list[str] = []
    y = top + 6
    for line in wrap(card.summary, _WRAP_SUMMARY):
        y += _LINE + 2
        rows.append(f'<text class="s" x="34" y="{y}">{escape(line)}</text>')
    for line, css in _lines(card):
        y += _LINE
        rows.append(f'<text class="{css}" x="34" y="{y}">{escape(line)}</text>')
    for suggestion in card.suggestions:
        y += _LINE + 8
        box = "\u2611" if suggestion.is_recommended else "\u2610"
        rows.append(f'<text x="34" y="{y}" fill="{accent}">{box}  {escape(suggestion.label)}</text>')
    height = y - top + 20
    frame = f'<rect x="12" y="{top}" width="{_WIDTH - 24}" height="{height}" rx="8" fill="#fff" stroke="#d0d7de"/>'
    bar = f'<rect x="12" y="{top}" width="6" height="{height}" rx="3" fill="{accent}"/>'
    label = f'<text class="q" x="{_WIDTH - 24}" y="{top + 30}" text-anchor="end">{card.indicator}</text>'
    return height, "\n".join([frame, bar, label, *rows])


def _lines(card: Card) -> list[tuple[str, str]]:
    body, _, rest = card.detail.partition("\n\n")
    told = [(part, "b") for line in body.split("\n") for part in wrap(line.removeprefix("- "), _WRAP)]
    return told + [(part, "q") for line in rest.split("\n\n") for part in wrap(line, _WRAP + 8)]

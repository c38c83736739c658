"""Leaflets for patients: Markdown of `cards/leaflets/` as pages of their own, printable, with their drawings inside.

A page asks for nothing else: no script, no outside file. What stands in a comment names statements and is not printed.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from cds_service.cards.printed import FOLDER, LANGUAGES, Page, laid_out
from cds_service.knowledge.knowledge import Knowledge

_COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
_IMAGE = re.compile(r"!\[([^\]]*)\]\((drawings/[a-z-]+\.svg)\)")
_SECTION = re.compile(r"^## ", re.MULTILINE)


def source(knowledge: Knowledge, jurisdiction: str) -> str:
    return (knowledge.root / FOLDER / f"{jurisdiction}.md").read_text(encoding="utf-8")


def statements(text: str) -> tuple[str, ...]:
    """The ids of the statements that a leaflet tells, in their order."""
    return tuple(dict.fromkeys(name for comment in _COMMENT.findall(text) for name in comment.split()))


def drawings(text: str) -> tuple[str, ...]:
    return tuple(path for _, path in _IMAGE.findall(text))


def without_drawing(text: str) -> tuple[str, ...]:
    """The exercises (headings of the third level) that show nothing."""
    parts = re.split(r"^#{2,3} ", text, flags=re.MULTILINE)
    titles = set(re.findall(r"^### (.+)$", text, flags=re.MULTILINE))
    return tuple(part.splitlines()[0] for part in parts if part.splitlines()[0] in titles and not _IMAGE.search(part))


def sections(text: str) -> tuple[str, ...]:
    """What a reader reads, section by section, without comments and drawings."""
    return tuple(_SECTION.split(_IMAGE.sub("", _COMMENT.sub("", text))))


@lru_cache(maxsize=8)
def render(knowledge: Knowledge, jurisdiction: str) -> Page:
    """The page of a jurisdiction, made when it is first asked for."""
    # A Markdown reader takes as long to import as the rest of a start; few starts need it.
    from markdown_it import MarkdownIt

    folder = knowledge.root / FOLDER
    text = _COMMENT.sub("", source(knowledge, jurisdiction))
    shown = MarkdownIt("commonmark", {"html": False}).render(_IMAGE.sub(r"(\2)", text))
    body = re.sub(r"<p>\((drawings/[a-z-]+\.svg)\)</p>", lambda found: _drawing(folder / found.group(1)), shown)
    head, last = body.rsplit("<h2>", 1)
    return laid_out(
        knowledge.root,
        LANGUAGES[jurisdiction],
        text.splitlines()[0].lstrip("# "),
        f'{head}<section class="help"><h2>{last}</section>',
        _sources(knowledge, source(knowledge, jurisdiction)),
    )


def _drawing(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _sources(knowledge: Knowledge, text: str) -> str:
    """Whom the leaflet follows, and that no clinician has checked it yet."""
    shown = statements(text)
    followed = [item for item in knowledge.articles if any(name.startswith(item.cites) for name in shown)]
    named = [f"{item.publisher}: {item.title}" for item in followed]
    return knowledge.wording.leaflet_sources.format(sources="; ".join(named))

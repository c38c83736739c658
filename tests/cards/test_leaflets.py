"""The leaflets for patients: plain, printable, with a drawing for each exercise, asking for nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
import textstat
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cards import leaflets
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.people import SERVICE, body

EACH = pytest.mark.parametrize("jurisdiction", ["us", "uk"])
_HARDEST_GRADE = 8


class Outline(HTMLParser):
    """Headings, attributes and drawings of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.levels: list[int] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.levels.append(int(tag[1]))


def page_of(knowledge: Knowledge, jurisdiction: str) -> str:
    return leaflets.render(knowledge, jurisdiction).content.decode()


@EACH
def test_each_section_reads_at_grade_eight_or_below(knowledge: Knowledge, jurisdiction: str) -> None:
    for section in leaflets.sections(leaflets.source(knowledge, jurisdiction)):
        # An item of a list ends a sentence, as a reader takes it.
        prose = re.sub(r"(?<![.:])\n+", ".\n", re.sub(r"^(#+|-) ", "", section, flags=re.MULTILINE).strip())
        assert textstat.flesch_kincaid_grade(prose) <= _HARDEST_GRADE, section


def test_the_measure_of_reading_tells_hard_from_plain() -> None:
    assert textstat.flesch_kincaid_grade("Idiopathic nocturnal muscular contractions necessitate differential evaluation.") > 12


@EACH
def test_a_page_asks_for_nothing_else(knowledge: Knowledge, jurisdiction: str) -> None:
    page = page_of(knowledge, jurisdiction)
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "form", "object"} & {tag for tag, _ in outline.tags}
    assert not [attrs for _, attrs in outline.tags if {"src", "href", "style"} & attrs.keys()]
    assert "url(" not in page
    assert "@import" not in page


@EACH
def test_headings_stand_in_order_and_every_drawing_has_a_name(knowledge: Knowledge, jurisdiction: str) -> None:
    outline = Outline(page_of(knowledge, jurisdiction))
    assert outline.levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(outline.levels, outline.levels[1:], strict=False))
    drawn = [attrs for tag, attrs in outline.tags if tag == "svg"]
    ids = {attrs.get("id") for _, attrs in outline.tags}
    assert len(drawn) == 4
    assert all(attrs["role"] == "img" and set(str(attrs["aria-labelledby"]).split()) <= ids for attrs in drawn)


@EACH
def test_what_only_we_need_is_not_printed(knowledge: Knowledge, jurisdiction: str) -> None:
    page = page_of(knowledge, jurisdiction)
    assert not re.search(r"\b(US|UK)-\d\d\b|<!--|drawings/", page)
    assert "no clinician has checked it yet" in page
    assert "@media print" in page


def test_each_jurisdiction_has_its_own_help_and_its_own_word_on_quinine(knowledge: Knowledge) -> None:
    words = {key: leaflets.source(knowledge, key) for key in ("us", "uk")}
    us, uk = page_of(knowledge, "us"), page_of(knowledge, "uk")
    numbers = {key: set(re.findall(r"\b(?:911|999|111)\b", page)) for key, page in words.items()}
    assert numbers == {"us": {"911"}, "uk": {"999", "111"}}
    assert "Do not take quinine for cramps" in us
    assert "four weeks" in uk
    assert 'lang="en-US"' in us
    assert 'lang="en-GB"' in uk


def test_the_two_leaflets_have_the_same_parts(knowledge: Knowledge) -> None:
    us, uk = (re.findall(r"^#+ .+$", leaflets.source(knowledge, key), re.MULTILINE) for key in ("us", "uk"))
    assert us == uk


@pytest.mark.parametrize(
    ("name", "language"), [("leg-cramps", "en-US"), ("leg-cramps-us", "en-US"), ("leg-cramps-uk", "en-GB")]
)
def test_leaflets_are_served_with_a_strict_policy(client: TestClient, name: str, language: str) -> None:
    answer = client.get(f"/leaflets/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert f'lang="{language}"' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert client.get(f"/leaflets/{name}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_an_unknown_leaflet_is_refused_in_the_one_shape(client: TestClient) -> None:
    answer = client.get("/leaflets/leg-cramps-fr")
    assert answer.status_code == 404
    assert answer.json()["resourceType"] == "OperationOutcome"


def links(knowledge: Knowledge, settings: Settings) -> list[dict[str, Any]]:
    with TestClient(build_app(settings, DecisionService(knowledge, settings))) as client:
        cards = client.post(f"/cds-services/{SERVICE}", json=body()).json()["cards"]
        found = [link for card in cards for link in card.get("links", ())]
        assert all(client.get(link["url"].removeprefix("https://cramps.example")).status_code == 200 for link in found)
    return found


def test_a_card_links_to_the_leaflet_only_where_the_site_says_where_it_is(knowledge: Knowledge) -> None:
    memory = "sqlite+aiosqlite:///:memory:"
    assert links(knowledge, Settings(guarded=True, database_url=memory)) == []
    public = Settings(guarded=True, database_url=memory, public_url="https://cramps.example/", jurisdiction="uk")
    (link,) = [link for link in links(knowledge, public) if "/leaflets/" in link["url"]]
    assert link["url"] == "https://cramps.example/leaflets/leg-cramps-uk"
    assert link["type"] == "absolute"
    assert link["label"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UK-18", "mostly stop after the birth"),
        ("UK-24", "lead or mercury"),
        ("UK-25", "dirty wound"),
        ("UK-26", "blood clot"),
        ("UK-27", "more than ten minutes and stretching does not help"),
        ("UK-28", "numb, weak, swollen"),
        ("UK-34", "Lean on the wall"),
        ("UK-35", "two to four weeks"),
        ("UK-42", "Ask before you take vitamins"),
        ("US-02", "one after the other"),
        ("US-26", "heart races"),
        ("US-32", "Painkillers do not stop a cramp"),
        ("US-37", "do not take magnesium"),
    ],
)
def test_what_a_leaflet_cites_it_says(knowledge: Knowledge, statement: str, words: str) -> None:
    for jurisdiction in ("us", "uk"):
        text = leaflets.source(knowledge, jurisdiction)
        assert statement in leaflets.statements(text)
        assert words in text

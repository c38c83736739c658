"""Texts are written once; each jurisdiction reads its own spelling, and records are never respelled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

import msgspec
import pytest
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cards.footer import REASONS
from cds_service.cards.text import plain
from cds_service.cdshooks.response import encode
from cds_service.explain.explanation import explain
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.localise import spelled, speller, spoken_texts
from cds_service.samples.people import Person, patient_file, read_bundle
from cds_service.settings import Settings
from cds_service.terminal.output import show_explanation
from tests.support.cast import CAST, FIXTURES, conductor_of, decision


@pytest.mark.parametrize(("jurisdiction", "headline"), [("us", "Anemia"), ("uk", "Anaemia")])
def test_a_headline_is_spelled_as_the_jurisdiction_does(knowledge: Knowledge, jurisdiction: str, headline: str) -> None:
    assert spelled(knowledge, jurisdiction).cards["anaemia"].file.headline == headline


def test_placeholders_keep_the_names_of_facts(knowledge: Knowledge) -> None:
    lines = [say for _, say in spelled(knowledge, "us").cards["anaemia"].lines]
    assert lines[0].startswith("{anaemia.names}:")


def test_an_american_text_holds_no_british_word(knowledge: Knowledge) -> None:
    told = " ".join(text for text in spoken_texts(spelled(knowledge, "us")) if "{" not in text).lower()
    assert [word for word in knowledge.spelling["us"] if word in told] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("anaemia", "anemia"), ("Anaemia.", "Anemia."), ("anaemias", "anaemias"), ("no such word", "no such word")],
)
def test_whole_words_are_respelled_and_keep_their_capital(text: str, expected: str) -> None:
    assert speller({"anaemia": "anemia"})(text) == expected


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("Pernicious anemia (disorder)", "Pernicious anemia"),
        ("Furosemide (substance)", "Furosemide"),
        ("Chronic kidney disease, stage 4 (severe)", "Chronic kidney disease, stage 4 (severe)"),
        ("(finding)", "(finding)"),
    ],
)
def test_the_kind_of_a_snomed_concept_is_not_read_aloud(recorded: str, shown: str) -> None:
    assert plain(recorded) == shown


# What Americans spell otherwise, by the parts of words that tell: more than today's texts hold, so that tomorrow's are caught.
_ENDINGS = (
    r"(?:behavi|col|fav|flav|harb|hon|hum|lab|neighb|od|ranc|rig|rum|sav|splend|tum|vap|vig)our\w*",
    r"\w*(?:alis|anis|aris|atis|bilis|cialis|cognis|eris|etis|ionis|inis|imis|ilis|olis|omis|otis|utis)(?:e|ed|es|ing|ation|ations)",
    r"(?:anal|catal|dial|electrol|hydrol|paral)ys(?:e|ed|es|ing)",
    r"(?:cali|cen|fi|goi|li|lus|ma|me|millili|millime|centime|kilome|och|sabo|scep|som|spec|thea|tit)(?:b|t)re[sd]?",
    r"(?:defen|licen|offen|preten)ce[sd]?",
    r"\w*(?:cancel|channel|counsel|fuel|label|level|model|signal|total|travel)l(?:ed|ing|er|ers|or|ors)",
)
_PARTS = (
    r"\w*haem\w*",
    r"\w*(?:an|leuk|isch|ur|glyc|natr|kal|calc|volc|septic|tox|hydr|azot|bacter|vir|lip)aemi\w*",
    r"\w*oedema\w*",
    r"\w*(?:oesoph|oestr|diarrhoea|rrhoea|pnoea|foet|coeli|manoeuv|amoeb|homoeo|coelom)\w*",
    r"\w*(?:paedi|gynaec|anaesth|aetiol|caec|faec|faece|caesar|archae|encyclopaed|aesthet|lanae)\w*",
    r"sulph\w*|aluminium|\w*neurones?|fibres?|centred|programmes?|practis\w*",
    r"ageing|grey\w*|mould\w*|plough\w*",
    r"fulfil|fulfils|enrol|enrols|skilful\w*|whilst|amongst|learnt|spelt|burnt|dreamt|cosy|tyres?|storeys?|kerb|cheques?|pyjamas|judgement",
)
BRITISH = re.compile(rf"\b(?:{'|'.join((*_ENDINGS, *_PARTS))})\b", re.IGNORECASE)
_ALIKE = {"exercise", "exercises", "raise", "raised", "otherwise", "analysis", "dialysis", "promise", "precise", "advise"}
_IDENTIFIERS = re.compile(
    r'"(?:rule|fact)":"[^"]*"|"code":"[A-Z][A-Za-z]*"|Rules: [^(]*\(draft|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'
)


def british(text: str) -> set[str]:
    """The British words of a text; ids of rules, facts and cards are names, not words."""
    text = _IDENTIFIERS.sub("", text)
    return {word.lower() for word in BRITISH.findall(text)} - _ALIKE


@pytest.mark.parametrize(
    "text",
    [
        "tumour colour behaviour",
        "recognised ionised organisation analyse paralysed",
        "centre litres millimetre fibre",
        "anaemia hypokalaemia haemoglobin leukaemia",
        "oedema oesophagus oestrogen diarrhoea dyspnoea faeces paediatric anaesthetic",
        "licence practise programme labelled counselling judgement sulphate whilst neurone",
    ],
)
def test_the_scan_knows_british_words(text: str) -> None:
    assert british(text) == set(text.split())


def test_the_scan_leaves_american_words() -> None:
    text = "exercise raised dialysis hour four pour mature source practice license anemia liter promise advise otherwise"
    assert british(text) == set()


def test_the_scan_does_not_read_ids() -> None:
    assert british('{"uuid":"11111111-1111-4111-8111-9caec35c2e7f","rule":"severe-anaemia","code":"LimbIschaemia"}') == set()


def record_of(person: Person) -> str:
    return json.dumps(read_bundle(patient_file(FIXTURES, person)), ensure_ascii=False)


def served_to_americans(person: Person, *, explained: bool) -> Iterator[str]:
    """The cards of a person, and the explanation if asked for, as a site in the United States gets them."""
    american = msgspec.structs.replace(person, jurisdiction="us")
    answer = decision(american)
    cards = json.loads(encode(answer.cards))
    for card in cards:
        # The id of a rule is a name, not a word; the topic of a card is made of it.
        del card["extension"][REASONS]["rules"], card["source"]["topic"]
    yield json.dumps(cards)
    if not explained:
        return
    told = explain(answer)
    yield encode(told).decode()
    with redirect_stdout(StringIO()) as shown:
        show_explanation(told, person.day, everything=True)
    yield shown.getvalue()


@pytest.mark.untraced
def test_nothing_served_to_americans_is_spelled_british() -> None:
    """The cards of the whole cast, and the explanation of every third, which names every rule; a record's words are left."""
    found: dict[str, set[str]] = {}
    for at, person in enumerate(CAST):
        own = british(record_of(person))
        served = served_to_americans(person, explained=at % 3 == 0)
        for word in {word for text in served for word in british(text)} - own:
            found.setdefault(word, set()).add(person.id)
    assert found == {}


@pytest.mark.parametrize("path", ["/cds-services", "/Questionnaire/leg-cramp-history", "/leaflets/leg-cramps-us"])
def test_no_document_served_to_americans_is_spelled_british(path: str) -> None:
    answer = TestClient(build_app(Settings(jurisdiction="us", guarded=True), conductor_of("us"))).get(path)
    assert answer.status_code == 200
    assert british(answer.text) == set()

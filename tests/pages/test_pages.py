"""The pages as a browser is sent them: what each says, whom they refuse, and what of a hostile record comes through."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.questionnaireresponse import QuestionnaireResponse
from hatchling.builders.wheel import WheelBuilder
from markupsafe import escape
from pydantic import ValidationError
from starlette.testclient import TestClient

from bench.pages import paths
from cds_service.cdshooks.request import read_request
from cds_service.errors import RequestError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import load_knowledge
from cds_service.lint.cases import cases_path
from cds_service.pages.guard import PASTES, Guard
from cds_service.pages.logic_tree import LogicTree
from cds_service.pages.patient_record import WIDTH, read_record
from cds_service.pages.sandbox import PASTE_LIMIT, Sandbox
from cds_service.pages.templating import markdown
from cds_service.samples.people import fixtures_of, patient_file, read_bundle, read_cast, to_hook_request
from cds_service.security.access import pages_shown
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.conftest import ROOT
from tests.support.pages import PAYLOADS, addresses, hostile, make
from tests.support.people import AS_OF, SERVICE, body, bundle, concept, condition, medication, observation, patient

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CAST = read_cast(fixtures_of(ROOT))
KEYS = ("electrolytes", "kidneyFunction", "otherResults", "bloodTests", "medicationRequests", "orders", "crampHistory")
EVERYTHING_FAILED = "&".join(f"prefetch.{key}=failed" for key in KEYS)


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    with make(decision_service, tmp_path) as opened:
        yield opened


def paste(client: TestClient, text: str, **given: str) -> Any:
    return client.post("/try", data={"text": text, "date": "2026-11-20"} | given)


@pytest.mark.parametrize("person", CAST, ids=lambda person: person.id)
def test_each_of_the_cast_has_a_page_with_the_cards_that_the_service_answers(client: TestClient, person: Any) -> None:
    answer = client.get(f"/try/{person.id}")
    assert answer.status_code == 200
    shown = re.findall(r'<h3 id="summary-\d+">(.*?)</h3>', answer.text)
    assert [text.replace("&#39;", "'").replace("&amp;", "&").replace("&lt;", "<") for text in shown] == [
        card.summary for card in person.cards
    ]


@pytest.mark.untraced
def test_no_page_weighs_more_than_150_kilobytes_with_all_that_it_loads(client: TestClient, knowledge: Knowledge) -> None:
    loaded: dict[str, int] = {}
    states = ("/?q=e", "/rules?q=a", f"/try/kali-overfull?{EVERYTHING_FAILED}", "/try/kali-overfull?date=1999-01-01")
    for path in (*paths(knowledge), *states):
        answer = client.get(path)
        assert answer.status_code == 200, path
        needed = set(re.findall(r'(?:src|href)="(/pages/[^"]+)"', answer.text))
        for name in needed - set(loaded):
            loaded[name] = len(client.get(name).content)
        weight = len(answer.content) + sum(loaded[name] for name in needed)
        assert weight < 150_000, f"{path}: {weight}"


def test_the_first_page_tells_eight_stories_and_then_those_of_everybody(client: TestClient) -> None:
    page = client.get("/").text
    first, others = page.split('<details class="everybody">')
    shown = [re.findall(r'href="/try/([\w-]+)"', part) for part in (first, others)]
    assert shown[0] == [person.id for person in CAST if person.featured]
    assert len(shown[0]) == 8
    assert sorted(shown[0] + shown[1]) == sorted(person.id for person in CAST)
    # On a phone the box comes before the list.
    assert first.index("<textarea") < first.index('class="cast"')
    assert "Low potassium on a loop diuretic" in page


def test_the_eight_show_the_breadth() -> None:
    featured = [person for person in CAST if person.featured]
    assert {person.jurisdiction for person in featured} == {"us", "uk"}
    assert {card.indicator for person in featured for card in person.cards} == {"critical", "warning", "info"}
    assert any(not person.cards for person in featured)
    assert any(person.hook == "order-sign" for person in featured)
    assert any(person.withheld or person.null_keys or person.failed_keys for person in featured)


@pytest.mark.parametrize(
    ("query", "found"), [("ada", {"ada-stiffcalf"}), ("LOOP diuretic never", {"ada-stiffcalf"}), ("<b>", set())]
)
def test_people_are_searched_on_the_server(client: TestClient, query: str, found: set[str]) -> None:
    page = client.get("/", params={"q": query}).text
    shown = set(re.findall(r'href="/try/([\w-]+)"', page))
    assert found <= shown
    assert len(shown) < 20
    assert bool(found) or "No match." in page
    assert f'value="{escape(query)}"' in page


@pytest.mark.parametrize("path", ["/", "/try/ada-stiffcalf", "/try/nobody", "/pages/style.css"])
def test_every_page_forbids_what_is_not_its_own(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_no_page_holds_an_inline_script_or_style_or_an_address_to_load_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/try/ada-stiffcalf", "/try/kali-overfull"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*src=\"/pages/)|<style|\sstyle=|\son[a-z]+=", page)
        assert not re.search(r'(?:src|href)="(?:https?:)?//[^"]*"(?! rel="noopener noreferrer")', page)


def test_what_is_called_by_the_line_of_curl_is_what_is_shown(client: TestClient) -> None:
    sent = client.get("/try/ada-stiffcalf/request.json").json()
    cards = client.post(f"/cds-services/{SERVICE}", json=sent).json()["cards"]
    assert [card["summary"] for card in cards] == [card.summary for card in CAST[0].cards]


def test_every_rule_has_a_page_with_its_cases_and_says_that_nobody_has_checked_it(
    client: TestClient, knowledge: Knowledge
) -> None:
    listed = client.get("/rules").text
    for rule in knowledge.rules:
        assert f'href="/rules/{rule.id}"' in listed
        page = client.get(f"/rules/{rule.id}").text
        assert "Checked by nobody yet." in page
        assert page.count("as expected:") == len(json.loads((ROOT / cases_path(rule)).read_text())["cases"])
        assert all(f'href="/statements#{name}"' in page for name in rule.file.evidence)
        assert_harmless(page)


def test_the_codes_that_a_rule_asks_for_are_one_step_away(client: TestClient, knowledge: Knowledge) -> None:
    linked: set[str] = set()
    for rule in knowledge.rules:
        asked = set(re.findall(r'href="/codes/([\w-]+)"', client.get(f"/rules/{rule.id}").text))
        for key in asked - linked:
            assert f'href="/rules/{rule.id}"' in client.get(f"/codes/{key}").text
        linked |= asked
    assert {key for item in knowledge.facts.values() for key in (*item.value_sets, *item.analytes)} <= linked
    assert "\n2823-3 Potassium [Moles/volume] in Serum or Plasma\n" in client.get("/codes/potassium").text
    # A set of which one part needs a licence is one list of two.
    counted = sum(len(rows) for part in knowledge.value_sets["diuretics"] for rows in part.codes.values())
    page = client.get("/codes/diuretics").text
    boxes = re.findall(r"<pre[^>]*>\n(.*?)</pre>", page, re.DOTALL)
    beyond = map(int, re.findall(r"And (\d+) more", page))
    assert sum(box.count("\n") for box in boxes) + sum(beyond) == counted


def test_a_case_that_a_rule_no_longer_answers_is_shown(tree: Path) -> None:
    path = tree / "logic/rules/results/low-potassium.cases.json"
    path.write_text(path.read_text().replace('"expect": "fires"', '"expect": "silent"'))
    decision_service = DecisionService(load_knowledge(tree), Settings(knowledge=tree))
    with make(decision_service, tree) as client:
        page = client.get("/rules/low-potassium").text
    assert "<strong>fires, expected silent</strong>" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("topic=ordering", lambda rule: rule.topic == "ordering"),
        ("jurisdiction=uk&group=results", lambda rule: "uk" in rule.file.jurisdiction and rule.file.group == "results"),
        ("evidence=US-06", lambda rule: "US-06" in rule.file.evidence),
        ("status=retired", lambda rule: False),
        ("topic=", lambda rule: True),
        ("q=", lambda rule: True),
        ("q=LOW-potassium+us-06", lambda rule: rule.id == "low-potassium"),
        ("q=<script>", lambda rule: False),
    ],
)
def test_rules_are_filtered(client: TestClient, knowledge: Knowledge, query: str, found: Any) -> None:
    shown = re.findall(r'href="/rules/([\w-]+)"', client.get(f"/rules?{query}").text)
    assert sorted(shown) == sorted(rule.id for rule in knowledge.rules if found(rule))


def test_rules_are_found_by_what_they_look_for_and_what_their_cards_say(client: TestClient, knowledge: Knowledge) -> None:
    def shown(query: str) -> set[str]:
        return set(re.findall(r'href="/rules/([\w-]+)"', client.get("/rules", params=query).text))

    for rule in knowledge.rules:
        line = knowledge.cards[rule.id].file.lines[0].say
        assert rule.id in client.get("/rules", params={"q": line}).text
    everything = {rule.id for rule in knowledge.rules}
    assert set() < shown("q=statin") < everything
    assert shown("q=statin&jurisdiction=uk&group=results") < shown("q=statin")


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/try/ada-stifcalf", "/try/ada-stiffcalf"),
        ("/try/ada", "/try/ada-stiffcalf"),
        ("/try/adda-stiffcalf/why", "/try/ada-stiffcalf"),
        ("/rules/low-potasium", "/rules/low-potassium"),
        ("/codes/magnesum", "/codes/magnesium"),
        ("/rule", "/rules"),
        ("/dashbord/x", "/dashboard"),
    ],
)
def test_who_went_wrong_is_shown_what_was_meant_and_what_is_here(client: TestClient, path: str, near: str) -> None:
    answer = client.get(path, headers=AS_A_BROWSER)
    assert answer.status_code == 404
    meant = answer.text[answer.text.index("Did you mean") : answer.text.index("What is here")]
    assert f'href="{near}"' in meant
    for place in ("/", "/rules", "/statements", "/dashboard"):
        assert f'<li><a href="{place}">' in answer.text
    assert client.get(near, headers=AS_A_BROWSER).status_code == 200


def test_what_is_like_nothing_is_not_guessed(client: TestClient) -> None:
    page = client.get("/try/zzzzzzzz").text
    assert "Did you mean" not in page
    assert "What is here" in page


def test_what_does_nothing_here_does_not_look_like_a_button(client: TestClient) -> None:
    assert 'class="suggestions"' in client.get("/try/ada-stiffcalf").text
    text = patient_file(fixtures_of(ROOT), CAST[0]).read_text()
    for page in (
        client.get("/try/ada-stiffcalf/what-if").text,
        client.post("/try/ada-stiffcalf/history", data={"palpitations": "yes"}).text,
        paste(client, text).text,
    ):
        assert 'class="offers"' in page
        assert 'class="suggestions"' not in page
        assert "data-accept" not in page


def test_every_statement_is_told_with_where_it_went(client: TestClient, knowledge: Knowledge) -> None:
    page = client.get("/statements").text
    assert len(knowledge.evidence) == 79
    for name in knowledge.evidence:
        row = re.findall(rf'<tr id="{name}">(.*?)</tr>', page, re.DOTALL)[0]
        assert "/rules/" in row or "/leaflets/" in row or str(escape(knowledge.uncited[name])) in row
    for link in set(re.findall(r'href="(/(?:rules|leaflets)/[^"]+)"', page)):
        assert client.get(link).status_code == 200, link


@pytest.mark.parametrize("person", [CAST[0], CAST[1], max(CAST, key=lambda item: len(item.cards))], ids=lambda item: item.id)
def test_why_tells_every_rule_with_its_state(client: TestClient, decision_service: DecisionService, person: Any) -> None:
    page = client.get(f"/try/{person.id}/why").text
    for rule in decision_service.rules[SERVICE]:
        assert f'href="/rules/{rule.id}"' in page
    assert_harmless(page)


def test_a_tree_says_of_each_branch_whether_it_holds_and_what_says_so(decision_service: DecisionService) -> None:
    request = read_request(json.dumps(body({"electrolytes": bundle(observation(3.1))})).encode(), "patient-view")
    grow = LogicTree(decision_service.knowledge, decision_service.answer(SERVICE, request, AS_OF)).grow
    low = {"==": [{"var": "potassium_against_range"}, "low"]}
    unknown = {"==": [{"var": "magnesium_against_range"}, "low"]}
    tree = grow({"and": [low, {"!": [{"or": [unknown, {"!": [low]}]}]}]})
    assert (tree.words, tree.truth) == ("all of", "unknown")
    first, second = tree.parts
    assert (first.words, first.truth) == ("the latest potassium is below its range", "true")
    assert first.datum.startswith("Potassium 3.1 mmol/L (12 Nov)")
    assert (second.words, second.truth) == ("not", "unknown")
    either = second.parts[0]
    assert [part.truth for part in either.parts] == ["unknown", "false"]
    assert either.parts[0].datum == "magnesium: none in 90 days"


@pytest.mark.parametrize(
    ("logic", "words"),
    [
        ({"<": [{"var": "egfr_value"}, 30]}, "below 30"),
        ({"<=": [{"var": "abi_value"}, 0.9]}, "at most 0.9"),
        ({">": [{"var": "age_years"}, 65]}, "more than 65"),
        ({">=": [{"var": "age_years"}, 65]}, "at least 65"),
        ({"!": [{"var": "deceased"}]}, "no death is on record"),
        ({"!=": [{"var": "potassium_against_range"}, "low"]}, "in range"),
        ({"==": [{"var": "potassium_against_range"}, {"var": "sodium_against_range"}]}, "is"),
        (True, "always"),
    ],
)
def test_a_condition_is_told_in_the_words_of_its_answers(knowledge: Knowledge, logic: Any, words: str) -> None:
    branch = LogicTree(knowledge).grow(logic)
    assert words in branch.words.replace("inside its range", "in range").replace("within", "in")
    assert branch.truth == branch.datum == ""


def test_no_rule_is_told_by_the_names_of_its_facts(client: TestClient, knowledge: Knowledge) -> None:
    """What a tree says is what `explain` says; a name of a fact in it is a phrase that is missing."""
    grow = LogicTree(knowledge).grow

    def leaves(branch: Any) -> Iterator[str]:
        yield from (word for part in branch.parts for word in leaves(part)) if branch.parts else (branch.words,)

    for rule in knowledge.rules:
        for words in (*leaves(grow(rule.fires_when.source)), *leaves(grow(rule.applies_when.source))):
            assert words not in {name.replace("_", " ") for name in knowledge.facts}, (rule.id, words)


def test_a_pasted_record_is_explained(client: TestClient) -> None:
    answer = paste(client, patient_file(fixtures_of(ROOT), CAST[0]).read_text(), ask="why")
    assert answer.status_code == 200
    assert "the latest potassium is below its range" in answer.text
    assert_harmless(paste(client, json.dumps(hostile()), ask="why").text)


def test_answers_to_the_form_change_the_cards_as_those_of_a_patient_do(client: TestClient, knowledge: Knowledge) -> None:
    page = client.get("/try/cora-allwell/history").text
    for item in knowledge.questionnaire["item"]:
        assert f'name="{item["linkId"]}"' in page
    given = {"palpitations": "yes", "when": ["night", "rest"], "stretching-weeks": "3", "numbness": ""}
    answer = client.post("/try/cora-allwell/history", data=given)
    assert answer.status_code == 200
    assert "palpitations-told" in answer.text
    assert "palpitations-told" not in client.get("/try/cora-allwell").text
    sent = json.loads(unescape(re.findall(r"<summary>Request</summary><pre[^>]*>(.*?)</pre>", answer.text, re.DOTALL)[0]))
    response = sent["prefetch"]["crampHistory"]["entry"][0]["resource"]
    QuestionnaireResponse.model_validate(response)
    assert [(item["linkId"], len(item["answer"])) for item in response["item"]] == [
        ("when", 2),
        ("palpitations", 1),
        ("stretching-weeks", 1),
    ]
    assert "data-feedback" not in answer.text


def test_who_only_looks_at_the_form_sees_the_record_as_it_is(client: TestClient) -> None:
    blank = client.post("/try/cora-allwell/history", data={"ask": "why", "date": "2026-11-21"}, follow_redirects=False)
    assert blank.status_code == 303
    assert blank.headers["location"].startswith("/try/cora-allwell/why?jurisdiction=us&hook=patient-view&date=2026-11-21")
    filled = Tags(client.get("/try/wes-walkhalt/history").text).found
    given: dict[str, list[str]] = {}
    for _, field in filled:
        if "checked" in field or field.get("inputmode") == "numeric":
            given.setdefault(str(field["name"]), []).append(str(field["value"]))
    assert given["stretching-weeks"] == ["6"]
    assert len(given["when"]) == 2
    assert client.post("/try/wes-walkhalt/history", data=given, follow_redirects=False).status_code == 303
    assert client.post("/try/wes-walkhalt/history", data=given | {"when": []}, follow_redirects=False).status_code == 200


def test_what_was_answered_is_told_beside_the_cards_that_ask_for_it(
    client: TestClient, decision_service: DecisionService
) -> None:
    bench = Sandbox(decision_service)
    wes = bench.person("wes-walkhalt")
    history = read_record(bench.try_person(wes, bench.choice({}, wes))).history
    assert history
    told = {row.name: row for row in history.answers}
    assert len(told) == len(bench.decision_service.knowledge.questionnaire["item"])
    twitching = told["Do muscles of the legs twitch or tremble?"]
    assert twitching.value == "Yes"
    assert "twitching" in wes.cards[twitching.used[0] - 1].summary
    assert told["Is a leg swollen?"].value == "No"
    assert told["Is a leg swollen?"].used == ()
    assert (
        told["When do the cramps come? Choose all that fit."].value == "At night or in bed, On walking, and they ease with rest"
    )
    page = re.sub(r"\s+", " ", client.get("/try/wes-walkhalt").text)
    assert "Do muscles of the legs twitch or tremble? <strong>Yes</strong>" in page


def test_an_answer_that_nobody_understands_is_told_as_such(client: TestClient, knowledge: Knowledge) -> None:
    said = {"linkId": "palpitations", "answer": [{"valueString": "<b>sort of</b>"}]}
    given: dict[str, Any] = {
        "resourceType": "QuestionnaireResponse",
        "id": "q1",
        "status": "completed",
        "authored": "2026-11-19",
    }
    given |= {"subject": {"reference": "Patient/p1"}, "questionnaire": knowledge.questionnaire["url"], "item": [said]}
    page = re.sub(r"\s+", " ", paste(client, json.dumps(bundle(patient(), given))).text)
    assert "Does your heart race, flutter or skip beats? <strong>not understood</strong>" in page
    assert "has an answer that cannot be read" in page


@pytest.mark.parametrize(
    ("day", "sent", "says"),
    [
        ("1999-01-01", set(), "not sent: 2 conditions, 1 drug, 4 results."),
        ("2012-04-01", {"conditions"}, "not sent: 1 condition, 1 drug, 4 results."),
        ("2026-02-03", {"conditions", "medicationRequests", "electrolytes"}, "not sent: 3 results."),
        ("2026-11-20", {"conditions", "medicationRequests", "electrolytes"}, ""),
        ("2027-06-01", {"conditions", "medicationRequests", "electrolytes"}, "results grow old"),
    ],
)
def test_on_an_earlier_day_only_what_was_on_record_then_is_sent(
    client: TestClient, day: str, sent: set[str], says: str
) -> None:
    page, call = (client.get(f"/try/ada-stiffcalf{path}?date={day}") for path in ("", "/request.json"))
    filled = {key for key, section in call.json()["prefetch"].items() if section.get("entry")}
    assert sent <= filled
    assert sent or filled == set()
    assert ("not on record yet" in page.text) is (day < "2026-11-20")
    assert says in page.text
    assert ("The story is of 2026-11-20" in page.text) is (day != "2026-11-20")
    assert day >= "2026" or "2026" not in page.text[page.text.index('id="record-title"') :]


def test_what_a_pasted_record_dates_after_the_day_judged_is_not_shown_as_past(client: TestClient) -> None:
    cramps = condition(concept("449917004", "http://snomed.info/sct"), onsetDateTime="2026-12-01")
    drug = medication(concept(text="bumetanide"), status="active", authoredOn="2026-12-02")
    page = paste(client, json.dumps(bundle(patient(), cramps, drug, observation(3.1, when="2026-12-03")))).text
    assert page.count("after the day judged") == 4


def test_the_bar_of_a_drug_reaches_the_day_judged_where_it_is_still_taken(decision_service: DecisionService) -> None:
    begun = {"authoredOn": "2026-01-01"}
    until = {"dosageInstruction": [{"timing": {"repeat": {"boundsPeriod": {"start": "2026-01-01", "end": "2026-06-01"}}}}]}
    drugs = [
        medication(concept(text="bumetanide"), id="m1", status="active", **begun),
        medication(concept(text="bumetanide"), id="m2", status="stopped", **begun),
        medication(concept(text="bumetanide"), id="m3", status="completed", **begun, **until),
        medication(concept(text="bumetanide"), id="m4", status="active", authoredOn=None),
    ]
    choice = Sandbox(decision_service).choice({"date": "2026-11-20"}, None)
    trial = Sandbox(decision_service).try_pasted(json.dumps(bundle(patient(), *drugs)), choice)
    bars = {bar.row.reference.partition("/")[2]: bar for bar in read_record(trial).courses.bars}
    assert [(name, bar.is_taken) for name, bar in bars.items()] == [("m1", True), ("m2", False), ("m3", False), ("m4", True)]
    assert (bars["m1"].start, bars["m1"].end) == (0.0, WIDTH)
    assert (bars["m2"].start, bars["m2"].end) == (0.0, 0.0)
    assert 0.3 * WIDTH < bars["m3"].end < 0.6 * WIDTH
    assert (bars["m4"].start, bars["m4"].since) == (None, "start not on record")


@pytest.mark.parametrize(
    ("state", "sent", "outcome"),
    [
        ("left-out", "nothing", "unknown"),
        ("failed", "OperationOutcome", "unknown"),
        ("null", None, "unknown"),
        ("empty", "Bundle", "unknown"),
        ("", "Bundle", "fires"),
    ],
)
def test_an_integrator_sees_what_becomes_of_a_rule_where_a_key_is_not_supplied(
    client: TestClient, state: str, sent: str | None, outcome: str
) -> None:
    query = f"prefetch.electrolytes={state}"
    prefetch = client.get(f"/try/ada-stiffcalf/request.json?{query}").json()["prefetch"]
    if sent == "nothing":
        assert "electrolytes" not in prefetch
    else:
        assert (prefetch["electrolytes"] and prefetch["electrolytes"]["resourceType"]) == sent
    if state:
        # The other searches still bring what they ask for.
        assert [item["resource"]["code"]["coding"][0]["code"] for item in prefetch["otherResults"]["entry"]] == ["3016-3"]
    page = client.get(f"/try/ada-stiffcalf?{query}").text
    assert ("rules answer otherwise" in page) is bool(state)
    assert ("Potassium 3.1 mmol/L" in page) is not bool(state)
    assert (f"/request.json?jurisdiction=us&amp;hook=patient-view&amp;date=2026-11-20&amp;draft=&amp;{query}" in page) is bool(
        state
    )
    turned = re.findall(r'low-potassium">Potassium below range</a>.*?state-(\w+)', page, re.DOTALL)
    assert turned == ([outcome] if state else [])


@pytest.mark.untraced
def test_every_key_can_be_left_out_emptied_or_failed_and_nothing_breaks(client: TestClient, knowledge: Knowledge) -> None:
    form = client.get("/try/ada-stiffcalf").text
    for key, query in knowledge.queries.items():
        assert (f'name="prefetch.{key}"' in form) is not query.from_context
        for state in ("left-out", "null", "empty", "failed") if not query.from_context else ():
            for path in ("", "/why", "/what-if", "/history"):
                answer = client.get(f"/try/ada-stiffcalf{path}?prefetch.{key}={state}")
                assert answer.status_code in ((200, 412, 400) if query.mandatory else (200,)), (key, state, path)


def test_a_call_that_cannot_be_answered_without_a_key_says_so_and_can_be_mended(client: TestClient) -> None:
    answer = client.get("/try/ada-stiffcalf?prefetch.conditions=left-out")
    assert answer.status_code == 412
    assert "<code>prefetch.conditions</code>" in answer.text
    assert '<option value="left-out" selected>' in answer.text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("prefetch.electrolytes=lost", "use one of left-out, null, empty, failed"),
        ("prefetch.moods=null", "is none of the prefetch keys"),
        ("prefetch.draftOrders=null", "is none of the prefetch keys"),
    ],
)
def test_what_no_ehr_can_do_with_a_key_is_told(client: TestClient, query: str, says: str) -> None:
    answer = client.get(f"/try/ada-stiffcalf?{query}")
    assert answer.status_code == 400
    assert says in answer.text.replace("Use one", "use one")


def test_what_an_ehr_leaves_out_by_itself_can_be_supplied(client: TestClient) -> None:
    page = client.get("/try/nora-halflist").text
    assert '<option value="">left out</option>' in page
    query = "prefetch.medicationRequests=in-full"
    assert "medicationRequests" not in client.get("/try/nora-halflist/request.json").json()["prefetch"]
    assert "medicationRequests" in client.get(f"/try/nora-halflist/request.json?{query}").json()["prefetch"]
    assert "prescriptions" in page[page.index("Not known") :]
    given = client.get(f"/try/nora-halflist?{query}").text
    assert "prescriptions" not in given[given.index("Not known") : given.index('id="wire-title"')]


@pytest.mark.parametrize("as_call", [False, True], ids=["bundle", "call"])
def test_the_switch_works_on_a_pasted_record_and_tells_its_entries(
    client: TestClient, knowledge: Knowledge, as_call: bool
) -> None:
    record = read_bundle(patient_file(fixtures_of(ROOT), CAST[0]))
    given = to_hook_request(record, dict(knowledge.queries), "patient-view", None) if as_call else record
    answer = paste(client, json.dumps(given), **{"prefetch.electrolytes": "failed"})
    assert answer.status_code == 200
    assert "rules answer otherwise" in answer.text
    assert "electrolyte results <span" in answer.text
    assert '<option value="failed" selected>' in answer.text
    assert "Potassium 3.1 mmol/L (12 Nov)" not in answer.text


def test_what_is_added_on_what_if_is_supplied_and_that_is_said(client: TestClient) -> None:
    query = "prefetch.electrolytes=failed&analyte=potassium&measured=value&value=2.4"
    page = client.get(f"/try/ada-stiffcalf/what-if?{query}").text
    assert "the EHR is taken to have supplied what it did not: electrolyte results" in page
    assert "potassium 2.4 mmol/L" in page
    assert '<input type="hidden" name="prefetch.electrolytes" value="failed">' in page


@pytest.mark.parametrize(
    ("query", "hook", "note"),
    [
        ("hook=patient-view&draft=quinine", "order-sign", True),
        ("hook=order-select&draft=quinine", "order-select", False),
        ("draft=quinine", "order-sign", True),
        ("hook=patient-view&draft=", "patient-view", False),
    ],
)
def test_a_draft_is_asked_about_on_a_hook_on_ordering_and_that_is_said(
    client: TestClient, query: str, hook: str, note: bool
) -> None:
    page = client.get(f"/try/cora-allwell?{query}").text
    assert f"<option selected>{hook}" in page
    assert ("A draft order counts only on a hook on ordering" in page) is note
    assert client.get(f"/try/cora-allwell/request.json?{query}").json()["hook"] == hook


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"palpitations": "perhaps"}, "palpitations"),
        ({"palpitations": ["yes", "no"]}, "palpitations"),
        ({"how-often": "always"}, "how-often"),
        ({"stretching-weeks": "-1"}, "stretching-weeks"),
        ({"stretching-weeks": "<script>"}, "stretching-weeks"),
    ],
)
def test_an_answer_that_was_not_offered_is_told_by_its_question(client: TestClient, given: Any, place: str) -> None:
    answer = client.post("/try/cora-allwell/history", data=given)
    assert answer.status_code == 400
    assert f"<code>{place}</code>" in answer.text
    assert_harmless(answer.text)


def test_a_form_with_too_many_fields_is_refused(client: TestClient) -> None:
    assert client.post("/try", data={f"f{number}": "x" for number in range(101)}).status_code == 400


def test_a_draft_order_can_be_written_for_anybody(client: TestClient) -> None:
    page = client.get("/try/cora-allwell?hook=order-sign&draft=quinine").text
    assert "Quinine sulfate 324 mg capsule" in page
    assert 'class="card critical"' in page


def test_another_jurisdiction_and_another_day_are_asked_for_by_address(client: TestClient) -> None:
    here = client.get("/try/ada-stiffcalf").text
    there = client.get("/try/ada-stiffcalf?jurisdiction=uk&date=2027-06-01").text
    assert "Potassium 3.1 mmol/L (12 Nov)" in here
    assert "Potassium 3.1 mmol/L (12 Nov)" not in there
    assert '<option value="uk" selected>' in there


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/try/nobody", 404, "is none of the invented people"),
        ("/try/nobody/request.json", 404, "is none of the invented people"),
        ("/try/ada-stiffcalf?jurisdiction=fr", 400, "use one of us, uk"),
        ("/try/ada-stiffcalf?hook=other&draft=tea&date=soon", 400, "3 problems"),
        ("/pages/..%2Fpaper.py", 404, ""),
        ("/pages/other.css", 404, ""),
        ("/try/ada-stiffcalf?date=0001-01-01", 400, "give one from 1900-01-01"),
        ("/try/ada-stiffcalf/why?date=9999-12-31", 400, "give one from 1900-01-01"),
        ("/rules/nothing", 404, "rule"),
        ("/codes/nothing", 404, "codes"),
        ("/try/nobody/why", 404, "is none of the invented people"),
    ],
)
def test_what_cannot_be_shown_is_told_plainly(client: TestClient, path: str, status: int, says: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert says.lower() in answer.text.lower()


AS_A_BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_who_asks_for_the_address_of_a_paste_is_led_to_the_first_page(client: TestClient) -> None:
    answer = client.get("/try", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "invented people" in client.get("/try").text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/try/ada-stiffcalf/", 404),
        ("GET", "/cds-services-and-more", 404),
        ("GET", "/<script>window.hit=1</script>", 404),
        ("POST", "/rules", 405),
        ("PUT", "/", 405),
    ],
)
def test_a_browser_that_went_wrong_gets_a_page_and_a_program_an_outcome(
    client: TestClient, method: str, path: str, status: int
) -> None:
    shown, told = client.request(method, path, headers=AS_A_BROWSER), client.request(method, path)
    assert shown.status_code == told.status_code == status
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    assert shown.headers.get("allow") == told.headers.get("allow")
    assert '<a href="/">Back to the first page</a>' in shown.text
    assert_harmless(shown.text)
    assert told.json()["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("path", ["/cds-services/nothing", "/cds-services/nothing/feedback", "/cds-services/a/b/c"])
def test_what_programs_ask_for_is_told_in_one_shape_whoever_asks(client: TestClient, path: str) -> None:
    assert client.get(path, headers=AS_A_BROWSER).json()["resourceType"] == "OperationOutcome"


def test_without_pages_a_browser_gets_an_outcome_too(decision_service: DecisionService, tmp_path: Path) -> None:
    answer = make(decision_service, tmp_path, pages="off").get("/nowhere", headers=AS_A_BROWSER)
    assert answer.json()["resourceType"] == "OperationOutcome"


def test_a_record_that_is_pasted_is_answered_as_the_service_answers(client: TestClient) -> None:
    text = patient_file(fixtures_of(ROOT), CAST[0]).read_text()
    answer = paste(client, text)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    for card in CAST[0].cards[:2]:
        assert card.summary in answer.text
    assert "data-feedback" not in answer.text


def test_a_call_that_is_pasted_is_taken_for_the_hook_that_it_names(client: TestClient, knowledge: Knowledge) -> None:
    person = next(person for person in CAST if person.hook == "order-sign")
    sent = to_hook_request(read_bundle(patient_file(fixtures_of(ROOT), person)), dict(knowledge.queries), person.hook, person)
    answer = paste(client, json.dumps(sent), date=person.as_of, jurisdiction=person.jurisdiction)
    assert answer.status_code == 200
    assert person.cards[0].summary in answer.text


@pytest.mark.parametrize(
    ("text", "place", "status"),
    [
        ('{"resourceType": "Bundle",\n "entry": [}', "line 2, column 12", 400),
        ("[1]", "text", 400),
        ("[" * 100_000, "text", 400),
        ("", "text", 400),
        ("<Bundle/>", "text", 400),
        (json.dumps(bundle(patient(), condition(concept(text="Gout"), clinicalStatus="active"))), "entry[1].resource", 400),
        ('{"a": ' + "9" * 5000 + "}", "text", 400),
        ('{"resourceType": "Patient"}', "resourceType", 400),
        ('{"resourceType": "Bundle", "entry": {}}', "entry", 400),
        ('{"resourceType": "Bundle", "entry": [{"resource": 1}, 2]}', "entry[1].resource", 400),
        ('{"resourceType": "Bundle", "entry": []}', "entry", 400),
        ('{"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Patient"}}]}', "Patient.id", 400),
        ('{"hook": "other", "context": {}}', "hook", 400),
        ('{"hook": ["x"], "context": {}}', "hook", 400),
        ('{"hook": "patient-view", "context": {"userId": "Practitioner/x", "patientId": "p1"}}', "hookInstance", 400),
        (json.dumps(body(without=("conditions",))), "prefetch.conditions", 412),
        (json.dumps(bundle(patient(), patient(id="p2"))), "entry", 400),
        ("x" * (PASTE_LIMIT + 1), "text", 413),
    ],
)
def test_what_is_wrong_with_a_paste_is_told_by_its_place_and_the_text_stays(
    client: TestClient, text: str, place: str, status: int
) -> None:
    answer = paste(client, text)
    assert answer.status_code == status, answer.text[:2000]
    assert f"<code>{place}</code>" in answer.text
    assert "<textarea" in answer.text


def test_a_resource_that_cannot_be_read_is_named_beside_the_cards(client: TestClient) -> None:
    broken = observation(3.1, id="o9") | {"effectiveDateTime": 7}
    answer = paste(client, json.dumps(bundle(patient(), condition(concept("449917004", "http://snomed.info/sct")), broken)))
    assert answer.status_code == 200
    assert "Left out or not understood" in answer.text
    assert "Observation/o9 <code>entry[2].resource</code>" in answer.text


ODD = (
    patient(),
    condition(concept(text="Vadkramp"), id=None),
    medication(concept(text="Xyzzyforte <script>window.hit=1</script>"), modifierExtension=[{"url": "x"}]),
    observation(3.1, subject={"reference": "Patient/p2"}),
    {"resourceType": "Bundle", "entry": []},
    {"resourceType": "AllergyIntolerance", "id": "a1"},
)


@pytest.mark.parametrize("ask", ["cards", "why"])
def test_what_was_left_out_of_a_paste_is_told_by_its_entry_and_nowhere_else(
    client: TestClient, capfd: pytest.CaptureFixture[str], ask: str
) -> None:
    page = paste(client, json.dumps(bundle(*ODD)), ask=ask).text
    told = re.sub(r"\s+", " ", unescape(re.sub(r"</?(?:li|strong|span|code)[^>]*>", "", page.replace("</textarea>", ""))))
    assert "No cards: it could not be decided whether recurrent leg cramps are on record, because of Condition at" in told
    for text in (
        "Vadkramp could not be identified Condition entry[1].resource",
        "bears a modifier that is not known MedicationRequest/m1 entry[2].resource",
        "1 resource of another patient entry",
        "is a Bundle inside a Bundle, which is not opened Bundle entry[4].resource",
        "is of a type that nothing here asks for AllergyIntolerance/a1 entry[5].resource",
    ):
        assert text in told
    assert "<strong>Xyzzyforte &lt;script&gt;window.hit=1&lt;/script&gt;</strong>" in page
    assert_harmless(page)
    logged = capfd.readouterr()
    assert not [word for word in ("Vadkramp", "Xyzzyforte", "entry[") if word in logged.err + logged.out]


def test_a_record_of_which_more_is_to_come_proves_no_absence(client: TestClient) -> None:
    cramps = condition(concept("449917004", "http://snomed.info/sct"), id="c1")
    for more in ({"link": [{"relation": "next", "url": "https://ehr.example/?page=2"}]}, {"total": 7}):
        page = paste(client, json.dumps(bundle(patient(), cramps, **more))).text
        assert "Not assessed" in page
        assert "further pages" in page or "says that there are" in page


@pytest.mark.parametrize("ask", ["cards", "why"])
@pytest.mark.parametrize(
    "record",
    [
        bundle(patient(name=[{"text": "\ud800"}]), condition(concept(text="leg cramps \ud800"))),
        bundle(patient(extension=json.loads("[" * 300 + "]" * 300))),
        bundle(patient(), {"resourceType": ["x"], "id": {}}, condition(7), medication(concept(text="x"), status=[1])),  # type: ignore[arg-type]
        bundle(patient(), observation("x"), observation(3.1, when="0001"), observation(3.1, when="9999-12-31")),
        bundle(
            patient(), condition(concept(text="leg cramps"), onsetDateTime="0001"), medication(concept(), authoredOn="9999")
        ),
    ],
)
def test_no_record_however_odd_breaks_a_page(client: TestClient, record: Any, ask: str) -> None:
    # Where no condition at all can be read, the page says so.
    assert paste(client, json.dumps(record), ask=ask).status_code in (200, 412)


def test_what_is_pasted_is_not_kept_and_not_logged(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    paste(client, json.dumps(bundle(patient(name=[{"text": "Xanthippe"}]), condition(concept(text="leg cramps")))))
    paste(client, '{"Xanthippe": ')
    assert "Xanthippe" not in "".join(capfd.readouterr())
    assert "Xanthippe" not in client.get("/").text


def test_a_form_that_is_far_too_long_is_not_even_read(client: TestClient) -> None:
    answer = client.post("/try", content=b"text=" + b"x" * (3 * PASTE_LIMIT + 10_000), headers=FORM)
    assert answer.status_code == 413
    assert len(answer.content) < 10_000


def test_what_was_chosen_for_a_record_stays_while_it_is_mended(client: TestClient) -> None:
    page = paste(client, "{", jurisdiction="uk", hook="order-sign").text
    for chosen in ('value="uk" selected', "<option selected>order-sign", 'value="2026-11-20"'):
        assert chosen in page
    text = (ROOT / "fixtures/patients/ada-stiffcalf.json").read_text()
    page = paste(client, text, jurisdiction="uk", hook="order-sign").text
    assert "Judged on 2026-11-20 for UK, hook order-sign." in page
    assert "<option selected>order-sign" in page


def test_of_a_record_of_megabytes_the_beginning_is_shown(client: TestClient) -> None:
    record = json.loads((ROOT / "fixtures/patients/ada-stiffcalf.json").read_text())
    record["entry"][0]["resource"]["text"] = {"status": "generated", "div": "x" * 1_500_000}
    answer = paste(client, json.dumps(record))
    assert answer.status_code == 200
    assert "… cut: " in answer.text


def test_only_a_form_is_taken(client: TestClient) -> None:
    assert client.post("/try", json={"text": "{}"}).status_code == 415


class Tags(HTMLParser):
    """The elements of a page with their attributes, as a browser takes them apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(page: str) -> None:
    for tag, attributes in Tags(page).found:
        assert tag not in ("iframe", "object", "embed", "style", "base", "b")
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes
        assert tag not in ("script", "img") or str(attributes["src"]).startswith("/pages/")
        assert not str(attributes.get("href")).lower().startswith(("javascript", "data", "vbscript"))


def test_hostile_words_come_out_as_words(client: TestClient) -> None:
    page = paste(client, json.dumps(hostile())).text
    assert "&lt;script&gt;window.hit" in page
    assert_harmless(page)
    assert_harmless(paste(client, json.dumps(hostile())[:-1]).text)
    assert "{{ 7*7 }}" in page
    assert "{{ self.__init__.__globals__ }}" in page


@pytest.mark.untraced
@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_payload_of_an_address_or_paste_comes_out_as_markup(client: TestClient, payload: str) -> None:
    for path in addresses(payload):
        answer = client.get(path, headers=AS_A_BROWSER)
        assert answer.status_code < 500
        assert_harmless(answer.text)
    for text in (payload, json.dumps({"resourceType": payload}), json.dumps(hostile(payload))):
        for ask in ("cards", "why"):
            assert_harmless(paste(client, text, ask=ask).text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_markdown_lets_through_neither_html_nor_pictures_nor_scripts(payload: str) -> None:
    shown = str(markdown(f"- **a** {payload}\n\n| x |\n|---|\n| ~~y~~ |"))
    assert "<strong>a</strong>" in shown
    assert "<s>y</s>" in shown
    assert not re.search(r"<(script|img|svg)|href=\"javascript|<[^>]* on\w+=", shown)


def test_links_of_markdown_lead_to_the_web_alone() -> None:
    assert 'href="https://a.example"' in str(markdown("[a](https://a.example)"))
    assert "href" not in str(markdown("[a](data:text/html,x) [b](JaVaScript:x) [c](vbscript:x)"))


def test_overrides_are_offered_only_where_the_service_takes_them(decision_service: DecisionService, tmp_path: Path) -> None:
    assert "data-feedback" in make(decision_service, tmp_path).get("/try/ada-stiffcalf").text
    # Behind whatever guards the service EHRs call, and invented people must not count among theirs.
    assert "data-feedback" not in make(decision_service, tmp_path, pages="demo", guarded=True).get("/try/ada-stiffcalf").text
    signed = make(decision_service, tmp_path, pages="signed-in", pages_from="127.0.0.1", guarded=True)
    page = signed.get("/try/ada-stiffcalf", headers={"X-Forwarded-User": "someone"}).text
    assert "data-feedback" not in page
    assert "Sent by the EHR" in page


@pytest.mark.parametrize(
    ("settings", "mode"),
    [
        ({}, "demo"),
        ({"trial": False}, "off"),
        ({"host": "::1"}, "demo"),
        ({"host": "0.0.0.0", "guarded": True}, "off"),
        ({"guarded": True}, "off"),
        ({"clients": "clients.toml"}, "off"),
        ({"pages": "off"}, "off"),
        ({"pages": ""}, "demo"),
        ({"pages": "demo", "clients": "clients.toml"}, "demo"),
        ({"pages": "signed-in", "pages_from": "10.0.0.1"}, "signed-in"),
    ],
)
def test_the_pages_are_shown_by_themselves_only_where_nobody_else_can_look(settings: dict[str, Any], mode: str) -> None:
    assert pages_shown(Settings(**settings)) == mode


def test_signed_in_without_a_proxy_does_not_start() -> None:
    with pytest.raises(ValidationError, match="address of the proxy"):
        Settings(pages="signed-in")


def test_the_demo_is_for_this_machine_where_the_service_is(decision_service: DecisionService, tmp_path: Path) -> None:
    for path in ("/", "/try/ada-stiffcalf", "/pages/style.css"):
        assert make(decision_service, tmp_path, address="10.1.1.1").get(path).status_code == 403
        forwarded = make(decision_service, tmp_path).get(path, headers={"X-Forwarded-For": "10.1.1.1"})
        assert forwarded.status_code == 403


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("10.0.0.1", {"X-Forwarded-User": "someone"}, 200),
        ("10.0.0.1", {"X-Forwarded-User": " "}, 403),
        ("10.0.0.1", {}, 403),
        ("10.0.0.2", {"X-Forwarded-User": "someone"}, 403),
        ("127.0.0.1", {"X-Forwarded-User": "someone"}, 403),
        ("10.0.0.1", [("X-Forwarded-User", "someone"), ("X-Forwarded-User", "other")], 403),
    ],
)
def test_signed_in_is_whom_the_configured_proxy_names(
    decision_service: DecisionService, tmp_path: Path, address: str, headers: Any, status: int
) -> None:
    client = make(decision_service, tmp_path, address=address, pages="signed-in", pages_from="10.0.0.1", guarded=True)
    assert client.get("/", headers=headers).status_code == status


def test_who_pastes_too_often_is_asked_to_wait_and_others_are_not() -> None:
    now = [0.0]
    guard = Guard(Settings(), "demo", lambda: now[0])
    for _ in range(PASTES):
        guard.count_paste({"client": ("10.0.0.1", 1)})
    with pytest.raises(RequestError) as refused:
        guard.count_paste({"client": ("10.0.0.1", 2)})
    assert refused.value.status == 429
    guard.count_paste({"client": ("10.0.0.2", 1)})
    now[0] = 61.0
    guard.count_paste({"client": ("10.0.0.1", 1)})


def test_of_the_addresses_that_pasted_not_more_are_remembered_than_fit() -> None:
    guard = Guard(Settings(), "demo", lambda: 0.0)
    for number in range(3000):
        guard.count_paste({"client": (f"10.0.{number // 256}.{number % 256}", 1)})
    assert len(guard._pasted) == 1000


@pytest.mark.parametrize(("pages", "loaded"), [("off", []), ("demo", ["cds_service.pages"])])
def test_nothing_of_the_pages_is_loaded_before_it_is_needed(pages: str, loaded: list[str]) -> None:
    names = ["cds_service.pages", "jinja2", "nh3"]
    script = (
        "import sys; from cds_service.app import create_app; create_app(); "
        f"print([name for name in {names} if name in sys.modules])"
    )
    env = {"CDS_PAGES": pages, "CDS_TRIAL": "true", "CDS_DATABASE_URL": "sqlite+aiosqlite:///:memory:"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(loaded)


def test_templates_style_and_script_are_in_the_wheel() -> None:
    shipped = {item.distribution_path for item in WheelBuilder(str(ROOT)).recurse_included_files()}
    needed = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cds_service/pages").rglob("*.*") if path.suffix != ".pyc"}
    assert "cds_service/pages/templates/base.html" in needed
    assert needed <= shipped


def test_a_site_without_invented_people_says_so(knowledge: Knowledge, tmp_path: Path) -> None:
    decision_service = DecisionService(knowledge, Settings(knowledge=tmp_path))
    assert "No invented people" in make(decision_service, tmp_path).get("/").text


def test_style_and_script_are_sent_once(client: TestClient) -> None:
    tag = client.get("/pages/style.css").headers["etag"]
    assert client.get("/pages/style.css", headers={"If-None-Match": tag}).status_code == 304
    assert client.get("/pages/page.js").headers["content-type"].startswith("text/javascript")

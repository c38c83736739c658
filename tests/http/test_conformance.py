"""CDS Hooks 2.0: each statement that binds a CDS Service, by its number in Inferno's list (set `cds-hooks_2.0`).

Held elsewhere, over real tokens and servers: 61 in `tests/fetch/test_prefetch_queries.py`; 176, 199, 201 and 203 in
`tests/security/test_client_tokens.py`. Not held, and why: 2 and 168 (TLS is the proxy's, see deploy/README.md); 89, 213 (bind
clients and negotiations, not the wire); 211 (no card is updated by a second service).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.servicerequest import ServiceRequest
from fhir.resources.R4B.task import Task
from starlette.testclient import TestClient

from cds_service.app import build_app
from cds_service.cards.footer import REASONS
from cds_service.cdshooks.request import AS_OF, ON_ORDERS
from cds_service.knowledge.knowledge import Knowledge
from cds_service.service import DecisionService
from cds_service.settings import Settings
from tests.support.cast import CAST, request_of, service_of
from tests.support.people import SERVICE, body, bundle, ordering


@pytest.fixture
def client(decision_service: DecisionService, tmp_path: Path) -> Iterator[TestClient]:
    settings = Settings(guarded=True, allow_as_of=True, database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    with TestClient(build_app(settings, decision_service)) as opened:
        yield opened


@pytest.fixture
def answers(client: TestClient) -> list[dict[str, Any]]:
    """The answers to a call for each of the cast."""
    calls = [(service_of(person), request_of(person) | {"extension": {AS_OF: person.as_of}}) for person in CAST]
    return [client.post(f"/cds-services/{service_id}", json=call).json() for service_id, call in calls]


@pytest.fixture
def cards(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [card for answer in answers for card in answer["cards"]]
    assert len(found) > 50
    return found


def members(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{place}.{key}", value
            yield from members(value, f"{place}.{key}")
    elif isinstance(node, list):
        for at, item in enumerate(node):
            yield from members(item, f"{place}[{at}]")


def test_everything_is_json(client: TestClient) -> None:
    """cds-hooks_2.0 1"""
    paths = [("GET", "/cds-services"), ("GET", "/nowhere"), ("POST", f"/cds-services/{SERVICE}")]
    for method, path in paths:
        answer = client.request(method, path, json=body())
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()


def test_no_member_is_null_or_empty(client: TestClient, answers: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 3: but `cards` and `services` may be an empty list."""
    discovery = client.get("/cds-services").json()
    refusal = client.get("/nowhere").json()
    for answer in [*answers, discovery, refusal]:
        for place, value in members(answer):
            assert value not in (None, "", {}), place
            assert value != [] or place == ".cards", place


def test_discovery_is_always_there_with_a_list_of_services(client: TestClient) -> None:
    """cds-hooks_2.0 4, 5, 6, 13"""
    answer = client.get("/cds-services")
    assert answer.status_code == 200
    assert isinstance(answer.json()["services"], list)


def test_a_service_is_described_in_full(client: TestClient) -> None:
    """cds-hooks_2.0 7, 9, 10, 16, 29, 36: and can be called at the address made of its id."""
    services = client.get("/cds-services").json()["services"]
    assert [service["hook"] for service in services] == ["patient-view", *ON_ORDERS]
    assert services[0]["id"] == SERVICE
    assert len({service["id"] for service in services}) == len(services)
    for service in services:
        assert service["version"] == "2.0.1"
        assert all(isinstance(service[name], str) and service[name] for name in ("title", "description", "usageRequirements"))
        assert {"patient", "conditions", "medicationRequests"} <= set(service["prefetch"])
        call = body() if service["hook"] == "patient-view" else ordering(hook=service["hook"], selections=[])
        assert client.post(f"/cds-services/{service['id']}", json=call).status_code == 200


def test_prefetch_templates_hold_only_plain_tokens(client: TestClient) -> None:
    """cds-hooks_2.0 55, 56, 57, 59; cds-hooks-library_1.0.1 16, 89, 93: no token for selections or draftOrders;
    and no parameter twice, no _include, no chaining, below 1,800 characters.
    """
    services = client.get("/cds-services").json()["services"]
    for key, template in (pair for service in services for pair in service["prefetch"].items()):
        assert set(re.findall(r"{{(.*?)}}", template)) <= {"context.patientId", "context.encounterId"}, key
        assert re.sub(r"{{.*?}}", "", template).count("{") == 0
        names = [part.split("=")[0] for part in template.partition("?")[2].split("&") if part]
        assert len(names) == len(set(names)), key
        assert not any(":" in name or "." in name or name.startswith("_include") for name in names), key
        assert len(template) < 1800


def test_the_cramp_history_is_asked_for_with_and_without_its_version(client: TestClient, knowledge: Knowledge) -> None:
    """Some servers compare the canonical address as a whole, some without its version."""
    form = knowledge.questionnaire
    template = client.get("/cds-services").json()["services"][0]["prefetch"]["crampHistory"]
    assert f"&questionnaire={form['url']},{form['url']}|{form['version']}&" in template


def test_data_that_cannot_be_had_give_412(client: TestClient) -> None:
    """cds-hooks_2.0 54"""
    answer = client.post(f"/cds-services/{SERVICE}", json=body(without=("conditions",)))
    assert answer.status_code == 412
    assert "conditions" in answer.text


@pytest.mark.parametrize("hook", ON_ORDERS)
def test_a_hook_on_ordering_without_its_context_gives_400(client: TestClient, hook: str) -> None:
    """cds-hooks-library_1.0.1 1, 5, 13, 14, 15 and 74, 78, 86, 87, 88, 90, 91: what a client owes is asked for by name."""
    call, wanted = ordering(hook=hook), {"context.userId", "context.patientId", "context.draftOrders"}
    call["context"] = {"encounterId": "e1"}
    answer = client.post(f"/cds-services/leg-cramps-{hook}", json=call)
    assert answer.status_code == 400
    told = {place for issue in answer.json()["issue"] for place in issue["expression"]}
    assert told == wanted | ({"context.selections"} if hook == "order-select" else set())


def test_success_is_200_with_cards(client: TestClient) -> None:
    """cds-hooks_2.0 74: also where there is nothing to say."""
    quiet = client.post(f"/cds-services/{SERVICE}", json=body({"conditions": bundle()}))
    assert (quiet.status_code, quiet.json()) == (200, {"cards": []})


def test_each_override_reason_is_a_coding_with_its_display(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 98, 100, 136, 219: with words that a person reads."""
    reasons = [reason for card in cards for reason in card["overrideReasons"]]
    assert reasons
    assert all(reason.keys() == {"code", "system", "display"} for reason in reasons)
    assert all(len(reason["display"]) > 5 and " " in reason["display"] for reason in reasons)
    assert all(len({reason["code"] for reason in card["overrideReasons"]}) >= 3 for card in cards)


def test_no_system_actions_are_sent(answers: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 75: what is not sent breaks no rule about it."""
    places = {place.rsplit(".", 1)[-1] for answer in answers for place, _ in members(answer)}
    assert not places & {"systemActions", "icon", "appContext", "autolaunchable"}


def test_what_a_card_rests_on_travels_in_its_extension_and_nowhere_else(answers: list[dict[str, Any]]) -> None:
    """An object, under a name in reverse-domain form."""
    for answer in answers:
        assert "extension" not in answer
        for card in answer["cards"]:
            (reasons,) = card["extension"].values()
            assert card["extension"].keys() == {REASONS}
            assert re.fullmatch(r"[a-z]+(\.[a-z-]+)+", REASONS)
            assert all(rule.keys() >= {"id", "version"} for rule in reasons["rules"])
            assert reasons["statements"]
            shown = f"{card['summary']} {card['detail']}"
            assert not re.search(r"\b(?:US|UK)-\d\d\b|\b0\.\d+\.\d+\b", shown), shown
            assert "extension" not in {key for part in card.get("suggestions", []) for key in part}


def test_each_card_has_its_own_uuid(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 80"""
    uuids = [card["uuid"] for card in cards]
    assert len(set(uuids)) == len(uuids)
    assert all(uuid.UUID(item).version == 4 for item in uuids)


def test_each_summary_is_one_short_line(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 83"""
    assert all(isinstance(card["summary"], str) and 0 < len(card["summary"]) < 140 for card in cards)
    assert not any("\n" in card["summary"] for card in cards)


def test_each_detail_is_markdown_without_html(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 85"""
    assert not any(re.search(r"<[a-zA-Z/!]|\]\(", card["detail"]) for card in cards)


def test_each_indicator_is_of_the_three(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 87, 88"""
    assert {card["indicator"] for card in cards} <= {"info", "warning", "critical"}


def test_each_card_names_its_source(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 90, 105, 107, 111, 115, 216, 217, 218, 220: without an icon (111), which would have to be an address."""
    for card in cards:
        source = card["source"]
        assert source.keys() == {"label", "url", "topic"}
        assert isinstance(source["label"], str)
        assert len(source["label"]) < 60
        assert source["url"].startswith("https://")
        assert re.fullmatch(r"[A-Za-z0-9]{1,100}", source["topic"]["code"])
        assert isinstance(source["topic"]["system"], str)


def test_suggestions_say_how_they_may_be_chosen(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 92, 93, 95, 96"""
    assert any("suggestions" in card for card in cards)
    for card in cards:
        assert ("suggestions" in card) == ("selectionBehavior" in card)
        assert card.get("selectionBehavior", "any") == "any"
        assert isinstance(card.get("suggestions", []), list)


def actions_of(cards: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    suggestions = [item for card in cards for item in card.get("suggestions", ())]
    return [action for item in suggestions for action in item["actions"] if action["type"] == kind]


def test_each_suggestion_is_one_action(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 117, 119, 121, 124, 125, 127, 128: update (132) is never sent."""
    for suggestion in (item for card in cards for item in card.get("suggestions", ())):
        assert isinstance(suggestion["label"], str)
        assert uuid.UUID(suggestion["uuid"])
        assert suggestion.get("isRecommended", True) is True
        (action,) = suggestion["actions"]
        assert action["type"] in ("create", "delete")
        assert isinstance(action["description"], str)


def test_a_draft_is_deleted_by_its_relative_reference(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 133, 134, 135: and never by a string in `resource`."""
    deletions = actions_of(cards, "delete")
    assert len(deletions) >= 5
    for action in deletions:
        assert action.keys() == {"type", "description", "resourceId"}
        assert re.fullmatch(r"MedicationRequest/[A-Za-z0-9.-]{1,64}", action["resourceId"])


def test_what_is_created_is_a_valid_draft(cards: list[dict[str, Any]]) -> None:
    """cds-hooks_2.0 130, 131"""
    states: dict[str, tuple[Any, str, str]] = {
        "ServiceRequest": (ServiceRequest, "draft", "proposal"),
        "Task": (Task, "ready", "order"),
    }
    created = [action["resource"] for action in actions_of(cards, "create")]
    assert {resource["resourceType"] for resource in created} == states.keys()
    for resource in created:
        model, *state = states[resource["resourceType"]]
        read = model.model_validate(resource)
        assert [read.status, read.intent] == state
        assert "id" not in resource


def test_no_links_are_sent_where_no_address_is_known(cards: list[dict[str, Any]]) -> None:
    assert not any("links" in card for card in cards)


def test_links_are_absolute_and_lead_to_pages_of_ours(knowledge: Knowledge, tmp_path: Path) -> None:
    """cds-hooks_2.0 103, 138, 139, 141, 142, 144, 147: a label, an address and the type `absolute`, and no more."""
    public = "https://cramps.example"
    settings = Settings(guarded=True, database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite", public_url=public)
    with TestClient(build_app(settings, DecisionService(knowledge, settings))) as client:
        cards = client.post(f"/cds-services/{SERVICE}", json=body()).json()["cards"]
        links = [link for card in cards for link in card["links"]]
        assert len(links) >= len(cards) > 1
        for link in links:
            assert link.keys() == {"label", "url", "type"}
            assert link["label"]
            assert link["type"] == "absolute"
            assert link["url"].startswith(f"{public}/")
            assert client.get(link["url"].removeprefix(public)).status_code == 200


def test_browser_clients_get_cors(decision_service: DecisionService, tmp_path: Path) -> None:
    """cds-hooks_2.0 208: with the preflight that a browser sends before a call in JSON."""
    origin = "https://sandbox.example"
    settings = Settings(guarded=True, cors_origins=(origin,), database_url=f"sqlite+aiosqlite:///{tmp_path}/cds.sqlite")
    client = TestClient(build_app(settings, decision_service))
    assert client.get("/cds-services", headers={"Origin": origin}).headers["access-control-allow-origin"] == origin
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path in (f"/cds-services/{SERVICE}", f"/cds-services/{SERVICE}/feedback"):
        preflight = client.options(path, headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == origin
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "content-type" in preflight.headers["access-control-allow-headers"].lower()
        refused = client.options(path, headers=asks | {"Origin": "https://elsewhere.example"})
        assert "access-control-allow-origin" not in refused.headers


def test_extensions_that_nobody_agreed_on_are_ignored(client: TestClient) -> None:
    """cds-hooks_2.0 214"""
    odd: list[Any] = [{"com.example.unheard": {"of": [1]}}, [], "text", None]
    for extension in odd:
        call = body() | {"extension": extension}
        call["context"]["extension"] = extension
        assert client.post(f"/cds-services/{SERVICE}", json=call).status_code == 200

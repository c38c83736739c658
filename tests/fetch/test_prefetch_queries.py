"""What was not sent is fetched: from a real FHIR server with the cast on it, and from servers with habits of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from cds_service.cdshooks.request import AS_OF as AS_OF_EXTENSION
from cds_service.cdshooks.request import HookRequest
from cds_service.chart.read import read_chart
from cds_service.errors import RequestError
from cds_service.fetch.prefetch_queries import PrefetchFetcher, filled
from cds_service.fhir.resources import Medication, MedicationRequest, Observation
from cds_service.model import State
from cds_service.samples.people import Person, patient_file, read_bundle, to_hook_request
from cds_service.service import DecisionService
from tests.support.calls import CALL, make, request_of
from tests.support.cards import last
from tests.support.cast import PEOPLE, cards_of, conductor_of
from tests.support.fetching import authorized, client_of, complete, fetched, nothing_sent
from tests.support.fhir_servers import FIXTURES, TOKEN, Ehr, Listener, free_port, renamed, sekmet, serving
from tests.support.people import AS_OF, LEG_CRAMPS, SERVICE, Json, body, bundle, concept, medication, observation

pytestmark = pytest.mark.asyncio
LOW = bundle(observation(3.1))


@pytest.fixture(scope="session")
def fhir_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sekmet(tmp_path_factory.mktemp("sekmet")) as base:
        yield base


def keys_in_use(decision_service: DecisionService) -> set[str]:
    return set(decision_service.templates(SERVICE)) - {"encounter"}


@PEOPLE
async def test_sent_or_fetched_each_of_the_cast_gets_the_same_cards(fhir_server: str, person: Person) -> None:
    decision_service = conductor_of(person.jurisdiction)
    record = renamed(read_bundle(patient_file(FIXTURES, person)), person.id)
    everything = msgspec.structs.replace(person, withheld=(), null_keys=(), failed_keys=())
    call = to_hook_request(record, dict(decision_service.knowledge.queries), "patient-view", everything)
    sent = decision_service.answer(SERVICE, request_of(call), person.day)
    request = request_of(authorized(call | {"prefetch": {}}, fhir_server))
    request = await complete(request, decision_service.templates(SERVICE), client_of(fhir_server))
    found = decision_service.answer(SERVICE, request, person.day)
    assert set(found.chart.query_state.values()) == {State.KNOWN}
    assert cards_of(found) == cards_of(sent)


async def test_a_token_that_the_server_refuses_leaves_the_mandatory_data_nowhere(
    decision_service: DecisionService, fhir_server: str
) -> None:
    with pytest.raises(RequestError) as caught:
        await fetched(decision_service, fhir_server, nothing_sent(patientId="ada-stiffcalf"), access_token="stale")
    assert caught.value.status == 412
    assert [problem.place for problem in caught.value.problems] == ["prefetch.patient", "prefetch.conditions"]


@pytest.mark.parametrize(("count", "state"), [(500, State.KNOWN), (3, State.KNOWN), (1, State.INCOMPLETE)])
async def test_pages_are_joined_and_what_goes_beyond_ten_is_incomplete(
    decision_service: DecisionService, fhir_server: str, count: int, state: State
) -> None:
    templates = {key: decision_service.templates(SERVICE)[key] for key in ("patient", "conditions")}
    templates["electrolytes"] = f"Observation?patient={{{{context.patientId}}}}&_count={count}"
    request = request_of(authorized(nothing_sent(patientId="babs-manyunits"), fhir_server))
    chart = read_chart(await complete(request, templates, client_of(fhir_server)), decision_service.queries[SERVICE])
    whole = read_bundle(FIXTURES / "patients/babs-manyunits.json")["entry"]
    everything = [item["resource"]["id"] for item in whole if item["resource"]["resourceType"] == "Observation"]
    assert len(everything) > 10
    found = {str(item.id).removeprefix("babs-manyunits-") for item in chart.all(Observation)}
    assert len(found) == (10 if state is State.INCOMPLETE else len(everything))
    assert found <= set(everything)
    assert chart.query_state["electrolytes"] is state


async def test_a_search_too_long_for_an_address_goes_by_post(decision_service: DecisionService, fhir_server: str) -> None:
    template = decision_service.templates(SERVICE)["electrolytes"]
    templates = decision_service.templates(SERVICE) | {"electrolytes": template.replace("code=", "code=" + f"{'x' * 99}," * 20)}
    person = next(item for item in PEOPLE.args[1] if item.id == "ada-stiffcalf")
    request = request_of(authorized(nothing_sent(patientId=person.id), fhir_server))
    request = await complete(request, templates, client_of(fhir_server))
    chart = decision_service.answer(SERVICE, request, person.day).chart
    assert chart.query_state["electrolytes"] is State.KNOWN
    assert chart.all(Observation)


@pytest.mark.parametrize(
    ("padding", "refused", "status"), [(0, "GET", 414), (0, "GET", 405), (1000, "POST", 405), (1000, "POST", 404)]
)
async def test_where_one_form_of_a_search_is_refused_the_other_is_tried(
    decision_service: DecisionService, padding: int, refused: str, status: int
) -> None:
    async def results(request: web.Request) -> web.Response:
        if request.method == refused:
            return web.Response(status=status)
        asked = (await request.post()) if request.method == "POST" else request.query
        assert request.path == ("/fhir/Observation/_search" if request.method == "POST" else "/fhir/Observation")
        assert asked["patient"] == "p1"
        return web.json_response(LOW if "2823-3" in str(asked["code"]) else bundle())

    template = decision_service.templates(SERVICE)["electrolytes"].replace("code=", "code=" + "x," * padding)
    async with serving(Ehr(Observation=results)) as base:
        request = request_of(authorized(nothing_sent(), base))
        templates = decision_service.templates(SERVICE) | {"electrolytes": template}
        request = await complete(request, templates, client_of(base))
    assert len(decision_service.answer(SERVICE, request, AS_OF).chart.all(Observation)) == 1


@pytest.mark.parametrize(
    ("resource_type", "status", "state"),
    [
        ("MedicationStatement", 404, State.KNOWN),
        ("MedicationStatement", 501, State.KNOWN),
        ("MedicationStatement", 403, State.FAILED),
        ("MedicationStatement", 500, State.FAILED),
        ("MedicationRequest", 404, State.FAILED),
    ],
)
async def test_a_server_without_medication_statements_lacks_nothing(
    decision_service: DecisionService, resource_type: str, status: int, state: State
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(Ehr(**{resource_type: refuse})) as base:
        request = await complete(
            request_of(authorized(nothing_sent(), base)), decision_service.templates(SERVICE), client_of(base)
        )
    key = "medicationStatements" if resource_type == "MedicationStatement" else "medicationRequests"
    assert decision_service.answer(SERVICE, request, AS_OF).chart.query_state[key] is state


async def test_each_query_is_asked_once_all_with_the_token_and_what_was_sent_is_not_asked_for(
    decision_service: DecisionService,
) -> None:
    ehr = Ehr(Encounter={"resourceType": "Encounter", "id": "e1"})
    async with serving(ehr) as base:
        await fetched(decision_service, base, nothing_sent(encounterId="e1"))
        assert len(ehr.asked) == len(decision_service.templates(SERVICE)) == 13
        assert ehr.tokens == {f"Bearer {TOKEN}"}
        ehr.asked.clear()
        await fetched(decision_service, base, body(without=("electrolytes",)))
    assert len(ehr.asked) == 1
    assert ehr.asked[0].startswith("GET /fhir/Observation?patient=p1&code=")


async def test_nothing_found_is_an_absence_as_epic_and_others_say_it(decision_service: DecisionService) -> None:
    nothing = {"coding": [{"system": "urn:oid:1.2.840.114350.1.13.0.1.7.2.657369", "code": "4101"}]}
    issue = {"severity": "warning", "code": "processing", "details": nothing}
    warning = {"resourceType": "OperationOutcome", "issue": [issue]}
    epic = {"resourceType": "Bundle", "type": "searchset", "total": 0}
    epic["entry"] = [{"fullUrl": "urn:uuid:x", "resource": warning, "search": {"mode": "outcome"}}]
    far = LEG_CRAMPS | {"subject": {"reference": "https://ehr.example/fhir/Patient/p1", "display": "invented"}}
    async with serving(Ehr(Observation=epic, ServiceRequest={"resourceType": "Bundle"}, Condition=bundle(far))) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert set(answer.chart.query_state.values()) == {State.KNOWN}
    assert cards_of(answer) == cards_of(decision_service.answer(SERVICE, request_of(body()), AS_OF))


FAILED_OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
FORBIDDEN = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}


@pytest.mark.parametrize(
    ("supplied", "asked", "state"),
    [
        (None, 0, State.NONE_SUPPLIED),
        (bundle(), 0, State.KNOWN),
        (FORBIDDEN, 0, State.FAILED),
        (FAILED_OUTCOME, 1, State.KNOWN),
        (FAILED_OUTCOME | {"id": "beside-damage"}, 1, State.KNOWN),
        (bundle(link=[{"relation": "next", "url": "{base}/Observation?page=2"}]), 1, State.KNOWN),
        (bundle(link=[{"relation": "next", "url": "https://elsewhere.example/fhir"}]), 0, State.INCOMPLETE),
        ("nonsense", 0, State.FAILED),
    ],
)
async def test_what_was_supplied_is_asked_for_again_only_where_it_failed_or_is_one_page_of_several(
    decision_service: DecisionService, supplied: Any, asked: int, state: State
) -> None:
    ehr = Ehr(Observation=LOW)
    async with serving(ehr) as base:
        told = json.loads(json.dumps(supplied).replace("{base}", base))
        damaged = {"orders": bundle({"resourceType": "ServiceRequest", "status": 7})} if "beside-damage" in str(told) else {}
        answer = await fetched(decision_service, base, body({"electrolytes": told} | damaged))
    assert len(ehr.asked) == asked
    assert answer.chart.query_state["electrolytes"] is state
    assert len(answer.chart.all(Observation)) == asked


async def test_where_the_second_look_fails_too_the_data_have_failed(decision_service: DecisionService) -> None:
    base = f"http://127.0.0.1:{free_port()}/fhir"
    answer = await fetched(decision_service, base, body({"electrolytes": FAILED_OUTCOME}))
    assert answer.chart.query_state["electrolytes"] is State.FAILED


def by_reference(*references: str) -> Json:
    lists = [
        {**medication({}), "medicationReference": {"reference": item}, "id": f"m{at}"} for at, item in enumerate(references)
    ]
    for item in lists:
        del item["medicationCodeableConcept"]
    return bundle(*lists)


DRUG = {"resourceType": "Medication", "id": "x1", "code": concept(text="Furosemide 40 mg tablet")}


@pytest.mark.parametrize("reference", ["Medication/x1", "Medication/x1/_history/3", "{base}/Medication/x1"])
@pytest.mark.parametrize("sent", [False, True])
async def test_a_drug_named_by_reference_is_fetched_too(decision_service: DecisionService, reference: str, sent: bool) -> None:
    ehr = Ehr(Medication=DRUG)
    async with serving(ehr) as base:
        prescriptions = by_reference(reference.replace("{base}", base))
        ehr.answers["MedicationRequest"] = prescriptions
        call = body({"medicationRequests": prescriptions}) if sent else nothing_sent()
        answer = await fetched(decision_service, base, call)
    assert ehr.count("Medication/") == 1
    assert answer.chart.query_state["medicationRequests"] is State.KNOWN
    assert answer.facts["taking_diuretic"].value is True


@pytest.mark.parametrize(
    "reference",
    [
        "https://elsewhere.example/fhir/Medication/x1",
        "urn:uuid:0e809545-3ebe-5eb0-b146-b8a433bafda3",
        "Medication/gone",
        "Patient/p1",
        "Medication/..",
    ],
)
async def test_a_drug_that_cannot_be_fetched_leaves_the_list_incomplete(
    decision_service: DecisionService, reference: str
) -> None:
    async def drug(request: web.Request) -> web.Response:
        return web.json_response(DRUG) if request.path.endswith("/x1") else web.Response(status=404)

    ehr = Ehr(Medication=drug, MedicationRequest=by_reference("Medication/x1", reference))
    async with serving(ehr) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert answer.chart.query_state["medicationRequests"] is State.INCOMPLETE
    assert answer.chart.all(MedicationRequest)
    assert [item.id for item in answer.chart.medications.values()] == ["x1"]
    assert ehr.count("Medication/") <= 2


async def test_more_drugs_by_reference_than_one_hook_may_ask_for_leave_the_list_incomplete(
    decision_service: DecisionService,
) -> None:
    async def drug(request: web.Request) -> web.Response:
        return web.json_response(DRUG | {"id": request.path.rpartition("/")[2]})

    ehr = Ehr(Medication=drug, MedicationRequest=by_reference(*(f"Medication/d{number}" for number in range(60))))
    async with serving(ehr) as base:
        answer = await fetched(decision_service, base, nothing_sent())
    assert ehr.count("Medication/") == 50
    assert answer.chart.query_state["medicationRequests"] is State.INCOMPLETE
    assert all(isinstance(item, Medication) for item in answer.chart.medications.values())


@pytest.mark.parametrize(
    ("template", "context", "asked"),
    [
        ("Patient/{{context.patientId}}", {}, "Patient/p1"),
        ("Encounter/{{context.encounterId}}", {}, None),
        ("Encounter/{{context.encounterId}}", {"encounterId": "Encounter/e1"}, "Encounter/e1"),
        ("{{context.userId}}", {}, "Practitioner/u1"),
        ("Practitioner/{{userPractitionerId}}", {}, "Practitioner/u1"),
        ("PractitionerRole/{{userPractitionerRoleId}}", {}, None),
        ("PractitionerRole/{{userPractitionerRoleId}}", {"userId": "PractitionerRole/r1"}, "PractitionerRole/r1"),
        ("Patient/{{userPatientId}}", {"userId": "Patient/p2"}, "Patient/p2"),
        ("RelatedPerson/{{userRelatedPersonId}}", {"userId": "RelatedPerson/r2"}, "RelatedPerson/r2"),
        ("Patient/{{context.unheard}}", {}, None),
        ("Observation?code=http://loinc.org|1 2&date=ge{{today}}", {}, None),
        ("Observation?code=http://loinc.org|1 2", {}, "Observation?code=http://loinc.org%7C1%202"),
        (
            "Condition?patient={{context.patientId}}",
            {"patientId": "a/../b?c#d&e f"},
            "Condition?patient=a%2F..%2Fb%3Fc%23d%26e%20f",
        ),
        ("Patient/{{context.patientId}}", {"patientId": ".."}, None),
        ("Patient/{{context.patientId}}", {"patientId": "."}, None),
        ("Condition?patient={{context.patientId}}", {"patientId": "p1,p2"}, None),
        ("Condition?patient={{context.patientId}}", {"patientId": "s|p1"}, None),
        ("Condition?patient={{context.patientId}}", {"patientId": "p\\1"}, None),
        ("Condition?patient={{context.patientId}}", {"patientId": "x" * 300}, None),
        ("{{context.userId}}", {"userId": "../../admin"}, None),
    ],
)
async def test_a_template_is_filled_from_the_context_or_not_asked(template: str, context: Json, asked: str | None) -> None:
    assert filled(template, request_of(body(**context))) == asked


NOBODY_ASKED: dict[str, tuple[Any, Json, Json]] = {
    "no client is configured": (None, {}, {}),
    "the client may name no server": ((), {}, {}),
    "there is no authorization": ("base", {"fhirAuthorization": None}, {}),
    "the authorization is no object": ("base", {"fhirAuthorization": "token"}, {}),
    "it holds no token": ("base", {"fhirAuthorization": {"token_type": "Bearer"}}, {}),
    "its token would break the header": ("base", {"fhirAuthorization": {"access_token": "a\r\nb", "token_type": "Bearer"}}, {}),
    "its token is of another kind": ("base", {"fhirAuthorization": {"access_token": "a", "token_type": "mac"}}, {}),
    "no server is named": ("base", {"fhirServer": None}, {}),
    "the token is of another patient": ("base", {}, {"patient": "p2"}),
}


@pytest.mark.parametrize("case", NOBODY_ASKED)
async def test_nobody_is_asked_where(decision_service: DecisionService, case: str) -> None:
    bases, members, token = NOBODY_ASKED[case]
    listener = Listener()
    async with listener.open() as port:
        base = f"http://127.0.0.1:{port}/fhir"
        client = None if bases is None else client_of(*([base] if bases else []))
        request = request_of(authorized(body(without=("electrolytes",)), base, **token) | members)
        after = await complete(request, decision_service.templates(SERVICE), client)
    assert listener.connections == 0
    assert after.prefetch == request.prefetch
    assert decision_service.answer(SERVICE, after, AS_OF).chart.query_state["electrolytes"] is State.NOT_SUPPLIED


@pytest.mark.parametrize(
    "token", [{"patient": "p1"}, {"patient": "Patient/p1"}, {"token_type": "bearer"}, {"expires_in": "soon", "scope": 7}]
)
async def test_an_authorization_is_read_as_it_comes(decision_service: DecisionService, token: Json) -> None:
    async with serving(Ehr()) as base:
        answer = await fetched(decision_service, base, nothing_sent(), **token)
    assert set(answer.chart.query_state.values()) == {State.KNOWN}


async def test_an_open_server_is_read_without_a_token_where_the_client_says_so(decision_service: DecisionService) -> None:
    ehr = Ehr()
    async with serving(ehr) as base:
        request = request_of(nothing_sent() | {"fhirServer": base})
        after = await complete(request, decision_service.templates(SERVICE), client_of(base, open_server=True))
    assert set(after.prefetch) == keys_in_use(decision_service)
    assert ehr.tokens == {None}


async def test_in_development_this_machine_may_go_by_its_name(decision_service: DecisionService) -> None:
    async with serving(Ehr()) as base:
        answer = await fetched(decision_service, base.replace("127.0.0.1", "localhost"), nothing_sent())
    assert set(answer.chart.query_state.values()) == {State.KNOWN}


async def test_the_token_is_gone_after_the_answer_and_stands_in_no_text(decision_service: DecisionService) -> None:
    async with serving(Ehr()) as base:
        request = request_of(authorized(nothing_sent(), base))
        assert TOKEN not in repr(request)
        after = await complete(request, decision_service.templates(SERVICE), client_of(base))
    assert after.authorization is None


async def test_with_the_server_dead_the_answer_says_what_was_not_assessed(decision_service: DecisionService) -> None:
    base = f"http://127.0.0.1:{free_port()}/fhir"
    answer = await fetched(decision_service, base, body(without=("electrolytes", "orders")))
    assert answer.chart.query_state["electrolytes"] is answer.chart.query_state["orders"] is State.FAILED
    assert "electrolyte results" in last(answer.cards)
    assert "open orders" in last(answer.cards)
    with pytest.raises(RequestError) as caught:
        await fetched(decision_service, base, body(without=("conditions",)))
    assert (caught.value.status, caught.value.problems[0].place) == (412, "prefetch.conditions")


@pytest.fixture
def known_to_the_door(monkeypatch: pytest.MonkeyPatch, fhir_server: str) -> None:
    """Makes every caller of the door the one client that may name the FHIR server."""
    whole = PrefetchFetcher.complete

    async def as_client(
        self: PrefetchFetcher, request: HookRequest, templates: Mapping[str, str], _: Any, started: float
    ) -> HookRequest:
        return await whole(self, request, templates, client_of(fhir_server), started)

    monkeypatch.setattr(PrefetchFetcher, "complete", as_client)


@pytest.mark.usefixtures("known_to_the_door")
@pytest.mark.parametrize("stale", [False, True])
async def test_through_the_door_what_was_fetched_is_logged_by_query_and_nothing_of_patient_or_token(
    decision_service: DecisionService, tmp_path: Path, fhir_server: str, capfd: pytest.CaptureFixture[str], stale: bool
) -> None:
    call = authorized(nothing_sent(patientId="ada-stiffcalf"), fhir_server, access_token="stale-" * stale + TOKEN)
    with make(decision_service, tmp_path, environment="development", log_level="debug") as endpoints:
        capfd.readouterr()
        answer = endpoints.post(CALL, json=call | {"extension": {AS_OF_EXTENSION: "2026-11-20"}})
    fetched_line, answered_line = (json.loads(line) for line in capfd.readouterr().err.splitlines())
    assert fetched_line["event"] == "fetched"
    assert fetched_line["asked"] == len(keys_in_use(decision_service))
    told = json.dumps([fetched_line, answered_line])
    for secret in (TOKEN, "ada-stiffcalf", fhir_server):
        assert secret not in told
    assert answer.status_code == (412 if stale else 200)
    assert set(fetched_line["problems"].values()) == ({"http-401"} if stale else set())
    assert stale or answer.json()["cards"]


async def test_the_door_without_a_client_calls_nobody(decision_service: DecisionService, tmp_path: Path) -> None:
    listener = Listener()
    async with listener.open() as port:
        base = f"http://127.0.0.1:{port}/fhir"
        with make(decision_service, tmp_path, environment="development") as endpoints:
            answer = endpoints.post(CALL, json=authorized(body(without=("electrolytes",)), base))
    assert answer.status_code == 200
    assert listener.connections == 0

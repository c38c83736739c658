"""What bodies cost that were made to cost much: CPU and answer for each list and each text of a call, by size.

`python -m bench.hostile` prints for each shape the CPU seconds at two sizes, how much more a kilobyte of the larger costs than
one of the smaller (1 is linear), and the size of the answer. `shapes` is what a test asks too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.testclient import TestClient

from cds_service.app import build_app, prepare
from cds_service.settings import Settings

PATIENT_VIEW = "/cds-services/leg-cramps-patient-view"
ORDER_SELECT = "/cds-services/leg-cramps-order-select"
FEEDBACK = f"{PATIENT_VIEW}/feedback"
_OWN = {"reference": "Patient/p1"}
_LOINC, _RXNORM, _SNOMED = "http://loinc.org", "http://www.nlm.nih.gov/research/umls/rxnorm", "http://snomed.info/sct"
_CRAMPS = {
    "resourceType": "Condition",
    "id": "cramps",
    "subject": _OWN,
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "code": {"text": "Leg cramps"},
}
Json = dict[str, Any]


class Shape(NamedTuple):
    """A body that grows: where it goes, one more of what it holds, and what these stand in."""

    path: str
    one: Callable[[int], Any]
    around: Callable[[list[Any]], Json]

    def body(self, size: int) -> bytes:
        """About `size` bytes."""
        each = len(json.dumps(self.one(10_000))) + 2
        return json.dumps(self.around([self.one(at) for at in range(max(1, size // each))])).encode()


def _call(hook: str = "patient-view", context: Json | None = None, prefetch: Json | None = None, **more: Any) -> Json:
    sent = {"patient": {"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}, "conditions": _bundle([_CRAMPS])}
    return {
        "hook": hook,
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/u1", "patientId": "p1"} | (context or {}),
        "prefetch": sent | (prefetch or {}) | more,
    }


def _bundle(resources: list[Any]) -> Json:
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": item} for item in resources]}


def _observation(at: int = 0, **members: Any) -> Json:
    code = {"coding": [{"system": _LOINC, "code": "2823-3"}]}
    base = {"resourceType": "Observation", "id": f"o{at}", "status": "final", "subject": _OWN, "code": code}
    return base | {"effectiveDateTime": "2026-11-01", "valueQuantity": {"value": 3.1, "unit": "mmol/L"}} | members


def _medication(at: int = 0, **members: Any) -> Json:
    base = {"resourceType": "MedicationRequest", "id": f"m{at}", "status": "active", "intent": "order", "subject": _OWN}
    return base | {"medicationCodeableConcept": {"text": "Furosemide 40 mg"}} | members


def _condition(at: int = 0, **members: Any) -> Json:
    return _CRAMPS | {"id": f"c{at}"} | members


def _under(key: str, make: Callable[..., Json], member: str) -> Callable[[list[Any]], Json]:
    """One resource of which a list is long."""
    return lambda items: _call(prefetch={key: _bundle([make(0, **{member: items})])})


def _many(key: str, make: Callable[[int], Any]) -> Shape:
    return Shape(PATIENT_VIEW, make, lambda items: _call(prefetch={key: _bundle(items)}))


def _of_text(around: Callable[[str], Json], word: str, path: str = PATIENT_VIEW) -> Shape:
    """One text that is long."""
    return Shape(path, lambda at: f"{word} ", lambda items: around("".join(items).strip()))


def _orders(items: list[Any], selections: list[Any] | None = None) -> Json:
    chosen = [f"MedicationRequest/{item['id']}" for item in items[:3] if isinstance(item, dict) and "id" in item]
    context = {"selections": selections if selections is not None else chosen, "draftOrders": _bundle(items)}
    return _call("order-select", context)


def _feedback(items: list[Any]) -> Json:
    return {"feedback": items}


def _outcome(at: int) -> Json:
    return {"card": f"card-{at}", "outcome": "accepted", "outcomeTimestamp": "2026-11-20T09:00:00Z"}


def _coding(at: int) -> Json:
    return {"system": f"https://ehr.example/{at}", "code": f"X{at}", "display": f"word{at}"}


def _part(at: int) -> Json:
    return {"code": {"text": f"part {at}"}, "valueQuantity": {"value": at}}


def _known_part(at: int) -> Json:
    return {"code": {"coding": [{"system": _LOINC, "code": "2823-3"}]}, "valueQuantity": {"value": 3.1, "unit": "mmol/L"}}


def _range(at: int) -> Json:
    return {"low": {"value": 3.5, "unit": "mmol/L"}, "high": {"value": 5.0 + at / 1e6, "unit": "mmol/L"}}


def _item(at: int) -> Json:
    return {"linkId": f"q{at}", "answer": [{"valueBoolean": True}]}


def _form(items: list[Any]) -> Json:
    form = {
        "resourceType": "QuestionnaireResponse",
        "id": "f",
        "status": "completed",
        "subject": _OWN,
        "authored": "2026-11-01",
    }
    address = "https://leg-cramps.example/Questionnaire/leg-cramp-history"
    return _call(crampHistory=_bundle([form | {"questionnaire": address, "item": items}]))


def _nested_form(items: list[Any]) -> Json:
    inside: Json = {"linkId": "end"}
    for item in items[:90]:
        inside = item | {"item": [inside]}
    return _form([inside])


def _visit(reasons: list[Any]) -> Json:
    visit = {"resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": _OWN, "reasonCode": reasons}
    return _call(context={"encounterId": "e"}, encounter=visit)


def _words(words: str, at: int) -> str:
    """Two thousand characters, as many as are looked at, unlike those of any other."""
    return (f"{words} {at} " * 100)[:2000]


def shapes() -> Mapping[str, Shape]:
    return {
        "prefetch keys": Shape(PATIENT_VIEW, lambda at: at, lambda items: _call(prefetch={f"k{at}": None for at in items})),
        "prefetch keys that hold something": Shape(
            PATIENT_VIEW, _observation, lambda items: _call(prefetch={f"k{at}": item for at, item in enumerate(items)})
        ),
        "members of the body": Shape(PATIENT_VIEW, lambda at: at, lambda items: _call() | {f"m{at}": at for at in items}),
        "members of the context": Shape(
            PATIENT_VIEW, lambda at: at, lambda items: _call(context={f"m{at}": at for at in items})
        ),
        "empty entries": Shape(
            PATIENT_VIEW, lambda at: {}, lambda items: _call(electrolytes={"resourceType": "Bundle", "entry": items})
        ),
        "links of a Bundle": Shape(
            PATIENT_VIEW,
            lambda at: {"relation": "self", "url": "x"},
            lambda items: _call(electrolytes={"resourceType": "Bundle", "link": items}),
        ),
        "results": _many("electrolytes", _observation),
        "results of one day": _many(
            "electrolytes", lambda at: _observation(at, effectiveDateTime=f"2026-11-01T08:00:{at % 60:02}Z")
        ),
        "results in words": _many("electrolytes", lambda at: _observation(at, code={"text": f"Serum potassium {at}"})),
        "results unknown": _many("electrolytes", lambda at: _observation(at, code={"text": f"Wort{at} Zeug"})),
        "results without a date": _many("electrolytes", lambda at: _observation(at, effectiveDateTime=None)),
        "results damaged": _many("electrolytes", lambda at: _observation(at) | {"id": at}),
        "resources of no type": _many("electrolytes", lambda at: {"resourceType": f"Thing{at}"}),
        "results of others": _many("electrolytes", lambda at: _observation(at, subject={"reference": f"Patient/x{at}"})),
        "panels": _many(
            "electrolytes",
            lambda at: _observation(at, code={"coding": [{"system": _LOINC, "code": "24323-8"}]}, valueQuantity=None),
        ),
        "components": Shape(PATIENT_VIEW, _part, _under("electrolytes", _observation, "component")),
        "components of ours": Shape(PATIENT_VIEW, _known_part, _under("electrolytes", _observation, "component")),
        "members of a panel": Shape(
            PATIENT_VIEW,
            lambda at: {"reference": f"Observation/m{at}"},
            _under(
                "electrolytes",
                lambda at, **more: _observation(at, code={"text": "Wort"}, valueQuantity=None, **more),
                "hasMember",
            ),
        ),
        "ranges": Shape(PATIENT_VIEW, _range, _under("electrolytes", _observation, "referenceRange")),
        "interpretations": Shape(
            PATIENT_VIEW, lambda at: {"coding": [{"code": f"N{at}"}]}, _under("electrolytes", _observation, "interpretation")
        ),
        "codings of a result": Shape(
            PATIENT_VIEW, _coding, lambda items: _call(electrolytes=_bundle([_observation(code={"coding": items})]))
        ),
        "codings of a problem": Shape(
            PATIENT_VIEW, _coding, lambda items: _call(conditions=_bundle([_CRAMPS, _condition(code={"coding": items})]))
        ),
        "codings of a drug": Shape(
            PATIENT_VIEW,
            _coding,
            lambda items: _call(medicationRequests=_bundle([_medication(medicationCodeableConcept={"coding": items})])),
        ),
        "codings of a status": Shape(
            PATIENT_VIEW,
            lambda at: {"code": f"active{at}"},
            lambda items: _call(conditions=_bundle([_CRAMPS, _condition(clinicalStatus={"coding": items})])),
        ),
        "problems": _many("conditions", _condition),
        "problems unknown": _many("conditions", lambda at: _condition(at, code={"text": f"Wort{at} Zeug"})),
        "sites of a problem": Shape(
            PATIENT_VIEW,
            lambda at: {"text": f"calf {at}"},
            _under("conditions", lambda at, **more: _condition(at, code={"text": "Cramp"}, **more), "bodySite"),
        ),
        "drugs": _many("medicationRequests", _medication),
        "drugs unknown": _many(
            "medicationRequests", lambda at: _medication(at, medicationCodeableConcept={"text": f"Xyzzy{at} 20"})
        ),
        "drugs contained": Shape(
            PATIENT_VIEW,
            lambda at: {"resourceType": "Medication", "id": f"k{at}", "code": {"text": "Furosemide"}},
            lambda items: _call(
                medicationRequests=_bundle(
                    [_medication(contained=items, medicationCodeableConcept=None, medicationReference={"reference": "#k0"})]
                )
            ),
        ),
        "doses of a drug": Shape(
            PATIENT_VIEW,
            lambda at: {"timing": {"repeat": {"boundsPeriod": {"start": "2026-01-01", "end": "2026-12-01"}}}},
            _under("medicationRequests", _medication, "dosageInstruction"),
        ),
        "statements": _many(
            "medicationStatements",
            lambda at: _medication(at) | {"resourceType": "MedicationStatement", "effectiveDateTime": "2026-01-01"},
        ),
        "open orders": _many(
            "orders",
            lambda at: (
                {"resourceType": "ServiceRequest", "id": f"s{at}", "status": "active", "intent": "order", "subject": _OWN}
                | {"code": {"text": f"Blut {at}"}}
            ),
        ),
        "links of a patient": Shape(
            PATIENT_VIEW,
            lambda at: {"other": {"reference": f"Patient/l{at}"}, "type": "seealso"},
            lambda items: _call(patient={"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01", "link": items}),
        ),
        "patients": _many("patient", lambda at: {"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}),
        "outcomes": _many(
            "electrolytes", lambda at: {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "x"}]}
        ),
        "answers of a form": Shape(PATIENT_VIEW, _item, _form),
        "answers deep in a form": Shape(PATIENT_VIEW, _item, _nested_form),
        "forms": _many(
            "crampHistory",
            lambda at: {"resourceType": "QuestionnaireResponse", "id": f"f{at}", "status": "completed", "subject": _OWN},
        ),
        "reasons of a visit": Shape(
            PATIENT_VIEW,
            lambda at: {"text": f"Cramp in calf {at}"},
            _visit,
        ),
        "drafts": Shape(ORDER_SELECT, lambda at: _medication(at, status="draft"), _orders),
        "drafts unknown": Shape(
            ORDER_SELECT, lambda at: _medication(at, status="draft", medicationCodeableConcept={"text": f"Xyzzy{at}"}), _orders
        ),
        "drafts that are nothing": Shape(ORDER_SELECT, lambda at: at, _orders),
        "selections": Shape(ORDER_SELECT, lambda at: f"MedicationRequest/m{at}", lambda items: _orders([_medication()], items)),
        "selections that are none": Shape(ORDER_SELECT, lambda at: at, lambda items: _orders([_medication()], items)),
        "outcomes told": Shape(FEEDBACK, _outcome, _feedback),
        "outcomes that are none": Shape(FEEDBACK, lambda at: 7, _feedback),
        "outcomes that are empty": Shape(FEEDBACK, lambda at: {}, _feedback),
        "suggestions taken": Shape(
            FEEDBACK, lambda at: {"id": f"s{at}"}, lambda items: _feedback([_outcome(0) | {"acceptedSuggestions": items}])
        ),
        "a comment": _of_text(
            lambda text: _feedback([_outcome(0) | {"outcome": "overridden", "overrideReason": {"userComment": text}}]),
            "no",
            FEEDBACK,
        ),
        "a name of a drug": _of_text(
            lambda text: _call(medicationRequests=_bundle([_medication(medicationCodeableConcept={"text": text})])), "furosemid"
        ),
        "a word of a drug": _of_text(
            lambda text: _call(
                medicationRequests=_bundle([_medication(medicationCodeableConcept={"text": text.replace(" ", "")})])
            ),
            "furosemid",
        ),
        "a name of a problem": _of_text(
            lambda text: _call(conditions=_bundle([_CRAMPS, _condition(code={"text": text})])), "krampf"
        ),
        "a name of a result": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(code={"text": text})])), "potassium in urin"
        ),
        "a unit": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(valueQuantity={"value": 3, "unit": text})])), "mmol/L"
        ),
        "a number": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(valueQuantity={"value": "N", "unit": "mmol/L"})])), "9"
        ),
        "a date": _of_text(lambda text: _call(electrolytes=_bundle([_observation(effectiveDateTime=text)])), "2026-11-01"),
        "a range in words": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(referenceRange=[{"text": text}])])), "3.5 - 5.0"
        ),
        "a status": _of_text(lambda text: _call(electrolytes=_bundle([_observation(status=text)])), "final"),
        "a subject": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(subject={"reference": text})])), "Patient/"
        ),
        "a code": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(code={"coding": [{"system": _LOINC, "code": text}]})])),
            "2823-3",
        ),
        "a code system": _of_text(
            lambda text: _call(electrolytes=_bundle([_observation(code={"coding": [{"system": text, "code": "1"}]})])),
            "http://",
        ),
        "results of many words": _many(
            "electrolytes", lambda at: _observation(at, code={"text": _words("serum potassium in urin", at)})
        ),
        "drugs of many words": _many(
            "medicationRequests",
            lambda at: _medication(at, medicationCodeableConcept={"text": _words("aspirin with furosemid", at)}),
        ),
        "problems of many words": _many(
            "conditions", lambda at: _condition(at, code={"text": _words("cramp of left calf muscl", at)})
        ),
        "sites of many words": Shape(
            PATIENT_VIEW,
            lambda at: {"text": _words("back of the left lower leg and foot", at)},
            _under("conditions", lambda at, **more: _condition(at, code={"text": "Cramp"}, **more), "bodySite"),
        ),
        "visits of many words": Shape(
            PATIENT_VIEW,
            lambda at: {"text": _words("cramp of left calf muscl", at)},
            _visit,
        ),
        "words like ours": _many(
            "electrolytes", lambda at: _observation(at, code={"text": "ferritin iron " + "potasiumm" * 3 + str(at)})
        ),
        "a hookInstance": _of_text(lambda text: _call() | {"hookInstance": text}, "d1577c69"),
        "a hook": _of_text(lambda text: _call() | {"hook": text}, "patient-view"),
        "a user": _of_text(lambda text: _call(context={"userId": text}), "Practitioner/"),
        "a patient": _of_text(lambda text: _call(context={"patientId": text}), "p"),
        "a server": _of_text(lambda text: _call() | {"fhirServer": text}, "https://"),
    }


class Cost(NamedTuple):
    """CPU seconds of the whole process, bytes sent back, and the status."""

    seconds: float
    answer: int
    status: int


def cost(client: TestClient, shape: Shape, size: int) -> tuple[int, Cost]:
    """What a body of about `size` bytes costs; with its true size."""
    body = shape.body(size)
    started = time.process_time()
    answer = client.post(shape.path, content=body, headers={"content-type": "application/json"})
    return len(body), Cost(time.process_time() - started, len(answer.content), answer.status_code)


def client_of(folder: str) -> TestClient:
    settings = Settings(database_url=f"sqlite+aiosqlite:///{folder}/hostile.sqlite", log_level="error")
    app = build_app(settings, prepare(settings))
    return TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1), raise_server_exceptions=False)


def main() -> None:
    import tempfile

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kilobytes", type=int, nargs=2, default=[100, 900])
    options.add_argument("--only", default="", help="measure only the shapes that hold this word")
    chosen = options.parse_args()
    small, large = (size * 1000 for size in chosen.kilobytes)
    with tempfile.TemporaryDirectory() as folder, client_of(folder) as client:
        for _ in range(3):
            cost(client, shapes()["results"], 20_000)
        for name, shape in shapes().items():
            if chosen.only and chosen.only not in name:
                continue
            (less, first), (more, second) = cost(client, shape, small), cost(client, shape, large)
            growth = (second.seconds / more) / (first.seconds / less)
            print(
                f"{name:36} {first.seconds:7.3f} s {second.seconds:7.3f} s  x{growth:4.1f}"
                f"  answer {second.answer / 1000:8.1f} kB  {second.status}  body {more / 1000:.0f} kB",
                flush=True,
            )


if __name__ == "__main__":
    main()

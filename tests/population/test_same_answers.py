"""One engine, several doors: an export of the invented people brings the same findings and cards as a call for each."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from cds_service.cdshooks.request import read_request
from cds_service.samples.people import to_hook_request
from cds_service.service import Decision
from tests.support.cast import conductor_of
from tests.support.exports import DAY, Json, bundles, resources, rows_of, run_over, told, told_of, write_export

HOOK = "patient-view"


def called(jurisdiction: str, bundle: Json) -> Decision:
    service = conductor_of(jurisdiction)
    body = to_hook_request(bundle, dict(service.knowledge.queries), HOOK, None)
    request = read_request(json.dumps(body).encode(), HOOK)
    return service.answer(service.knowledge.service_on(HOOK), request, DAY, in_brief=True)


@pytest.mark.parametrize("jurisdiction", ["us", "uk"])
def test_each_of_the_cast_is_decided_as_by_a_call(jurisdiction: str, tmp_path: Path) -> None:
    everybody = bundles(jurisdiction)
    lines = resources(everybody.values())
    random.Random(5).shuffle(lines)
    done = run_over([write_export(tmp_path / "export", lines)], conductor_of(jurisdiction), tmp_path / "work")
    rows = rows_of(done)
    assert done.tally.people.total() == len(everybody) > 20
    differing = {}
    for name, bundle in everybody.items():
        patient = next(entry["resource"]["id"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Patient")
        expected, found = told_of(called(jurisdiction, bundle)), told(rows.get(patient))
        if found != expected:
            differing[name] = (found, expected)
    assert not differing

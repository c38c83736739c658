"""The package of FHIR resources: whole, valid, the same each time, and true to the knowledge."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fhir.resources.R4B import get_fhir_model_class

from cds_service.cards.compose import OrderSubject, service_request
from cds_service.cdshooks.response import encode
from cds_service.errors import KnowledgeError, SettingsError
from cds_service.jsonlogic.notation import read
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.publish.artifacts import ArtifactShelf
from cds_service.publish.package import package_of, write_package

Resources = Mapping[str, dict[str, Any]]


def resources_of(knowledge: Knowledge) -> Resources:
    """By `Type/id`, as whoever reads the files finds them."""
    files = json.loads(encode(package_of(knowledge))).values()
    return {f"{item['resourceType']}/{item['id']}": item for item in files if "resourceType" in item}


@pytest.fixture(scope="module")
def resources(knowledge: Knowledge) -> Resources:
    return resources_of(knowledge)


def of_type(resources: Resources, kind: str) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in resources.values() if item["resourceType"] == kind}


def members(node: Any, name: str) -> Iterator[Any]:
    """What stands under a member, at any depth."""
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == name)
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from members(inner, name)


@pytest.fixture(scope="module")
def small(knowledge: Knowledge) -> Knowledge:
    """Two rules and what they rest on: for packages that are made anew."""
    rules = tuple(rule for rule in knowledge.rules if rule.id in ("low-potassium", "high-potassium"))
    used = {key for rule in rules for key in knowledge.codes_behind(rule)}
    sets = {key: parts for key, parts in knowledge.value_sets.items() if key in used or parts[0].kind == "order"}
    return replace(knowledge, rules=rules, value_sets=sets)


def with_rules(knowledge: Knowledge, **changes: dict[str, Any]) -> Knowledge:
    """`low_potassium={"status": "retired"}`: the file of one rule changed; `every=…` those of all."""

    def changed(rule: Rule) -> Rule:
        own = changes.get("every", {}) | changes.get(rule.id.replace("-", "_"), {})
        return replace(rule, file=msgspec.structs.replace(rule.file, **own))

    return replace(knowledge, rules=tuple(changed(rule) for rule in knowledge.rules))


def test_every_part_of_the_knowledge_is_a_resource(knowledge: Knowledge, resources: Resources) -> None:
    rules = set(knowledge.rule_by_id)
    assert set(of_type(resources, "PlanDefinition")) == rules
    assert set(of_type(resources, "Library")) == rules
    assert set(of_type(resources, "ValueSet")) == {*knowledge.value_sets, *(f"result-{name}" for name in knowledge.labs)}
    assert {re.sub("-(us|uk)$", "", key) for key in of_type(resources, "ActivityDefinition")} == set(knowledge.orders)
    assert list(of_type(resources, "Questionnaire").values()) == [knowledge.questionnaire]


def test_every_resource_is_valid(resources: Resources) -> None:
    for resource in resources.values():
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def test_what_is_no_valid_resource_is_told_with_its_name(knowledge: Knowledge) -> None:
    with pytest.raises(KnowledgeError, match=r"ValueSet/a-set: .*title"):
        ArtifactShelf(knowledge).add("ValueSet", {"id": "a-set", "title": "", "description": "A set"})


def test_every_reference_leads_to_a_resource_of_the_package(knowledge: Knowledge, resources: Resources) -> None:
    there = {f"{item['url']}|{item['version']}" for item in resources.values()}
    assert len(there) == len(resources)
    base = str(knowledge.questionnaire["url"]).removesuffix("/Questionnaire/leg-cramp-history")
    assert {item["url"] for item in resources.values()} == {f"{base}/{key}" for key in resources}
    counted = Counter[str]()
    for resource in resources.values():
        found = {
            "library": [name for names in members(resource, "library") for name in names],
            "definitionCanonical": list(members(resource, "definitionCanonical")),
            "resource": [
                item["resource"] for items in members(resource, "relatedArtifact") for item in items if "resource" in item
            ],
        }
        for member, names in found.items():
            assert set(names) <= there, resource["id"]
            counted[member] += len(names)
    assert counted["library"] == len(knowledge.rules)
    assert min(counted["definitionCanonical"], counted["resource"]) > len(knowledge.orders)


def test_every_resource_says_what_it_is_and_that_it_is_a_draft(knowledge: Knowledge, resources: Resources) -> None:
    authors = {rule.file.authored_by for rule in knowledge.rules}
    names = Counter((item["resourceType"], item["name"]) for item in resources.values())
    assert set(names.values()) == {1}
    for key, item in resources.items():
        assert re.fullmatch("[A-Z][A-Za-z0-9_]{0,254}", item["name"]), key
        assert item["title"].strip(), key
        assert item["description"].strip(), key
        assert item["status"] == "draft", key
        if item["resourceType"] != "Questionnaire":
            assert item["experimental"] is True, key
            assert item["publisher"] in authors, key


@pytest.mark.parametrize(
    ("status", "published", "experimental"),
    [("draft", "draft", True), ("trial", "draft", True), ("active", "active", False), ("retired", "retired", True)],
)
def test_the_status_is_that_of_the_rule(small: Knowledge, status: str, published: str, experimental: bool) -> None:
    found = resources_of(with_rules(small, low_potassium={"status": status}))
    for kind in ("PlanDefinition", "Library"):
        item = found[f"{kind}/low-potassium"]
        assert (item["status"], item["experimental"]) == (published, experimental)
    assert found["PlanDefinition/high-potassium"]["status"] == "draft"
    assert found["ValueSet/result-potassium"]["status"] == "draft"


def test_what_serves_all_is_active_where_all_rules_are(small: Knowledge) -> None:
    found = resources_of(with_rules(small, every={"status": "active"}))
    shared = [item for item in found.values() if item["resourceType"] in ("ValueSet", "ActivityDefinition")]
    assert {(item["status"], item["experimental"]) for item in shared} == {("active", False)}


def test_whatever_changes_gets_another_version_and_nothing_else_does(small: Knowledge) -> None:
    resources = resources_of(small)
    found = resources_of(with_rules(small, low_potassium={"why": "Said otherwise."}))
    assert {key for key in resources if found[key] != resources[key]} == {
        "PlanDefinition/low-potassium",
        "Library/low-potassium",
    }
    for key, item in found.items():
        assert (item["version"] == resources[key]["version"]) is (item == resources[key]), key
    version = small.rule_by_id["low-potassium"].file.version
    assert found["PlanDefinition/low-potassium"]["version"].startswith(f"{version}+")


def test_the_conditions_of_a_plan_are_the_logic_of_the_rule(knowledge: Knowledge, resources: Resources) -> None:
    for rule in knowledge.rules:
        services = [key for key, service in knowledge.services.items() if rule in knowledge.rules_of(key)]
        actions = resources[f"PlanDefinition/{rule.id}"]["action"]
        hooks = [[trigger["name"] for trigger in action["trigger"]] for action in actions]
        assert hooks == [[knowledge.services[key].hook] for key in services]
        for key, action in zip(services, actions, strict=True):
            asked = [item["expression"] for item in action["condition"]]
            logic = [
                json.loads(encode(item.source)) for item in (knowledge.speaks_when[key], rule.applies_when, rule.fires_when)
            ]
            assert [json.loads(item["expression"]) for item in asked] == logic
            assert [json.loads(encode(read(item["description"], "description"))) for item in asked] == logic
            assert {item["language"] for item in asked} == {"application/x-jsonlogic+json"}
            assert {item["kind"] for item in action["condition"]} == {"applicability"}


def test_a_plan_cites_its_statements_and_its_sources(knowledge: Knowledge, resources: Resources) -> None:
    for rule in knowledge.rules:
        cited = [item for item in resources[f"PlanDefinition/{rule.id}"]["relatedArtifact"] if item["type"] == "citation"]
        assert {item["label"]: item["citation"] for item in cited if "label" in item} == {
            name: knowledge.evidence[name].says for name in rule.file.evidence
        }
        sources = [knowledge.sources[name] for name in rule.file.sources]
        assert [item["url"] for item in cited if "label" not in item] == [source.url for source in sources]
        assert all(item["url"].startswith("https://") for item in cited)


def test_a_plan_depends_on_every_set_that_its_facts_look_for(knowledge: Knowledge, resources: Resources) -> None:
    needed = {item["resource"].split("/")[-1].split("|")[0] for item in depends_on(resources["PlanDefinition/low-potassium"])}
    assert needed == {"leg-cramps", "result-potassium", "leg-cramp-history"}
    for rule in knowledge.rules:
        there = {item["resource"].split("|")[0] for item in depends_on(resources[f"PlanDefinition/{rule.id}"])}
        sets = {key for name in knowledge.facts_behind(rule) for key in knowledge.facts[name].value_sets}
        assert {resources[f"ValueSet/{key}"]["url"] for key in sets} <= there, rule.id


def depends_on(resource: dict[str, Any]) -> list[dict[str, Any]]:
    return [item for item in resource["relatedArtifact"] if item["type"] == "depends-on"]


def test_a_library_holds_the_rule_as_written_and_each_fact_behind_it(knowledge: Knowledge, resources: Resources) -> None:
    for rule in knowledge.rules:
        library = resources[f"Library/{rule.id}"]
        (content,) = library["content"]
        held = json.loads(base64.b64decode(content["data"]))
        assert held["rule"] == json.loads(encode(rule.file))
        assert {name.removeprefix("fact ") for name in held if name.startswith("fact ")} == set(knowledge.facts_behind(rule))
        assert [(item["name"], item["documentation"]) for item in library["parameter"]] == [
            (name, knowledge.facts[name].question) for name in sorted(rule.facts)
        ]
    kinds = {item["name"]: item["type"] for library in of_type(resources, "Library").values() for item in library["parameter"]}
    assert [kinds[name] for name in ("taking_diuretic", "age_years", "potassium_against_range")] == [
        "boolean",
        "decimal",
        "string",
    ]


def test_a_value_set_holds_each_code_with_its_name(knowledge: Knowledge, resources: Resources) -> None:
    for key, parts in knowledge.value_sets.items():
        listed, below = codes_of(resources[f"ValueSet/{key}"])
        for part in parts:
            for name, rows in part.codes.items():
                file = knowledge.systems[name]
                for row in rows:
                    assert listed[file.url, row[0]] == row[1], key
                    assert ((file.url, row[0]) in below) is file.prefix_match, key
    for name, lab in knowledge.labs.items():
        listed, below = codes_of(resources[f"ValueSet/result-{name}"])
        assert {code for _, code in listed} == {*lab.loinc, *lab.snomed}
        assert not below


def test_what_counts_under_the_address_of_another_system_too_stands_under_both(
    knowledge: Knowledge, resources: Resources
) -> None:
    url = {name: file.url for name, file in knowledge.systems.items()}
    held = [key for key, parts in knowledge.value_sets.items() if any(part.codes.get("dmd") for part in parts)]
    assert held
    for key in held:
        listed, _ = codes_of(resources[f"ValueSet/{key}"])
        assert {code for system, code in listed if system == url["dmd"]} <= {
            code for system, code in listed if system == url["snomed"]
        }


def codes_of(value_set: dict[str, Any]) -> tuple[dict[tuple[str, str], str], set[tuple[str, str]]]:
    """The codes that are listed, with their names, and those that stand for all below them."""
    included = value_set.get("compose", {}).get("include", [])
    listed = {(part["system"], item["code"]): item["display"] for part in included for item in part.get("concept", ())}
    filters = [(part["system"], item) for part in included for item in part.get("filter", ())]
    assert {(item["property"], item["op"]) for _, item in filters} <= {("concept", "is-a")}
    assert all(len(part.get("filter", ())) < 2 for part in included), "filters of one part would all have to hold"
    return listed, {(system, item["value"]) for system, item in filters}


def test_whoever_gets_codes_gets_their_terms(knowledge: Knowledge, resources: Resources) -> None:
    terms = {file.url: file.copyright for file in knowledge.systems.values()}
    assert all(terms.values())
    for kind in ("ValueSet", "ActivityDefinition"):
        for key, item in of_type(resources, kind).items():
            used = set(members(item.get("compose") or item.get("code") or {}, "system"))
            assert all(terms[system] in item["copyright"] for system in used), key


def test_a_test_is_ordered_by_the_codes_that_a_card_offers(knowledge: Knowledge, resources: Resources) -> None:
    definitions, ours = of_type(resources, "ActivityDefinition"), {"us": "US", "uk": "GB"}
    for key, order in knowledge.orders.items():
        for where in order.jurisdiction or ours:
            (own,) = [
                item
                for name, item in definitions.items()
                if name in (key, f"{key}-{where}") and ours[where] in members(item["jurisdiction"], "code")
            ]
            assert own["code"] == service_request(order, knowledge, OrderSubject("Patient/p", ""), where)["code"], (key, where)


def test_a_plan_offers_the_tests_of_its_rule_where_they_are_ordered(knowledge: Knowledge, resources: Resources) -> None:
    """One definition for each jurisdiction of the rule: alone where all ask by the same codes, else as a choice of one."""
    seen = Counter[bool]()
    for rule in knowledge.rules:
        for action in resources[f"PlanDefinition/{rule.id}"]["action"]:
            offered = action.get("action", [])
            assert [item["title"] for item in offered] == [knowledge.orders[use.order].label for use in rule.orders]
            for use, item in zip(rule.orders, offered, strict=True):
                assert json.loads(item["condition"][0]["expression"]["expression"]) == json.loads(encode(use.when.source))
                assert (item.get("precheckBehavior") == "yes") is (use.recommended_when.source is True)
                named = [name.split("/")[-1].split("|")[0] for name in members(item, "definitionCanonical")]
                split = bool(knowledge.orders[use.order].codes_in)
                assert split is (len(named) > 1), rule.id
                assert item.get("selectionBehavior") == ("exactly-one" if split else None)
                seen[split] += 1
    assert min(seen.values()) > 1


def test_the_same_knowledge_gives_the_same_bytes(small: Knowledge, tmp_path: Path) -> None:
    for name in ("one", "other"):
        assert write_package(small, tmp_path / name) > len(small.rules)
    assert files_in(tmp_path / "one") == files_in(tmp_path / "other")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_package_is_laid_out_as_fhir_packages_are(small: Knowledge, tmp_path: Path) -> None:
    count = write_package(small, tmp_path)
    found = files_in(tmp_path)
    manifest = json.loads(found.pop("package/package.json"))
    assert manifest["fhirVersions"] == ["4.0.1"]
    assert re.fullmatch(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)+", manifest["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+-[A-Za-z0-9_.-]+", manifest["version"])
    assert json.loads(found.pop("rules.json")).keys() == small.rule_by_id.keys()
    for path, content in found.items():
        resource = json.loads(content)
        assert path == f"package/{resource['resourceType']}-{resource['id']}.json"
    assert len(found) == count


def test_a_package_takes_the_place_of_an_older_one(small: Knowledge, tmp_path: Path) -> None:
    write_package(with_rules(small, every={"why": "Before."}), tmp_path)
    gone = tmp_path / "package/PlanDefinition-gone.json"
    gone.write_text((tmp_path / "package/PlanDefinition-low-potassium.json").read_text())
    write_package(small, tmp_path)
    assert not gone.exists()
    assert "Before." not in (tmp_path / "package/PlanDefinition-low-potassium.json").read_text()


@pytest.mark.parametrize(
    ("before", "strange"),
    [
        (False, "letter.txt"),
        (False, "rules.json"),
        (False, "package/package.json"),
        (True, "letter.txt"),
        (True, "package/letter.json"),
        (True, "other/letter.txt"),
    ],
)
def test_a_folder_with_anything_else_is_refused_and_left_as_it_is(
    small: Knowledge, tmp_path: Path, before: bool, strange: str
) -> None:
    if before:
        write_package(small, tmp_path)
    path = tmp_path / strange
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text('{"name": "mine"}')
    found = files_in(tmp_path)
    with pytest.raises(SettingsError, match=r"of no package of ours -> name an empty folder"):
        write_package(small, tmp_path)
    assert files_in(tmp_path) == found

"""Value sets, tests to order and rules, each as the FHIR resource that defines it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from cds_service.cards.approvals import parts_of
from cds_service.cdshooks.response import encode
from cds_service.jsonlogic.compile import Expression
from cds_service.jsonlogic.notation import write
from cds_service.knowledge.fact_kinds import OfHistory
from cds_service.knowledge.knowledge import Knowledge, Rule, Suggestable
from cds_service.knowledge.schema import Order
from cds_service.publish.artifacts import ArtifactShelf

LANGUAGE = "application/x-jsonlogic+json"
_TYPES = "http://terminology.hl7.org/CodeSystem"
_JURISDICTIONS = {"us": "US", "uk": "GB"}
_FHIR_TYPES = {"boolean": "boolean", "number": "decimal", "string": "string", "list": "string"}
_TOLD = {"includes": "In", "excludes": "Out", "origin": "Codes from", "release": "Editions"}


def add_value_sets(shelf: ArtifactShelf, knowledge: Knowledge) -> None:
    for key, parts in knowledge.value_sets.items():
        texts = {label: dict.fromkeys(getattr(part, member) for part in parts) for member, label in _TOLD.items()}
        text = "\n\n".join(f"{label}: {' '.join(filter(None, told)) or 'nothing'}" for label, told in texts.items())
        told = {"id": key, "title": parts[0].title, "description": text, "purpose": parts[0].purpose}
        codes = {name: {row[0]: row[1] for part in parts for row in part.codes.get(name, ())} for name in knowledge.systems}
        shelf.add("ValueSet", told | _coded(codes, knowledge))
    for key, lab in knowledge.labs.items():
        text = f"Codes under which a result is read as {lab.title}, in {lab.unit} or converted to it. {lab.note}".strip()
        told = {"id": f"result-{key}", "title": f"{lab.title}: results", "description": text}
        shelf.add("ValueSet", told | _coded({"loinc": lab.loinc, "snomed": lab.snomed}, knowledge))


def _coded(codes: Mapping[str, Mapping[str, str]], knowledge: Knowledge) -> dict[str, Any]:
    """Displays by our name of a system and code. Where a code stands for all below it, it is told once more for these."""
    included: list[dict[str, Any]] = []
    for name, file in knowledge.systems.items():
        listed = [code for own in (name, *file.also) for code in codes.get(own, {}).items()]
        named = [{"code": code, "display": text} for code, text in listed]
        included += [{"system": file.url, "concept": named}] if named else []
        below = [{"property": "concept", "op": "is-a", "value": code} for code, _ in listed if file.prefix_match]
        included += [{"system": file.url, "filter": [each]} for each in below]
    return _terms(included, knowledge) | ({"compose": {"include": included}} if included else {})


def _terms(coded: Iterable[Mapping[str, Any]], knowledge: Knowledge) -> dict[str, str]:
    used = {item["system"] for item in coded}
    told = [file.copyright for file in knowledge.systems.values() if file.url in used and file.copyright]
    return {"copyright": "\n\n".join(told)} if told else {}


def _places(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"coding": [{"system": "urn:iso:std:iso:3166", "code": _JURISDICTIONS[name]}]} for name in names]


def add_orders(shelf: ArtifactShelf, knowledge: Knowledge) -> None:
    for key, order in knowledge.orders.items():
        for name, where in _variants(key, order).items():
            codes = order.codes_in.get(where[0], order.codes)
            concept: dict[str, Any] = {"coding": [knowledge.coding(*code) for code in codes], "text": order.title}
            told = {"id": name, "title": order.label, "description": order.description, "jurisdiction": _places(where)}
            body = {"kind": "ServiceRequest", "intent": "proposal", "code": concept}
            shelf.add("ActivityDefinition", told | body | _terms(concept["coding"], knowledge))


def _variants(key: str, order: Order) -> dict[str, list[str]]:
    """The ids under which a test is ordered, with their jurisdictions: one of its own for each that asks by other codes."""
    everywhere = [where for where in _JURISDICTIONS if where in (order.jurisdiction or _JURISDICTIONS)]
    rest = [where for where in everywhere if where not in order.codes_in]
    return ({key: rest} if rest else {}) | {f"{key}-{where}": [where] for where in everywhere if where not in rest}


def add_rules(shelf: ArtifactShelf, knowledge: Knowledge) -> None:
    """Each as a PlanDefinition with an action for each service that speaks it, and a Library of what it asks for."""
    for rule in knowledge.rules:
        file, card = rule.file, knowledge.cards[rule.id].file
        about: dict[str, Any] = {"id": file.id, "title": file.title, "description": f"{file.title}. {file.why}"}
        about |= {"purpose": file.why, "usage": f"May mislead when: {file.may_mislead_when}"}
        about |= {"jurisdiction": _places(file.jurisdiction), "relatedArtifact": list(_related(shelf, rule, knowledge))}
        shelf.add("Library", about | _library(rule, knowledge), rule)
        text = "\n".join(filter(None, [card.headline, *(line.say for line in card.lines)]))
        offers = [_offer(shelf, rule, knowledge, use) for use in rule.orders]
        action: dict[str, Any] = {"title": file.title, "textEquivalent": text}
        action |= {"selectionBehavior": "any", "action": offers} if offers else {}
        served = [key for key in knowledge.services if rule in knowledge.rules_of(key)]
        body = {
            "type": {"coding": [{"system": f"{_TYPES}/plan-definition-type", "code": "eca-rule"}]},
            "library": [shelf.canonical(f"Library/{rule.id}")],
            "action": [action | _asked_by(key, rule, knowledge) for key in served],
        }
        shelf.add("PlanDefinition", about | body, rule)


def _related(shelf: ArtifactShelf, rule: Rule, knowledge: Knowledge) -> Iterator[dict[str, Any]]:
    """The statements and the numbers that a rule rests on, each with its source, and then the sets and the form."""
    for name in rule.file.evidence:
        source = next(article for article in knowledge.articles if name.startswith(article.cites))
        says = {"label": name, "citation": knowledge.evidence[name].says}
        yield {"type": "citation", "url": source.url, "display": source.title, **says}
    for source in (knowledge.sources[name] for name in rule.file.sources):
        text = f"{source.title}. {source.publisher}. {source.edition}."
        yield {"type": "citation", "url": source.url, "display": source.title, "citation": text}
    for key in knowledge.codes_behind(rule):
        own = key if key in knowledge.value_sets else f"result-{key}"
        yield {"type": "depends-on", "resource": shelf.canonical(f"ValueSet/{own}")}
    if any(isinstance(knowledge.facts[name].kind, OfHistory) for name in knowledge.facts_behind(rule)):
        yield {"type": "depends-on", "resource": shelf.canonical(f"Questionnaire/{knowledge.questionnaire['id']}")}


def _library(rule: Rule, knowledge: Knowledge) -> dict[str, Any]:
    """The facts that its logic asks for as parameters; as content what is signed with a rule, without the sets, and queries."""
    facts, behind = knowledge.facts, [knowledge.facts[name] for name in knowledge.facts_behind(rule)]
    parts = {name: part[1] if name.startswith("codes ") else part for name, part in parts_of(rule, knowledge)}
    content = {name: part for name, part in parts.items() if part is not None}
    content["queries"] = {key: knowledge.queries[key] for fact in behind for key in fact.queries}
    asked = [(name, _FHIR_TYPES[facts[name].type], facts[name].question) for name in sorted(rule.facts)]
    data = base64.b64encode(encode(content)).decode()
    return {
        "type": {"coding": [{"system": f"{_TYPES}/library-type", "code": "logic-library"}]},
        "parameter": [{"name": name, "use": "in", "type": kind, "documentation": text} for name, kind, text in asked],
        "content": [{"contentType": "application/json", "data": data}],
    }


def _asked_by(service_id: str, rule: Rule, knowledge: Knowledge) -> dict[str, Any]:
    """On which hook a service asks the rule, and the conditions that all have to be true."""
    asked = {"speaks-when": knowledge.speaks_when[service_id], "applies-when": rule.applies_when, "fires-when": rule.fires_when}
    trigger = {"type": "named-event", "name": knowledge.services[service_id].hook}
    return {"trigger": [trigger], "condition": [_condition(name, expression) for name, expression in asked.items()]}


def _offer(shelf: ArtifactShelf, rule: Rule, knowledge: Knowledge, use: Suggestable) -> dict[str, Any]:
    """One test; where it is ordered by other codes elsewhere, the one of these that is asked for here."""
    order = knowledge.orders[use.order]
    names = [name for name, where in _variants(use.order, order).items() if {*where} & {*rule.file.jurisdiction}]
    named = [{"definitionCanonical": shelf.canonical(f"ActivityDefinition/{name}")} for name in names]
    offered: dict[str, Any] = {"title": order.label, "condition": [_condition("offered-when", use.when)]}
    offered |= {"priority": use.priority} if use.priority else {}
    offered |= {"precheckBehavior": "yes"} if use.recommended_when.source is True else {}
    return offered | (named[0] if len(named) == 1 else {"selectionBehavior": "exactly-one", "action": named})


def _condition(name: str, asked: Expression) -> dict[str, Any]:
    told = {"name": name, "description": write(asked.source), "language": LANGUAGE}
    return {"kind": "applicability", "expression": told | {"expression": encode(asked.source).decode()}}

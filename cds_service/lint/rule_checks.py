"""House rules about rules: one small function each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from cds_service.cards import leaflets
from cds_service.cards.approvals import basis_of, changes, load_approvals
from cds_service.cards.printed import FOLDER
from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import today
from cds_service.knowledge.composed_kinds import NotKnown, NotShown
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader
from cds_service.knowledge.schema import RuleFile

Problems = Iterator[Problem]

JURISDICTIONS = ("us", "uk")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
SIGNED = "logic/approvals.json"
_STATUSES = ("draft", "trial", "active", "retired")


def a_rule_is_named_as_its_file(knowledge: Knowledge) -> Problems:
    for rule in knowledge.rules:
        if rule.id != Path(rule.place).stem:
            yield Problem(rule.place, f"id is {rule.id!r}", "name it as its file")
    seen: dict[str, str] = {}
    for rule in knowledge.rules:
        if rule.id in seen:
            yield Problem(rule.place, f"id {rule.id!r} is also in {seen[rule.id]}", "give each rule its own id")
        seen[rule.id] = rule.place


def rule_cases_and_card_stand_together(knowledge: Knowledge) -> Problems:
    reader = Reader(knowledge.root)
    rules = {(rule.topic, Path(rule.place).stem) for rule in knowledge.rules}
    cases = {
        (path.split("/")[-2], path.split("/")[-1].removesuffix(".cases.json"))
        for path in reader.names("logic/rules/*/*.cases.json")
    }
    cards = {(path.split("/")[-2], Path(path).stem) for path in reader.names("cards/*/*.json")}
    for kind, found, place in (("cases", cases, "logic/rules/{}/{}.cases.json"), ("card", cards, "cards/{}/{}.json")):
        for topic, name in sorted(rules - found):
            yield Problem(place.format(topic, name), f"is missing: the rule has no {kind}", "write it; `new` writes all three")
        for topic, name in sorted(found - rules):
            yield Problem(place.format(topic, name), "belongs to no rule", "remove it, or write its rule")


_OPTIONAL = ("not_again_for",)


def a_rule_has_its_members_in_order(knowledge: Knowledge) -> Problems:
    for rule in knowledge.rules:
        given = list(json.loads((knowledge.root / rule.place).read_bytes()))
        # What may be left out is last.
        wanted = [name for name in RuleFile.__struct_fields__ if name in given or name not in _OPTIONAL]
        if given != wanted:
            yield Problem(rule.place, f"members stand in the order {', '.join(given)}", f"order them: {', '.join(wanted)}")


def a_rule_says_what_it_must(knowledge: Knowledge) -> Problems:
    groups = {group.id for group in knowledge.groups}
    hooks = {service.hook for service in knowledge.services.values()} | knowledge.doubted
    for rule in knowledge.rules:
        file = rule.file
        wrong = {
            f"version {file.version!r}": not _VERSION.fullmatch(file.version),
            f"status {file.status!r}": file.status not in _STATUSES,
            f"hooks {list(file.hooks)}": not file.hooks or not set(file.hooks) <= hooks,
            f"jurisdiction {list(file.jurisdiction)}": not file.jurisdiction
            or not set(file.jurisdiction) <= set(JURISDICTIONS),
            f"group {file.group!r}": file.group not in groups,
            f"review_by {file.review_by!r}": not _is_date(file.review_by),
            "no title": not file.title.strip(),
            "no why": not file.why.strip(),
            "no may_mislead_when": not file.may_mislead_when.strip(),
            "no evidence": not file.evidence,
            "TODO left": "TODO" in file.title + file.why + file.may_mislead_when,
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                yield Problem(rule.place, what, "see CONTRIBUTING.md, A rule")


def _is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def a_review_is_not_due(knowledge: Knowledge) -> Problems:
    day = today(None)
    for rule in knowledge.rules:
        if _is_date(rule.file.review_by) and date.fromisoformat(rule.file.review_by) < day:
            remedy = "review the rule anew, and give the next day and a new version"
            yield Problem(rule.place, f"review_by {rule.file.review_by} is over", remedy)


def who_checked_a_rule_has_signed_it(knowledge: Knowledge) -> Problems:
    """A name alone proves nothing: it counts with an approval of the rule as it is, in the file that `approve` writes."""
    try:
        path = knowledge.root / SIGNED
        signed = {item.rule: item for item in load_approvals(path if path.is_file() else None)}
    except SettingsError as error:
        yield from error.problems
        return
    for rule in knowledge.rules:
        name, item = rule.file.checked_by, signed.get(rule.id)
        if name is None:
            if rule.file.status == "active":
                yield Problem(rule.place, "is active, and no clinician has checked it", "leave it a draft until one has")
        elif item is None or item.name != name or changes(item.basis, basis_of(rule, knowledge)):
            text = f"checked_by names {name!r}, of whom {SIGNED} holds no approval of the rule as it is"
            remedy = f"let them sign: cds-service approve {rule.id} --name {name!r} --file {SIGNED}; or write null"
            yield Problem(rule.place, text, remedy)


def every_rule_belongs_to_a_service(knowledge: Knowledge) -> Problems:
    topics = {topic for service in knowledge.services.values() for topic in service.topics}
    for rule in knowledge.rules:
        if rule.topic not in topics:
            yield Problem(rule.place, f"topic {rule.topic!r} is in no service", "name it in logic/services.json")
    for topic in sorted(topics - {rule.topic for rule in knowledge.rules}):
        yield Problem("logic/services.json", f"topic {topic!r} has no rules", "remove it, or write one")


def evidence_is_cited_and_exists(knowledge: Knowledge) -> Problems:
    """Every statement that can be decided is cited by a rule, all others are told, or `uncited.json` says why not."""
    cited = {name for rule in knowledge.rules for name in rule.file.evidence}
    for rule in knowledge.rules:
        for name in rule.file.evidence:
            if name not in knowledge.evidence:
                yield Problem(rule.place, f"evidence {name!r} does not exist", "see logic/evidence.json")
    decidable = {name for name, item in knowledge.evidence.items() if item.use in ("record", "history")}
    for name in sorted(decidable - cited - set(knowledge.uncited)):
        yield Problem("logic/evidence.json", f"{name} is cited by no rule", "cite it, or say why not in logic/uncited.json")
    printed = (path.read_text(encoding="utf-8") for path in (knowledge.root / FOLDER).glob("*.md"))
    shown = {name for text in printed for name in leaflets.statements(text)}
    for name in sorted(set(knowledge.evidence) - decidable - cited - shown - set(knowledge.uncited)):
        yield Problem("logic/evidence.json", f"{name} is told nowhere", "tell it on a card or in a leaflet, and cite it there")
    for name in sorted(set(knowledge.uncited) & cited):
        yield Problem("logic/uncited.json", f"{name} is cited by a rule now", "remove it here")
    for name in sorted(set(knowledge.uncited) - set(knowledge.evidence)):
        yield Problem("logic/uncited.json", f"{name} does not exist", "see logic/evidence.json")


def sources_exist_and_are_used(knowledge: Knowledge) -> Problems:
    used = {name for rule in knowledge.rules for name in rule.file.sources}
    used |= {item.source for lab in knowledge.labs.values() for item in lab.ranges.values()}
    used |= {given.source for lab in knowledge.labs.values() for given in (lab.possible, lab.usual) if given}
    used |= {equation.source for equation in knowledge.equations.values()}
    for name in sorted(used - set(knowledge.sources)):
        yield Problem("logic/sources.json", f"source {name!r} does not exist", "write it, with publisher and address")
    for name, source in knowledge.sources.items():
        if name not in used and not source.cites:
            yield Problem("logic/sources.json", f"{name} is used by nothing", "remove it, or cite it")


def sources_have_a_safe_address(knowledge: Knowledge) -> Problems:
    for name, source in knowledge.sources.items():
        if not source.url.startswith("https://"):
            yield Problem("logic/sources.json", f"{name} has the address {source.url!r}", "give an https address")


def a_rule_decides_on_what_is_known(knowledge: Knowledge) -> Problems:
    """Facts that are true of what is not known are for texts: a rule that asked one could never be unknown.

    But what excuses a danger must be seen: a rule of a critical card may ask whether that is not shown.
    """
    critical = {group.id for group in knowledge.groups if group.indicator == "critical"}
    for rule in knowledge.rules:
        if rule.file.group in critical:
            continue
        for name in sorted(rule.facts):
            if isinstance(knowledge.facts[name].kind, (NotShown, NotKnown)):
                remedy = f"ask {knowledge.facts[name].facts[0]}; only a card's line may ask {name}"
                yield Problem(rule.place, f"decides on what is not known, by {name!r}", remedy)


def no_two_rules_of_a_group_share_a_priority(knowledge: Knowledge) -> Problems:
    seen: dict[tuple[str, int], str] = {}
    for rule in knowledge.rules:
        file = rule.file
        first = seen.setdefault((file.group, file.priority), rule.id)
        if first != rule.id:
            yield Problem(rule.place, f"priority {file.priority} is that of {first!r}", "give each rule of a group its own")


def a_rule_replaces_other_rules(knowledge: Knowledge) -> Problems:
    every = {rule.id for rule in knowledge.rules}
    for rule in knowledge.rules:
        for name in sorted({name for name in rule.file.replaces if name not in every - {rule.id}}):
            yield Problem(rule.place, f"replaces {name!r}, which is no other rule", "name rules that it tells already")


RULEBOOK = (
    a_rule_is_named_as_its_file,
    rule_cases_and_card_stand_together,
    a_rule_has_its_members_in_order,
    a_rule_says_what_it_must,
    a_review_is_not_due,
    who_checked_a_rule_has_signed_it,
    every_rule_belongs_to_a_service,
    evidence_is_cited_and_exists,
    sources_exist_and_are_used,
    sources_have_a_safe_address,
    a_rule_decides_on_what_is_known,
    no_two_rules_of_a_group_share_a_priority,
    a_rule_replaces_other_rules,
)

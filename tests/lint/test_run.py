"""The knowledge check: each house rule is shown to catch its own bad example."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from cds_service.errors import KnowledgeError
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader, gather_knowledge, load_knowledge
from cds_service.lint.card_checks import lines_keep_the_numbers_of_their_rule, the_longest_summary_fits
from cds_service.lint.case_checks import cases_come_out_as_expected, cases_kill_every_mutant
from cds_service.lint.cases import mutated, read_cases, surviving
from cds_service.lint.code_provenance import mod10, verhoeff
from cds_service.lint.release import nothing_changed_without_a_version, write_release
from cds_service.lint.run import HOUSE_RULES, HouseRule, check, check_resources, lock
from tests.conftest import ROOT
from tests.support.people import bundle, observation
from tests.support.terminal import cds

RULE = "logic/rules/results/low-potassium.json"
CASES = "logic/rules/results/low-potassium.cases.json"
ABI_CASES = "logic/rules/workup/abi.cases.json"
CARD = "cards/results/low-potassium.json"
THYROID_CASES = "logic/facts/thyroid.cases.json"
THYROID, HISTORY, KIDNEYS = "logic/facts/thyroid.json", "logic/facts/history.json", "logic/facts/kidneys.json"
QUININE, PATIENT, NERVES = "logic/facts/quinine.json", "logic/facts/patient.json", "logic/facts/nerves.json"
FACTS = "logic/facts/electrolytes.json"
LABS, ORDERS, QUERIES = "logic/labs.json", "logic/orders.json", "logic/queries.json"
STATIN = "cards/medication/statin.json"
SET = "logic/value_sets/hypothyroidism.json"


def edit(path: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        loaded = json.loads((root / path).read_text())
        changed = change(loaded)
        (root / path).write_text(json.dumps(loaded if changed is None else changed))

    return apply


def put(path: str, **members: Any) -> Callable[[Path], None]:
    return edit(path, lambda loaded: loaded | members)


def fact(path: str, name: str, section: str = "facts", value: Any = None, **members: Any) -> Callable[[Path], None]:
    """A fact of a topic, or what it is derived from, given other members, or another value."""

    def change(loaded: Any) -> None:
        loaded[section][name] = loaded[section][name] | members if value is None else value

    return edit(path, change)


def replace(path: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return apply


def row(path: str, at: int, **members: Any) -> Callable[[Path], None]:
    return edit(path, lambda loaded: loaded["cases"][at].update(members))


def drop_rows(path: str, expect: str) -> Callable[[Path], None]:
    return edit(path, lambda loaded: loaded | {"cases": [item for item in loaded["cases"] if item["expect"] != expect]})


def item(path: str, name: str, **members: Any) -> Callable[[Path], None]:
    return edit(path, lambda loaded: loaded[name].update(members))


def line(**members: Any) -> Callable[[Path], None]:
    return edit(CARD, lambda loaded: loaded["lines"][0].update(members))


def shared_line(**members: Any) -> Callable[[Path], None]:
    def change(loaded: Any) -> None:
        group = next(group for group in loaded["groups"] if group["id"] == "medication")
        group["shared_lines"][0].update(members)

    return edit("cards/groups.json", change)


def priority_of(path: str) -> int:
    return int(json.loads((ROOT / path).read_text())["priority"])


ORDERED = "cards/ordering/quinine-order-us.json"


def removal(**members: Any) -> Callable[[Path], None]:
    return edit(ORDERED, lambda loaded: loaded["removes"][0].update(members))


def in_set(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    return edit(SET, change)


BAD: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a removal of what is not being ordered": (removal(fact="malaria"), ORDERED, "is no order"),
    "a removal of what another rule is about": (removal(fact="ordering_magnesium"), ORDERED, "is no order"),
    "a removal without the name of the draft": (removal(label="Remove it"), ORDERED, "does not name the draft"),
    "a removal with a placeholder of its own": (removal(description="{name}, {fact}"), ORDERED, "does not name the draft"),
    "a query with neither template nor context": (
        item(QUERIES, "draftOrders", from_context=False),
        QUERIES,
        "needs a template",
    ),
    "a call that concerns by what must be fetched first": (
        item("logic/services.json", "leg-cramps-order-sign", concerned_when={"var": "taking_quinine"}),
        "logic/services.json",
        "rests on more than the call",
    ),
    "a reason like no fact": (fact(QUININE, "quinine_order_reason", indication="x"), QUININE, "value set 'x' does not exist"),
    "a spelling that no text needs": (
        put("cards/spelling.json", us={"colour": "color"}),
        "cards/spelling.json us",
        "in no text",
    ),
    "a question that nothing reads": (
        edit("logic/questionnaire.json", lambda form: form["item"].append({"linkId": "x", "text": "X?", "type": "boolean"})),
        "questionnaire.json",
        "read by no fact",
    ),
    "a fact without its question": (fact(HISTORY, "told_swelling", "answers", "swollen"), "questionnaire.json", "no question"),
    "an answer that no question offers": (
        fact(HISTORY, "told_often", options=["hourly"]),
        "questionnaire.json",
        "offers no answer 'hourly'",
    ),
    "an equation that does not exist": (fact(KIDNEYS, "egfr_value", equation="mdrd"), "egfr_value", "equation 'mdrd'"),
    "a member that its kind does not use": (
        fact(KIDNEYS, "egfr_value", analytes=["egfr"]),
        KIDNEYS,
        "unknown field `analytes`",
    ),
    "an equation that nothing uses": (
        edit("logic/equations.json", lambda loaded: loaded.update(older=loaded["ckd-epi-2021"])),
        "equation older",
        "used by nothing",
    ),
    "an equation without its source": (
        edit("logic/equations.json", lambda loaded: loaded["ckd-epi-2021"].update(source="memory")),
        "sources.json",
        "'memory' does not exist",
    ),
    "a scale that is no number": (
        edit("logic/labs.json", lambda loaded: loaded["hba1c"]["units"].update({"%": "(x - two)/3"})),
        "labs.json hba1c",
        "has the factor",
    ),
    "a form that is no form": (put("logic/questionnaire.json", subjectType="Patient"), "questionnaire.json", "valid"),
    "a line for where the rule does not hold": (line(jurisdiction="fr"), CARD, "a line is for 'fr'"),
    "a card that is silent in a jurisdiction": (line(jurisdiction="uk"), CARD, "says nothing in 'us'"),
    "a shown unit without a factor": (item(LABS, "albumin", shown={"us": "stone"}), LABS, "is shown in 'stone'"),
    "a rule without a priority": (edit(RULE, lambda loaded: loaded.pop("priority") and loaded), RULE, "priority"),
    "a priority that is no whole number": (put(RULE, priority=1.5), RULE, "priority"),
    "a priority of two rules": (
        edit(RULE, lambda loaded: loaded.update(priority=priority_of("logic/rules/results/low-sodium.json"))),
        "logic/rules/results/low-sodium.json",
        "is that of 'low-potassium'",
    ),
    "a rule that replaces nothing known": (put(RULE, replaces=["low-spirits"]), RULE, "replaces 'low-spirits', which is no"),
    "a rule that replaces itself": (put(RULE, replaces=["low-potassium"]), RULE, "which is no other rule"),
    "an override reason without a display": (
        edit("cards/groups.json", lambda loaded: loaded["groups"][0]["override_reasons"].append("full-moon")),
        "cards/groups.json override_reasons",
        "'full-moon' has no display",
    ),
    "an override reason that no group uses": (
        edit("cards/groups.json", lambda loaded: loaded["override_reasons"]["displays"].update({"full-moon": "Moon"})),
        "cards/groups.json override_reasons",
        "'full-moon' is used by no group",
    ),
    "an override reason that a clinician cannot read": (
        edit("cards/groups.json", lambda loaded: loaded["override_reasons"]["says"].__delitem__("patient-refuses")),
        "cards/groups.json override_reasons.says",
        "'patient-refuses' is missing",
    ),
    "a leaflet with a statement that nobody made": (
        replace("cards/leaflets/uk.md", "UK-34", "UK-99"),
        "cards/leaflets/uk.md",
        "tells 'UK-99', which is no statement",
    ),
    "an exercise without a drawing": (
        replace("cards/leaflets/us.md", "](drawings/heel-walk.svg)", "]"),
        "cards/leaflets/us.md",
        "'Walk on your heels' has no drawing",
    ),
    "a drawing that is not there": (
        replace("cards/leaflets/us.md", "drawings/heel-walk.svg", "drawings/toe-walk.svg"),
        "cards/leaflets/us.md",
        "'drawings/toe-walk.svg' is not there",
    ),
    "a drawing that nobody sees": (
        lambda root: (root / "cards/leaflets/drawings/star.svg").write_text("<svg/>"),
        "cards/leaflets/drawings/star.svg",
        "is shown in no leaflet",
    ),
    "a jurisdiction without a leaflet": (
        lambda root: (root / "cards/leaflets/uk.md").unlink(),
        "cards/leaflets/uk.md",
        "is missing",
    ),
    "a fact that explain has no words for": (
        fact(FACTS, "potassium_value_this_week", question="How salty?"),
        "logic/facts/electrolytes.json potassium_value_this_week",
        "has no words for",
    ),
    "a code in two sets that must share none": (
        edit(
            "logic/value_sets/lead-exposure.json",
            lambda loaded: loaded["codes"].update(
                json.loads((ROOT / "logic/value_sets/mercury-exposure.json").read_text())["codes"]
            ),
        ),
        "logic/value_sets lead-exposure",
        "counts for mercury-exposure too",
    ),
    "a disjoint set that is not there": (
        edit("logic/disjoint.json", lambda loaded: loaded[0]["sets"].append("moon-dust")),
        "logic/disjoint.json",
        "'moon-dust' does not exist",
    ),
    "a code of two analytes": (
        edit(LABS, lambda loaded: loaded["sodium"]["loinc"].update({"2823-3": loaded["potassium"]["loinc"]["2823-3"]})),
        "logic/labs.json potassium",
        "loinc 2823-3 is sodium too",
    ),
    "a panel of an analyte that is not there": (
        item("logic/panels.json", "24326-1", holds=["potassium", "salt"]),
        "logic/panels.json 24326-1",
        "analyte 'salt' does not exist",
    ),
    "a panel by another name": (
        item("logic/panels.json", "24326-1", display="Electrolytes"),
        "logic/panels.json 24326-1",
        "Electrolytes 1998 panel",
    ),
    "a description in place of a concept": (
        edit(SET, lambda loaded: loaded["codes"]["snomed"].append(["2534409018", "Hypothyroidism"])),
        "logic/value_sets hypothyroidism",
        "fails the check digit",
    ),
    "a code of the questionnaire that no set holds": (
        edit(
            "logic/questionnaire.json",
            lambda loaded: loaded["item"][0].update(code=[{"system": "http://snomed.info/sct", "code": "404684003"}]),
        ),
        "logic/questionnaire.json",
        "'404684003' stands in no value set",
    ),
    "a spelling of nowhere": (
        put("cards/spelling.json", fr={"anaemia": "anemie"}),
        "cards/spelling.json fr",
        "no jurisdiction",
    ),
    "another id": (put(RULE, id="low-k"), RULE, "id is 'low-k'"),
    "no cases": (lambda root: (root / CASES).unlink(), CASES, "missing"),
    "no card": (lambda root: (root / CARD).unlink(), CARD, "missing"),
    "cases of no rule": (
        lambda root: shutil.copy(root / CASES, root / "logic/rules/results/x.cases.json"),
        "x.cases.json",
        "no rule",
    ),
    "a card of no rule": (
        lambda root: (root / "cards/results/x.json").write_text((root / CARD).read_text().replace("low-potassium", "x")),
        "x.json",
        "no rule",
    ),
    "a card of another rule": (put(CARD, rule="low-sodium"), CARD, "low-sodium"),
    "members in another order": (edit(RULE, lambda loaded: dict(sorted(loaded.items()))), RULE, "order"),
    "an unknown member": (put(RULE, severity=3), RULE, "severity"),
    "a missing member": (edit(RULE, lambda loaded: loaded.pop("why") and loaded), RULE, "why"),
    "a version that is none": (put(RULE, version="1"), RULE, "version '1'"),
    "an unknown status": (put(RULE, status="live"), RULE, "status 'live'"),
    "an unknown hook": (put(RULE, hooks=["patient-viewed"]), RULE, "hooks"),
    "an unknown jurisdiction": (put(RULE, jurisdiction=["fr"]), RULE, "jurisdiction"),
    "an unknown group": (put(RULE, group="worries"), RULE, "group"),
    "no evidence": (put(RULE, evidence=[]), RULE, "no evidence"),
    "a review date that is none": (put(RULE, review_by="soon"), RULE, "review_by"),
    "work left to do": (put(RULE, why="TODO why"), RULE, "TODO"),
    "a topic of no service": (
        edit("logic/services.json", lambda s: s["leg-cramps-patient-view"]["topics"].remove("results")),
        RULE,
        "topic",
    ),
    "a topic without rules": (
        edit("logic/services.json", lambda s: s["leg-cramps-patient-view"]["topics"].append("x")),
        "services.json",
        "'x'",
    ),
    "evidence that does not exist": (put(RULE, evidence=["US-06", "US-99"]), RULE, "US-99"),
    "evidence that nobody cites": (
        put("logic/rules/medication/cancer-drug.json", evidence=["UK-23"]),
        "evidence.json",
        "US-25",
    ),
    "a statement told nowhere": (
        lambda root: [replace(f"cards/leaflets/{name}.md", " US-02", "")(root) for name in ("us", "uk")],
        "evidence.json",
        "US-02 is told nowhere",
    ),
    "evidence excused though cited": (put("logic/uncited.json", **{"US-06": "x"}), "uncited.json", "US-06"),
    "an excuse for nothing": (put("logic/uncited.json", **{"US-99": "x"}), "uncited.json", "US-99"),
    "a source that does not exist": (put(RULE, sources=["rumour"]), "sources.json", "rumour"),
    "a source that nobody uses": (edit("logic/sources.json", lambda s: s | {"x": s["aafp-2012"]}), "sources.json", "x is used"),
    "a source without a safe address": (
        item("logic/sources.json", "aafp-2012", url="http://x.example"),
        "sources.json",
        "address",
    ),
    "cases with an unknown member": (put(CASES, note="x"), CASES, "note"),
    "a case about another fact": (row(CASES, 0, given={"smoking": True}), CASES, "smoking"),
    "a case with a value of another type": (row(CASES, 0, given={"cramps_on_record": 3}), CASES, "cannot be 3"),
    "a case with a word never answered": (row(CASES, 0, given={"potassium_against_range": "lowish"}), CASES, "lowish"),
    "a sentence twice": (edit(CASES, lambda loaded: loaded["cases"].append(loaded["cases"][0])), CASES, "twice"),
    "a case that comes out otherwise": (row(CASES, 0, expect="silent"), CASES, "fires"),
    "another suggestion": (row("logic/rules/workup/thyroid.cases.json", 0, suggests=["ck"]), "thyroid.cases.json", "suggests"),
    "no row that is unknown": (drop_rows(CASES, "unknown"), CASES, "no row is unknown"),
    "no row that is silent": (drop_rows(CASES, "silent"), CASES, "no row is silent"),
    "no row on the boundary": (
        edit(ABI_CASES, lambda loaded: loaded | {"cases": [i for i in loaded["cases"] if i["given"].get("age_years") != 65]}),
        ABI_CASES,
        "exactly on 65",
    ),
    "a mutant that survives": (
        edit(ABI_CASES, lambda loaded: loaded | {"cases": [i for i in loaded["cases"] if i["given"].get("age_years") != 64]}),
        ABI_CASES,
        "no row notices",
    ),
    "a placeholder of another fact": (line(say="{sodium_against_range.value}"), CARD, "sodium_against_range"),
    "a placeholder without a part": (line(say="{potassium_against_range}"), CARD, "potassium_against_range"),
    "a placeholder with an unknown part": (line(say="{potassium_against_range.mood}"), CARD, "mood"),
    "orders where there are none": (put(CARD, headline="{orders}"), CARD, "{orders}"),
    "a summary that may be too long": (put(CARD, headline="x" * 120), CARD, "characters"),
    "a headline of a line that may be too long": (
        put(CARD, lines=[{"say": "x", "headline": "x" * 120}]),
        CARD,
        "characters",
    ),
    "a line by a number that its rule gave up": (
        replace("logic/rules/workup/abi.json", '"age_years"}, 65', '"age_years"}, 70'),
        "cards/workup/abi.json lines[4]",
        "compares age_years with 65, which the rule compares with 50 and 70",
    ),
    "a card that joins one that does not merge": (put(CARD, joins="treatment"), CARD, "joins 'treatment'"),
    "a headline that may be too long": (put(CARD, headline="{potassium_against_range.note}"), CARD, "characters"),
    "no lines": (put(CARD, lines=[]), CARD, "no lines"),
    "a line that says nothing": (put(CARD, lines=[{"say": ""}]), CARD, "''"),
    "a reason for nothing": (line(reason=True), CARD, "what '' is about"),
    "a reason for what is not named": (
        put(CARD, lines=[{"say": "Low."}, {"say": "thirst", "reason": True}]),
        CARD,
        "what 'Low.' is about",
    ),
    "a test that is not named": (
        put("cards/workup/thyroid.json", lines=[{"say": "None."}]),
        "thyroid.json",
        "what 'None.' is about",
    ),
    "findings that are named without words": (
        edit("cards/groups.json", lambda loaded: loaded["groups"][0].update(most_told=2)),
        "cards/groups.json urgent-results",
        "most_told 2",
    ),
    "no lines but those of the group": (put(STATIN, lines=[]), STATIN, "no lines of its own"),
    "a card without the fact of a shared line": (
        put(STATIN, shared_facts={"start": "statin_start_against_cramps"}),
        STATIN,
        "lacks 'start_not_known'",
    ),
    "a shared fact that no shared line asks for": (put(CARD, shared_facts={"start": "smoking"}), CARD, "names 'start'"),
    "a shared fact that is none": (
        edit(STATIN, lambda loaded: loaded["shared_facts"].update(start="statin_start")),
        STATIN,
        "undeclared fact 'statin_start'",
    ),
    "a shared line with broken logic": (shared_line(when={"==": [{"var": "start"}, 3]}), STATIN, "string"),
    "a shared line with a fact that nothing decides on": (
        shared_line(say="Started ({smoking.date}) before the cramps began."),
        STATIN,
        "'smoking' is no fact of the rule",
    ),
    "a shared line with an unknown part": (shared_line(say="Started ({start.mood})."), STATIN, "mood"),
    "markup in a shared line": (shared_line(say="Started <b>before</b>."), STATIN, "<b>"),
    "markup": (line(say="See <b>this</b>"), CARD, "'<b'"),
    "a comment of HTML": (line(say="See this <!-- later -->"), CARD, "'<!'"),
    "bold": (line(say="**Urgent**: see this"), CARD, "'**'"),
    "underlined": (line(say="See __this__"), CARD, "'__'"),
    "code": (line(say="See `this`"), CARD, "'`'"),
    "a link of Markdown": (line(say="See [this](that.html)"), CARD, "']('"),
    "an entity": (line(say="Low &amp; falling"), CARD, "'&amp;'"),
    "markup in a group": (
        edit("cards/groups.json", lambda loaded: loaded["groups"][0].update(lead="See *this* &#8594; **now**")),
        "cards/groups.json urgent-results",
        "'&#8594;'",
    ),
    "markup in a shared sentence": (
        edit("cards/groups.json", lambda loaded: loaded["wording"].update(why_footer="<i>General</i> information.")),
        "cards/groups.json wording",
        "'<i'",
    ),
    "markup in a rule": (put(RULE, why="Low potassium, see `this`."), RULE, "'`'"),
    "markup in a test": (item(ORDERS, "tsh", description="Order **TSH**"), "logic/orders.json tsh", "'**'"),
    "an order to stop": (line(say="Stop the diuretic."), CARD, "'Stop' orders"),
    "an order behind what it is about": (
        line(say="Potassium {potassium_against_range.value}: stop it."),
        CARD,
        "'stop' orders",
    ),
    "an order in the middle": (line(say="Consider a repeat and reduce the dose."), CARD, "'reduce' orders"),
    "an order not to": (line(say="Low potassium; do not give it again."), CARD, "'do not' orders"),
    "a duty": (line(say="The dose should be lowered."), CARD, "'should' orders"),
    "an order in a headline": (put(CARD, headline="Give potassium"), CARD, "'Give' orders"),
    "an order in what a group says": (
        edit("cards/groups.json", lambda loaded: loaded["groups"][0].update(lead="Withhold all of these.")),
        "cards/groups.json urgent-results",
        "'Withhold' orders",
    ),
    "a review that is over": (put(RULE, review_by="2020-02-29"), RULE, "review_by 2020-02-29 is over"),
    "a rule in use that nobody has checked": (put(RULE, status="active"), RULE, "is active, and no clinician"),
    "a name without a signature": (put(RULE, checked_by="Dr Nobody"), RULE, "checked_by names 'Dr Nobody'"),
    "signatures that cannot be read": (
        lambda root: (root / "logic/approvals.json").write_text("{}"),
        "CDS_APPROVALS",
        "approvals.json",
    ),
    "a rule changed without a new version": (put(RULE, priority=31), RULE, "rule low-potassium changed since"),
    "a card changed without a new version": (line(say="Low."), CARD, "card low-potassium changed since"),
    "a fact changed without a new version": (
        fact(THYROID, "hypothyroidism", "conditions", says="an idle thyroid"),
        "logic/facts/thyroid.json hypothyroidism",
        "fact hypothyroidism changed since the last release, and no rule",
    ),
    "a set changed without a new version": (
        edit(SET, lambda loaded: loaded["phrases"].append("sluggish thyroid")),
        SET,
        "codes hypothyroidism changed since",
    ),
    "an analyte changed without a new version": (
        item(LABS, "albumin", note="x"),
        "logic/labs.json albumin",
        "codes albumin changed since",
    ),
    "a test changed without a new version": (
        item(ORDERS, "tsh", label="TSH"),
        "logic/orders.json tsh",
        "test tsh changed since",
    ),
    "a group changed without a new version": (
        edit("cards/groups.json", lambda loaded: loaded["groups"][0].update(lead="Look at these.")),
        "cards/groups.json urgent-results",
        "group urgent-results changed since",
    ),
    "no release": (lambda root: (root / "logic/release.json").unlink(), "logic/release.json", "is missing"),
    "a release that is none": (put("logic/release.json", versions=[]), "logic/release.json", "cannot be read"),
    "a link in the words": (line(say="https://x.example"), CARD, "https://"),
    "a line with broken logic": (line(when={"<": [{"var": "potassium_against_range"}, 3]}), CARD, "string"),
    "a line that asks what is missing": (line(when={"in": ["smoking", {"missing": ["smoking"]}]}), CARD, "is not known"),
    "a rule that asks what is missing": (
        put(RULE, fires_when={"in": ["smoking", {"missing": ["smoking"]}]}),
        RULE,
        "not known",
    ),
    "a rule that asks what is not shown": (put(RULE, fires_when={"var": "smoking_not_shown"}), RULE, "not known, by 'smoking"),
    "a fact without a case": (
        edit(THYROID_CASES, lambda cases: cases.pop("tsh_measured") and None),
        THYROID_CASES,
        "has no case of",
    ),
    "a case of no fact": (put(THYROID_CASES, spare=[]), THYROID_CASES, "is no fact of the topic"),
    "a chart that comes out otherwise": (
        edit(THYROID_CASES, lambda cases: cases["hypothyroidism"][0].update(expect=False)),
        "thyroid.json hypothyroidism",
        "gives True",
    ),
    "a window that no case looks at": (
        edit(THYROID_CASES, lambda cases: cases["tsh_measured"].pop(0) and None),
        "thyroid.json tsh_measured",
        "no case notices: days halved",
    ),
    "a status that no case looks at": (
        edit("logic/facts/quinine.cases.json", lambda cases: cases.update(ordering_quinine=cases["ordering_quinine"][:1])),
        "logic/statuses.json",
        "no case of a fact notices: withdrawn_draft without stopped",
    ),
    "an unknown kind": (fact(KIDNEYS, "egfr_value", kind="guess"), KIDNEYS, "guess"),
    "a window on a kind that has none": (fact(PATIENT, "age_years", days=3), PATIENT, "unknown field `days`"),
    "a drug where a condition is asked for": (
        fact(THYROID, "hypothyroidism", "conditions", condition="statins"),
        THYROID,
        "kind medication",
    ),
    "roles swapped": (
        fact(QUININE, "thrombocytopenia_after_quinine", condition="quinine", drug="thrombocytopenia"),
        QUININE,
        "kind",
    ),
    "a question with a number of its own": (
        fact(FACTS, "potassium_value_this_week", question="What was the latest potassium of the last 90 days, in mmol/L?"),
        FACTS,
        "a number of its own",
    ),
    "a fact that two topics define": (
        edit(THYROID, lambda f: f["conditions"].update(flat_feet=f["conditions"]["hypothyroidism"])),
        THYROID,
        "is defined in",
    ),
    "a query that does not exist": (item(LABS, "tsh", query="x"), THYROID, "query 'x'"),
    "a value set that does not exist": (fact(THYROID, "hypothyroidism", "conditions", condition="x"), THYROID, "value set 'x'"),
    "an analyte that does not exist": (fact(THYROID, "tsh", "results", analytes=["x"]), THYROID, "analyte 'x'"),
    "a fact of facts that do not exist": (fact(PATIENT, "smoking", facts=["x"]), PATIENT, "fact 'x'"),
    "a fact that nobody uses": (
        edit(THYROID, lambda f: f["conditions"].update(spare=f["conditions"]["hypothyroidism"])),
        "spare",
        "used by nothing",
    ),
    "an order that nobody uses": (edit(ORDERS, lambda o: o | {"spare": o["tsh"]}), "spare", "used by nothing"),
    "a query that nobody uses": (edit(QUERIES, lambda q: q | {"spare": q["orders"]}), "spare", "used by nothing"),
    "a value set that nobody uses": (
        lambda root: (root / "logic/value_sets/spare.json").write_text(
            (root / SET).read_text().replace('"hypothyroidism"', '"spare"')
        ),
        "spare",
        "used by nothing",
    ),
    "an order that does not exist": (
        edit("logic/rules/workup/thyroid.json", lambda loaded: loaded["orders"][0].update(order="tsj")),
        "tsj",
        "does not exist",
    ),
    "a code of another shape": (in_set(lambda s: s["codes"]["icd-10-cm"].append(["3E", "x"])), "hypothyroidism", "shape"),
    "a SNOMED slip": (in_set(lambda s: s["codes"]["snomed"].append(["40930009", "x"])), "hypothyroidism", "check digit"),
    "a LOINC slip": (edit(LABS, lambda labs: labs["potassium"]["loinc"].update({"2823-4": "x"})), LABS, "check digit"),
    "an unknown code system": (in_set(lambda s: s["codes"].update({"readv2": [["C04..", "x"]]})), "hypothyroidism", "readv2"),
    "two displays of one code": (edit(LABS, lambda labs: labs["sodium"]["loinc"].update({"2823-3": "Kalium"})), LABS, "Kalium"),
    "a code without a display": (in_set(lambda s: s["codes"]["icd-10"].append(["E07", ""])), "hypothyroidism", "no display"),
    "a code twice": (in_set(lambda s: s["codes"]["snomed"].append(s["codes"]["snomed"][0])), "hypothyroidism", "2 times"),
    "a drug without its ingredient": (
        edit("logic/value_sets/statins.json", lambda s: s["codes"]["atc"].append(["C10AA09", "x"])),
        "statins",
        "3 members",
    ),
    "a value set changed without its lock": (in_set(lambda s: s.update(purpose="x")), SET, "lock"),
    "no lock": (lambda root: (root / "logic/value_sets/lock.json").unlink(), "lock.json", "missing"),
    "a factor that is none": (edit(LABS, lambda labs: labs["sodium"]["units"].update({"x": "one"})), LABS, "factor"),
    "two factors of one unit": (edit(LABS, lambda labs: labs["sodium"]["units"].update({"MMOL/L": "2"})), LABS, "two factors"),
    "a unit that is not its own": (edit(LABS, lambda labs: labs["sodium"].update(unit="mol/L")), LABS, "own unit"),
    "a range upside down": (edit(LABS, lambda labs: labs["sodium"]["ranges"]["us"].update(low="150")), LABS, "range"),
    "an order whose code is nowhere": (item(ORDERS, "tsh", codes=[["loinc", "3024-8"]]), ORDERS, "no display"),
    "an order pending on a number": (item(ORDERS, "tsh", pending_fact="age_years"), ORDERS, "yes-or-no"),
    "a template that is too long": (item(QUERIES, "orders", template="ServiceRequest?x=" + "y" * 2000), QUERIES, "characters"),
    "a parameter twice": (item(QUERIES, "orders", template="ServiceRequest?a=1&a=2"), QUERIES, "2 times"),
    "a token of 3.0": (item(QUERIES, "orders", template="ServiceRequest?d={{today()}}"), QUERIES, "today()"),
    "and within and": (
        put(RULE, fires_when={"and": [{"var": "smoking"}, {"and": [{"var": "diabetes"}, {"var": "dehydration"}]}]}),
        f"{RULE} fires_when.and[1]",
        "is `and` within `and`",
    ),
    "a line compared with three values": (
        edit(STATIN, lambda card: card["lines"][0].update(when={"<": [18, {"var": "age_years"}, 65]})),
        f"{STATIN} lines[0].when.<",
        "compares three values",
    ),
    "a rule without its facts": (put(RULE, fires_when={"var": "potasium"}), RULE, "undeclared fact 'potasium'"),
    "a file that is no JSON": (lambda root: (root / RULE).write_text("{"), RULE, "JSON"),
    "a member twice": (replace(RULE, '"status"', '"version": "1.0.0", "status"'), RULE, "twice"),
    "a number that is none": (replace(ABI_CASES, '"age_years": 40', '"age_years": NaN'), ABI_CASES, "JSON number"),
    "no windows": (lambda root: (root / "logic/windows.json").unlink(), "logic/windows.json", "cannot be read"),
    "no cards": (lambda root: shutil.rmtree(root / "cards"), "CDS_KNOWLEDGE", "holds no cards/"),
    "no groups": (lambda root: (root / "cards/groups.json").unlink(), "cards/groups.json", "cannot be read"),
    "nested without end": (lambda root: (root / RULE).write_text("[" * 100_000), RULE, "deep"),
}


def test_the_shipped_knowledge_has_no_problems() -> None:
    assert check(ROOT) == []


def companies() -> list[list[str]]:
    """The faults in groups, no two of a group in one file: all of a group are to be told at once."""
    by_file: dict[str, list[str]] = {}
    for name, (_, place, _) in BAD.items():
        by_file.setdefault(place.split()[0], []).append(name)
    return [[name for name in company if name] for company in zip_longest(*by_file.values())]


def spoiled(root: Path, names: Sequence[str]) -> list[str]:
    """A copy of the knowledge with these faults; returned are those that could be put in beside one another."""
    there = []
    for folder in ("logic", "cards"):
        shutil.copytree(ROOT / folder, root / folder)
    for name in names:
        # Another fault may have left nothing to spoil.
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            BAD[name][0](root)
            there.append(name)
    return there


def missed(root: Path, names: Sequence[str]) -> list[str]:
    """Those of these faults of which nothing is told, or nothing that helps, in a copy of the knowledge that has them all."""
    there, problems = spoiled(root, names), check(root)
    told = {name: [item for item in problems if BAD[name][1] in item.place and BAD[name][2] in item.message] for name in there}
    return [name for name in names if not told.get(name) or not all(item.remedy for item in told[name])]


@pytest.mark.parametrize("names", companies(), ids=lambda names: names[0])
def test_each_fault_is_found_with_its_place_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    """A fault may be hidden by another, as where a list cannot be read that others rest on: in the end each stands alone."""
    if all(BAD[name][1].startswith(("logic/rules/", "cards/")) for name in names):
        # The cases of facts, which take half of the time, have nothing to say of rules and cards.
        monkeypatch.setattr("cds_service.lint.run.FACT_CASE_RULES", ())
    left, company = missed(tmp_path / "all", names), names
    while len(left) < len(company):
        left, company = missed(tmp_path / f"{len(left)} left", left), left
    assert [name for at, name in enumerate(left) if missed(tmp_path / f"alone {at}", [name])] == []


def test_all_faults_are_told_at_once(tree: Path) -> None:
    put(RULE, version="1")(tree)
    put(CARD, headline="x" * 120)(tree)
    item("logic/sources.json", "aafp-2012", url="http://x.example")(tree)
    assert len({problem.place for problem in check(tree)}) == 3


GLUCOSE = "cards/results/glucose-out-of-range.json"


@pytest.mark.parametrize(
    ("path", "when", "is_refused"),
    [
        (GLUCOSE, {">": [{"var": "glucose_value"}, 18]}, True),
        (GLUCOSE, {"<": [18, {"var": "glucose_value"}]}, True),
        (GLUCOSE, {"!": [{">=": [{"var": "glucose_value"}, 11]}]}, True),
        # Complementary, or finer and said to be so; as the rule writes it, or as a decimal of the same worth.
        (GLUCOSE, {"<=": [{"var": "glucose_value"}, 15]}, False),
        (GLUCOSE, {"and": [{">": [{"var": "glucose_value"}, 15]}, {"<": [{"var": "glucose_value"}, 20]}]}, False),
        (GLUCOSE, {">": [{"var": "glucose_value"}, 15.0]}, False),
        # Of what the rule compares with no number, a line may say what it likes.
        (GLUCOSE, {">": [{"var": "age_years"}, 80]}, False),
        (CARD, {"<": [{"var": "potassium_value"}, 3]}, False),
    ],
)
def test_a_line_compares_with_a_number_of_its_rule(tree: Path, path: str, when: Any, *, is_refused: bool) -> None:
    edit(path, lambda card: card["lines"][0].update(when=when))(tree)
    found = [str(problem) for problem in lines_keep_the_numbers_of_their_rule(load_knowledge(tree))]
    assert [text.startswith(f"{path} lines[0]") for text in found] == [True] * is_refused


def test_an_undeclared_fact_hides_no_other_problem(tree: Path) -> None:
    put(RULE, fires_when={"var": "potasium"}, version="1", review_by="2020-01-01")(tree)
    put("logic/rules/results/low-sodium.json", applies_when={"var": "cramps"})(tree)
    row("logic/rules/workup/abi.cases.json", 0, expect="silent")(tree)
    put("cards/medication/statin.json", headline="Stop it")(tree)
    fact(THYROID, "hypothyroidism", "conditions", condition="x")(tree)
    item("logic/sources.json", "aafp-2012", url="http://x.example")(tree)
    (tree / "cards/results/low-calcium.json").write_text("{")
    told = [(problem.place, problem.message) for problem in check(tree)]
    wanted = [
        ("cards/medication/statin.json", "'Stop' orders"),
        ("cards/medication/statin.json", "card statin changed since"),
        ("cards/results/low-calcium.json", "is not strict JSON"),
        (f"{THYROID} hypothyroidism", "value set 'x' does not exist"),
        (RULE, "review_by 2020-01-01 is over"),
        (RULE, "version '1'"),
        (f"{RULE} fires_when.var", "undeclared fact 'potasium'"),
        ("logic/rules/results/low-sodium.json applies_when.var", "undeclared fact 'cramps'"),
        (ABI_CASES, "gives fires"),
        ("logic/sources.json", "has the address"),
        ("logic value set hypothyroidism", "is used by nothing"),
    ]
    for place, message in wanted:
        assert [1 for where, says in told if where.startswith(place.removesuffix(".var")) and message in says], (place, told)
    assert len(told) == len(wanted), told


SHARED = [LABS, ORDERS, QUERIES, "logic/statuses.json", "logic/sources.json", "cards/groups.json", "cards/phrases.json"]
ONE_OF_EACH = [RULE, CASES, CARD, THYROID, THYROID_CASES, SET, "logic/value_sets/lock.json", *SHARED]


@pytest.mark.untraced
@pytest.mark.parametrize("path", ONE_OF_EACH)
def test_what_rests_on_a_file_that_cannot_be_read_is_not_told_beside_it(tree: Path, path: str) -> None:
    text = (tree / path).read_text().rstrip()
    (tree / path).write_text(text[:-1] + ",")
    (problem,) = check(tree)
    assert problem.place == path
    assert "JSON" in problem.message or "cannot be read" in problem.message


@pytest.mark.parametrize("path", [LABS, QUERIES, "logic/statuses.json", "cards/groups.json"])
def test_a_file_that_is_not_there_is_told_alone(tree: Path, path: str) -> None:
    (tree / path).unlink()
    assert [(problem.place, problem.message) for problem in check(tree)] == [
        (path, "cannot be read (No such file or directory)")
    ]


@pytest.mark.untraced
def test_every_house_rule_is_shown_to_catch_something(tmp_path: Path) -> None:
    """A house rule that no bad example above wakes would be a rule in name only."""
    asleep = {ask.__name__: ask for ask in HOUSE_RULES}
    for at, names in enumerate([*companies(), *([name] for name in BAD)]):
        if not asleep:
            break
        spoiled(tmp_path / str(at), names)
        with contextlib.suppress(KnowledgeError):
            knowledge = gather_knowledge(tmp_path / str(at))[0]
            for name in [name for name, ask in asleep.items() if knowledge and is_awake(ask, knowledge)]:
                del asleep[name]
        shutil.rmtree(tmp_path / str(at))
    assert asleep.keys() == set()


def is_awake(ask: HouseRule, knowledge: Knowledge) -> bool:
    """What a fault broke before may stop a rule half-way."""
    with contextlib.suppress(LookupError, StopIteration, ArithmeticError):
        return next(iter(ask(knowledge)), None) is not None
    return False


def test_a_lock_settles_a_change_that_was_read(tree: Path) -> None:
    in_set(lambda loaded: loaded.update(purpose="Another purpose."))(tree)
    put("logic/rules/conditions/hypothyroidism.json", version="9.0.0")(tree)
    assert check(tree)
    assert lock(tree) == len(list((tree / "logic/value_sets").glob("**/*.json"))) - 1
    assert check(tree) == []


def test_a_new_version_of_one_rule_that_rests_on_it_settles_a_change(tree: Path) -> None:
    fact(THYROID, "hypothyroidism", "conditions", says="an idle thyroid")(tree)
    knowledge = load_knowledge(tree)
    assert [problem.message for problem in nothing_changed_without_a_version(knowledge)] == [
        "fact hypothyroidism changed since the last release, and no rule that rests on it has a new version"
    ]
    with pytest.raises(KnowledgeError, match="fact hypothyroidism changed"):
        write_release(knowledge)
    put("logic/rules/workup/thyroid.json", version="9.0.0")(tree)
    assert list(nothing_changed_without_a_version(load_knowledge(tree))) == []


def test_where_one_rule_is_meant_its_file_is_named(tree: Path) -> None:
    put(RULE, priority=31)(tree)
    (problem,) = nothing_changed_without_a_version(load_knowledge(tree))
    assert problem.remedy == f"raise its version in {RULE}"


def test_a_row_that_comes_out_otherwise_hides_no_mutant(tree: Path) -> None:
    """Else the author would mend the row, and only then be told of the rows that are missing."""
    BAD["a mutant that survives"][0](tree)
    row(ABI_CASES, 0, expect="silent")(tree)
    knowledge = load_knowledge(tree)
    found = [*cases_come_out_as_expected(knowledge), *cases_kill_every_mutant(knowledge)]
    assert {problem.message.split()[0] for problem in found if problem.place == ABI_CASES} == {"'70", "no"}


def test_what_makes_a_summary_too_long_is_named(tree: Path) -> None:
    put(CARD, headline="{potassium_against_range.note}, {potassium_against_range.date}")(tree)
    problem, *_ = the_longest_summary_fits(load_knowledge(tree))
    assert "{potassium_against_range.note} up to 120, {potassium_against_range.date} up to 11" in problem.message


def test_what_is_released_is_compared_with_from_then_on(tree: Path) -> None:
    put(RULE, version="9.0.0", priority=31)(tree)
    before = (tree / "logic/release.json").read_text().splitlines()
    assert write_release(load_knowledge(tree)) == len(json.loads("\n".join(before))["parts"])
    after = (tree / "logic/release.json").read_text().splitlines()
    assert len([True for old, new in zip(before, after, strict=True) if old != new]) == 2
    put(RULE, priority=32)(tree)
    (problem,) = nothing_changed_without_a_version(load_knowledge(tree))
    assert "rule low-potassium changed" in problem.message


@pytest.mark.untraced
def test_a_clinician_who_signed_the_rule_as_it_is_has_checked_it(tree: Path) -> None:
    put(RULE, status="active", checked_by="Dr Anna Sample", version="9.0.0")(tree)
    assert [problem.place for problem in check(tree)] == [RULE]
    path = tree / "logic/approvals.json"
    done = cds("approve", "low-potassium", "--name", "Dr Anna Sample", "--yes", "--file", str(path), knowledge=tree)
    assert done.returncode == 0, done.stderr
    assert check(tree) == []
    put(RULE, why="Another reason.")(tree)
    assert "holds no approval of the rule as it is" in "\n".join(map(str, check(tree)))


def test_every_mutant_of_every_rule_is_killed(knowledge: Knowledge) -> None:
    reader, count = Reader(knowledge.root), 0
    for rule in knowledge.rules:
        cases = read_cases(reader, rule)
        assert cases is not None
        count += sum(1 for _ in mutated(rule, knowledge))
        assert list(surviving(rule, cases, knowledge)) == []
    assert count > 100


@pytest.mark.parametrize("code", ["449917004", "40930008", "1000651000000109", "72166", "0"])
def test_verhoeff_notices_every_single_slip(code: str) -> None:
    wrong = [f"{code[:at]}{digit}{code[at + 1 :]}" for at in range(len(code)) for digit in "0123456789"]
    assert sum(map(verhoeff, wrong)) in (0, len(code))


@pytest.mark.parametrize("code", ["2823-3", "6298-4", "77194-9", "98979-8"])
def test_the_check_digit_of_loinc(code: str) -> None:
    assert mod10(code)
    assert not any(mod10(f"{code[:-1]}{digit}") for digit in "0123456789" if digit != code[-1])


@pytest.mark.parametrize("code", ["1010671000000107", "1022651000000102"])
def test_codes_that_were_seen_in_the_wild_with_a_slip_are_refused(code: str) -> None:
    assert not verhoeff(code)


def test_a_record_is_checked_resource_by_resource() -> None:
    good, bad = observation(3.1), observation(3.1, id="bad") | {"status": 7, "unheard": True}
    record = bundle(good, bad, {"resourceType": "Unheard"}, "text")
    places = [problem.place for problem in check_resources(record, "patient.json")]
    assert not any("entry[0]" in place for place in places)
    assert any("entry[1].resource.unheard" in place for place in places)
    assert any("entry[2]" in place for place in places)
    assert any("entry[3]" in place for place in places)


def test_a_hook_request_is_checked_by_its_prefetch() -> None:
    call = {"hook": "patient-view", "prefetch": {"orders": bundle({"resourceType": "ServiceRequest"})}}
    assert {problem.place.split(".resource")[0] for problem in check_resources(call, "call.json")} == {
        "call.json orders.entry[0]"
    }

"""How cards end: one line for people, the rest for programs and for whoever asks why."""

from __future__ import annotations

import pytest

from cds_service.cards.approvals import Approval
from cds_service.cards.footer import REASONS, Footer, Footers
from cds_service.knowledge.knowledge import Knowledge

ANNA = Approval("", "", "Dr Anna Sample", "2026-11-01")
BORIS = Approval("", "", "Dr Boris Example", "2026-11-02")
WORDS = 20


def footer(knowledge: Knowledge, names: list[str], signed: dict[str, Approval], url: str | None = None) -> Footer:
    rules = [knowledge.rule_by_id[name] for name in names]
    approvals = {(name, knowledge.rule_by_id[name].file.version): approval for name, approval in signed.items()}
    group = next(group for group in knowledge.groups if group.id == rules[0].file.group)
    return Footers(knowledge, "us", approvals, url).of(group, rules)


@pytest.mark.parametrize(
    ("rules", "signed", "line"),
    [
        (["low-potassium"], {}, "Health articles; not clinically reviewed."),
        (["dialysis"], {}, "Health articles; not clinically reviewed."),
        (["parkinson-wearing-off"], {}, "Health articles; not clinically reviewed."),
        (["cancer"], {}, "Health article; not clinically reviewed."),
        (
            ["low-potassium"],
            {"low-potassium": ANNA},
            "Health articles; reviewed here by Dr Anna Sample, 2026-11-01.",
        ),
        (
            ["low-potassium", "raised-tsh"],
            {"low-potassium": ANNA},
            "Health articles; only in part reviewed here.",
        ),
        (
            ["low-potassium", "raised-tsh"],
            {"low-potassium": ANNA, "raised-tsh": BORIS},
            "Health articles; only in part reviewed here.",
        ),
    ],
)
def test_a_card_ends_with_whose_advice_it_is(
    knowledge: Knowledge, rules: list[str], signed: dict[str, Approval], line: str
) -> None:
    shown = footer(knowledge, rules, signed).line
    assert shown == line
    assert len(shown.split()) <= WORDS


def test_rules_statements_and_sources_travel_in_the_extension(knowledge: Knowledge) -> None:
    told = footer(knowledge, ["low-potassium", "raised-tsh"], {"raised-tsh": ANNA}).extension[REASONS]
    low, tsh = (knowledge.rule_by_id[name].file for name in ("low-potassium", "raised-tsh"))
    assert told["rules"] == [
        {"id": "low-potassium", "version": low.version, "status": low.status},
        {"id": "raised-tsh", "version": tsh.version, "reviewedBy": "Dr Anna Sample", "reviewedOn": "2026-11-01"},
    ]
    assert told["statements"] == sorted({*low.evidence, *tsh.evidence})
    assert set(told["sources"]) == {knowledge.sources[name].title for name in (*low.sources, *tsh.sources)}


def test_a_card_links_to_its_rules_only_where_the_site_has_an_address(knowledge: Knowledge) -> None:
    assert footer(knowledge, ["low-potassium"], {}).links == ()
    (why,) = footer(knowledge, ["low-potassium", "raised-tsh"], {}, "https://cramps.example").links
    assert why.url == "https://cramps.example/why-this-card?rules=low-potassium,raised-tsh&for=us"

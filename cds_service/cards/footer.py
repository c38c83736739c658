"""How a card ends: whose advice it is, whom it names as its source, reasons to override it, links, and what travels unseen.

A clinician reads one short line. Rules with their versions, statements and sources of numbers go into the `extension` of the
card, for programs, and behind one link, for whoever asks why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from cds_service.cards.approvals import Approval
from cds_service.cdshooks.response import CardCoding, CardLink, CardSource
from cds_service.knowledge.card_files import Group
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.schema import Source

REASONS = "example.leg-cramps.reasons"
"""The member of a card's `extension` that says what it rests on: an object of `rules`, `statements` and `sources`."""

WHY = "/why-this-card"
"""Where the page stands that says what the rules of a card are and rest on."""

TOPIC_SYSTEM = "https://leg-cramps.example/card-topics"
_MOST_KEPT = 1000


class Footer(NamedTuple):
    """What ends a card: its last line, whom it names as its source, the reasons that it offers, its links and extension."""

    line: str
    source: CardSource
    reasons: tuple[CardCoding, ...]
    links: tuple[CardLink, ...]
    extension: Mapping[str, Any]


class Footers:
    """Cards of the same rules end alike for every patient, so each ending is written once for a site."""

    def __init__(
        self,
        knowledge: Knowledge,
        jurisdiction: str,
        approvals: Mapping[tuple[str, str], Approval],
        public_url: str | None,
    ) -> None:
        self._knowledge, self._say, self._approvals, self._url = knowledge, knowledge.wording, approvals, public_url
        self._jurisdiction = jurisdiction
        self._leaflet = f"{public_url}/leaflets/{self._say.leaflet_name}-{jurisdiction}"
        # That of the site's own jurisdiction first.
        self._articles = sorted(knowledge.articles, key=lambda source: source.jurisdiction != jurisdiction)
        self._kept: dict[tuple[str, ...], Footer] = {}

    def of(self, group: Group, rules: Sequence[Rule]) -> Footer:
        key = (group.id, *(rule.id for rule in rules))
        closing = self._kept.get(key)
        if closing is None:
            closing = Footer(
                self._line(rules),
                self._source(group, rules),
                self._reasons(group),
                self._links(group, rules),
                self._extension(rules),
            )
            if len(self._kept) < _MOST_KEPT:
                self._kept[key] = closing
        return closing

    def _line(self, rules: Sequence[Rule]) -> str:
        """Whose advice it is, and whether anybody here has checked it."""
        cited = [source for source in self._articles if any(name.startswith(source.cites) for name in _statements(rules))]
        articles = self._say.one_article if len(cited) == 1 else self._say.both_articles
        approvals = [self._approval(rule) for rule in rules]
        names = dict.fromkeys(f"{item.name}, {item.date}" for item in approvals if item)
        if not names:
            review = self._say.draft
        elif None in approvals or len(names) > 1:
            review = self._say.reviewed_in_part
        else:
            review = self._say.reviewed.format(name=next(iter(names)))
        return f"{articles}; {review}."

    def _extension(self, rules: Sequence[Rule]) -> Mapping[str, Any]:
        numbers = dict.fromkeys(name for rule in rules for name in rule.file.sources)
        reasons: dict[str, Any] = {"rules": [self._told_of(rule) for rule in rules], "statements": _statements(rules)}
        if numbers:
            reasons["sources"] = [self._knowledge.sources[name].title for name in numbers]
        return {REASONS: reasons}

    def _told_of(self, rule: Rule) -> Mapping[str, str]:
        told = {"id": rule.id, "version": rule.file.version}
        approval = self._approval(rule)
        return told | ({"reviewedBy": approval.name, "reviewedOn": approval.date} if approval else {"status": rule.file.status})

    def _approval(self, rule: Rule) -> Approval | None:
        return self._approvals.get((rule.id, rule.file.version))

    def _source(self, group: Group, rules: Sequence[Rule]) -> CardSource:
        """The first article cited, of the site's jurisdiction where it is cited at all."""
        source = self._first_cited([name for rule in rules for name in rule.file.evidence])
        topic = group.topic if group.merge else _camel(rules[0].id)
        return CardSource(
            label=f"{source.publisher}: {source.title}", url=source.url, topic=CardCoding(code=topic, system=TOPIC_SYSTEM)
        )

    def _first_cited(self, ids: Sequence[str]) -> Source:
        return next(source for source in self._articles if any(name.startswith(source.cites) for name in ids))

    def _reasons(self, group: Group) -> tuple[CardCoding, ...]:
        reasons = self._knowledge.override_reasons
        return tuple(
            CardCoding(code=code, system=reasons.system, display=reasons.displays[code]) for code in group.override_reasons
        )

    def _links(self, group: Group, rules: Sequence[Rule]) -> tuple[CardLink, ...]:
        """Only where a site says under which address it serves them."""
        if self._url is None:
            return ()
        asked = {"rules": ",".join(rule.id for rule in rules), "for": self._jurisdiction}
        why = f"{self._url}{WHY}?{urlencode(asked, safe=',')}"
        given = [(self._say.why_this_card, why), *([(self._say.leaflet, self._leaflet)] if group.leaflet else [])]
        return tuple(CardLink(label=label, url=url, type="absolute") for label, url in given)


def _statements(rules: Sequence[Rule]) -> list[str]:
    return sorted({name for rule in rules for name in rule.file.evidence})


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))

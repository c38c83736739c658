"""How a card ends: evidence, rules with their review, whom it names as its source, reasons to override it, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cds_service.cards.approvals import Approval
from cds_service.cdshooks.response import CardCoding, CardLink, CardSource
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.schema import Group, Source

TOPIC_SYSTEM = "https://leg-cramps.example/card-topics"
_MOST_KEPT = 1000


class Footer(NamedTuple):
    """What ends a card: its last lines, whom it names as its source, the reasons that it offers and its links."""

    lines: str
    source: CardSource
    reasons: tuple[CardCoding, ...]
    links: tuple[CardLink, ...]


class Footers:
    """Cards of the same rules end alike for every patient, so each ending is written once for a site."""

    def __init__(
        self,
        knowledge: Knowledge,
        jurisdiction: str,
        approvals: Mapping[tuple[str, str], Approval],
        leaflet_url: str | None,
    ) -> None:
        self._knowledge, self._say, self._approvals, self._leaflet_url = knowledge, knowledge.wording, approvals, leaflet_url
        # That of the site's own jurisdiction first.
        self._articles = sorted(knowledge.articles, key=lambda source: source.jurisdiction != jurisdiction)
        self._kept: dict[tuple[str, ...], Footer] = {}

    def of(self, group: Group, rules: Sequence[Rule]) -> Footer:
        key = (group.id, *(rule.id for rule in rules))
        closing = self._kept.get(key)
        if closing is None:
            lines = f"{self._evidence(rules)}\n\n{self._rules(rules)}"
            closing = Footer(lines, self._source(group, rules), self._reasons(group), self._links(group))
            if len(self._kept) < _MOST_KEPT:
                self._kept[key] = closing
        return closing

    def _evidence(self, rules: Sequence[Rule]) -> str:
        ids = sorted({name for rule in rules for name in rule.file.evidence})
        cited = [
            f"{source.publisher} {', '.join(own)}"
            for source in self._articles
            if (own := [name for name in ids if name.startswith(source.cites)])
        ]
        numbers = dict.fromkeys(name for rule in rules for name in rule.file.sources)
        text = self._say.evidence.format(articles="; ".join(cited))
        if not numbers:
            return text
        return f"{text} {self._say.numbers.format(sources='; '.join(self._knowledge.sources[n].title for n in numbers))}"

    def _rules(self, rules: Sequence[Rule]) -> str:
        drafts = [rule for rule in rules if self._approval(rule) is None]
        text = [self._say.draft.format(rules=_versions(drafts))] if drafts else []
        for rule in rules:
            if approval := self._approval(rule):
                text.append(self._say.reviewed.format(rules=_versions([rule]), name=approval.name, date=approval.date))
        return " ".join(text)

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

    def _links(self, group: Group) -> tuple[CardLink, ...]:
        """Only to what a site says that it serves."""
        url = self._leaflet_url
        return (CardLink(label=self._say.leaflet, url=url, type="absolute"),) if group.leaflet and url else ()


def _versions(rules: Sequence[Rule]) -> str:
    return ", ".join(f"{rule.id} {rule.file.version}" for rule in rules)


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))

"""The conductor: one request, four stages, in their order, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from cds_service.cards.approvals import Approval
from cds_service.cards.compose import CardOptions, Composed, OrderSubject, Shown, compose, ranked
from cds_service.cards.footer import Footers
from cds_service.cdshooks.request import HookRequest
from cds_service.cdshooks.response import Card
from cds_service.chart.chart import Chart
from cds_service.chart.read import read_chart, require_mandatory
from cds_service.facts.evaluate import ChartFacts, FactValues
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.localise import spelled
from cds_service.knowledge.prefetch_templates import queries_in_use, with_codes
from cds_service.model import Fact, Facts, Finding, Outcome, State
from cds_service.rules.evaluate import Precomputed, find, precompute
from cds_service.rules.suppress import suppressed
from cds_service.settings import Jurisdiction, Settings

_MOST_GROUNDS = 64


@dataclass(frozen=True, slots=True)
class Decision:
    """What one request led to, stage by stage. `cards` go to the EHR; the rest is for explain, log and journal.

    `silent_because`: the facts for which the service does not speak to this patient at all, such as a death.
    `suppressed` are the rules that fire and are not shown, each with the day on which it was overridden for this patient.
    """

    chart: Chart
    facts: Facts
    findings: tuple[Finding, ...]
    composed: Composed
    silent_because: tuple[str, ...] = ()
    suppressed: Mapping[str, date] = field(default_factory=dict)

    @property
    def shown(self) -> tuple[Shown, ...]:
        return self.composed.shown

    @property
    def cards(self) -> tuple[Card, ...]:
        return self.composed.cards


class _Judgement(NamedTuple):
    """One request, as far as its rules are decided and nothing is put into words yet."""

    chart: Chart
    facts: ChartFacts
    values: FactValues
    findings: tuple[Finding, ...]
    silent_because: tuple[str, ...] = ()


class DecisionService:
    """Knowledge and a site's choices, prepared once for any number of answers."""

    def __init__(self, knowledge: Knowledge, settings: Settings, approvals: Mapping[tuple[str, str], Approval]) -> None:
        self.settings, self.approvals = settings, approvals
        self._as_written = knowledge
        self.knowledge = knowledge = spelled(knowledge, settings.jurisdiction)
        self.rules = {key: self._served(key) for key in knowledge.services}
        self._prepared = {key: ranked(rules, knowledge) for key, rules in self.rules.items()}
        self._critical = frozenset(group.id for group in knowledge.groups if group.indicator == "critical")
        url = settings.public_url
        leaflet = f"{url}/leaflets/{knowledge.wording.leaflet_name}-{settings.jurisdiction}" if url else None
        self._closings = Footers(knowledge, settings.jurisdiction, approvals, leaflet)
        self._deciding = {key: _by_fact(rules) for key, rules in self.rules.items()}
        self._findings: dict[tuple[str, str], Mapping[str, Finding]] = {}
        self.queries = {
            key: {name: knowledge.queries[name] for name in knowledge.queries if name in self._used(key)}
            for key in knowledge.services
        }

    def elsewhere(self, jurisdiction: Jurisdiction) -> DecisionService:
        """The same for a client of another jurisdiction."""
        if jurisdiction == self.settings.jurisdiction:
            return self
        return DecisionService(
            self._as_written, self.settings.model_copy(update={"jurisdiction": jurisdiction}), self.approvals
        )

    def _served(self, service_id: str) -> tuple[Rule, ...]:
        """The rules of a service; with `serve=approved` only those that this site has signed off."""
        rules = [rule for rule in self.knowledge.rules_of(service_id) if rule.file.status != "retired"]
        if self.settings.serve == "drafts":
            return tuple(rules)
        return tuple(rule for rule in rules if (rule.id, rule.file.version) in self.approvals)

    def _used(self, service_id: str) -> set[str]:
        knowledge = self.knowledge
        names = {name for rule in self.rules[service_id] for name in rule.facts | knowledge.cards[rule.id].facts}
        orders = [knowledge.orders[use.order] for rule in self.rules[service_id] for use in rule.orders]
        names |= {order.pending_fact for order in orders} | set(knowledge.speaks_when[service_id].facts)
        names |= set(knowledge.concerned_when[service_id].facts)
        used = queries_in_use(names, knowledge.facts)
        return used | {name for name, query in knowledge.queries.items() if query.mandatory}

    def templates(self, service_id: str) -> dict[str, str]:
        """The prefetch templates of a service, by key, as discovery publishes them."""
        knowledge = self.knowledge
        return {
            key: with_codes(query, key, knowledge.facts, knowledge.searchable)
            for key, query in self.queries[service_id].items()
            if not query.from_context
        }

    def concerns(self, service_id: str, request: HookRequest, as_of: date) -> bool:
        """Whether a call may concern the service, by what it brings itself: for one that does not no EHR is asked."""
        concerned = self.knowledge.concerned_when[service_id]
        if not concerned.facts:
            return True
        brought = {key: query for key, query in self.queries[service_id].items() if query.from_context}
        facts = ChartFacts(read_chart(request, brought), self.knowledge, as_of, self.settings.jurisdiction)
        return concerned(FactValues(facts)).value is not False

    def answer(
        self, service_id: str, request: HookRequest, as_of: date, overridden: Mapping[str, date] = MappingProxyType({})
    ) -> Decision:
        """The cards for one request. Raises RequestError (412) where mandatory data are nowhere.

        `overridden`: rules that were overridden for this patient, each with its day.
        """
        judged = self._judge(service_id, request, as_of)
        chart, facts, _, findings, silent_because = judged
        if silent_because:
            return Decision(chart, facts, findings, Composed(), silent_because)
        silent = suppressed(findings, self._prepared[service_id].rules, self._critical, facts, overridden) if overridden else {}
        composed = self._cards(service_id, request, judged, as_of, silent)
        return Decision(chart, facts, findings, composed, suppressed=silent)

    def find(self, service_id: str, request: HookRequest, as_of: date) -> tuple[Finding, ...]:
        """What the rules find for one request, without a word about it. Raises as `answer` does."""
        return self._judge(service_id, request, as_of).findings

    def _judge(self, service_id: str, request: HookRequest, as_of: date) -> _Judgement:
        knowledge, jurisdiction = self.knowledge, self.settings.jurisdiction
        chart = read_chart(request, self.queries[service_id])
        facts = ChartFacts(chart, knowledge, as_of, jurisdiction)
        values = FactValues(facts)
        if knowledge.concerned_when[service_id](values).value is not False:
            require_mandatory(self.queries[service_id], chart)
        rules = self.rules[service_id]
        spoken_to = knowledge.speaks_when[service_id](values)
        if spoken_to.value is not True:
            findings = tuple(Finding(rule.id, Outcome.OUT_OF_SCOPE, spoken_to.because) for rule in rules)
            return _Judgement(chart, facts, values, findings, spoken_to.because)
        return _Judgement(chart, facts, values, tuple(find(rules, values, jurisdiction, self._settled(service_id, facts))))

    def _settled(self, service_id: str, facts: ChartFacts) -> Precomputed:
        """What rules find on which nothing in this chart bears, decided once for all charts looked at as far as it was."""
        if facts.baseline is None:
            return Precomputed({}, frozenset())
        key = (service_id, facts.baseline.key)
        found = self._findings.get(key)
        if found is None:
            if len(self._findings) >= _MOST_GROUNDS:
                self._findings.clear()
            found = precompute(self.rules[service_id], facts.baseline.values, self.settings.jurisdiction)
            self._findings[key] = found
        deciding = self._deciding[service_id]
        return Precomputed(found, frozenset().union(*(deciding[name] for name in facts.affected if name in deciding)))

    def _cards(
        self, service_id: str, request: HookRequest, judged: _Judgement, as_of: date, silent: Mapping[str, date]
    ) -> Composed:
        chart, facts, values, findings, _ = judged
        settings, served = self.settings, self._prepared[service_id]
        # What nothing in the chart bears on was either looked for or not: none of it is there and cannot be read.
        served = served._replace(asked=[name for name in served.asked if name in facts.affected])
        reason = facts[self.knowledge.services[service_id].reason_fact]
        return compose(
            findings,
            served,
            facts,
            values,
            self.knowledge,
            OrderSubject(f"Patient/{request.patient_id}", _condition(reason)),
            [name for name, state in chart.query_state.items() if state is not State.KNOWN],
            CardOptions(as_of, settings.jurisdiction, settings.max_cards, settings.workup_without_reason, self._closings),
            silent,
        )


def _by_fact(rules: Iterable[Rule]) -> Mapping[str, frozenset[str]]:
    """The rules that each fact helps to decide."""
    found: dict[str, set[str]] = defaultdict(set)
    for rule in rules:
        for name in rule.fires_when.facts:
            found[name].add(rule.id)
    return {name: frozenset(ids) for name, ids in found.items()}


def _condition(reason: Fact) -> str | None:
    """The Condition that a suggested order names as its reason."""
    references = (item.reference for item in reason.evidence)
    return next((reference for reference in references if reference.startswith("Condition/")), None)

"""The four stages for one request, in their order, and nothing else."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Literal

from cds_service.cards.approvals import NOTHING_SIGNED, Approvals
from cds_service.cards.compose import CardOptions, Composed, OrderSubject, Shown, compose
from cds_service.cards.footer import Footers
from cds_service.cdshooks.request import HookRequest
from cds_service.cdshooks.response import Card
from cds_service.chart.chart import Chart
from cds_service.chart.dialect import STANDARD, Dialect
from cds_service.chart.doubt import IDENTIFIED, identified
from cds_service.chart.index import ChartIndex
from cds_service.chart.read import ChartReader, read_chart, require_mandatory
from cds_service.facts.baseline import BaselineFindings, affected_by
from cds_service.facts.evaluate import ChartFacts, FactValues
from cds_service.facts.questionnaire import doubtful_responses
from cds_service.fetch.prefetch_templates import queries_in_use, with_codes
from cds_service.fhir.resources import Encounter
from cds_service.fhir.zones import zone_named
from cds_service.jsonlogic.compile import Expression
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.knowledge.localise import spelled
from cds_service.model import Advice, Fact, Finding, Outcome
from cds_service.rules.advise import advise, ranked, unreadable
from cds_service.rules.evaluate import ScopeFindings, find, precompute
from cds_service.rules.shadow import in_shadow
from cds_service.rules.suppress import suppressed
from cds_service.security.clients import Client
from cds_service.settings import Jurisdiction, Settings

Brevity = bool | Literal["afterwards"]

# Others would have another meaning in a search, or in an address.
_SEARCHABLE = re.compile(r"[\w.:-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Decision:
    """What one request led to, stage by stage. `cards` go to the EHR; the rest is for explain, log, journal and pages.

    `rules` are those of the service, and `view` is the chart with the knowledge, the day and the jurisdiction that it was
    looked at with. `silent_because`: the facts for which the service does not speak to this patient at all, such as a death.
    `suppressed` are the rules that fire and are not shown, each with the day on which it was overridden for this patient or
    last shown. `not_served`: the rules that this site does not let speak, each with the reason. `asked_of`: the kinds of
    entries that were asked what they are; fewer than all where the scopes of the rules said enough.
    `in_shadow`: the rules that are judged and not shown; `with_shadow`: the cards with them, where one of them fires.
    """

    service_id: str
    rules: tuple[Rule, ...]
    view: ChartIndex
    facts: ChartFacts
    values: FactValues
    findings: tuple[Finding, ...]
    silent_because: tuple[str, ...] = ()
    suppressed: Mapping[str, date] = field(default_factory=dict)
    advice: Advice = field(default_factory=Advice)
    composed: Composed = field(default_factory=Composed)
    not_served: Mapping[str, str] = field(default_factory=dict)
    asked_of: Collection[str] = IDENTIFIED
    in_shadow: Collection[str] = ()
    with_shadow: Composed | None = None

    @property
    def shadowed(self) -> tuple[str, ...]:
        """The rules that fire and are in shadow."""
        fired = (item.rule_id for item in self.findings if item.rule_id in self.in_shadow and item.outcome is Outcome.FIRES)
        return tuple(fired) if self.in_shadow else ()

    @property
    def chart(self) -> Chart:
        return self.view.chart

    @property
    def knowledge(self) -> Knowledge:
        return self.view.knowledge

    @property
    def speaks_when(self) -> Expression:
        """What must be so for the service to speak to a patient at all."""
        return self.knowledge.speaks_when[self.service_id]

    @property
    def not_understood(self) -> Mapping[str, int]:
        """How many entries could not be read or understood, by resource type, with forms whose answers nobody can tell."""
        return self.view.memo(("not understood by type", self.asked_of), self._count_not_understood)

    def _count_not_understood(self) -> Mapping[str, int]:
        forms = Counter(item.resource_type for item in doubtful_responses(self.view))
        return self.view.not_understood_by_type(self.asked_of) + forms

    @property
    def shown(self) -> tuple[Shown, ...]:
        return self.composed.shown

    @property
    def cards(self) -> tuple[Card, ...]:
        return self.composed.cards


class DecisionService:
    """Knowledge and a site's choices, prepared once for any number of answers."""

    def __init__(self, knowledge: Knowledge, settings: Settings, approvals: Approvals = NOTHING_SIGNED) -> None:
        self.settings, self._approvals = settings, approvals
        self.approvals, self.lapsed = approvals
        self._as_written = knowledge
        self.knowledge = knowledge = spelled(knowledge, settings.jurisdiction)
        footers = Footers(knowledge, settings.jurisdiction, self.approvals, settings.public_url)
        self._options = CardOptions(settings.max_cards, settings.workup_without_reason, footers)
        self.dialect = Dialect(zone=zone_named(settings.time_zone)) if settings.time_zone else STANDARD
        self.shadow = in_shadow(settings.shadow, knowledge)
        self._prepare({key: self._served(key) for key in knowledge.services})
        self._not_served = {key: self._left_out(key) for key in knowledge.services}
        self._speaking = self._without_shadow()

    def _prepare(self, rules_of: Mapping[str, tuple[Rule, ...]]) -> None:
        """What is worked out once of the rules of each service."""
        self.rules, knowledge, settings = rules_of, self.knowledge, self.settings
        self._ranked = {key: ranked(rules, knowledge, settings.jurisdiction) for key, rules in self.rules.items()}
        self._baselines = {
            key: BaselineFindings(rules, partial(precompute, rules, jurisdiction=settings.jurisdiction))
            for key, rules in self.rules.items()
        }
        self._templates: dict[str, dict[str, str]] = {}
        self.queries = {
            key: {name: knowledge.queries[name] for name in knowledge.queries if name in self._used(key)}
            for key in knowledge.services
        }
        self._scopes = {key: ScopeFindings(rules, settings.jurisdiction) for key, rules in self.rules.items()}
        self._scope_queries = {key: self._asked_by_scope(key) for key in knowledge.services}
        self._scope_kinds = {
            key: identified({knowledge.queries[name].resource_type for name in names})
            for key, names in self._scope_queries.items()
        }

    def _without_shadow(self) -> DecisionService | None:
        """The same as if the rules in shadow did not exist: what it says is what an EHR gets. None where none is in shadow."""
        if not self.shadow:
            return None
        own = copy(self)
        own._prepare({key: tuple(rule for rule in rules if rule.id not in self.shadow) for key, rules in self.rules.items()})
        return own

    def _left_out(self, service_id: str) -> Mapping[str, str]:
        """The rules of a service that this site does not let speak, each with the reason."""
        served = {rule.id for rule in self.rules[service_id]} - self.shadow
        return {rule.id: self._why_not(rule) for rule in self.knowledge.rules_of(service_id) if rule.id not in served}

    def _why_not(self, rule: Rule) -> str:
        if rule.file.status == "retired":
            return "retired"
        if rule.id in self.shadow:
            return "in shadow here: judged and counted, and not shown"
        changed = self.lapsed.get(rule.id)
        return f"not approved any more, as this changed: {', '.join(changed)}" if changed else "not approved here"

    @property
    def served(self) -> Mapping[str, Rule]:
        """The rules that any service speaks, by id."""
        return {rule.id: rule for rules in self.rules.values() for rule in rules}

    def elsewhere(self, jurisdiction: Jurisdiction) -> DecisionService:
        """The same for a client of another jurisdiction."""
        if jurisdiction == self.settings.jurisdiction:
            return self
        return DecisionService(
            self._as_written, self.settings.model_copy(update={"jurisdiction": jurisdiction}), self._approvals
        )

    def for_client(self, client: Client) -> DecisionService:
        """The same as one client of this jurisdiction is read and answered: with its codes and its ways."""
        own = copy(self)
        own._templates = {}
        lexicon = own.knowledge.lexicon.with_map(client.code_map)
        zone = zone_named(client.time_zone) if client.time_zone else self.dialect.zone
        own.dialect = Dialect(lexicon, client.null_is_empty, client.medication_statements_apart, zone)
        own._options = replace(own._options, order_codes=client.code_map.orders if client.code_map else {})
        own.shadow |= in_shadow(client.shadow, own.knowledge)
        own._not_served = {key: own._left_out(key) for key in own.rules}
        own._speaking = own._without_shadow()
        return own

    def _served(self, service_id: str) -> tuple[Rule, ...]:
        """The rules of a service; with `serve=approved` only those that this site has signed off, or does not show."""
        rules = [rule for rule in self.knowledge.rules_of(service_id) if rule.file.status != "retired"]
        if self.settings.serve == "drafts":
            return tuple(rules)
        return tuple(rule for rule in rules if rule.id in self.shadow or (rule.id, rule.file.version) in self.approvals)

    def _used(self, service_id: str) -> set[str]:
        knowledge = self.knowledge
        names = {name for rule in self.rules[service_id] for name in rule.facts | knowledge.cards[rule.id].facts}
        orders = [knowledge.orders[use.order] for rule in self.rules[service_id] for use in rule.orders]
        names |= {order.pending_fact for order in orders} | set(knowledge.speaks_when[service_id].facts)
        names |= set(knowledge.concerned_when[service_id].facts)
        used = queries_in_use(names, knowledge.facts)
        return used | {name for name, query in knowledge.queries.items() if query.mandatory}

    def _asked_by_scope(self, service_id: str) -> tuple[str, ...]:
        """The queries that tell whom the rules of a service are for and whether it is concerned, and the mandatory ones."""
        knowledge, queries = self.knowledge, self.queries[service_id]
        conditions = [rule.applies_when for rule in self.rules[service_id]]
        conditions += [knowledge.speaks_when[service_id], knowledge.concerned_when[service_id]]
        asked = queries_in_use({name for condition in conditions for name in condition.facts}, knowledge.facts)
        return tuple(key for key, query in queries.items() if query.mandatory or key in asked)

    def templates(self, service_id: str) -> dict[str, str]:
        """The prefetch templates of a service, by key, as discovery publishes them; those of a client ask for its codes too."""
        found = self._templates.get(service_id)
        if found is None:
            found = self._templates[service_id] = self._filled(service_id)
        return found

    def _filled(self, service_id: str) -> dict[str, str]:
        knowledge = self.knowledge
        searchable = knowledge.searchable
        if self.dialect.lexicon:
            own = self.dialect.lexicon.terminology.local_codes
            searchable = {key: (*codes, *filter(_SEARCHABLE, own.get(key, ()))) for key, codes in searchable.items()}
        return {
            key: with_codes(query, key, knowledge.facts, searchable)
            for key, query in self.queries[service_id].items()
            if not query.from_context
        }

    def bears_on_scope(self, service_id: str, request: HookRequest, as_of: date) -> bool:
        """Whether anything in a chart, or anything of it that is not understood, bears on whom the rules are for.

        Where nothing does they are for this patient as far as for one with nothing on record, whatever the day.
        """
        reader = ChartReader(request, self.queries[service_id], self.dialect)
        view = self._look_at(reader.read(self._scope_queries[service_id]), as_of)
        in_doubt = map(view.not_understood_of, self._scope_kinds[service_id])
        if any(view.chart.damaged.values()) or any(in_doubt):
            return True
        bearing = affected_by(view) & {name for rule in self.rules[service_id] for name in rule.applies_when.facts}
        if not (bearing and view.chart.all(Encounter)):
            return bool(bearing)
        # Every chart has encounters, and few are for a reason that is ours.
        facts = ChartFacts(view)
        return facts.baseline is None or any(facts[name].value != facts.baseline.values[name] for name in bearing)

    def scope_types(self, service_id: str) -> frozenset[str]:
        """The types of resources that tell whom the rules of a service are for."""
        return frozenset(self.knowledge.queries[key].resource_type for key in self._scope_queries[service_id])

    def concerns(self, service_id: str, request: HookRequest, as_of: date) -> bool:
        """Whether a call may concern the service, by what it brings itself: for one that does not no EHR is asked."""
        if not self.knowledge.concerned_when[service_id].facts:
            return True
        brought = {key: query for key, query in self.queries[service_id].items() if query.from_context}
        return self._is_concerned(service_id, self._look_at(read_chart(request, brought, self.dialect), as_of))

    def answer(
        self,
        service_id: str,
        request: HookRequest,
        as_of: date,
        silenced: Mapping[str, date] = MappingProxyType({}),
        *,
        in_brief: Brevity = False,
    ) -> Decision:
        """The cards for one request. Raises RequestError (412) where mandatory data are nowhere.

        `silenced`: rules that were overridden or shown lately for this patient, each with its day. `in_brief`: where no rule
        applies nothing more is worked out, or `afterwards` it is forgotten, which is quicker where rules mostly apply. The
        cards are the same.
        """
        decision, speaking = self._decide(service_id, request, as_of, in_brief), self._speaking
        if speaking is None:
            return self._said(service_id, decision, request, silenced)
        is_alike = speaking.queries[service_id].keys() == self.queries[service_id].keys()
        found = {item.outcome for item in decision.findings}
        if Outcome.FIRES not in found and (is_alike or found <= {Outcome.OUT_OF_SCOPE}):
            # Nothing to say, with these rules or without them.
            return replace(decision, in_shadow=self.shadow)
        if is_alike:
            own = replace(decision, findings=tuple(item for item in decision.findings if item.rule_id not in self.shadow))
        else:
            # What came only for rules in shadow must not touch what the others say.
            own = speaking._decide(service_id, request, as_of, in_brief)
        said = speaking._said(service_id, own, request, silenced)
        shown = replace(decision, suppressed=said.suppressed, advice=said.advice, composed=said.composed, in_shadow=self.shadow)
        whole = self._said(service_id, decision, request, silenced) if shown.shadowed else None
        return replace(shown, with_shadow=whole.composed if whole else None)

    def _said(self, service_id: str, decision: Decision, request: HookRequest, silenced: Mapping[str, date]) -> Decision:
        """A decision with what its rules have to say."""
        if decision.silent_because:
            return decision
        served, facts, findings = self._ranked[service_id], decision.facts, decision.findings
        silent = suppressed(served, findings, facts, silenced) if silenced else {}
        advice = advise(served, findings, decision.values, silent)
        if not advice:
            return decision
        # What nothing in the chart bears on was either looked for or not: none of it is there and cannot be read.
        text = Advice(advice, unreadable(served, findings, facts, facts.affected))
        reason = facts[self.knowledge.services[service_id].reason_fact]
        subject = OrderSubject(f"Patient/{request.patient_id}", _condition(reason), request.user_id)
        composed = compose(text, facts, decision.view, subject, self._options)
        return replace(decision, suppressed=silent, advice=text, composed=composed)

    def find(self, service_id: str, request: HookRequest, as_of: date) -> tuple[Finding, ...]:
        """What the rules find for one request, without a word about it. Raises as `answer` does."""
        return self._decide(service_id, request, as_of).findings

    def _decide(self, service_id: str, request: HookRequest, as_of: date, in_brief: Brevity = False) -> Decision:
        """A decision as far as its rules are decided and nothing is put into words yet."""
        reader = ChartReader(request, self.queries[service_id], self.dialect)
        if in_brief is not True:
            decision = self._ruled(service_id, self._look_at(reader.read(), as_of))
            return decision if in_brief is False else self._in_brief(service_id, decision)
        part = self._look_at(reader.read(self._scope_queries[service_id]), as_of)
        decision = self._outside(service_id, part)
        if decision.findings:
            return decision
        view = self._look_at(reader.read(), as_of)
        view.take_over(part)
        return self._ruled(service_id, view, decision.facts)

    def _in_brief(self, service_id: str, decision: Decision) -> Decision:
        """A whole decision as it would be if only the scopes of rules had been asked, where none applies for sure."""
        outside = () if decision.silent_because else self._scopes[service_id].find(decision.values)
        return replace(decision, findings=outside, asked_of=self._scope_kinds[service_id]) if outside else decision

    def _outside(self, service_id: str, view: ChartIndex) -> Decision:
        """The decision about a patient whom no rule is for, as most are whom an EHR shows; without findings where one is.

        It looks at what tells whom the rules are for, and at nothing else.
        """
        self._demand(service_id, view)
        decision = replace(self._begun(service_id, view, ChartFacts(view, whole=True)), asked_of=self._scope_kinds[service_id])
        if decision.findings:
            return decision
        return replace(decision, findings=self._scopes[service_id].find(decision.values))

    def _ruled(self, service_id: str, view: ChartIndex, found: ChartFacts | None = None) -> Decision:
        """A decision with all its findings. `found`: what is known of the same patient already."""
        self._demand(service_id, view)
        facts = ChartFacts(view, found=found)
        decision = self._begun(service_id, view, facts)
        if decision.findings:
            return decision
        settled = self._baselines[service_id].settled(facts.baseline, facts.affected)
        found_by_rules = find(decision.rules, decision.values, self.settings.jurisdiction, settled)
        return replace(decision, findings=tuple(found_by_rules))

    def _begun(self, service_id: str, view: ChartIndex, facts: ChartFacts) -> Decision:
        """A decision before its rules; with findings where the service does not speak to this patient at all."""
        values, rules = FactValues(facts), self.rules[service_id]
        spoken_to = self.knowledge.speaks_when[service_id](values)
        decision = Decision(service_id, rules, view, facts, values, (), not_served=self._not_served[service_id])
        if spoken_to.value is True:
            return decision
        findings = tuple(Finding(rule.id, Outcome.OUT_OF_SCOPE, spoken_to.because) for rule in rules)
        return replace(decision, findings=findings, silent_because=spoken_to.because)

    def _demand(self, service_id: str, view: ChartIndex) -> None:
        """Asked before any fact is. Raises RequestError (412)."""
        require_mandatory(self.queries[service_id], view.chart, partial(self._is_concerned, service_id, view))

    def _look_at(self, chart: Chart, as_of: date) -> ChartIndex:
        return ChartIndex(chart, self.knowledge, as_of, self.settings.jurisdiction, self.dialect)

    def _is_concerned(self, service_id: str, view: ChartIndex) -> bool:
        return self.knowledge.concerned_when[service_id](FactValues(ChartFacts(view, whole=True))).value is not False


def _condition(reason: Fact) -> str | None:
    """The Condition that a suggested order names as its reason."""
    references = (item.reference for item in reason.evidence)
    return next((reference for reference in references if reference.startswith("Condition/")), None)

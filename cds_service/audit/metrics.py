"""Numbers for a monitoring system, in the text format of Prometheus: counts, times and states, nothing of a patient.

Answering only appends to a queue. The library is imported, and the numbers are added up, beside the answering.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, NamedTuple

from cds_service.audit.daily_counts import had
from cds_service.audit.journal import AnswerRecord, Journal
from cds_service.audit.overrides import Overrides
from cds_service.audit.queries import Reaction

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_MOST_WAITING = 10_000
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
OTHER, NONE, UNKNOWN = "other", "none", "unknown"
_SHARED = "PROMETHEUS_MULTIPROC_DIR"


class RequestRecord(NamedTuple):
    """One request: the route that took it, its service, how it ended and how long it took."""

    route: str
    service_id: str
    status: int
    seconds: float


class Metrics:
    """`services` and `reasons` are the words that a label may take; whatever else a caller sends is `unknown` or `other`."""

    def __init__(self, services: Container[str], reasons: Container[str]) -> None:
        self._services, self._reasons = services, reasons
        self._served: deque[RequestRecord] = deque(maxlen=_MOST_WAITING)
        self._noted: deque[AnswerRecord] = deque(maxlen=_MOST_WAITING)
        self._numbers: _Numbers | None = None

    def served(self, served: RequestRecord) -> None:
        self._served.append(served)

    def note(self, noted: AnswerRecord) -> None:
        self._noted.append(noted)

    def prepare(self, served: int = 0, lapsed: int = 0) -> None:
        """Import the library, in a thread, so that nobody waits for it; and say how many rules there are."""
        numbers = self._made()
        numbers.rules.labels("served").set(served)
        numbers.rules.labels("lapsed").set(lapsed)

    def drain(self, journal: Journal, overrides: Overrides) -> None:
        """Add up what has come since."""
        numbers = self._made()
        while self._served:
            self._add_served(numbers, self._served.popleft())
        while self._noted:
            self._add_noted(numbers, self._noted.popleft())
        numbers.waiting.set(len(journal))
        numbers.lost.inc(numbers.since("lost", journal.lost))
        for name, count in (("journal", journal.failures), ("overrides", overrides.failures)):
            numbers.failures.labels(name).inc(numbers.since(name, count))

    def react(self, reactions: Iterable[Reaction]) -> None:
        numbers = self._made()
        for item in reactions:
            for rule, version in item.about() or [(UNKNOWN, "")]:
                if item.outcome == "accepted":
                    numbers.accepted.labels(rule, version).inc()
                else:
                    numbers.overridden.labels(rule, version, self._reason(item.reason)).inc()

    def text(self) -> bytes:
        """What a scrape reads. Where workers share a folder, the sum of all of them."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        own = self._made().registry
        if _SHARED not in os.environ:
            return generate_latest(own)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

    def close(self) -> None:
        if _SHARED in os.environ and self._numbers:
            from prometheus_client.multiprocess import mark_process_dead

            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]

    def _made(self) -> _Numbers:
        if self._numbers is None:
            from prometheus_client import CollectorRegistry

            self._numbers = _Numbers(CollectorRegistry())
        return self._numbers

    def _add_served(self, numbers: _Numbers, served: RequestRecord) -> None:
        service = served.service_id if not served.service_id or served.service_id in self._services else UNKNOWN
        numbers.requests.labels(served.route, service, str(served.status)).inc()
        numbers.seconds.labels(served.route).observe(served.seconds)

    def _add_noted(self, numbers: _Numbers, noted: AnswerRecord) -> None:
        for card in noted.cards:
            numbers.cards.labels(card.group).inc()
            for rule in card.rules:
                numbers.shown.labels(rule.id, rule.file.version).inc()
        for rule_id in noted.outcomes.get("silenced", ()):
            numbers.suppressed.labels(rule_id).inc()
        for what, name in had(noted):
            numbers.had.labels(what, name).inc()
        for query, state in noted.states.items():
            numbers.states.labels(query, state.value).inc()
        for kind, count in noted.not_understood.items():
            numbers.not_understood.labels(kind).inc(count)
        for system, count in noted.unknown_codes.items():
            numbers.unknown_codes.labels(system).inc(count)

    def _reason(self, code: str) -> str:
        if not code:
            return NONE
        return code if code in self._reasons else OTHER


class _Numbers:
    """The families, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter as Family
        from prometheus_client import Gauge, Histogram

        self.registry = registry
        self._seen: Counter[str] = Counter()
        self.requests = Family(
            "cds_requests", "Requests by route, service and status", ("route", "service", "status"), registry=registry
        )
        self.seconds = Histogram(
            "cds_request_seconds", "Seconds from request to answer", ("route",), buckets=_SECONDS, registry=registry
        )
        self.cards = Family("cds_cards", "Cards shown, by group", ("group",), registry=registry)
        self.shown = Family("cds_rules_shown", "Cards that a rule spoke on", ("rule", "version"), registry=registry)
        self.suppressed = Family(
            "cds_rules_silenced", "Times that an override kept a rule silent", ("rule",), registry=registry
        )
        self.accepted = Family("cds_rules_accepted", "Cards accepted, by rule", ("rule", "version"), registry=registry)
        self.overridden = Family(
            "cds_rules_overridden", "Cards overridden, by rule and reason", ("rule", "version", "reason"), registry=registry
        )
        self.states = Family(
            "cds_query_states",
            "Queries of answered requests that were not known, by state",
            ("query", "state"),
            registry=registry,
        )
        self.had = Family("cds_answers_with", "Answers that had something, by what it was", ("what", "name"), registry=registry)
        self._count_doubts(registry)
        self._count_rules(registry)
        self.waiting = Gauge(
            "cds_journal_waiting", "Answers not written down yet", registry=registry, multiprocess_mode="livesum"
        )
        self.lost = Family("cds_journal_lost_rows", "Rows that were never written down", registry=registry)
        self.failures = Family(
            "cds_database_failures", "Failed attempts to write the journal or to read overrides", ("what",), registry=registry
        )

    def _count_rules(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Gauge

        self.rules = Gauge(
            "cds_rules",
            "Rules that are served, and whose approval lapsed",
            ("state",),
            registry=registry,
            multiprocess_mode="max",
        )

    def _count_doubts(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter as Family

        self.not_understood = Family(
            "cds_entries_not_understood",
            "Entries of answered requests that could not be read or understood, by resource type",
            ("type",),
            registry=registry,
        )
        self.unknown_codes = Family(
            "cds_codes_not_identified",
            "Codes of answered requests that are in no set and no map, by code system",
            ("system",),
            registry=registry,
        )

    def since(self, name: str, count: int) -> int:
        """How much a count kept elsewhere has grown since it was last asked."""
        grown = count - self._seen[name]
        self._seen[name] = count
        return grown

"""The journal: what is kept of every answer, written down beside the answering.

An answer only appends to a queue; one writer empties it in batches. While the database is away the queue holds what it
can; beyond that the oldest answers are lost, and counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from cds_service.audit.daily_counts import ALL, count
from cds_service.audit.queries import Row, write
from cds_service.cards.compose import Offer, Shown
from cds_service.knowledge.knowledge import Rule
from cds_service.log import log
from cds_service.model import Outcome, State
from cds_service.service import Decision
from cds_service.store.database import Store

LIMIT = 5000
_BATCH = 500
_ENOUGH_REFUSALS = 3
_LONGEST = 200


class CardRecord(NamedTuple):
    """What is kept of one card. `spoke_for`: the rules as they were then, (id, signature) each."""

    uuid: str
    group: str
    indicator: str
    rules: tuple[Rule, ...]
    offers: tuple[Offer, ...]
    spoke_for: tuple[tuple[str, str], ...] = ()


class AnswerRecord(NamedTuple):
    """What is kept of one answer: no clinical value, and the patient as a keyed hash or not at all.

    `not_understood`: the number of such entries, by resource type; `unknown_codes`: of codes that nobody knew, by code system.
    `shadow`: the rules in shadow that fired; `cards_with_shadow`: how many cards there would have been with them.
    """

    at: datetime
    client: str
    service_id: str
    hook_instance: str
    knowledge: str
    outcomes: Mapping[str, Sequence[str]]
    states: Mapping[str, State]
    milliseconds: float
    patient: str | None
    cards: tuple[CardRecord, ...]
    not_understood: Mapping[str, int] = MappingProxyType({})
    unknown_codes: Mapping[str, int] = MappingProxyType({})
    unknown_units: Collection[str] = ()
    shadow: tuple[str, ...] = ()
    cards_with_shadow: int = 0


def outcomes(decision: Decision) -> Mapping[str, Sequence[str]]:
    """The rules by outcome. Left out are the silent ones; `all` of them are for nobody here, or nobody knows whether any is."""
    found = {item.outcome for item in decision.findings}
    if found <= {Outcome.OUT_OF_SCOPE, Outcome.UNKNOWN}:
        return {Outcome.UNKNOWN if Outcome.UNKNOWN in found else Outcome.OUT_OF_SCOPE: ALL}
    text: dict[str, list[str]] = {}
    for item in decision.findings:
        if item.outcome is not Outcome.SILENT:
            text.setdefault(item.outcome, []).append(item.rule_id)
    return text | ({"silenced": list(decision.suppressed)} if decision.suppressed else {})


def kept(shown: Sequence[Shown], signatures: Mapping[str, str]) -> tuple[CardRecord, ...]:
    """What is kept of the cards of an answer. `signatures`: of the rules as they are now, by id."""
    return tuple(
        CardRecord(
            item.card.uuid,
            item.group,
            item.card.indicator,
            item.rules,
            item.offers,
            tuple((rule.id, signatures[rule.id]) for rule in item.rules),
        )
        for item in shown
    )


class Journal:
    """A queue of at most `limit` answers and its writer. `lost` counts rows that were never written."""

    def __init__(self, store: Store, limit: int = LIMIT) -> None:
        self._store, self._limit = store, limit
        self._waiting: deque[AnswerRecord] = deque()
        self._in_hand: list[AnswerRecord] = []
        self.lost = 0
        self.failures = 0

    def __len__(self) -> int:
        """Answers that are not written yet."""
        return len(self._waiting) + len(self._in_hand)

    def note(self, noted: AnswerRecord) -> None:
        if len(self._waiting) >= self._limit:
            self._lose([self._waiting.popleft()])
        self._waiting.append(noted)

    async def flush(self) -> bool:
        """Write what waits. False where the database would not take it; then it waits on."""
        while self._take_in_hand():
            try:
                await self._write(self._in_hand)
                self._in_hand = []
            except Exception as error:
                self.failures += 1
                log.error("journal not written", waiting=len(self), lost=self.lost, error=type(error).__name__)
                if not isinstance(error, OSError):
                    self._in_hand = await self._one_by_one(self._in_hand)
                if self._in_hand:
                    return False
        return True

    def _take_in_hand(self) -> bool:
        while self._waiting and len(self._in_hand) < _BATCH:
            self._in_hand.append(self._waiting.popleft())
        return bool(self._in_hand)

    async def _one_by_one(self, batch: Sequence[AnswerRecord]) -> list[AnswerRecord]:
        """What still waits. One answer that the database refuses must not hold up the others; where it refuses several in a
        row it is away."""
        written = 0
        refused: list[AnswerRecord] = []
        for at, noted in enumerate(batch):
            try:
                await self._write([noted])
                written += 1
                self._lose(refused)
                refused = []
            except Exception:
                refused.append(noted)
                if len(refused) == _ENOUGH_REFUSALS:
                    return [*refused, *batch[at + 1 :]]
        if written:
            self._lose(refused)
        return [] if written else refused

    async def _write(self, batch: Sequence[AnswerRecord]) -> None:
        cards = [row for noted in batch for row in _cards(noted)]
        await write(self._store, [_answer(noted) for noted in batch], cards, count(batch))

    def _lose(self, answers: Iterable[AnswerRecord]) -> None:
        self.lost += sum(1 + len(noted.cards) for noted in answers)

    def give_up(self) -> None:
        """At the end of the process what waits is lost, which must not pass unseen."""
        if len(self):
            self._lose([*self._in_hand, *self._waiting])
            log.error("journal lost", rows=self.lost)
            self._in_hand = []
            self._waiting.clear()


def _answer(noted: AnswerRecord) -> Row:
    return {
        "answered_at": noted.at,
        "client": noted.client,
        "service_id": noted.service_id,
        "hook_instance": noted.hook_instance.replace("\0", "")[:_LONGEST],
        "knowledge": noted.knowledge,
        "outcomes": noted.outcomes,
        "states": noted.states,
        "cards": len(noted.cards),
        "milliseconds": noted.milliseconds,
        "shadow": list(noted.shadow) or None,
        "cards_with_shadow": noted.cards_with_shadow if noted.shadow else None,
        "patient": noted.patient if noted.shadow else None,
    }


def _cards(noted: AnswerRecord) -> list[Row]:
    shared: dict[str, Any] = {
        "service_id": noted.service_id,
        "client": noted.client,
        "patient": noted.patient,
        "shown_at": noted.at,
    }
    return [
        shared
        | {
            "card": card.uuid,
            "card_group": card.group,
            "indicator": card.indicator,
            "rules": card.spoke_for,
            "offers": card.offers,
        }
        for card in noted.cards
    ]

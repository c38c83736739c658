"""The dashboard and its CSV: what was shown and what was done is counted truly, and nothing of a patient is told."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from cds_service.audit.acceptance import received
from cds_service.audit.journal import AnswerRecord, CardRecord, Journal
from cds_service.audit.queries import record_feedback
from cds_service.audit.statistics import Figures, read_figures
from cds_service.cdshooks.feedback import Feedback
from cds_service.knowledge.knowledge import Knowledge
from cds_service.model import State
from cds_service.pages.dashboard import COLUMNS, Recent, rows, since, summary, within
from cds_service.service import DecisionService
from cds_service.store.database import Store
from tests.support.calls import CALL, SECRETS, secret_call
from tests.support.databases import Cluster
from tests.support.pages import make
from tests.support.people import SERVICE, body, bundle, observation
from tests.support.signing import ISS, clients_file

ASKED = {SERVICE: ("electrolytes", "orders"), "another": ("electrolytes",)}
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
LOW = {"electrolytes": bundle(observation(3.1))}
FEEDBACK = f"{CALL}/feedback"


def call(client: TestClient, **given: Any) -> list[dict[str, Any]]:
    sent = body(LOW, **given) | {"extension": {"example.leg-cramps.as-of": "2026-11-20"}}
    cards: list[dict[str, Any]] = client.post(CALL, json=sent).json()["cards"]
    return cards


def react(client: TestClient, card: dict[str, Any], when: str = "2026-11-20T09:00:00Z", **given: Any) -> None:
    item = {"card": card["uuid"], "outcomeTimestamp": when} | given
    assert client.post(FEEDBACK, json={"feedback": [item]}).status_code == 200


def overridden(code: str = "reason-code") -> dict[str, Any]:
    return {"outcome": "overridden", "overrideReason": {"reason": {"code": code, "system": "https://ehr.example/reasons"}}}


def table(client: TestClient, days: int = 7) -> list[dict[str, str]]:
    answer = client.get("/dashboard.csv", params={"days": days})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.text.splitlines()[0] == ",".join(COLUMNS)
    return read


def words(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def test_what_was_shown_and_what_was_done_is_counted(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    with make(decision_service, tmp_path, database_url=database_url) as client:
        first, *_ = call(client)
        second, *_ = call(client, without=("orders",))
        third = next(card for card in call(client) if card.get("suggestions"))
        react(client, first, **overridden())
        react(client, first, "2026-11-20T09:05:00Z", **overridden("another"))
        react(client, second, **overridden("another"))
        suggestion = {"id": third["suggestions"][0]["uuid"]}
        react(client, third, outcome="accepted", acceptedSuggestions=[suggestion])
    with make(decision_service, tmp_path, database_url=database_url) as client:
        rows, page = table(client), words(client.get("/dashboard?days=7").text)
        rule = words(client.get("/rules/low-potassium").text)
    today = datetime.now(UTC).date().isoformat()
    low = [row for row in rows if row["rule"] == "low-potassium"]
    assert {row["day"] for row in rows} == {today}
    assert {row["client"] for row in rows} == {"unsigned"}
    assert [(row["outcome"], row["reason"], row["cards"]) for row in low] == [
        ("overridden", "another", "1"),
        ("overridden", "reason-code", "1"),
        ("shown", "", "3"),
    ]
    (accepted,) = (row for row in rows if row["outcome"] == "accepted")
    assert accepted["rule"] == "electrolytes"
    for says in ("Answers 3", "Accepted 1", "Overridden 2", "open orders not supplied 1", "reason-code 1, another 1"):
        assert says in page, says
    assert "low-potassium" not in page
    assert "shown 3, accepted 0, overridden 2" in rule


def test_a_person_opened_on_the_pages_counts_and_what_if_does_not(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path) as client:
        client.get("/try/ada-stiffcalf")
        client.get("/try/ada-stiffcalf/what-if")
        client.get("/try/ada-stiffcalf/why")
    with make(decision_service, tmp_path) as client:
        assert {row["cards"] for row in table(client)} == {"1"}


def noted(at: datetime, *cards: CardRecord, client: str = "", milliseconds: float = 1.0, **given: Any) -> AnswerRecord:
    states = {"electrolytes": State.NOT_SUPPLIED} if given.get("short") else {}
    return AnswerRecord(at, client, SERVICE, "x", "abc", given.get("outcomes", {}), states, milliseconds, None, cards)


def kept(decision_service: DecisionService, name: str, rule: str = "low-potassium") -> CardRecord:
    found = decision_service.knowledge.rule_by_id[rule]
    return CardRecord(name, "results", "warning", (found,), (), ((rule, f"{found.file.version}+hash"),))


def filled(url: str, *all_noted: AnswerRecord, reacted: dict[str, tuple[datetime, str]] | None = None) -> Figures:
    async def fill() -> Figures:
        store = Store(url)
        journal = Journal(store)
        for item in all_noted:
            journal.note(item)
        assert await journal.flush()
        for card, (at, client) in (reacted or {}).items():
            await record_feedback(store, SERVICE, [Feedback(card, "overridden", at, (), "", "", 0)], at, client)
        figures = await read_figures(store, since(7, NOW))
        await store.close()
        return figures

    return asyncio.run(fill())


def test_a_period_begins_with_its_first_day_in_utc(
    decision_service: DecisionService, knowledge: Knowledge, database_url: str
) -> None:
    first = datetime(2026, 11, 14, tzinfo=UTC)
    assert since(7, NOW) == first
    times = [first - timedelta(seconds=1), first, NOW - timedelta(hours=1), first + timedelta(hours=23, minutes=59)]
    figures = filled(database_url, *(noted(at, kept(decision_service, f"card-{n}")) for n, at in enumerate(times)))
    shown = summary(figures, knowledge, ASKED, 7, NOW).over_time[1]
    assert dict(zip(shown.labels, shown.numbers, strict=True)) == dict.fromkeys(shown.labels, 0) | {
        "2026-11-14": 2,
        "2026-11-20": 1,
    }
    assert shown.labels[0] == "2026-11-14"
    assert shown.total == 3


def test_a_day_is_one_of_utc_wherever_the_database_believes_to_be(
    decision_service: DecisionService, postgresql: Cluster
) -> None:
    url = postgresql.new_database()
    postgresql.sql(f"ALTER DATABASE {re.findall('/(cds_[0-9]+)', url)[0]} SET timezone = 'Pacific/Auckland'")

    async def zone() -> str:
        store = Store(url)
        async with (await store.open()).connect() as connection:
            found = (await connection.execute(text("show timezone"))).scalar_one()
        await store.close()
        return str(found)

    assert asyncio.run(zone()) == "Pacific/Auckland"
    figures = filled(url, noted(datetime(2026, 11, 19, 23, 30, tzinfo=UTC), kept(decision_service, "card-1")))
    assert [item.day for item in figures.shown] == ["2026-11-19"]
    assert [item.day for item in figures.answers] == ["2026-11-19"]


def test_each_client_is_counted_for_itself(decision_service: DecisionService, knowledge: Knowledge, database_url: str) -> None:
    a, b = "https://a.example", "https://b.example"
    cards = [
        noted(NOW, kept(decision_service, "one"), kept(decision_service, "two"), client=a),
        noted(NOW, client=b),
        noted(NOW, client=b),
    ]
    # Feedback counts by who sent it, and never for the card of another.
    figures = filled(database_url, *cards, reacted={"one": (NOW, a), "two": (NOW, b)})
    told = {item.name: item[1:] for item in summary(figures, knowledge, ASKED, 7, NOW).clients}
    assert told == {b: (2, 0, 0, 1), a: (1, 2, 0, 1)}
    by_rule = {item.rule: (item.shown, item.overridden) for item in summary(figures, knowledge, ASKED, 7, NOW).rules}
    assert by_rule == {"low-potassium": (2, 1), "unknown card": (0, 1)}


def test_data_states_and_undecided_rules_are_told(knowledge: Knowledge, database_url: str) -> None:
    outcomes = {"unknown": ["low-potassium", "a-rule-of-yesterday"], "silenced": ["b12"]}
    nobody_knows = noted(NOW, outcomes={"unknown": ["all"]})
    figures = filled(database_url, noted(NOW, short=True, outcomes=outcomes), nobody_knows, noted(NOW, outcomes=outcomes))
    told = summary(figures, knowledge, ASKED, 7, NOW)
    titles = {key: query.title for key, query in knowledge.queries.items()}
    assert [(item.title, item.full, item.states, round(item.share, 2)) for item in told.supplied] == [
        (titles["electrolytes"], 2, (("not supplied", 1),), 0.67),
        (titles["orders"], 3, (), 1.0),
    ]
    assert [(item.rule, item.number) for item in told.undecided] == [("low-potassium", 2)]
    assert (told.silenced, told.unscoped, told.sample) == (2, 1, 3)


def test_calls_that_concern_nobody_do_not_dilute_what_is_told_of_the_others(
    decision_service: DecisionService, tmp_path: Path, database_url: str
) -> None:
    """An EHR opens a hundred people without leg cramps for each one with them."""
    child = body()
    child["prefetch"]["patient"]["birthDate"] = "2020-01-01"
    del child["prefetch"]["electrolytes"]
    with make(decision_service, tmp_path, database_url=database_url) as client:
        call(client)
        for _ in range(3):
            assert client.post(CALL, json=child).json() == {"cards": []}
    with make(decision_service, tmp_path, database_url=database_url) as client:
        page = words(client.get("/dashboard").text)
    assert "Answers 4" in page
    assert "Of 1 answer about people with whom the service is concerned. The other 3 answers are empty by design." in page
    assert "electrolyte results 1" in page
    assert "Of the last 1 answers" in page


def test_feedback_counts_for_the_day_on_which_its_card_was_shown(
    decision_service: DecisionService, knowledge: Knowledge, database_url: str
) -> None:
    old, new = (
        noted(NOW - timedelta(days=40), kept(decision_service, "old")),
        noted(NOW - timedelta(days=2), kept(decision_service, "new")),
    )
    figures = filled(database_url, old, new, reacted={"old": (NOW, ""), "new": (NOW, ""), "nobody's": (NOW, "")})
    told = summary(figures, knowledge, ASKED, 7, NOW)
    assert [(item.rule, item.shown, item.overridden) for item in told.rules] == [
        ("low-potassium", 1, 1),
        ("unknown card", 0, 1),
    ]
    assert dict(zip(told.over_time[3].labels, told.over_time[3].numbers, strict=True))["2026-11-18"] == 1
    written = [(day, rule, outcome) for day, _, rule, _, outcome, _, _ in rows(figures, knowledge)]
    assert written == [
        ("2026-11-18", "low-potassium", "overridden"),
        ("2026-11-18", "low-potassium", "shown"),
        ("2026-11-20", "unknown card", "overridden"),
    ]


def test_a_card_of_several_rules_is_overridden_for_one_reason_once(
    decision_service: DecisionService, knowledge: Knowledge, database_url: str
) -> None:
    rules = tuple(decision_service.knowledge.rules[:3])
    spoke_for = tuple((rule.id, f"{rule.file.version}+hash") for rule in rules)
    several = kept(decision_service, "one")._replace(rules=rules, spoke_for=spoke_for)
    told = summary(filled(database_url, noted(NOW, several), reacted={"one": (NOW, "")}), knowledge, ASKED, 7, NOW)
    assert [(item.display, item.number) for item in told.reasons] == [("no reason given", 1)]
    assert [item.overridden for item in told.rules] == [1, 1, 1]


def test_a_rule_is_asked_for_by_its_whole_name(decision_service: DecisionService, database_url: str) -> None:
    async def of(rule: str) -> list[tuple[str, int, int]]:
        store = Store(database_url)
        found = [(item.rule, item.shown, item.overridden) for item in await received(store, since(7, NOW), rule)]
        await store.close()
        return found

    filled(
        database_url,
        noted(NOW, kept(decision_service, "one"), kept(decision_service, "two", "abi")),
        reacted={"one": (NOW, "")},
    )
    assert asyncio.run(of("low-potassium")) == [("low-potassium", 1, 1)]
    assert asyncio.run(of("potassium")) == []
    assert asyncio.run(of("abi")) == [("abi", 1, 0)]
    assert asyncio.run(of("%")) == []


def test_times_are_told_by_the_answers_that_they_took(knowledge: Knowledge, database_url: str) -> None:
    figures = filled(database_url, *(noted(NOW, milliseconds=float(number)) for number in range(1, 101)))
    told = summary(figures, knowledge, ASKED, 7, NOW)
    assert told.times == (("50%", 50.0), ("95%", 95.0), ("99%", 99.0))
    assert told.took.numbers == (1, 1, 3, 5, 10, 30, 50, 0, 0, 0)
    assert told.took.total == 100


@pytest.mark.parametrize(
    ("times", "share", "found"),
    [([], 0.5, 0.0), ([(1.0, 1)], 0.99, 1.0), ([(1.0, 1), (9.0, 1)], 0.5, 1.0), ([(1.0, 98), (9.0, 2)], 0.99, 9.0)],
)
def test_so_many_answers_came_within(times: list[tuple[float, int]], share: float, found: float) -> None:
    assert within(times, share) == found


def test_a_year_is_told_by_week(knowledge: Knowledge) -> None:
    told = summary(Figures(), knowledge, ASKED, 364, NOW).over_time[0]
    assert len(told.labels) == 52
    assert (told.labels[0], told.labels[-1]) == ("2025-11-22", "2026-11-14")


def test_nothing_of_a_patient_is_told(decision_service: DecisionService, tmp_path: Path) -> None:
    settings = {"patient_key": "an invented key, made for tests only"}
    with make(decision_service, tmp_path, **settings) as client:
        (card, *_) = client.post(CALL, json=secret_call()).json()["cards"]
        react(client, card, **overridden())
    with make(decision_service, tmp_path, **settings) as client:
        told = client.get("/dashboard").text + client.get("/dashboard.csv").text
    assert "shown" in told
    assert not [secret for secret in SECRETS if secret.lower() in told.lower()]
    assert not re.search(r"[0-9a-f]{64}", told)


def test_what_a_spreadsheet_would_take_for_a_formula_is_made_harmless(
    decision_service: DecisionService, tmp_path: Path
) -> None:
    with make(decision_service, tmp_path) as client:
        card, *_ = call(client)
        react(client, card, **overridden('=HYPERLINK("https://elsewhere.example")'))
        react(client, card, "2026-11-20T09:05:00Z", **overridden("<script>window.hit=1</script>"))
    with make(decision_service, tmp_path) as client:
        reasons = {row["reason"] for row in table(client)}
        page = client.get("/dashboard").text
    assert '\'=HYPERLINK("https://elsewhere.example")' in reasons
    assert "<script>window" not in page


def test_an_empty_book_says_so(decision_service: DecisionService, tmp_path: Path) -> None:
    with make(decision_service, tmp_path) as client:
        assert "Nothing yet." in client.get("/dashboard").text
        assert table(client) == []
        assert "Not shown." in client.get("/rules/low-potassium").text


def test_a_store_that_is_away_is_told_and_rules_are_still_read(decision_service: DecisionService, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with make(decision_service, tmp_path, database_url=f"sqlite+aiosqlite:///{tmp_path}/file/cds.sqlite") as client:
        for path in ("/dashboard", "/dashboard.csv"):
            answer = client.get(path)
            assert answer.status_code == 503
            assert "cannot be read at present" in answer.text
        rule = client.get("/rules/low-potassium")
    assert rule.status_code == 200
    assert "Cannot be read at present." in rule.text


@pytest.mark.parametrize("days", ["0", "31", "-1", "many", "<b>", "30.0", ""])
def test_only_a_period_that_is_offered_is_counted(decision_service: DecisionService, tmp_path: Path, days: str) -> None:
    with make(decision_service, tmp_path) as client:
        for path in ("/dashboard", "/dashboard.csv"):
            answer = client.get(path, params={"days": days})
            assert answer.status_code == 400
            assert "<code>days</code>" in answer.text
            assert "<b>" not in answer.text


def test_where_clients_are_counted_only_who_has_signed_in_sees_it(decision_service: DecisionService, tmp_path: Path) -> None:
    clients = clients_file(tmp_path, {"iss": ISS, "jku": "https://ehr.example/keys", "audiences": ["https://cds.example"]})
    demo = make(decision_service, tmp_path, pages="demo", clients=str(clients))
    with demo as client:
        assert client.get("/dashboard").status_code == 403
        assert client.get("/dashboard.csv").status_code == 403
        assert "Here, in 90 days" not in client.get("/rules/low-potassium").text
    # Behind whatever guards it, EHRs call as well.
    with make(decision_service, tmp_path, pages="demo", guarded=True) as client:
        assert client.get("/dashboard").status_code == 403
    named = {"X-Forwarded-User": "someone"}
    signed = {"pages": "signed-in", "pages_from": "127.0.0.1", "clients": str(clients)}
    with make(decision_service, tmp_path, **signed) as client:
        assert client.get("/dashboard").status_code == 403
        assert client.get("/dashboard", headers=named).status_code == 200
        assert client.get("/dashboard.csv", headers=named).status_code == 200
        assert "Here, in 90 days" in client.get("/rules/low-potassium", headers=named).text


@pytest.mark.asyncio
async def test_a_crowd_of_readers_reads_once() -> None:
    now, reads = [0.0], 0
    recent = Recent[int](lambda: now[0])

    async def read() -> int:
        nonlocal reads
        await asyncio.sleep(0)
        reads += 1
        return reads

    assert await asyncio.gather(*(recent.get("month", read) for _ in range(20))) == [1] * 20
    assert await recent.get("week", read) == 2
    now[0] = 5.1
    assert await recent.get("month", read) == 3


@pytest.mark.asyncio
async def test_a_reading_that_failed_is_tried_again_after_a_while() -> None:
    now = [0.0]
    recent = Recent[int](lambda: now[0])

    async def fail() -> int:
        raise OSError("the disk is away")

    async def read() -> int:
        return 0

    for asked in (fail, read):
        with pytest.raises(OSError, match="away"):
            await recent.get("month", asked)
    now[0] = 5.1
    assert await recent.get("month", read) == 0

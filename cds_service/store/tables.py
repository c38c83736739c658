"""The tables, as SQLAlchemy sees them. The migrations build them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()
# SQLite numbers rows by itself only in a column of type INTEGER, which holds 64 bits there anyway.
_ID = BigInteger().with_variant(Integer, "sqlite")

feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("service_id", String(64), nullable=False),
    Column("card", String(200), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("outcome_at", DateTime(timezone=True), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False),
    Column("accepted", JSON, nullable=False),
    Column("reason_system", String(200), nullable=False),
    Column("reason_code", String(200), nullable=False),
    Column("comment_length", Integer, nullable=False),
    Column("client", String(200), nullable=False, server_default=""),
    Column("comment", Text, nullable=True),
    Index("ix_feedback_card", "card"),
    Index("ix_feedback_received_at", "received_at"),
)

shown_cards = Table(
    "shown_cards",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("card", String(36), nullable=False, unique=True),
    Column("service_id", String(64), nullable=False),
    Column("client", String(200), nullable=False),
    Column("card_group", String(64), nullable=False),
    Column("indicator", String(16), nullable=False),
    # [[rule, version], …]
    Column("rules", JSON, nullable=False),
    # [[uuid of the suggestion, rule, order], …]
    Column("offers", JSON, nullable=False),
    # A keyed hash, null without a key; erased when it can silence nothing any more.
    Column("patient", String(64), nullable=True),
    Column("shown_at", DateTime(timezone=True), nullable=False),
    Index("ix_shown_cards_shown_at", "shown_at"),
)

answers = Table(
    "answers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("answered_at", DateTime(timezone=True), nullable=False),
    Column("client", String(200), nullable=False),
    Column("service_id", String(64), nullable=False),
    Column("hook_instance", String(200), nullable=False),
    Column("knowledge", String(64), nullable=False),
    # {outcome: [rule, …]}; a rule that is not named was silent.
    Column("outcomes", JSON, nullable=False),
    # {query: state}; a query that is not named was known.
    Column("states", JSON, nullable=False),
    Column("cards", Integer, nullable=False),
    Column("milliseconds", Float, nullable=False),
    # [rule, …] that fired in shadow, and how many cards there would have been; null where none did, as is the patient.
    Column("shadow", JSON(none_as_null=True), nullable=True),
    Column("cards_with_shadow", Integer, nullable=True),
    Column("patient", String(64), nullable=True),
    Index("ix_answers_answered_at", "answered_at"),
)

codes_seen = Table(
    "codes_seen",
    metadata,
    Column("id", _ID, primary_key=True),
    # Of client, resource type, system and code.
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("client", String(500), nullable=False),
    Column("resource_type", String(64), nullable=False),
    Column("system", String(200), nullable=False),
    Column("code", String(64), nullable=False),
    Column("words", String(100), nullable=False),
    Column("answers", Integer, nullable=False),
    Column("last_seen", DateTime(timezone=True), nullable=False),
    Index("ix_codes_seen_last_seen", "last_seen"),
)

daily_counts = Table(
    "daily_counts",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("client", String(200), primary_key=True),
    Column("service_id", String(64), primary_key=True),
    Column("what", String(16), primary_key=True),
    Column("name", String(100), primary_key=True),
    Column("answers", Integer, nullable=False),
)

used_tokens = Table(
    "used_tokens",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Index("ix_used_tokens_expires", "expires"),
)

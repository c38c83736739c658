"""The tables, as SQLAlchemy sees them. The migrations build them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, DateTime, Index, Integer, MetaData, String, Table

metadata = MetaData()

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
    Index("ix_feedback_card", "card"),
)

used_tokens = Table(
    "used_tokens",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Index("ix_used_tokens_expires", "expires"),
)

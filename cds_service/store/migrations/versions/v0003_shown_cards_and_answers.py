"""What each card shown stands for, so that feedback can be read by rule; a row for every answer; more of feedback."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "shown_cards",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("card", sa.String(36), nullable=False, unique=True),
        sa.Column("service_id", sa.String(64), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("card_group", sa.String(64), nullable=False),
        sa.Column("indicator", sa.String(16), nullable=False),
        sa.Column("rules", sa.JSON, nullable=False),
        sa.Column("offers", sa.JSON, nullable=False),
        sa.Column("patient", sa.String(64), nullable=True),
        sa.Column("shown_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_shown_cards_shown_at", "shown_cards", ["shown_at"])
    op.create_table(
        "answers",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("client", sa.String(200), nullable=False),
        sa.Column("service_id", sa.String(64), nullable=False),
        sa.Column("hook_instance", sa.String(200), nullable=False),
        sa.Column("knowledge", sa.String(64), nullable=False),
        sa.Column("outcomes", sa.JSON, nullable=False),
        sa.Column("states", sa.JSON, nullable=False),
        sa.Column("cards", sa.Integer, nullable=False),
        sa.Column("milliseconds", sa.Float, nullable=False),
    )
    op.create_index("ix_answers_answered_at", "answers", ["answered_at"])
    op.add_column("feedback", sa.Column("client", sa.String(200), nullable=False, server_default=""))
    op.add_column("feedback", sa.Column("comment", sa.Text, nullable=True))
    op.create_index("ix_feedback_received_at", "feedback", ["received_at"])


def downgrade() -> None:
    op.drop_index("ix_feedback_received_at", "feedback")
    with op.batch_alter_table("feedback") as feedback:
        feedback.drop_column("comment")
        feedback.drop_column("client")
    op.drop_table("answers")
    op.drop_table("shown_cards")

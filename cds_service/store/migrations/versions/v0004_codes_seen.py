"""Codes that several patients had and that nobody knew, with how many answers they came in: nothing of any one patient."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "codes_seen",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False, unique=True),
        sa.Column("client", sa.String(500), nullable=False),
        sa.Column("resource_type", sa.String(64), nullable=False),
        sa.Column("system", sa.String(200), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("words", sa.String(100), nullable=False),
        sa.Column("answers", sa.Integer, nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_codes_seen_last_seen", "codes_seen", ["last_seen"])


def downgrade() -> None:
    op.drop_index("ix_codes_seen_last_seen", "codes_seen")
    op.drop_table("codes_seen")

"""Of an answer the rules in shadow that fired; and how many answers of a day had what, with nothing of a patient."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = {"day": 10, "client": 200, "service_id": 64, "what": 16, "name": 100}


def upgrade() -> None:
    for column in (
        sa.Column("shadow", sa.JSON),
        sa.Column("cards_with_shadow", sa.Integer),
        sa.Column("patient", sa.String(64)),
    ):
        op.add_column("answers", column)
    key = (sa.Column(name, sa.String(length), primary_key=True) for name, length in _KEY.items())
    op.create_table("daily_counts", *key, sa.Column("answers", sa.Integer, nullable=False))


def downgrade() -> None:
    op.drop_table("daily_counts")
    with op.batch_alter_table("answers") as answers:
        for name in ("patient", "cards_with_shadow", "shadow"):
            answers.drop_column(name)

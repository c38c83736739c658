"""Of an answer the rules in shadow that fired; and how many answers of a day had what, with nothing of a patient."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_KEY = {"day": 10, "client": 200, "service_id": 64, "what": 16, "name": 100}


def upgrade() -> None:
    op.add_column("answers", sa.Column("shadow", sa.JSON, nullable=True))
    op.add_column("answers", sa.Column("cards_with_shadow", sa.Integer, nullable=True))
    op.add_column("answers", sa.Column("patient", sa.String(64), nullable=True))
    key = (sa.Column(name, sa.String(length), primary_key=True) for name, length in _KEY.items())
    op.create_table("daily_counts", *key, sa.Column("answers", sa.Integer, nullable=False))


def downgrade() -> None:
    op.drop_table("daily_counts")
    with op.batch_alter_table("answers") as answers:
        answers.drop_column("patient")
        answers.drop_column("cards_with_shadow")
        answers.drop_column("shadow")

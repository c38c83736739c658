"""What the file of clients may name of the knowledge: prefetch keys, jurisdictions, tests, codes."""

from __future__ import annotations

from functools import partial
from typing import get_args

from cds_service.knowledge.knowledge import Knowledge
from cds_service.lint.code_provenance import doubt_about_code
from cds_service.rules.shadow import shadow_names
from cds_service.security.clients import ClientSchema
from cds_service.security.code_map import MapSchema
from cds_service.settings import Jurisdiction


def client_schema(knowledge: Knowledge, development: bool = False) -> ClientSchema:
    """What a file of clients may refer to."""
    tests = {name: [f"{system}|{code}" for system, code in order.codes] for name, order in knowledge.orders.items()}
    codes = MapSchema(tests, partial(doubt_about_code, knowledge))
    return ClientSchema(tuple(knowledge.queries), get_args(Jurisdiction), development, codes, shadow=shadow_names(knowledge))

"""What every kind of fact has, and the kinds that are made of other facts."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from cds_service.model import ValueType


class Kind(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, tag_field="kind"):
    """`reads`: the queries that it rests on, but for those of analytes. `roles`: the kind of thing that a member names."""

    type: ClassVar[ValueType] = "boolean"
    values: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ()
    roles: ClassVar[dict[str, str]] = {}

    question: str


class _Composed(Kind):
    """Made of other facts."""

    facts: tuple[str, ...]


class AnyOf(_Composed, tag="any-of"):
    """True if one is, false if all are, else unknown."""


class AllOf(_Composed, tag="all-of"):
    """False if one is, true if all are, else unknown."""


class AllShown(_Composed, tag="all-shown"):
    """True if all are true, else false: what is not known is not shown either."""


class NewerThan(_Composed, tag="newer-than"):
    """Does what the first fact rests on have a later day than what the second rests on? True too where the second is false."""


class _OfOneFact(Kind):
    """Says something of one other fact, for the texts of cards. Never unknown itself."""

    fact: str


class NotShown(_OfOneFact, tag="not-shown"):
    """True where the fact is false or not known, so that a text can say what holds as far as anybody knows."""


class NotKnown(_OfOneFact, tag="not-known"):
    """True where the fact is not known, so that a text can say so."""

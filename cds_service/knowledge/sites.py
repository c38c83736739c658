"""A concept that has its place in the body: one definition, by codes and by words, for every fact that asks for it.

A code that names the place says it all. A code of the same thing without a place counts where words or a body site place it;
and words alone count where they name the thing and the place within one phrase, in any order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cds_service.fhir.resources import CodeableConcept, codings
from cds_service.knowledge.recognition import words_in
from cds_service.knowledge.schema import BodySite
from cds_service.knowledge.terminology import PhraseIndex, Terminology, word_pattern

_PHRASE_END = re.compile(r"[.;|\n]")
# Between two places of one list: `hands and legs`, `hand/leg`, `hand, right leg`.
_JOINED = re.compile(r"[\s,/&+-]*(?:\b(?:and|or|right|left|both|the|my|his|her|their)\b[\s,/&+-]*)*")


@dataclass(frozen=True, slots=True)
class SitedConcept:
    """The words of one value set with a `site`, compiled. `alone`: phrases that name thing and place in one."""

    value_set: str
    site: BodySite
    things: re.Pattern[str]
    places: re.Pattern[str]
    other_places: re.Pattern[str]
    alone: re.Pattern[str]
    any_thing: PhraseIndex[None]
    allowed: re.Pattern[str]

    def is_placed(self, words: str) -> bool | None:
        """Whether words place the thing here: True, False where only another place is named, None where none is."""
        here = [match.span() for match in self.places.finditer(words)]
        elsewhere = [match.span() for match in self.other_places.finditer(words)]
        if here and not elsewhere:
            return True
        if here:
            return self._is_nearer(words, here, elsewhere)
        return False if elsewhere else None

    def _is_nearer(self, words: str, here: Sequence[tuple[int, int]], elsewhere: Sequence[tuple[int, int]]) -> bool:
        """Whether, of several places, the thing is said of this one: it stands nearest, or in one list with the nearest."""
        things = [match.span() for match in self.things.finditer(words)]
        if not things:
            return True
        near_here = min(here, key=lambda place: _distance(place, things))
        near_other = min(elsewhere, key=lambda place: _distance(place, things))
        if _distance(near_here, things) <= _distance(near_other, things):
            return True
        first, second = sorted((near_here, near_other))
        return bool(_JOINED.fullmatch(words, first[1], second[0]))

    def is_named(self, words: str) -> bool:
        """Whether words alone name the thing at its place."""
        if not self.any_thing.stands_in(words):
            return False
        for phrase in _PHRASE_END.split(words):
            if self.alone.search(phrase) and self.is_placed(phrase) is not False:
                return True
            if self.things.search(phrase) and self.is_placed(phrase):
                return True
        return False


def sited_concepts(sites: Mapping[str, BodySite], phrases: Mapping[str, Sequence[str]]) -> tuple[SitedConcept, ...]:
    return tuple(
        SitedConcept(
            value_set=name,
            site=site,
            things=word_pattern(site.things),
            places=word_pattern(site.places),
            other_places=word_pattern(site.other_places),
            alone=word_pattern(phrases.get(name, ())),
            any_thing=PhraseIndex([((*site.things, *phrases.get(name, ())), None)]),
            allowed=word_pattern(site.allowed),
        )
        for name, site in sites.items()
    )


def placed(
    concept: SitedConcept,
    code: CodeableConcept | None,
    sites: Iterable[CodeableConcept | None],
    terminology: Terminology,
    jurisdiction: str,
) -> bool | None:
    """Whether a coded thing without a place is at this one; None where its body site is coded without words."""
    given = [item for item in sites if item]
    if any(codings(item) and not words_in(item) for item in given):
        return None
    words = " | ".join(words_in(item) for item in (code, *given) if item)
    here = concept.is_placed(words)
    if here:
        return not terminology.denies(concept.allowed.sub(" ", words))
    if given or here is False:
        return False
    assumed = concept.site.assumed_in.get(jurisdiction, ())
    return any(token in assumed for token in terminology.tokens(code))


def _distance(place: tuple[int, int], things: Sequence[tuple[int, int]]) -> int:
    return min(max(place[0] - thing[1], thing[0] - place[1], 0) for thing in things)

"""What an entry is about, where no code of ours says so: something of ours in words, something else, or not understood.

An absence may be said only where every entry was understood. A code decides *no* only in a system of which our sets hold every
member; else words decide. Words that cannot be read, placeholders, and drugs whose name stands in no list are not understood.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cds_service.fhir.resources import CodeableConcept
from cds_service.knowledge.schema import OtherWords
from cds_service.knowledge.terminology import Terminology, word_pattern
from cds_service.model import CodeMap

_LETTERS = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_LONGEST_NAME = 5
_LEAST_LETTERS = 3
_MOST_KEPT = 20_000
_MOST_LOOKED_AT = 2000
"""Characters of an entry's words that are looked at."""


class Recognition:
    """Look-ups prepared once for all charts. Nothing of a patient is kept."""

    def __init__(
        self,
        terminology: Terminology,
        words: OtherWords,
        drug_names: Iterable[str],
        vocabulary: Iterable[str],
        analytes: Mapping[str, Sequence[str]],
    ) -> None:
        self._terminology = terminology
        self._drug_names = frozenset(drug_names)
        self._vocabulary = frozenset((*vocabulary, *words.readable, *words.supplies))
        self._placeholders = frozenset(text.lower() for text in words.placeholders)
        self._supplies = word_pattern((*words.supplies, *words.other_drugs))
        self._specimens = word_pattern(words.other_specimens)
        self._muscle_or_leg = word_pattern(words.muscle_or_leg)
        self._analytes = {name.lower().replace("-", " "): key for key, names in analytes.items() for name in names}
        self._analyte = word_pattern(self._analytes)
        self._others: set[int] = set()

    def over(self, terminology: Terminology) -> Recognition:
        """The same over the codes of one client."""
        own = copy.copy(self)
        own._terminology, own._others = terminology, set()
        return own

    def is_another_condition(self, concept: CodeableConcept | None) -> bool:
        """Whether a condition that no set holds is understood as something else."""
        if self._terminology.is_listed(concept) or self._terminology.is_declared_other(concept):
            return True
        return self.is_readable(words_in(concept))

    def is_another_drug(self, concept: CodeableConcept | None) -> bool:
        """Whether a drug that no set holds is understood as something else."""
        words = words_in(concept)
        if self._terminology.is_declared_other(concept):
            return True
        return self._names_a_drug(words) or bool(self._supplies.search(words))

    def is_another_result(self, concept: CodeableConcept | None) -> bool:
        """Whether a result, an order or a procedure that no set holds is understood as something else.

        Thousands of a chart have the same few words, so what was found is kept: by a hash of the words, not by the words. Nor
        by the code, beside which another record may have other words: the answer must not depend on what was asked before.
        """
        words = words_in(concept)
        if self._terminology.is_declared_other(concept):
            return not self.analyte(words)
        if not words:
            return False
        key = hash(words)
        if key in self._others:
            return True
        found = self.is_readable(words) and not self.analyte(words)
        if found and len(self._others) < _MOST_KEPT:
            self._others.add(key)
        return found

    def analyte(self, words: str) -> str:
        """The analyte that words name, the longest name first; empty where they name none, several, or another specimen."""
        words = words.replace(".", " ")
        found = {
            self._analytes[" ".join(match.group().lower().replace("-", " ").split())] for match in self._analyte.finditer(words)
        }
        # The name of an analyte may itself hold a word that elsewhere names another specimen or quantity.
        beside = self._analyte.sub(" ", words)
        return "" if len(found) != 1 or self._specimens.search(beside) else found.pop()

    def concerns_muscle_or_leg(self, words: str) -> bool:
        """Whether words name a leg, a muscle, a nerve, a vessel, a swelling or an electrolyte."""
        return bool(self._muscle_or_leg.search(words))

    def is_readable(self, words: str) -> bool:
        """Whether words say what an entry is about, in a language that is read here."""
        if any(part.strip().lower() in self._placeholders for part in words.split("|")) and "|" not in words:
            return False
        read = [word for word in _LETTERS.findall(words.lower()) if len(word) >= _LEAST_LETTERS]
        known = [word for word in read if self._is_known(word)]
        return bool(known) and 2 * len(known) >= len(read)

    def _is_known(self, word: str) -> bool:
        if word in self._vocabulary or word in self._drug_names:
            return True
        return "-" in word and all(part in self._vocabulary for part in word.split("-"))

    def _names_a_drug(self, words: str) -> bool:
        tokens = re.findall(r"[\w'-]+", words.lower())
        if any(part in self._drug_names for token in tokens if "-" in token for part in token.split("-")):
            return True
        return any(
            " ".join(tokens[at : at + length]) in self._drug_names
            for length in range(1, _LONGEST_NAME + 1)
            for at in range(len(tokens) - length + 1)
        )


class Lexicon(NamedTuple):
    """What codes and words mean: of ours alone, or with a client's own codes laid over them."""

    terminology: Terminology
    recognition: Recognition

    def with_map(self, code_map: CodeMap | None) -> Lexicon:
        if code_map is None:
            return self
        terminology = self.terminology.with_map(code_map)
        return Lexicon(terminology, self.recognition.over(terminology))


def words_in(concept: CodeableConcept | None) -> str:
    """Text and displays of a concept, as far as they are looked at."""
    if concept is None:
        return ""
    given = [concept.text, *[item.display for item in concept.coding or () if item]]
    said = dict.fromkeys([text for text in given if text and text.strip()])
    return " | ".join(said)[:_MOST_LOOKED_AT]

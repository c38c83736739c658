"""What an entry is about, where no code of ours says so: something of ours in words, something else, or not understood.

An absence may be said only where every entry was understood. A code decides *no* only in a system of which our sets hold every
member; else words decide. Words that cannot be read, words that say only that there is something, placeholders, and drugs
whose name stands in no list are not understood.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from cds_service.fhir.resources import CodeableConcept
from cds_service.knowledge.schema import OtherWords
from cds_service.knowledge.terminology import Terminology, word_pattern
from cds_service.model import CodeMap

_LETTERS = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_LEAST_LETTERS = 3
_MOST_KEPT = 20_000
_MOST_LOOKED_AT = 2000
"""Characters of an entry's words that are looked at."""
_ONE_SLIP, _TWO_SLIPS = 4, 8
"""From how many letters on a word may be another with one letter wrong, or with two."""
_MOST_LETTERS = 32
"""A word that is longer is none of ours misspelt; what is left of it in all ways would be too much to look at."""

_LONGEST_NAME = 5
_DRUG_TOKENS = re.compile(r"[\w'-]+|[/+&,;|()\[\]]")
_JOINS = frozenset(("and", "with", *"/+&,;|()[]"))
# Behind a drug: its brand as RxNorm writes it, its maker as dm+d does.
_BRACKETED = re.compile(r"\[([^\]]*)\]|\(([^)]*)\)")


class OwnWords(NamedTuple):
    """What is ours, in words: names of each analyte, phrases of conditions, names of drugs, and the titles of all sets.

    `displays` are those of the codes of analytes: beside the name they hold the words of specimens and methods.
    """

    analytes: Mapping[str, Sequence[str]]
    conditions: Sequence[str]
    drugs: Sequence[str]
    titles: Sequence[str]
    displays: Sequence[str]


class Misspelt:
    """Whether a word may be one of ours misspelt: with a letter or two left out of each, they are the same."""

    def __init__(self, words: Iterable[str]) -> None:
        self._rests = frozenset(rest for word in words for rest in _rests(word))

    def __contains__(self, word: str) -> bool:
        return not self._rests.isdisjoint(_rests(word))


def _rests(word: str) -> set[str]:
    """A word, and what is left without any letter, of a long word without any two. Short words are near to too many."""
    if not _ONE_SLIP <= len(word) <= _MOST_LETTERS:
        return set()
    most = 2 if len(word) >= _TWO_SLIPS else 1
    return {"".join(kept) for left_out in range(most + 1) for kept in combinations(word, len(word) - left_out)}


class DrugTexts:
    """Whether a text names other drugs and nothing besides: a name that is known does not speak for what stands beside it."""

    def __init__(self, words: OtherWords, drug_names: Iterable[str], own: Iterable[str]) -> None:
        self._names = frozenset((*drug_names, *words.other_drugs, *words.supplies))
        self._supplies = frozenset(words.supplies)
        self._words, self._salts = frozenset(words.drug_words), frozenset(words.salts)
        self._supply_words = self._words | frozenset(words.supply_words)
        self._of_companies = frozenset(words.company_words)
        self._own = {word for name in own for word in _LETTERS.findall(name.lower())}
        self._misspelt = Misspelt(self._own)

    def are_all_of(self, words: str) -> bool:
        words = words.lower()
        without = _BRACKETED.sub(self._kept_of, words)
        # The name of one drug may hold a hyphen, and one may join two.
        return any(self._covers(text) for text in dict.fromkeys((words, without, without.replace("-", " / "))))

    def _kept_of(self, match: re.Match[str]) -> str:
        """Nothing of a brand or a maker that is unlike all of ours, as the drug itself stands before it."""
        brand, other = match.groups()
        said = _LETTERS.findall(other if brand is None else brand)
        is_name = brand is not None or not self._of_companies.isdisjoint(said)
        is_like_ours = any(word in self._own or word in self._misspelt for word in said)
        return match.group() if is_like_ours or not is_name else " "

    def _covers(self, words: str) -> bool:
        names, others = self._parted(_DRUG_TOKENS.findall(words))
        read = self._words if self._supplies.isdisjoint(names) else self._supply_words
        return bool(names) and all(self._is_read(word, read) for word in others)

    def _parted(self, tokens: Sequence[str]) -> tuple[set[str], list[str]]:
        """The names of a text and its other words. A salt behind a name is part of it; by itself it is a drug of its own."""
        names: set[str] = set()
        others: list[str] = []
        at, is_named = 0, False
        while at < len(tokens):
            length = self._length_of_name(tokens, at)
            if length:
                names.add(" ".join(tokens[at : at + length]))
                is_named = True
            elif tokens[at] in _JOINS:
                is_named = False
            elif not is_named or tokens[at] not in self._salts:
                others.append(tokens[at])
            at += length or 1
        return names, others

    def _length_of_name(self, tokens: Sequence[str], at: int) -> int:
        """How many words from here are the name of a drug or supply, at most; 0 if none."""
        for length in range(min(_LONGEST_NAME, len(tokens) - at), 0, -1):
            if " ".join(tokens[at : at + length]) in self._names:
                return length
        return 0

    def _is_read(self, token: str, read: frozenset[str]) -> bool:
        """Whether a word is a form, a strength, a direction or the like: `28`, `500mg`, `extended-release`."""
        return token in read or all(part in read for part in token.strip("0123456789_").split("-") if part)


class Recognition:
    """Look-ups prepared once for all charts. Nothing of a patient is kept."""

    def __init__(
        self,
        terminology: Terminology,
        words: OtherWords,
        drug_names: Sequence[str],
        vocabulary: Iterable[str],
        own: OwnWords,
    ) -> None:
        names = [name for given in own.analytes.values() for name in given]
        own_words = {word for text in (*names, *own.conditions, *own.titles) for word in _read_of(text)}
        self._terminology = terminology
        self._drugs = DrugTexts(words, drug_names, own.drugs)
        of_methods = {word for text in own.displays for word in _read_of(text)}
        self._known = frozenset((*vocabulary, *drug_names, *words.readable, *words.supplies, *own_words, *of_methods))
        self._generic, self._kinds = frozenset(words.generic), frozenset(words.kinds)
        self._own, self._misspelt = own_words, Misspelt(own_words)
        self._contents = {frozenset(_read_of(phrase)) - self._generic for phrase in own.conditions}
        self._parts = {frozenset(part) for content in self._contents for part in _parts_of(content)}
        self._placeholders = frozenset(_plain(text) for text in words.placeholders)
        self._statements_of_none = frozenset(words.statements_of_none)
        self._muscle_or_leg = word_pattern(words.muscle_or_leg)
        self._analytes = AnalyteNames(words, own.analytes)
        self._others: dict[int, bool] = {}

    def over(self, terminology: Terminology) -> Recognition:
        """The same over the codes of one client."""
        own = copy.copy(self)
        own._terminology, own._others = terminology, {}
        return own

    def is_another_condition(self, concept: CodeableConcept | None) -> bool:
        """Whether a condition that no set holds is understood as something else."""
        if self._terminology.is_listed(concept) or self._terminology.is_declared_other(concept):
            return True
        return self._is_kept(
            "condition", words_in(concept), lambda words: self.is_readable(words) and not self._is_vague(words)
        )

    def is_another_drug(self, concept: CodeableConcept | None) -> bool:
        """Whether a drug that no set holds is understood as something else."""
        if self._terminology.is_declared_other(concept):
            return True
        return self._is_kept("drug", words_in(concept), self._drugs.are_all_of)

    def is_another_result(self, concept: CodeableConcept | None) -> bool:
        """Whether a result, an order or a procedure that no set holds is understood as something else."""
        words = words_in(concept)
        if self._terminology.is_declared_other(concept):
            return not self.analyte(words)
        return self._is_kept("result", words, lambda said: self.is_readable(said) and self._analytes.are_none_of(said))

    def _is_kept(self, kind: str, words: str, is_another: Callable[[str], bool]) -> bool:
        """Thousands of a chart have the same few words, so what was found is kept: by a hash of the words, not by the words.

        Nor by the code, beside which another record may have other words: the answer must not depend on what was asked before.
        """
        if not words:
            return False
        key = hash((kind, words))
        known = self._others.get(key)
        if known is None:
            if len(self._others) >= _MOST_KEPT:
                # Begun anew, so that what one caller sends does not keep out for good what all others do.
                self._others.clear()
            known = self._others[key] = is_another(words)
        return known

    def analyte(self, words: str) -> str:
        """The analyte that words name, the longest name first; empty where they name none, several, or another specimen.

        Empty too where a word beside it is not read: it may be that of another specimen, or a second analyte.
        """
        found = self._analytes.only_one_of(words)
        return found if found and not self._unknown(self._content(words)) else ""

    def concerns_muscle_or_leg(self, words: str) -> bool:
        """Whether words name a leg, a muscle, a nerve, a vessel, a swelling or an electrolyte."""
        return bool(self._muscle_or_leg.search(words))

    def is_readable(self, words: str) -> bool:
        """Whether words say what an entry is about, in a language that is read here, with none of ours misspelt in them.

        `Chronic problem` says nothing, and of `serum kalium` the one word that does say something is not read.
        """
        said = {_plain(part) for part in words.split("|")} - {""}
        if said <= self._placeholders or said <= self._statements_of_none:
            return not said <= self._placeholders
        content = self._content(words)
        unknown = self._unknown(content)
        if 2 * len(unknown) >= len(content) or any(word in self._misspelt for word in unknown):
            return False
        return not any(first + second in self._own for first, second in pairwise(re.findall(r"[^\W\d_]+", words.lower())))

    def _content(self, words: str) -> frozenset[str]:
        return frozenset(word for word in set(_read_of(words)) if not self._is_generic(word))

    def _is_generic(self, word: str) -> bool:
        return self._generic.issuperset(_long_parts(word)) if "-" in word else word in self._generic

    def _unknown(self, content: Iterable[str]) -> list[str]:
        return [word for word in content if not self._is_known(word)]

    def _is_known(self, word: str) -> bool:
        if word in self._known or word.removesuffix("'s") in self._known:
            return True
        return "-" in word and all(part in self._known or part in self._generic for part in _long_parts(word))

    def _is_vague(self, words: str) -> bool:
        """Whether words may mean a condition of ours, though not in our words: `CKD4`, `liver problem`, `disease of kidney`."""
        content = self._content(words)
        is_of_ours = content in self._contents or (content in self._parts and not self._kinds.isdisjoint(_read_of(words)))
        return is_of_ours and not self._terminology.denies(words)


class AnalyteNames:
    """Which analyte words name, and whether it is that of blood, certainly another, or in doubt."""

    def __init__(self, words: OtherWords, names: Mapping[str, Sequence[str]]) -> None:
        self._keys = {_plain(name): key for key, given in names.items() for name in given}
        self._name = word_pattern(self._keys)
        self._measures, self._materials = frozenset(words.other_measures), frozenset(words.other_specimens)
        self._blood = word_pattern(words.blood_specimens)
        self._beside = word_pattern((*self._measures, *self._materials, *words.doubtful_specimens))
        self._quantities = {key: frozenset(given) for key, given in words.other_quantities.items()}
        self._groups = word_pattern(words.test_groups)
        self._symbols = re.compile(rf"(?<!\w)(?:{'|'.join(words.symbols)})(?![\w/])")
        self._symbols_elsewhere = word_pattern(words.symbols_elsewhere)

    def only_one_of(self, words: str) -> str:
        found, beside = self._found(words)
        return "" if len(found) != 1 or beside else found.pop()

    def are_none_of(self, words: str) -> bool:
        """Whether words name no analyte of ours, or surely not that of blood: `in urine` is sure, `post dialysis` is not."""
        found, beside = self._found(words)
        if beside & self._measures:
            return True
        if beside & self._materials:
            return not (found and self._blood.search(words))
        if not found:
            return not self._groups.search(words) and not self._symbols.search(self._symbols_elsewhere.sub(" ", words))
        return len(found) == 1 and not beside.isdisjoint(self._quantities.get(next(iter(found)), frozenset()))

    def _found(self, words: str) -> tuple[set[str], set[str]]:
        """The analytes that words name, and what is said beside them: a name may itself hold a word that else says another."""
        words = words.replace(".", " ")
        found = {self._keys[_plain(match.group())] for match in self._name.finditer(words)}
        return found, {_plain(match.group()) for match in self._beside.finditer(self._name.sub(" ", words))}


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").split())


def _read_of(words: str) -> list[str]:
    """The words of a text that are long enough to be told apart."""
    return [word for word in _LETTERS.findall(words.lower()) if len(word) >= _LEAST_LETTERS]


def _long_parts(word: str) -> list[str]:
    """The parts of a word that a hyphen joins: of `x-ray` the latter."""
    return [part for part in word.split("-") if len(part) >= _LEAST_LETTERS] or [word]


def _parts_of(content: frozenset[str]) -> Iterable[tuple[str, ...]]:
    return (part for length in range(1, len(content) + 1) for part in combinations(content, length))


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

"""What an entry is about, where no code of ours says so: something of ours in words, something else, or not understood.

An absence may be said only where every entry was understood. A code decides *no* only in a system of which our sets hold every
member; else words decide. Words that cannot be read, words that say only that there is something, placeholders, and drugs
whose name stands in no list are not understood.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

from cds_service.fhir.resources import CodeableConcept
from cds_service.knowledge.schema import OtherWords
from cds_service.knowledge.terminology import Terminology, word_pattern
from cds_service.model import CodeMap

_LETTERS = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_LEAST_LETTERS = 3
_LEAST_STEM = 5
_MOST_KEPT = 20_000
_MOST_LOOKED_AT = 2000
"""Characters of an entry's words that are looked at."""
_ONE_SLIP, _TWO_SLIPS = 4, 8
"""From how many letters on a word may be another with one letter wrong, or with two."""
_MOST_LETTERS = 32
"""A word that is longer is none of ours misspelt; what is left of it in all ways would be too much to look at."""

_CODE = re.compile(r"[A-Z0-9]+(?:_[A-Z0-9]+)+")
# Behind a name of SNOMED CT: `(situation)`, `(observable entity)`.
_KIND_BEHIND = re.compile(r"\((?:situation|finding|disorder|procedure|observable entity)\)\s*$")

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
        self._supplements, self._anions = frozenset(words.supplements), self._salts - frozenset(words.metals)
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
        """The names of a text and its other words. A salt behind a name is part of it; by itself it is a drug of its own.

        So is a metal behind a supplement: `vitamin D magnesium` is two of them.
        """
        names: set[str] = set()
        others: list[str] = []
        at, salts = 0, frozenset[str]()
        while at < len(tokens):
            length = self._length_of_name(tokens, at)
            if length:
                name = " ".join(tokens[at : at + length])
                names.add(name)
                salts = self._anions if name in self._supplements else self._salts
            elif tokens[at] in _JOINS:
                salts = frozenset()
            elif tokens[at] not in salts:
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
        beside = (*own.displays, *words.other_specimens, *words.other_measures, *words.doubtful_specimens)
        of_methods = {word for text in beside for word in _read_of(text)}
        self._short = re.compile(rf"(?<!\w)(?:{'|'.join(words.short_words)})(?!\w)")
        read = (*words.readable, *words.short_words, *words.supplies)
        self._known = frozenset((*vocabulary, *drug_names, *read, *own_words, *of_methods))
        self._endings = words.endings
        self._generic, self._kinds = frozenset(words.generic), frozenset(words.kinds)
        self._own, self._misspelt = own_words, Misspelt(own_words)
        self._contents = {frozenset(_read_of(phrase)) - self._generic for phrase in own.conditions}
        self._parts = {frozenset(part) for content in self._contents for part in _parts_of(content)}
        self._placeholders = frozenset(_plain(text) for text in words.placeholders)
        self._statements_of_none = frozenset(words.statements_of_none)
        self._muscle_or_leg = word_pattern(words.muscle_or_leg)
        self._analytes = AnalyteNames(words, own.analytes)
        of_tests = {word for text in (*names, *words.test_groups) for word in _read_of(text)}
        self._misspelt_analytes = Misspelt(of_tests - self._generic)
        self._speaking_systems = frozenset(words.speaking_systems)
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
            "condition",
            words_in(concept),
            lambda words: self.is_readable(words) and not any(map(self._is_vague, words.split("|"))),
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
        speaking = self._speaking_displays(concept)
        return self._is_kept(
            "result",
            words,
            lambda said: self._is_other_result(said) or self._one_speaks_for(speaking, said.split("|")),
            speaking,
        )

    def _speaking_displays(self, concept: CodeableConcept | None) -> tuple[str, ...]:
        """The displays of systems whose names say all of what was measured."""
        systems = self._speaking_systems
        codings = [item for item in (concept.coding or () if concept else ()) if item]
        said = tuple(item.display or "" for item in codings if self._terminology.short_system(item.system) in systems)
        return said if sum(map(len, said)) <= _MOST_LOOKED_AT else ()

    def _is_other_result(self, words: str) -> bool:
        return self.is_readable(words) and self._analytes.are_none_of(words)

    def _one_speaks_for(self, speaking: Iterable[str], parts: Sequence[str]) -> bool:
        """Whether one display of which every word is read says what the others name too, none of which is like ours."""
        if not any(self._is_other_result(said) and not self._unknown(self._content(said)) for said in speaking):
            return False
        return all(self._is_other_result(part) or self._is_unlike_ours(part) for part in parts)

    def _is_unlike_ours(self, words: str) -> bool:
        """Whether words that are not read hold no analyte: those of another language, or a code such as `MDC_VENT_FLOW`.

        Nobody misspells the words of a code.
        """
        if not self._analytes.are_none_of(words.replace("_", " ")) or self._is_parted(words):
            return False
        return bool(_CODE.fullmatch(words.strip())) or all(
            word not in self._misspelt_analytes for word in self._unknown(self._content(words))
        )

    def _is_kept(self, kind: str, words: str, is_another: Callable[[str], bool], speaking: tuple[str, ...] = ()) -> bool:
        """Thousands of a chart have the same few words, so what was found is kept: by a hash of the words, not by the words.

        Nor by the code, beside which another record may have other words: the answer must not depend on what was asked before.
        """
        if not words:
            return False
        key = hash((kind, words, speaking))
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
        said = {_plain(_KIND_BEHIND.sub("", part)) for part in words.split("|")} - {""}
        if said <= self._placeholders or said <= self._statements_of_none:
            return not said <= self._placeholders
        contents = [content for part in words.split("|") if (content := self._content(part))]
        return bool(contents) and all(map(self._is_mostly_known, contents)) and not self._is_parted(words)

    def _is_mostly_known(self, content: Collection[str]) -> bool:
        unknown = self._unknown(content)
        return 2 * len(unknown) < len(content) and not any(word in self._misspelt for word in unknown)

    def _is_parted(self, words: str) -> bool:
        """Whether two words together make one of ours: `under active`."""
        return any(first + second in self._own for first, second in pairwise(re.findall(r"[^\W\d_]+", words.lower())))

    def _content(self, words: str) -> frozenset[str]:
        long = [word for word in set(_read_of(words)) if not self._is_generic(word)]
        return frozenset((*long, *self._short.findall(words)))

    def _is_generic(self, word: str) -> bool:
        return self._generic.issuperset(_long_parts(word)) if "-" in word else word in self._generic

    def _unknown(self, content: Iterable[str]) -> list[str]:
        return [word for word in content if not self._is_known(word)]

    def _is_known(self, word: str) -> bool:
        if word in self._known or word.removesuffix("'s") in self._known or self._is_formed_of_known(word):
            return True
        return "-" in word and all(part in self._known or part in self._generic for part in _long_parts(word))

    def _is_formed_of_known(self, word: str) -> bool:
        """A plural, or an operation or examination: not of ours, nor like one: `parkinsons` may be that disease."""
        is_plural = any(one in self._known and one not in self._own for one in _singulars(word))
        return (is_plural or self._is_operation(word)) and word not in self._own and word not in self._misspelt

    def _is_operation(self, word: str) -> bool:
        """By its ending, and not on a part of the body that a word of ours names: `parathyroidectomy`."""
        ending = next((ending for ending in self._endings if word.endswith(ending)), "")
        stem = word.removesuffix(ending)
        return bool(ending) and not (len(stem) >= _LEAST_STEM and any(stem in one for one in self._own))

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
        self._elsewhere = word_pattern(words.elsewhere)

    def only_one_of(self, words: str) -> str:
        found, beside = self._found(words)
        return "" if len(found) != 1 or beside else found.pop()

    def are_none_of(self, words: str) -> bool:
        """Whether words name no analyte of ours, or surely not that of blood: `in urine` is sure, `post dialysis` is not."""
        found, beside = self._found(words)
        if beside & self._measures:
            return not self._groups.search(words)
        if beside & self._materials:
            return not (found and self._blood.search(words))
        if not found:
            words = self._elsewhere.sub(" ", words)
            return not self._groups.search(words) and not self._symbols.search(words)
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


def _singulars(word: str) -> Iterable[str]:
    if word.endswith("ies"):
        yield word[:-3] + "y"
    elif word.endswith(("ses", "xes", "zes", "ches", "shes")):
        yield word[:-2]
        yield word[:-2] + "is"
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1]


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

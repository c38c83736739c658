"""From a code, or failing that a word, to the concepts of the knowledge: which value sets and analytes it belongs to."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from cds_service.fhir.resources import CodeableConcept, Coding, codings, fold_url, local_code
from cds_service.model import CodeMap

_SHORTEST_PREFIX = 3
_PADDED = 4


class Match(NamedTuple):
    """One concept that a code belongs to. `name` is the display, or for a medication its ingredient."""

    concept: str
    name: str


class System(NamedTuple):
    url: str
    aliases: tuple[str, ...]
    prefix_match: bool
    pad: str
    also: tuple[str, ...]
    is_complete: bool


class CodeEntry(NamedTuple):
    concept: str
    system: str
    code: str
    name: str


class Terminology:
    """Look-ups prepared once. `concepts` are ids of value sets, and `lab:<analyte>` for results."""

    def __init__(
        self,
        systems: Mapping[str, System],
        entries: Iterable[CodeEntry],
        names: Mapping[str, Sequence[str]],
        phrases: Mapping[str, Sequence[str]],
        negations: Sequence[str],
    ) -> None:
        self._short = {fold_url(url): key for key, system in systems.items() for url in (system.url, *system.aliases)}
        self._prefixed = {key: system.pad for key, system in systems.items() if system.prefix_match}
        self._also = {key: system.also for key, system in systems.items()}
        self._listed = frozenset(key for key, system in systems.items() if system.is_complete)
        self._codes: dict[tuple[str, str], tuple[Match, ...]] = {}
        for entry in entries:
            key = (entry.system, self._fold(entry.system, entry.code))
            self._codes[key] = (*self._codes.get(key, ()), Match(entry.concept, entry.name))
        self._names = PhraseIndex([((name,), Match(concept, name)) for concept, given in names.items() for name in given])
        self._phrases = PhraseIndex([(given, concept) for concept, given in phrases.items()])
        self._negation = word_pattern(negations)
        self._systems_seen: dict[str, str | None] = {}
        self._seen: dict[tuple[str | None, str | None], tuple[Match, ...]] = {}
        self._local: dict[tuple[str, str], tuple[Match, ...]] = {}
        self._meant: Mapping[tuple[str, str], tuple[str, ...]] = {}
        self._declared_other: frozenset[tuple[str, str]] = frozenset()

    def with_map(self, code_map: CodeMap) -> Terminology:
        """The same for one client: its own codes count as those that they are mapped to."""
        own = copy.copy(self)
        own._seen = {}
        own._local = {local_code(*code): self._all_of(meant) for code, meant in code_map.codes.items()}
        own._meant = {
            local_code(*code): tuple(self._token(coding_of(token)) for token in meant) for code, meant in code_map.codes.items()
        }
        own._declared_other = frozenset(local_code(*code) for code in code_map.others)
        return own

    def _all_of(self, tokens: Iterable[str]) -> tuple[Match, ...]:
        """Each concept of these codes once."""
        found = [match for token in tokens for match in self.match(coding_of(token))]
        return tuple({match.concept: match for match in reversed(found)}.values())

    @property
    def local_codes(self) -> Mapping[str, Sequence[str]]:
        """The bare codes of a client's own by the concept that they are mapped to."""
        found: dict[str, list[str]] = defaultdict(list)
        for (_, code), matches in self._local.items():
            for match in matches:
                found[match.concept].append(code)
        return found

    def short_system(self, url: str | None) -> str | None:
        """Our short name of a code system, `loinc`, by its URL or an alias; None if nothing here knows it."""
        key = url or ""
        if key not in self._systems_seen:
            if len(self._systems_seen) >= _MOST_SYSTEMS or len(key) > _LONGEST_KEPT:
                return self._short.get(fold_url(key))
            self._systems_seen[key] = self._short.get(fold_url(key))
        return self._systems_seen[key]

    def match(self, coding: Coding) -> tuple[Match, ...]:
        """The concepts of a code. ICD codes match by prefix too: E03.9 belongs where E03 does."""
        key = (coding.system, coding.code)
        found = self._seen.get(key)
        if found is None:
            found = self._match(coding)
            if len(self._seen) < _CACHE_LIMIT and len(coding.system or "") + len(coding.code or "") <= _LONGEST_KEPT:
                self._seen[key] = found
        return found

    def _match(self, coding: Coding) -> tuple[Match, ...]:
        if self._local and coding.code and (own := self._local.get(local_code(coding.system or "", coding.code))):
            return own
        system = self.short_system(coding.system)
        if system is None or not coding.code:
            return ()
        code = self._fold(system, coding.code)
        if system not in self._prefixed:
            own = self._codes.get((system, code), ())
            return own + tuple(match for other in self._also[system] for match in self._codes.get((other, code), ()))
        prefixes = (code[:length] for length in range(len(code), _SHORTEST_PREFIX - 1, -1))
        found = [match for prefix in prefixes for match in self._codes.get((system, prefix), ())]
        return tuple({match.concept: match for match in reversed(found)}.values())

    def _fold(self, system: str, code: str) -> str:
        """ICD comes with and without its dot, and padded to four characters: England writes R252 and G20X."""
        code = code.strip().upper()
        pad = self._prefixed.get(system)
        if pad is None:
            return code
        code = code.replace(".", "")
        return code[:-1] if pad and len(code) == _PADDED and code.endswith(pad) else code

    def is_coded(self, concept: CodeableConcept | None) -> bool:
        """Whether any coding is of a system known here. Only where none is may the text decide."""
        return any(coding.code and (self.short_system(coding.system) or self.match(coding)) for coding in codings(concept))

    def tokens(self, concept: CodeableConcept | None) -> Iterator[str]:
        """Its codes as `system|code` by our short names, in place of a client's own those that it is mapped to."""
        for coding in codings(concept):
            yield from self._meant.get(local_code(coding.system or "", coding.code or ""), (self._token(coding),))

    def _token(self, coding: Coding) -> str:
        return f"{self.short_system(coding.system)}|{(coding.code or '').strip()}"

    def is_declared_other(self, concept: CodeableConcept | None) -> bool:
        """Whether a client has declared one of its codes to be nothing of ours."""
        declared = self._declared_other
        return bool(declared) and any(
            coding.code and local_code(coding.system or "", coding.code) in declared for coding in codings(concept)
        )

    def is_listed(self, concept: CodeableConcept | None) -> bool:
        """Whether a code says all: one of a system that our sets hold at every level."""
        return any(coding.code and self.short_system(coding.system) in self._listed for coding in codings(concept))

    def matches(self, concept: CodeableConcept | None) -> list[Match]:
        """The concepts of all its codes. Asked for every resource, so the look-up is written out."""
        found: list[Match] = []
        for coding in concept.coding or () if concept else ():
            if coding is not None:
                known = self._seen.get((coding.system, coding.code))
                found += self.match(coding) if known is None else known
        return found

    def means(self, concept: CodeableConcept | None, value_set: str) -> bool:
        """Whether one of its codes is of a value set."""
        return any(match.concept == value_set for match in self.matches(concept))

    def named(self, text: str) -> list[Match]:
        """Concepts whose ingredient stands in a text as whole words: `co-amilofruse 5/40`, never part of a word."""
        return self._names.found_in(text)

    def phrased(self, text: str) -> list[str]:
        """Concepts that a text names in a known phrase and does not deny: `no leg cramps` names none."""
        found = self._phrases.found_in(text)
        return [] if found and self._negation.search(text) else found

    def denies(self, text: str) -> bool:
        return bool(self._negation.search(text))


_CACHE_LIMIT = 50_000
_MOST_SYSTEMS = 1_000
_LONGEST_KEPT = 256
"""Characters of a code with its system. What is longer is no code, and is not worth keeping."""
_WORD = re.compile(r"\w+")


def coding_of(token: str) -> Coding:
    """`system|code` as a Coding; the system by its address, an alias or our short name."""
    system, _, code = token.rpartition("|")
    return Coding(system=system.strip(), code=code.strip())


T = TypeVar("T")


class PhraseIndex(Generic[T]):
    """Of many things, each with its phrases, those that a text names. Most texts hold the first word of none of them."""

    def __init__(self, phrases: Iterable[tuple[Sequence[str], T]]) -> None:
        named = [(given, thing) for given, thing in phrases if given]
        self._things = [(word_pattern(given), thing) for given, thing in named]
        self._by_first_word: dict[str, list[int]] = defaultdict(list)
        for number, (given, _) in enumerate(named):
            for word in {match.group() for phrase in given if (match := _WORD.search(phrase.lower()))}:
                self._by_first_word[word].append(number)

    def found_in(self, text: str) -> list[T]:
        if self._by_first_word.keys().isdisjoint(words := _WORD.findall(text.lower())):
            return []
        likely = sorted({number for word in set(words) for number in self._by_first_word.get(word, ())})
        return [self._things[number][1] for number in likely if self._things[number][0].search(text)]

    def stands_in(self, text: str) -> bool:
        """Whether a text names any."""
        return bool(self.found_in(text))


def word_pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Any of the words or phrases, whole, whatever the case and spacing, the longest first; nothing if there are none.

    Common beginnings are looked at once, or thousands of phrases would be tried at each word of a text.
    """
    tree: _Letters = {}
    for word in words:
        node = tree
        for letter in word.strip().lower():
            node = node.setdefault(letter, {})
        node[_END] = {}
    return re.compile(rf"(?<!\w){_alternatives(tree)}(?!\w)" if tree else r"(?!)", re.IGNORECASE)


_Letters = dict[str, "_Letters"]
_END = ""


def _alternatives(tree: _Letters) -> str:
    """A tree of letters as a pattern, in which a blank stands for any blanks and hyphens."""
    parts = [
        (r"[\s-]+" if letter == " " else re.escape(letter)) + _alternatives(rest)
        for letter, rest in tree.items()
        if letter != _END
    ]
    if not parts:
        return ""
    joined = "|".join(parts)
    if _END in tree:
        return f"(?:{joined})?"
    return joined if len(parts) == 1 else f"(?:{joined})"

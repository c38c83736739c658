"""What can be said of the codes without a terminology server, what cannot, and where they differ from a table."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

from cds_service.errors import KnowledgeError, Problem
from cds_service.fhir.resources import Coding
from cds_service.knowledge.knowledge import Knowledge
from cds_service.knowledge.load import Reader
from cds_service.knowledge.schema import Disjoint, ValueSet
from cds_service.knowledge.terminology import coding_of

Problems = Iterator[Problem]
Code = tuple[str, str]

_ALL = "*"
_COLUMNS = ("system", "code", "display")
_KIND_OF_CONCEPT = re.compile(r" \([a-z /]+\)$")
_LICENSED = "licensed"
_LOCK = "logic/value_sets/lock.json"

# Verhoeff: the multiplication of the dihedral group D5, and the permutation that is applied once more each place.
_REFLECTED = 5
_PERMUTATION = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def _times(left: int, right: int) -> int:
    turned = (left + right) % 5 if left < _REFLECTED else (left - right) % 5
    return turned + (5 if (left < _REFLECTED) != (right < _REFLECTED) else 0)


_PRODUCT = {(left, right): _times(left, right) for left, right in product(range(10), repeat=2)}


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = _PERMUTATION[digit]
    return digit


def verhoeff(code: str) -> bool:
    """SNOMED CT: the last digit guards the others.

    >>> verhoeff("449917004"), verhoeff("449917005")
    (True, False)
    """
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _PRODUCT[check, _permuted(int(digit), place)]
    return check == 0


def mod10(code: str) -> bool:
    """LOINC: the digit behind the hyphen guards those before it.

    >>> mod10("2823-3"), mod10("2823-4")
    (True, False)
    """
    number, _, given = code.partition("-")
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(number))]
    return (10 - sum(value // 10 + value % 10 for value in doubled) % 10) % 10 == int(given)


def concept_id(code: str) -> bool:
    """SNOMED CT and dm+d: check digit, and a partition that says concept (00, or 10 in an extension), not description.

    >>> concept_id("449917004"), concept_id("2534409018")
    (True, False)
    """
    return verhoeff(code) and code[-3:-1] in _CONCEPTS and (code[-3] == "0" or len(code) >= _SHORTEST_EXTENSION)


_CONCEPTS = ("00", "10")
# An item, a namespace of seven digits, the partition and the check digit.
_SHORTEST_EXTENSION = 11

CHECKS: Mapping[str, Callable[[str], bool]] = {"concept-id": concept_id, "mod10": mod10}


def codes_have_their_systems_shape(knowledge: Knowledge) -> Problems:
    for place, system, code, _ in _all_codes(knowledge):
        shape = knowledge.systems.get(system)
        if shape is None:
            yield Problem(place, f"system {system!r} is unknown", "name it in logic/systems.json")
        elif not re.fullmatch(shape.shape, code):
            yield Problem(place, f"{code!r} has not the shape of {system}", "copy it again from its source")
        elif shape.check and not CHECKS[shape.check](code):
            yield Problem(place, f"{code!r} fails the check digit of {system}", "copy it again from its source")


def doubt_about_code(knowledge: Knowledge, token: str) -> str:
    """Why `system|code` is no code of ours; empty where one of our sets or analytes holds it."""
    coding = coding_of(token)
    system, code = knowledge.terminology.short_system(coding.system), coding.code or ""
    if system is None:
        return f"names no code system that is read here: {', '.join(knowledge.systems)}"
    if knowledge.terminology.match(coding):
        return ""
    shape = knowledge.systems[system]
    if not re.fullmatch(shape.shape, code):
        return f"has not the shape of {system}"
    if shape.check and not CHECKS[shape.check](code):
        return f"fails the check digit of {system}"
    return "is in none of our value sets and analytes"


def _all_codes(knowledge: Knowledge) -> Iterator[tuple[str, str, str, str]]:
    for parts in knowledge.value_sets.values():
        for part in parts:
            for system, rows in part.codes.items():
                for row in rows:
                    yield f"logic/value_sets {part.id}", system, row[0], row[1] if len(row) > 1 else ""
    for name, analyte in knowledge.labs.items():
        for system, listed in (("loinc", analyte.loinc), ("snomed", analyte.snomed)):
            for code, display in listed.items():
                yield f"logic/labs.json {name}", system, code, display
    for code, panel in knowledge.panels.items():
        yield f"logic/panels.json {code}", "loinc", code, panel.display


def a_code_has_one_display(knowledge: Knowledge) -> Problems:
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for place, system, code, display in _all_codes(knowledge):
        first = seen.setdefault((system, code), (display, place))
        if not display.strip():
            yield Problem(place, f"{code} has no display", "give the display of its source")
        elif first[0] != display:
            yield Problem(place, f"{code} is {display!r} here and {first[0]!r} in {first[1]}", "choose one display")


def a_set_holds_a_code_once(knowledge: Knowledge) -> Problems:
    for parts in knowledge.value_sets.values():
        counted = Counter((system, row[0]) for part in parts for system, rows in part.codes.items() for row in rows)
        for (system, code), times in counted.items():
            if times > 1:
                yield Problem(f"logic/value_sets {parts[0].id}", f"{system} {code} stands {times} times", "keep one")
        if len({part.kind for part in parts}) > 1:
            yield Problem(f"logic/value_sets {parts[0].id}", "its two files differ in kind", "give both the same")
        for part in parts:
            wide = 3 if part.kind == "medication" else 2
            if any(len(row) != wide for rows in part.codes.values() for row in rows):
                yield Problem(
                    f"logic/value_sets {part.id}",
                    f"a row has not {wide} members",
                    "code, display, for a drug its ingredient",
                )


def value_sets_match_their_lock(knowledge: Knowledge) -> Problems:
    """A value set changes only on purpose: by a person who reads the change and then runs `lock`."""
    try:
        locked = json.loads((knowledge.root / _LOCK).read_bytes())
    except (OSError, ValueError):
        yield Problem(_LOCK, "is missing or no JSON", "run: cds-service lock")
        return
    current = fingerprints(knowledge.root)
    for name in sorted(set(locked) | set(current)):
        if locked.get(name) != current.get(name):
            yield Problem(
                f"logic/value_sets/{name}", "is not what its lock says", "read the change, then run: cds-service lock"
            )


def fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    """Hash and number of codes of each value set file that can be read."""
    folder, reader = root / "logic/value_sets", Reader(root)
    found = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("licensed/*.json")]):
        read = reader.read(path.relative_to(root).as_posix(), ValueSet) if path.name != "lock.json" else None
        if read:
            codes = sum(map(len, read.codes.values()))
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[path.relative_to(folder).as_posix()] = {"sha256": digest, "codes": codes}
    return dict(sorted(found.items()))


def disjoint_sets_share_no_code(knowledge: Knowledge) -> Problems:
    """A code in two sets of `disjoint.json` means two things. A parent that holds a code of the other set counts too."""
    for group in knowledge.disjoint:
        for name in group.sets:
            if name not in knowledge.value_sets:
                yield Problem("logic/disjoint.json", f"value set {name!r} does not exist", "mend the name")
        known = [name for name in group.sets if name in knowledge.value_sets]
        meant = {name: _meanings(knowledge, name) for name in known}
        for left, right in combinations(known, 2):
            yield from _shared(group, left, right, meant)


def _meanings(knowledge: Knowledge, name: str) -> dict[Code, set[str]]:
    """Each code of a set with the sets that a chart with this code would count for."""
    found = {}
    for system, code, _ in codes_of(knowledge.value_sets[name]):
        coding = Coding(system=knowledge.systems[system].url, code=code) if system in knowledge.systems else Coding()
        found[system, code] = {match.concept for match in knowledge.terminology.match(coding)}
    return found


def _shared(group: Disjoint, left: str, right: str, meant: Mapping[str, Mapping[Code, set[str]]]) -> Problems:
    both = {code for code, sets in meant[left].items() if right in sets}
    both |= {code for code, sets in meant[right].items() if left in sets}
    for system, code in sorted(both):
        if code not in group.shared.get(system, ()):
            where = f"logic/value_sets {left}"
            yield Problem(where, f"{system} {code} counts for {right} too", f"keep it in one of them: {group.why}")


def an_analyte_owns_its_codes(knowledge: Knowledge) -> Problems:
    """One value read as two different measurements would be wrong for one of them."""
    owners: dict[Code, list[str]] = defaultdict(list)
    for name, analyte in knowledge.labs.items():
        for system, listed in (("loinc", analyte.loinc), ("snomed", analyte.snomed)):
            for code in listed:
                owners[system, code].append(name)
    for (system, code), names in owners.items():
        if len(names) > 1:
            yield Problem(f"logic/labs.json {names[0]}", f"{system} {code} is {names[1]} too", "keep it in one of them")


def codes_named_elsewhere_stand_in_a_set(knowledge: Knowledge) -> Problems:
    """The codes of the questionnaire, and those that a value set assumes a site for: known, and by their one display."""
    for item in knowledge.questionnaire.get("item", ()):
        for coding in item.get("code", ()):
            place = f"logic/questionnaire.json {item.get('linkId')}"
            system, code = knowledge.terminology.short_system(coding.get("system")), str(coding.get("code"))
            try:
                display = knowledge.display(system or "", code)
            except KeyError:
                yield Problem(place, f"{code!r} stands in no value set", "use a code of a value set")
                continue
            if coding.get("display") != display:
                yield Problem(
                    place, f"{code} is {coding.get('display')!r} here and {display!r} in its set", "choose one display"
                )
    for sited in knowledge.sited:
        for assumed in {code for codes in sited.site.assumed_in.values() for code in codes}:
            system, _, code = assumed.partition("|")
            url = knowledge.systems[system].url if system in knowledge.systems else None
            if not knowledge.terminology.match(Coding(system=url, code=code)):
                place = f"logic/value_sets {sited.value_set} site"
                yield Problem(place, f"{assumed!r} stands in no value set", "use a code of a value set")


VERIFICATION = (disjoint_sets_share_no_code, an_analyte_owns_its_codes, codes_named_elsewhere_stand_in_a_set)

CODES = (codes_have_their_systems_shape, a_code_has_one_display, a_set_holds_a_code_once, value_sets_match_their_lock)


def verify(knowledge: Knowledge) -> list[Problem]:
    """Every problem of the codes that can be found without a terminology server, sorted by place."""
    return sorted({problem for ask in (*CODES, *VERIFICATION) for problem in ask(knowledge)})


def codes_of(parts: Iterable[ValueSet]) -> Iterator[tuple[str, str, str]]:
    """System, code and display of each row of a value set."""
    for part in parts:
        for system, rows in part.codes.items():
            for row in rows:
                yield system, row[0], row[1]


def report(knowledge: Knowledge) -> Iterator[str]:
    """Each set with its codes, release, origin and what is not verified; then what holds for all."""
    sources = _single_sources(knowledge)
    licensed = _licensed(knowledge)
    for name, parts in sorted(knowledge.value_sets.items()):
        listed = list(codes_of(parts))
        yield f"{name} ({parts[0].kind}): {_count(system for system, _, _ in listed)}{_of_which(licensed.get(name, 0))}"
        yield f"  release: {parts[0].release}"
        yield f"  origin: {parts[0].origin}"
        for line in _not_verified(knowledge, [(system, code) for system, code, _ in listed], sources):
            yield f"  not verified: {line}"
    for name, analyte in sorted(knowledge.labs.items()):
        codes = [("loinc", code) for code in analyte.loinc] + [("snomed", code) for code in analyte.snomed]
        yield f"{name} (result): {_count(system for system, _ in codes)}"
        for line in _not_verified(knowledge, codes, sources):
            yield f"  not verified: {line}"
    yield from _summary(knowledge, licensed)


def _count(systems: Iterable[str]) -> str:
    counted = Counter(systems)
    text = ", ".join(f"{system} {times}" for system, times in sorted(counted.items()))
    return f"{counted.total()} codes" + (f" ({text})" if text else ", EMPTY")


def _of_which(licensed: int) -> str:
    return f", {licensed} of them in {_LICENSED}/" if licensed else ""


def _licensed(knowledge: Knowledge) -> dict[str, int]:
    folder = knowledge.root / "logic/value_sets" / _LICENSED
    return {
        name: sum(map(len, parts[-1].codes.values()))
        for name, parts in knowledge.value_sets.items()
        if (folder / f"{name}.json").is_file()
    }


def _single_sources(knowledge: Knowledge) -> dict[Code, str]:
    return {
        (system, code): source
        for source, systems in knowledge.one_source.items()
        for system, codes in systems.items()
        for code in codes
    }


def _not_verified(knowledge: Knowledge, codes: list[Code], sources: Mapping[Code, str]) -> Iterator[str]:
    alone = Counter(source for system, code in codes if (source := sources.get((system, code)) or sources.get((system, _ALL))))
    for source, times in sorted(alone.items()):
        yield f"{times} rest on one source, {source}"
    exact = sum(system in knowledge.systems and not knowledge.systems[system].prefix_match for system, _ in codes)
    if exact:
        yield f"whether the descendants of {exact} codes that match exactly are all listed"


def _summary(knowledge: Knowledge, licensed: Mapping[str, int]) -> Iterator[str]:
    sizes = {name: len(list(codes_of(parts))) for name, parts in knowledge.value_sets.items()}
    groups = len(knowledge.disjoint)
    yield ""
    yield f"{len(sizes)} value sets, {sum(sizes.values())} codes; {len(knowledge.labs)} analytes."
    yield f"Empty: {_names(name for name, size in sizes.items() if not size)}."
    yield f"Empty without {_LICENSED}/: {_names(name for name, size in sizes.items() if size and size == licensed.get(name))}."
    yield f"Verified: check digits, shapes, displays, duplicates, lock, {groups} groups of sets that must share no code."
    yield "Not verified, as no terminology server is asked: whether a code is active today; whether its display is today's;"
    yield "whether all descendants are listed; whether a set holds what a clinician would put in it. None has approved one yet."


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


class Comparison(NamedTuple):
    """Our codes beside a table: how many it holds, how many it lacks by system, and where the displays differ."""

    found: int
    lacking: Counter[str]
    differing: list[Problem]

    def lines(self) -> Iterator[str]:
        yield f"The table holds {self.found} of these codes; it lacks {_count(self.lacking.elements())}."
        yield "A code that it lacks is not wrong by that: the table may be a part of its system."


def compare(knowledge: Knowledge, table: Path) -> Comparison:
    """Our displays against those of a CSV file with the columns system (address or our short name), code, display.

    Case, spaces and the kind of a concept at the end, `(disorder)`, make no difference. Raises KnowledgeError.
    """
    given = _read_table(knowledge, table)
    ours = {
        (system, code): (display, f"logic/value_sets {name}")
        for name, parts in knowledge.value_sets.items()
        for system, code, display in codes_of(parts)
    }
    for name, analyte in knowledge.labs.items():
        for system, listed in (("loinc", analyte.loinc), ("snomed", analyte.snomed)):
            ours |= {(system, code): (display, f"logic/labs.json {name}") for code, display in listed.items()}
    differing = [
        Problem(
            place, f"{system} {code} is {display!r} here and {given[system, code][0]!r} in {table.name}", "find out which holds"
        )
        for (system, code), (display, place) in ours.items()
        if (system, code) in given and _folded(display) not in map(_folded, given[system, code])
    ]
    lacking = Counter(system for system, code in ours if (system, code) not in given)
    return Comparison(len(ours) - lacking.total(), lacking, sorted(differing))


def _read_table(knowledge: Knowledge, table: Path) -> dict[Code, list[str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise KnowledgeError([Problem(table.name, f"lacks the column {missing[0]!r}", f"name {', '.join(_COLUMNS)}")])
            found: dict[Code, list[str]] = defaultdict(list)
            for row in rows:
                system = (row["system"] or "").strip()
                short = system if system in knowledge.systems else knowledge.terminology.short_system(system)
                if short:
                    found[short, (row["code"] or "").strip()].append((row["display"] or "").strip())
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise KnowledgeError([Problem(table.name, f"cannot be read: {error}", "give a CSV file in UTF-8")]) from None


def _folded(display: str) -> str:
    return " ".join(_KIND_OF_CONCEPT.sub("", display.strip()).casefold().split())

"""`logic/` and `cards/` read from disk, strictly: unknown keys, wrong types and broken logic are refused with file and place.

What is right about each file alone is settled here; how the files fit together is settled by `checks`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from cds_service.errors import KnowledgeError, LogicError, Problem
from cds_service.jsonlogic import notation
from cds_service.jsonlogic.compile import Expression, compile_rule
from cds_service.knowledge.card_files import CardFile, GroupsFile, Imperatives, Line, Phrase, filled, stand_ins
from cds_service.knowledge.fact_files import FactDefinition, FactFile, FactMaker, Windows
from cds_service.knowledge.knowledge import CardText, Knowledge, Rule, Suggestable, fact_types
from cds_service.knowledge.schema import (
    Analyte,
    AnswerWords,
    Disjoint,
    Equation,
    Order,
    OrderUse,
    OtherWords,
    Panel,
    Query,
    RuleFile,
    Service,
    Source,
    Statement,
    Statuses,
    SystemFile,
    ValueSet,
)
from cds_service.model import FactTypes

T = TypeVar("T")


_MOST_NODES = 10_000
_NAME = re.compile(r'"([^"\s]{1,100})"')


class Reader:
    """Reads strict JSON below one root and gathers every problem instead of stopping at the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[Problem] = []
        self.doubted: set[str] = set()
        self._digest = hashlib.sha256()

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()[:12]

    def read(self, path: str, shape: type[T]) -> T | None:
        try:
            data = (self.root / path).read_bytes()
            self._digest.update(path.encode() + b"\0" + data)
            loaded = json.loads(data, parse_float=Decimal, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
            return msgspec.convert(loaded, shape)
        except OSError as error:
            self.report(path, f"cannot be read ({error.strerror})", "restore the file, or point CDS_KNOWLEDGE elsewhere")
        except RecursionError:
            self.report(path, "is nested too deeply", "write flatter logic")
        except msgspec.ValidationError as error:
            self.report(path, str(error), "see CONTRIBUTING.md for the members of this file")
        except ValueError as error:
            self.report(path, f"is not strict JSON: {error}", "mend the JSON")
        self.doubt(path)
        return None

    def doubt(self, path: str) -> None:
        """Nobody knows what a file defines or uses that could not be read: each name in it, or in what stands beside it."""
        topic, stem = Path(path).parent.name, Path(path).stem
        beside = [path, path.removesuffix(".json") + ".cases.json"]
        if path.startswith("logic/rules/"):
            beside.append(f"cards/{topic}/{stem}.json")
        self.doubted.add(stem)
        for place in beside:
            with contextlib.suppress(OSError):
                self.doubted.update(_NAME.findall((self.root / place).read_text(encoding="utf-8", errors="replace")))

    def lines(self, path: str) -> tuple[str, ...]:
        """The lines of a list of words, without its head of comments."""
        try:
            data = (self.root / path).read_bytes()
            self._digest.update(path.encode() + b"\0" + data)
            return tuple(line for line in data.decode().splitlines() if line and not line.startswith("#"))
        except (OSError, UnicodeDecodeError):
            self.report(path, "cannot be read", "restore the file, or point CDS_KNOWLEDGE elsewhere")
            return ()

    def logic(self, logic: object, types: FactTypes, place: str) -> Expression | None:
        """Compiled, and known to come back from its readable form; None if it is refused.

        That a fact is not declared which may stand in a file that was not read is no news.
        """
        try:
            expression = compile_rule(logic, types, place)
        except LogicError as error:
            doubted = [repr(name) for name in _asked(logic) if name not in types and name in self.doubted]
            self.problems += [item for item in error.problems if not any(name in item.message for name in doubted)]
            return None
        self.problems += notation.refused(logic, place)
        return expression

    def report(self, place: str, message: str, remedy: str) -> None:
        self.problems.append(Problem(place, message, remedy))

    def names(self, pattern: str) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        repeated = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"member {repeated!r} is given twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


FILES: Mapping[str, tuple[str, Any]] = {
    "services": ("logic/services.json", dict[str, Service]),
    "queries": ("logic/queries.json", dict[str, Query]),
    "labs": ("logic/labs.json", dict[str, Analyte]),
    "panels": ("logic/panels.json", dict[str, Panel]),
    "equations": ("logic/equations.json", dict[str, Equation]),
    "orders": ("logic/orders.json", dict[str, Order]),
    "sources": ("logic/sources.json", dict[str, Source]),
    "evidence": ("logic/evidence.json", dict[str, Statement]),
    "uncited": ("logic/uncited.json", dict[str, str]),
    "other_words": ("logic/other_words.json", OtherWords),
    "answer_words": ("logic/answer_words.json", AnswerWords),
    "systems": ("logic/systems.json", dict[str, SystemFile]),
    "disjoint": ("logic/disjoint.json", tuple[Disjoint, ...]),
    "one_source": ("logic/one_source.json", dict[str, dict[str, tuple[str, ...]]]),
    "negations": ("logic/negations.json", tuple[str, ...]),
    "questionnaire": ("logic/questionnaire.json", dict[str, Any]),
    "spelling": ("cards/spelling.json", dict[str, dict[str, str]]),
    "phrases": ("cards/phrases.json", tuple[Phrase, ...]),
    "imperatives": ("cards/imperatives.json", Imperatives),
}
"""Each member of `Knowledge` that is one file, with the type of its content."""

_ALL_RESTS_ON = ("other_words", "answer_words", "imperatives", "phrases", "systems", "questionnaire")
"""Those of them without which little can be said of the others; as are groups, statuses and windows."""


class Gathered(NamedTuple):
    """What could be read, and every problem of what could not. No knowledge: where a file lacks on which all rests.

    `unsound` names the rules of which some logic was refused: they stand there with logic that never fires.
    """

    knowledge: Knowledge | None
    problems: tuple[Problem, ...]
    unsound: frozenset[str] = frozenset()


def load_knowledge(root: Path) -> Knowledge:
    """Read `root/logic` and `root/cards`. Raises KnowledgeError with every problem found."""
    knowledge, problems, _ = gather_knowledge(root)
    if problems or knowledge is None:
        raise KnowledgeError(problems)
    return knowledge


def gather_knowledge(root: Path) -> Gathered:
    """As much as can be read, for those who look for every problem at once. Raises KnowledgeError if there is no folder."""
    _demand_folder(root)
    reader = Reader(root)
    found = {name: reader.read(path, shape) for name, (path, shape) in FILES.items()}
    members: dict[str, Any] = {name: value or {} for name, value in found.items()}
    groups, statuses = reader.read("cards/groups.json", GroupsFile), reader.read("logic/statuses.json", Statuses)
    members["facts"] = _read_facts(reader, members)
    types, services = fact_types(members["facts"]), members["services"]
    value_sets = _read_value_sets(reader)
    speaks_when = _by_service(reader, services, types, "speaks_when")
    concerned_when = _by_service(reader, services, types, "concerned_when")
    rules, unsound = _read_rules(reader, types)
    shared = _shared_lines(groups, rules)
    read_card = partial(_read_card, reader, types=types, shared=shared)
    cards = {card.file.rule: card for card in _each(reader, "cards/*/*.json", read_card)}
    drug_names, vocabulary = reader.lines("logic/drug_names.txt"), reader.lines("logic/vocabulary.txt")
    # Of a file that is not there nobody knows even the names.
    lacking = any(found[name] is None and (name in _ALL_RESTS_ON or not (root / FILES[name][0]).is_file()) for name in FILES)
    if groups is None or statuses is None or lacking or (reader.problems and not types):
        return Gathered(None, tuple(reader.problems))
    knowledge = Knowledge(
        root=root,
        statuses=statuses,
        value_sets=value_sets,
        speaks_when=speaks_when,
        concerned_when=concerned_when,
        rules=rules,
        groups=groups.groups,
        override_reasons=groups.override_reasons,
        wording=groups.wording,
        cards=cards,
        fingerprint=reader.fingerprint,
        drug_names=drug_names,
        vocabulary=vocabulary,
        doubted=frozenset(reader.doubted),
        **members,
    )
    return Gathered(knowledge, tuple(reader.problems), frozenset(unsound))


def _demand_folder(root: Path) -> None:
    """One line where the place is wrong, and not one for each file that is not there."""
    lacking = [f"{name}/" for name in ("logic", "cards") if not (root / name).is_dir()]
    if lacking:
        text = f"{root} holds no {' and no '.join(lacking)}" if root.is_dir() else f"{root} is no folder"
        raise KnowledgeError([Problem("CDS_KNOWLEDGE", text, "name the folder that holds logic/ and cards/")])


def _each(reader: Reader, pattern: str, read: Callable[[str], T | None]) -> Iterator[T]:
    for path in reader.names(pattern):
        if not path.endswith(".cases.json") and (item := read(path)) is not None:
            yield item


def _by_service(reader: Reader, services: Mapping[str, Service], types: FactTypes, member: str) -> dict[str, Expression]:
    compiled = {
        key: reader.logic(getattr(service, member), types, f"logic/services.json {key}.{member}")
        for key, service in services.items()
    }
    if not all(compiled.values()):
        reader.doubt("logic/services.json")
    return {key: expression for key, expression in compiled.items() if expression}


def _read_facts(reader: Reader, members: Mapping[str, Any]) -> dict[str, FactDefinition]:
    """Every fact of every topic. One that two topics define is told: which of them was meant?"""
    windows = reader.read("logic/windows.json", Windows)
    found: dict[str, FactDefinition] = {}
    topics = list(_each(reader, "logic/facts/*.json", lambda path: _read_topic(reader, path)))
    if windows is None:
        for topic, _ in topics:
            reader.doubt(f"logic/facts/{topic}.json")
        return found
    maker = FactMaker(windows, members["labs"], members["equations"], members["questionnaire"])
    for topic, file in topics:
        for fact in maker.facts(topic, file):
            if fact.name in found:
                reader.report(fact.place, f"is defined in {found[fact.name].topic} too", "keep one of the two")
            found[fact.name] = fact
    return found


def _read_topic(reader: Reader, path: str) -> tuple[str, FactFile] | None:
    file = reader.read(path, FactFile)
    return (Path(path).stem, file) if file else None


def _read_value_sets(reader: Reader) -> dict[str, tuple[ValueSet, ...]]:
    found: dict[str, tuple[ValueSet, ...]] = {}
    for path in reader.names("logic/value_sets/*.json") + reader.names("logic/value_sets/licensed/*.json"):
        if path.endswith("/lock.json"):
            continue
        part = reader.read(path, ValueSet)
        if part:
            found[part.id] = (*found.get(part.id, ()), part)
    return found


def _read_rules(reader: Reader, types: FactTypes) -> tuple[tuple[Rule, ...], set[str]]:
    """All that have the shape of a rule, and the ids of those of which some logic was refused."""
    rules, unsound = [], set()
    for path in reader.names("logic/rules/*/*.json"):
        file = None if path.endswith(".cases.json") else reader.read(path, RuleFile)
        if file is None:
            continue
        rule = _read_rule(reader, path, file, types)
        if rule is None:
            reader.doubt(path)
            unsound.add(file.id)
            rule = _silent(file, path)
        rules.append(rule)
    return tuple(rules), unsound


def _read_rule(reader: Reader, path: str, file: RuleFile, types: FactTypes) -> Rule | None:
    applies = reader.logic(file.applies_when, types, f"{path} applies_when")
    fires = reader.logic(file.fires_when, types, f"{path} fires_when")
    orders = [_read_order_use(reader, use, types, f"{path} orders[{at}]") for at, use in enumerate(file.orders)]
    if applies is None or fires is None or None in orders:
        return None
    return Rule(file, Path(path).parent.name, path, applies, fires, tuple(use for use in orders if use))


def _silent(file: RuleFile, path: str) -> Rule:
    """The rule with logic that never fires, so that all else of it can be looked at."""
    never = compile_rule(False, {}, path)
    orders = tuple(Suggestable(use.order, never, never, use.priority) for use in file.orders)
    return Rule(file, Path(path).parent.name, path, never, never, orders)


def _read_order_use(reader: Reader, use: OrderUse, types: FactTypes, place: str) -> Suggestable | None:
    when = reader.logic(use.when, types, f"{place}.when")
    recommended = reader.logic(use.recommended_when, types, f"{place}.recommended_when")
    return Suggestable(use.order, when, recommended, use.priority) if when and recommended else None


def _shared_lines(groups: GroupsFile | None, rules: Sequence[Rule]) -> dict[str, tuple[Line, ...]]:
    """By rule the lines that its card shares with those of its group."""
    if groups is None:
        return {}
    by_group = {group.id: group.shared_lines for group in groups.groups}
    return {rule.id: by_group.get(rule.file.group, ()) for rule in rules}


def _read_card(reader: Reader, path: str, types: FactTypes, shared: Mapping[str, tuple[Line, ...]]) -> CardText | None:
    file = reader.read(path, CardFile)
    if file is None:
        return None
    if file.rule != Path(path).stem:
        reader.report(path, f"rule is {file.rule!r}", "name the rule as the file")
        return None
    lines = shared.get(file.rule, ())
    # Of a rule that could not be read nobody knows what its card shares.
    for name in sorted(stand_ins(lines, types) ^ file.shared_facts.keys() if file.rule in shared else ()):
        text = f"names {name!r}, which no shared line of its group asks for" if name in file.shared_facts else f"lacks {name!r}"
        reader.report(f"{path} shared_facts", text, "give one fact for each stand-in of shared_lines in cards/groups.json")
    own = [(line, f"{path} lines[{at}].when") for at, line in enumerate(file.lines)]
    own += [(line, f"{path} shared_lines[{at}].when") for at, line in enumerate(filled(lines, file.shared_facts))]
    compiled = [(reader.logic(line.when, types, place), line.say) for line, place in own]
    if not all(expression for expression, _ in compiled):
        reader.doubt(path)
    file = msgspec.structs.replace(file, lines=tuple(line for line, _ in own))
    return CardText(file, path, tuple((expression, say) for expression, say in compiled if expression))


def _asked(logic: object) -> Iterator[str]:
    """The names that logic asks for, to a depth at which it would be refused anyway."""
    waiting = [logic]
    for _ in range(_MOST_NODES):
        if not waiting:
            return
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
        elif isinstance(node, str):
            yield node

"""Which rules are in shadow: judged, journaled and counted, and not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from cds_service.errors import Problem, SettingsError
from cds_service.knowledge.knowledge import Knowledge


def shadow_names(knowledge: Knowledge) -> Mapping[str, frozenset[str]]:
    """What may be written, with the ids of the rules that it stands for: a rule, `topic:` and a topic, or `all`."""
    pairs = [(name, rule.id) for rule in knowledge.rules for name in (rule.id, f"topic:{rule.topic}", "all")]
    return {
        name: frozenset(rule for other, rule in pairs if other == name) for name in dict.fromkeys(name for name, _ in pairs)
    }


def in_shadow(written: Iterable[str], knowledge: Knowledge) -> frozenset[str]:
    """The ids of the rules that are in shadow. Raises SettingsError naming each word that stands for none."""
    names, problems = shadow_names(knowledge), []
    topics = ", ".join(name for name in names if ":" in name)
    for name in (name for name in written if name not in names):
        near = " or ".join(get_close_matches(name, names, n=2)) or f"a rule of logic/CATALOGUE.md, {topics}, or all"
        problems.append(Problem("CDS_SHADOW", f"{name[:60]!r} is no rule and no topic", f"write {near}"))
    if problems:
        raise SettingsError(problems)
    return frozenset[str]().union(*(names[name] for name in written))

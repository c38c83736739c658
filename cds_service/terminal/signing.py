"""`approve`: what a clinician signs is shown in words, with what is different from what was signed before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import typer

from cds_service.cards.approvals import Approval, basis_of, changes, load_approvals
from cds_service.errors import Problem, SettingsError
from cds_service.fhir.zones import today
from cds_service.knowledge.knowledge import Knowledge, Rule
from cds_service.lint.catalogue import in_words
from cds_service.lint.run import load_checked
from cds_service.settings import Settings


class Signer(NamedTuple):
    """Who signs, and until when it counts; empty: as long as nothing changes."""

    name: str
    until: str


def sign(settings: Settings, names: Sequence[str], signer: Signer, path: Path | None, *, ask: bool) -> None:
    """Show each rule, ask, and write it into the file. Raises SettingsError naming everything that is wrong."""
    if path is None:
        raise SettingsError([Problem("CDS_APPROVALS", "names no file", "set it, or give --file")])
    knowledge = load_checked(settings.knowledge)
    rules = _chosen(names, knowledge)
    before = {item.rule: item for item in load_approvals(path if path.is_file() else None)}
    signed = dict(before)
    for rule in rules:
        typer.echo("\n".join(_shown(rule, knowledge, before.get(rule.id))))
        if ask and not typer.confirm(f"Sign {rule.id} {rule.file.version} as {signer.name}?"):
            continue
        day = today(None).isoformat()
        signed[rule.id] = Approval(rule.id, rule.file.version, signer.name, day, signer.until, basis_of(rule, knowledge))
    path.write_bytes(msgspec.json.format(msgspec.json.encode(list(signed.values())), indent=2) + b"\n")
    typer.echo(f"{path.name} holds {len(signed)} approvals")


def _chosen(names: Sequence[str], knowledge: Knowledge) -> list[Rule]:
    if list(names) == ["all"]:
        return list(knowledge.rules)
    unknown = [name for name in names if name not in knowledge.rule_by_id]
    if unknown:
        raise SettingsError([Problem(name, "is no rule", "see logic/CATALOGUE.md") for name in unknown])
    return [knowledge.rule_by_id[name] for name in dict.fromkeys(names)]


def _shown(rule: Rule, knowledge: Knowledge, before: Approval | None) -> Iterator[str]:
    yield ""
    yield from in_words(rule, knowledge)
    yield "- The card may say:"
    yield from (f"    {line.say or line.headline}" for line in knowledge.cards[rule.id].file.lines)
    if codes := knowledge.codes_behind(rule):
        yield f"- Looks for: {', '.join(codes)}"
    if before is None:
        yield "Not signed before."
    elif changed := changes(before.basis, basis_of(rule, knowledge)):
        yield f"Signed by {before.name} on {before.date}; changed since: {', '.join(changed)}."
    else:
        yield f"Signed by {before.name} on {before.date}; nothing changed since."

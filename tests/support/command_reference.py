"""`make commands`: docs/commands.md, written from the parser of `cds-service`. A test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from cds_service.cli import app
from tests.conftest import ROOT

PATH = ROOT / "docs/commands.md"
HEAD = """# Commands

Written by `make commands` from the program itself. Every command tells the same with `--help`.
It ends with 0 when the work is done, 1 when problems were found, and 2 when the command was mistyped.
In a clone the program is `.venv/bin/cds-service`. [Settings](../deploy/README.md#settings) come from the environment.
"""


def main() -> None:
    PATH.write_text(written(), encoding="utf-8")


def written() -> str:
    """The whole page. Commands stand in the order in which `--help` lists them."""
    parts = [HEAD]
    for name, command in commands(get_command(app), "cds-service"):
        parts.append("\n".join(section(name, command)) + "\n")
    return "\n".join(parts)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Each command that does something, by its full name; a group is told by its members."""
    members = getattr(command, "commands", {})
    if not members:
        yield name, command
    for own, member in members.items():
        yield from commands(member, f"{name} {own}")


def section(name: str, command: Any) -> Iterator[str]:
    says, _, example = " ".join(command.help.split()).partition(" Example: ")
    given = [item for item in command.params if item.param_type_name == "argument"]
    yield f"## {name}"
    yield ""
    yield says
    yield ""
    yield "```text"
    options = ["[OPTIONS]"] if len(given) < len(command.params) else []
    yield " ".join([name, *options, *(place_of(item) for item in given)])
    yield "```"
    if command.params:
        yield ""
        yield "| argument or option | what it is |"
        yield "|---|---|"
    for item in command.params:
        yield f"| {shown(item)} | {cell(item)} |"
    if example:
        yield ""
        yield f"Example: `{example}`"


def place_of(item: Any) -> str:
    """`PATIENT`, `[PATIENT]` where it may be left out, `RULES...` where several may stand."""
    name = item.name.upper()
    text = name if item.nargs == 1 else f"{name}..."
    return text if item.required else f"[{text}]"


def shown(item: Any) -> str:
    """`--as-of VALUE`, or `PATIENT`."""
    if item.param_type_name == "argument":
        return f"`{item.name.upper()}`"
    flags = ", ".join(item.opts)
    return f"`{flags}`" if item.is_flag else f"`{flags} VALUE`"


def cell(item: Any) -> str:
    text = " ".join((item.help or "").split()).replace("|", "\\|")
    return f"{text} Required." if item.required and item.param_type_name == "option" else text


if __name__ == "__main__":
    main()

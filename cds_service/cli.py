"""The terminal door: serve, try, explain, check and write rules. Exit codes: 0 done, 1 problems found, 2 usage."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import date
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cds_service import __version__
from cds_service.cdshooks.response import CdsResponse
from cds_service.errors import Mendable, Problem, RequestError, SettingsError
from cds_service.explain.explanation import explain as explained
from cds_service.explain.left_out import why_no_cards
from cds_service.fhir.dates import say_date
from cds_service.knowledge.load import load_knowledge
from cds_service.samples.counts import tally
from cds_service.samples.people import exported, fixtures_of, patient_file, read_cast
from cds_service.settings import read_settings
from cds_service.store.database import Store
from cds_service.terminal import console, publication
from cds_service.terminal.output import (
    show_cards,
    show_codes,
    show_counts,
    show_explanation,
    show_json,
    show_left_out,
    show_look_back,
    show_shadow,
    show_text,
    show_title,
)
from cds_service.terminal.patient_files import Asking, ask, day_of, is_record, read_patient_file
from cds_service.terminal.population import population

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
fixtures = typer.Typer(no_args_is_help=True, help="The invented people of fixtures/.")
app.add_typer(fixtures, name="fixtures")
app.command()(population)

AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="Judge at this date (YYYY-MM-DD, or today). Default: the cast's own date, else today."),
]
PatientPath = Annotated[
    Path, typer.Argument(help="A FHIR R4 Bundle, NDJSON, or a whole CDS Hooks request, as JSON; - reads standard input.")
]
Where = Annotated[str | None, typer.Option("--jurisdiction", help="us or uk. Default: the cast's own, else CDS_JURISDICTION.")]

Hook = Annotated[str | None, typer.Option("--hook", help="The hook to call. Default: the cast's own, else patient-view.")]
Drafts = Annotated[
    Path | None, typer.Option("--draft", help="A draft order, or a Bundle of them, as JSON; with a hook on ordering.")
]


_MOST_TOLD = 200


def main() -> None:
    """The console script: a person's mistake is told plainly, a bug rises."""
    console.prepare()
    try:
        app(color=console.colour())
    except RequestError as error:
        _report(error.problems)
    except Mendable as error:
        _report(error.problems)


def _report(problems: tuple[Problem, ...]) -> None:
    for problem in problems[:_MOST_TOLD]:
        typer.secho(str(problem), fg="red", err=True, color=console.colour())
    if len(problems) > _MOST_TOLD:
        typer.echo(f"and {len(problems) - _MOST_TOLD} more: mend these first.", err=True)
    typer.echo(f"{len(problems)} problem{'s' if len(problems) != 1 else ''} found.", err=True)
    sys.exit(1)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Recurrent leg cramps: a CDS Hooks service. Example: cds-service run fixtures/patients/ada-stiffcalf.json"""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def serve(
    show_cards: Annotated[bool, typer.Option("--show-cards", help="Print the cards of an invented patient first.")] = False,
    trial: Annotated[
        bool, typer.Option("--try", help="Answer unsigned calls from this machine. Never behind a proxy.")
    ] = False,
) -> None:
    """Serve CDS Hooks until interrupted. Example: CDS_PORT=8080 cds-service serve --try"""
    from cds_service.terminal import demo

    if trial:
        os.environ["CDS_TRIAL"] = "true"
    settings = read_settings()
    demo.serve(settings, _show_first_of_the_cast if show_cards else None)


def _show_first_of_the_cast() -> None:
    folder = fixtures_of(read_settings().knowledge)
    run(patient_file(folder, read_cast(folder)[0]))


@app.command(name="demo")
def show_demo() -> None:
    """Start the service, call it for an invented patient, print her cards and stop. Example: cds-service demo"""
    from cds_service.terminal import demo

    os.environ.update(demo.TRIED)
    settings = read_settings()
    if settings.clients:
        raise SettingsError([Problem("CDS_CLIENTS", "is set, and the demonstration signs nothing", "unset it")])
    demo.demonstrate(settings, load_knowledge(settings.knowledge))


@app.command()
def run(
    patient: PatientPath,
    as_of: AsOf = None,
    jurisdiction: Where = None,
    hook: Hook = None,
    draft: Drafts = None,
    as_json: Annotated[bool, typer.Option("--json", help="The CDS Hooks response as JSON, for other programs.")] = False,
) -> None:
    """Print the cards for one patient. Example: cds-service run fixtures/patients/ada-stiffcalf.json --as-of 2026-11-20"""
    file = read_patient_file(patient)
    asked = ask(file, Asking(as_of, jurisdiction, hook, draft))
    if as_json:
        show_json(CdsResponse(asked.decision.cards))
        return
    title = f"{asked.person.id}: {asked.person.story}" if asked.person else file.name
    show_cards(f"{title} (on {asked.decision.view.as_of})", asked.decision.cards, why_no_cards(asked.decision, asked.places))
    show_shadow(asked.decision)
    show_left_out(asked.left_out)


@app.command()
def explain(
    patient: PatientPath,
    as_of: AsOf = None,
    jurisdiction: Where = None,
    hook: Hook = None,
    draft: Drafts = None,
    everything: Annotated[bool, typer.Option("--all", help="Also each silent rule, with what would make it fire.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The whole explanation as JSON, for other programs.")] = False,
    overridden: Annotated[
        list[str] | None,
        typer.Option("--overridden", help="RULE or RULE@YYYY-MM-DD that was overridden for this patient; may be repeated."),
    ] = None,
) -> None:
    """Print why each card, and what would bring others. Example: cds-service explain fixtures/patients/ada-stiffcalf.json"""
    file = read_patient_file(patient)
    asked = ask(file, Asking(as_of, jurisdiction, hook, draft), overridden or ())
    text, view = explained(asked.decision, asked.places), asked.decision.view
    if as_json:
        show_json(text)
        return
    person = asked.person
    show_title(person.story if person else file.name)
    name = f"{person.id}, " if person else ""
    typer.echo(f"{name}{view.jurisdiction}, judged on {say_date(view.as_of.isoformat(), date.min)}")
    show_explanation(text, view.as_of, everything=everything)


@app.command()
def feedback(
    days: Annotated[int, typer.Option("--days", min=1, max=364, help="Days that are compared with as many before.")] = 28,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")] = False,
) -> None:
    """Print how each rule was received, how it does in shadow, and what changed. Example: cds-service feedback --json"""
    from cds_service.audit.acceptance import received
    from cds_service.audit.by_rule import look_back

    settings = read_settings()
    knowledge = load_knowledge(settings.knowledge)
    found = asyncio.run(_with_store(received))
    looked = asyncio.run(_with_store(lambda store: look_back(store, knowledge, days, settings.shadow)))
    show_json({"received": found, "looked_back": looked}) if as_json else show_look_back(found, looked)


@app.command(name="codes-seen")
def codes_seen(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for other programs.")] = False,
) -> None:
    """Print the codes of entries that nobody knew, for the map of a client. Example: cds-service codes-seen --json"""
    from cds_service.audit.codes_seen import read_codes

    found = asyncio.run(_with_store(read_codes))
    show_json([one._asdict() for one in found]) if as_json else show_codes(found)


@app.command()
def purge() -> None:
    """Delete what is older than CDS_RETENTION_DAYS; the service does so daily by itself. Example: cds-service purge"""
    from cds_service.audit.recorder import longest_rest, purge_old

    settings = read_settings()
    longest = longest_rest(rule.file for rule in load_knowledge(settings.knowledge).rules)
    gone = asyncio.run(_with_store(lambda store: purge_old(store, settings, longest)))
    typer.echo(f"Deleted: {gone.answers} answers, {gone.cards} cards, {gone.feedback} feedback.")
    typer.echo(f"Deleted: {gone.codes} codes that nobody knew. Hashes erased: {gone.hashes}.")


T = TypeVar("T")


async def _with_store(work: Callable[[Store], Awaitable[T]]) -> T:
    """The database of the settings, open for one piece of work. Raises SettingsError where it is not to be had."""
    store = Store(read_settings().database_url)
    try:
        await store.ping()
    except Exception as error:
        text = f"cannot be reached ({type(error).__name__})"
        raise SettingsError([Problem("CDS_DATABASE_URL", text, "see the address and whether the database runs")]) from None
    try:
        return await work(store)
    finally:
        await store.close()


@app.command()
def check(
    patient: Annotated[
        Path | None, typer.Argument(help="A patient file, or - for standard input; without one the knowledge is checked.")
    ] = None,
) -> None:
    """Check logic/ and cards/, or one patient file. Example: cds-service check my-patient.json"""
    from cds_service.lint import run as checks

    if patient is None:
        name, problems = "logic/ and cards/", checks.check(read_settings().knowledge)
    else:
        file = read_patient_file(patient)
        name = file.name
        problems = checks.check_resources(file.loaded, file.name)
        if is_record(file.loaded):
            try:
                show_left_out(ask(file, Asking()).left_out)
            except Mendable as error:
                problems += error.problems
    if problems:
        _report(tuple(problems))
    typer.echo(f"{name}: no problems found.")


@app.command()
def lock() -> None:
    """Write logic/value_sets/lock.json anew, after a person has read what changed. Example: cds-service lock"""
    from cds_service.lint import run as checks

    typer.echo(f"{checks.lock(read_settings().knowledge)} files locked.")


@app.command()
def release() -> None:
    """Write logic/release.json, with which check compares: what changed has a new version. Example: cds-service release"""
    from cds_service.lint import release as released

    parts = released.write_release(load_knowledge(read_settings().knowledge))
    typer.echo(f"wrote {released.FILE}: {parts} parts that rules rest on")


@app.command(name="value-sets")
def value_sets(
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", exists=True, dir_okay=False, help="A CSV file to compare with: columns system, code, display."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print problems only, and nothing if there is none.")] = False,
) -> None:
    """Verify every code, and say what cannot be verified here. Example: cds-service value-sets --against my-codes.csv"""
    from cds_service.lint import code_provenance as verification

    knowledge = load_knowledge(read_settings().knowledge)
    problems = verification.verify(knowledge)
    told = list(verification.report(knowledge))
    if against:
        comparison = verification.compare(knowledge, against)
        problems += comparison.differing
        told += comparison.lines()
    for line in () if quiet else told:
        show_text(line)
    if problems:
        _report(tuple(problems))
    if not quiet:
        typer.echo("No problems found.")


@app.command()
def new(
    rule: Annotated[str, typer.Argument(help="TOPIC/RULE, such as results/my-rule.")],
    when: Annotated[str, typer.Option("--when", help='A condition over facts, such as "age_years >= 65 and taking_diuretic".')],
) -> None:
    """Write a rule, its cases and its card. Example: cds-service new results/very-old --when "age_years >= 90" """
    from cds_service.terminal import rule_files as authoring

    settings = read_settings()
    for path in authoring.write_rule(settings.knowledge, load_knowledge(settings.knowledge), rule, when):
        typer.echo(f"wrote {path}")
    typer.echo("Now fill in what says TODO, and run: cds-service check")


@app.command()
def edit(
    rule: Annotated[str, typer.Argument(help="The id of a rule, as in logic/CATALOGUE.md.")],
    when: Annotated[
        str | None, typer.Option("--when", help="When it fires, as a line like those of logic/CATALOGUE.md.")
    ] = None,
    applies_when: Annotated[str | None, typer.Option("--applies-when", help="Which patients the rule is for.")] = None,
) -> None:
    """Write conditions of a rule anew, then check. Example: cds-service edit diuretic --when "taking_diuretic" """
    from cds_service.terminal import rule_files as authoring

    settings = read_settings()
    given = {"fires_when": when, "applies_when": applies_when}
    conditions = {member: text for member, text in given.items() if text is not None}
    if not conditions:
        raise SettingsError([Problem(rule, "is to say nothing else", "give --when or --applies-when, or both")])
    for line in authoring.edit_rule(settings.knowledge, load_knowledge(settings.knowledge), rule, conditions):
        typer.echo(line)
    check()


@app.command()
def catalogue(check_only: Annotated[bool, typer.Option("--check", help="Only compare; write nothing.")] = False) -> None:
    """Write logic/CATALOGUE.md, and count the cards of the cast. Example: cds-service catalogue --check"""
    from cds_service.lint import catalogue as writer

    settings = read_settings()
    knowledge = load_knowledge(settings.knowledge)
    counted = tally(knowledge, fixtures_of(settings.knowledge))
    name, text = "logic/CATALOGUE.md", writer.write_catalogue(knowledge, counted)
    path = settings.knowledge / name
    if not check_only:
        path.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {name}")
        show_counts(counted)
    elif not path.is_file() or path.read_text(encoding="utf-8") != text:
        _report((Problem(name, "is not what the rules say", "run: cds-service catalogue"),))


@app.command()
def approve(
    rules: Annotated[list[str], typer.Argument(help="Ids of rules, or `all`.")],
    name: Annotated[str, typer.Option("--name", help="The clinician who signs.")],
    file: Annotated[Path | None, typer.Option("--file", help="Where to write; else CDS_APPROVALS.")] = None,
    until: Annotated[str, typer.Option("--until", help="The last day of the approval, YYYY-MM-DD.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
) -> None:
    """Show rules in words and sign them for this site. Example: cds-service approve low-potassium --name "Dr Anna Sample" """
    from cds_service.terminal import signing

    settings = read_settings()
    signing.sign(settings, rules, signing.Signer(name, until), file or settings.approvals, ask=not yes)


app.command()(publication.facts)
app.command()(publication.publish)


@fixtures.command("list")
def list_cast() -> None:
    """One line a person. Example: cds-service fixtures list"""
    for person in read_cast(fixtures_of(read_settings().knowledge)):
        show_text(f"{person.id:<24} {person.jurisdiction}  {person.as_of}  {person.story}")


@fixtures.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
    as_of: Annotated[str, typer.Option("--as-of", help="The day that each person's own date becomes.")] = "today",
    transaction: Annotated[
        bool, typer.Option("--transaction", help="As transactions of PUT, for a FHIR server; each id there once.")
    ] = False,
) -> None:
    """Write the cast with all dates shifted. Example: cds-service fixtures export --as-of today --transaction out/"""
    day = day_of(as_of)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, text in exported(fixtures_of(read_settings().knowledge), day, transaction=transaction):
        (folder / name).write_text(text)
        count += 1
    typer.echo(f"wrote {count} patients to {folder}")


if __name__ == "__main__":
    main()

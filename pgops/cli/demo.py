"""`pgops demo`: a database of its own with real content and live traffic, in the dashboard or without it."""

import asyncio
import sys
from typing import Annotated

import typer

from pgops.cli import output, status
from pgops.cli.acts import Yes, ask
from pgops.cli.command import command
from pgops.cli.context import Cli, at_terminal
from pgops.config import Target
from pgops.errors import RefusedError, UsageError


def register(app: typer.Typer) -> None:
    command(app, "demo", example="pgops demo --headless --seconds 1 --json")(demo)


def demo(
    cli: Cli,
    headless: Annotated[bool, typer.Option("--headless", help="Without the dashboard; print one status.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="How long, with --headless.")] = 10.0,
    to: Annotated[
        str, typer.Option("--to", metavar="SINK", envvar="PGOPS_DEMO_SINK", help="Relay there, as pgops outbox relay.")
    ] = "",
    yes: Yes = False,
) -> None:
    """Show everything at work: jobs that fail now and then, a relay, a cache, similarity searches.

    It uses a database of its own on the embedded server. Any other one needs --dsn and --yes.
    """
    from pgops.demo import run_headless, run_interactive

    if cli.json and not headless:
        raise UsageError("--json needs --headless", "for example: pgops demo --headless --seconds 10 --json")
    if cli.target.read_only and not cli.target.source.startswith("profile "):
        raise RefusedError("the demo writes, and this session is read-only", "leave out --read-only")
    if cli.target.source == "--dsn":
        ask(f"write demo content into {cli.target.display}", yes=yes)
    else:
        cli.turn_to(Target(None, "embedded"))
    if to:
        from pgops.runtime.sinks import in_database, open_sink

        if not in_database(to):
            open_sink(to)
    if headless or not at_terminal(sys.stdin, sys.stdout):
        status.show(cli, asyncio.run(run_headless(seconds, cli.target, to)))
        return
    from pgops.tui import run_dashboard

    output.talk("starting PostgreSQL, and filling the shop…")
    raise typer.Exit(run_interactive(cli.target, run_dashboard, to))

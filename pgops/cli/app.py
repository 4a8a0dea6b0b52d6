"""The tree of commands, and running one of them.

The rule: a group brings its commands, and `run` ends every call with an exit code; see endings.py for the errors.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pgops.cli import (
    audit,
    bench,
    cache,
    check,
    demo,
    doc,
    endings,
    kv,
    limit,
    outbox,
    pgmq,
    pubsub,
    queue,
    running,
    schema,
    server,
    sessions,
    status,
    vector,
)
from pgops.cli.command import Dsn, Profile, ReadOnly, perform
from pgops.cli.context import Cli, at_terminal
from pgops.version import __version__

app = typer.Typer(
    name="pgops",
    help="Queue, cache, outbox and vector search on one PostgreSQL, seen and steered from one terminal.",
    epilog="Example: pgops status --json",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (schema, status, check, demo, bench):
    room.register(app)
running.register(queue.app, outbox.app)
queue.app.add_typer(pgmq.app)
for house in (server, queue, cache, limit, kv, doc, vector, outbox, pubsub, audit):
    app.add_typer(house.app)
for tree in (sessions.app, sessions.locks_app):
    app.add_typer(tree)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgops {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    dsn: Dsn = None,
    profile: Profile = None,
    read_only: ReadOnly = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Queue, cache, outbox and vector search on one PostgreSQL, seen and steered from one terminal.

    Without a command the dashboard opens; without a terminal, one status is printed.
    """
    if context.invoked_subcommand is not None:
        return
    cli = Cli(dsn, json=False, profile=profile, read_only=read_only)
    perform(cli, _dashboard if at_terminal(sys.stdin, sys.stdout) else status.once)


def _dashboard(cli: Cli) -> None:
    from pgops.tui import run_dashboard

    raise typer.Exit(run_dashboard(cli.target))


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = typer.main.get_command(app).main(list(argv), prog_name="pgops", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        if check.meant(argv):
            return check.failed(error, as_json="--json" in argv, target=None)
        return endings.tell(error, as_json="--json" in argv, target=None)
    return int(code or 0)

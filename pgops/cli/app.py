"""The tree of commands, and running one of them.

The rule: a room brings its commands, and none is entered that a command line does not speak of, so that a command
starts fast. `run` ends every call with an exit code; see endings.py for the errors.
"""

import sys
from collections.abc import Container, Sequence
from importlib import import_module
from typing import Annotated

import typer

from pgops.cli import endings
from pgops.cli.command import Dsn, Profile, ReadOnly, Unlock, perform
from pgops.cli.context import Cli, at_terminal
from pgops.cli.lean import Group
from pgops.errors import UsageError
from pgops.version import __version__

# What stands first on a command line, and the module that brings it.
ROOMS = {
    "migrate": "schema", "grants": "grants", "status": "status", "check": "check", "metrics": "metrics",
    "advise": "advise", "demo": "demo", "bench": "bench", "server": "server", "queue": "queue", "cache": "cache",
    "limit": "limit", "kv": "kv", "doc": "doc", "vector": "vector", "outbox": "outbox", "pubsub": "pubsub",
    "audit": "audit", "sessions": "sessions", "locks": "sessions", "outgrow": "outgrow", "table": "table",
    "index": "index",
}  # fmt: skip


def tree(words: Container[str] = ROOMS) -> typer.Typer:
    """The commands of those rooms that stand among `words`, or all of them where none does."""
    app = typer.Typer(
        name="pgops",
        cls=Group,
        help="Queue, cache, outbox and vector search on one PostgreSQL, seen and steered from one terminal.",
        epilog="Example: pgops status --json",
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for module in dict.fromkeys([room for name, room in ROOMS.items() if name in words] or ROOMS.values()):
        room = import_module(f"pgops.cli.{module}")
        if hasattr(room, "register"):
            room.register(app)
        else:
            app.add_typer(room.app)
    return app


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgops {__version__}")
        raise typer.Exit


def root(
    context: typer.Context,
    dsn: Dsn = None,
    profile: Profile = None,
    read_only: ReadOnly = False,
    unlock: Unlock = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Queue, cache, outbox and vector search on one PostgreSQL, seen and steered from one terminal.

    Without a command the dashboard opens; without a terminal, one status is printed.
    """
    if context.invoked_subcommand is not None:
        return
    from pgops.cli import status

    if unlock is not None:
        raise UsageError("--unlock is for a command; the dashboard opens locked", "ctrl+l unlocks it there")
    cli = Cli(dsn, json=False, profile=profile, read_only=read_only)
    perform(cli, _dashboard if at_terminal(sys.stdin, sys.stdout) else status.once)


def _dashboard(cli: Cli) -> None:
    from pgops.tui import run_dashboard

    raise typer.Exit(run_dashboard(cli.target, read_only=cli.read_only))


def run(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = typer.main.get_command(tree(argv)).main(list(argv), prog_name="pgops", standalone_mode=False)
        sys.stdout.flush()
    except Exception as error:
        from pgops.cli import check

        if check.meant(argv):
            return check.failed(error, as_json="--json" in argv, target=None)
        return endings.tell(error, as_json="--json" in argv, target=None)
    return int(code or 0)

"""`pgops status`: one observation of everything, what needs a human first."""

import asyncio
import sys
from dataclasses import fields
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output, report
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.cli.looking import Over, look
from pgops.errors import UsageError

if TYPE_CHECKING:
    from pgops.ops.observe.snapshot import Snapshot


CLEAR = "\x1b[H\x1b[2J"


def register(app: typer.Typer) -> None:
    command(app, "status", example="pgops status --json")(status)


async def status(
    cli: Cli,
    seconds: Annotated[float, typer.Argument(help="With --watch: how often.", metavar="[SECONDS]")] = 2.0,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until ctrl-c; with --json one line each.")] = False,
    over: Over = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the document, and end.")] = False,
) -> None:
    """Server, queues, workers, outbox, cache, documents and vectors, and what needs a human."""
    if not 0.1 <= seconds <= 3600:
        raise UsageError(f"an interval is 0.1 to 3,600 seconds, not {seconds:g}", "leave it out for 2")
    if schema:
        output.say(files("pgops.ops.tell").joinpath("status.schema.json").read_text("utf-8").rstrip())
    elif watch:
        await _watch(cli, seconds)
    else:
        await once(cli, over)


async def once(cli: Cli, over: float | None = None) -> None:
    """Observe once and print it; or twice, `over` so many seconds."""
    from pgops.ops.collector import Collector

    lines = cli.thresholds()
    async with cli.database(schema=False) as db:
        show(cli, await look(Collector(db, cli.target.display, thresholds=lines), over))


async def _watch(cli: Cli, seconds: float) -> None:
    from pgops.ops.collector import Collector

    lines = cli.thresholds()
    async with cli.database(schema=False) as db:
        collector = Collector(db, cli.target.display, thresholds=lines)
        while True:
            snapshot = await collector.collect()
            if not cli.json and sys.stdout.isatty():
                sys.stdout.write(CLEAR)
            show(cli, snapshot, one_line=True)
            await asyncio.sleep(seconds)


def show(cli: Cli, snapshot: "Snapshot", *, one_line: bool = False) -> None:
    """Print a snapshot: the document of the contract, or tables."""
    if cli.json:
        cli.document(body(snapshot), one_line=one_line)
        return
    report.show(snapshot)


def body(snapshot: "Snapshot") -> dict[str, object]:
    """What status.schema.json describes, without the envelope, which has the target."""
    return {part.name: getattr(snapshot, part.name) for part in fields(snapshot) if part.name != "target"}

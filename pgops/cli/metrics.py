"""`pgops metrics`: what Prometheus reads of everything, once on stdout or behind an endpoint.

The rule: it never starts the server it looks at, and a database that is away is an answer too: `pgops_up 0`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.cli.running import told_to_stop
from pgops.errors import PgopsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from pgops.ops.collector import Collector


class How(StrEnum):
    SERVE = "serve"


def register(app: typer.Typer) -> None:
    command(app, "metrics", example="pgops metrics")(metrics)


async def metrics(
    cli: Cli,
    how: Annotated[
        How | None, typer.Argument(metavar="serve", help="Answer Prometheus until ctrl-c; else print once.")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Of serve; 0 takes a free one.")] = 9187,
    address: Annotated[
        str, typer.Option("--address", help="Of serve: where it is asked; 0.0.0.0 lets everybody ask.")
    ] = "127.0.0.1",
    every: Annotated[
        float, typer.Option("--every", metavar="SECONDS", help="Of serve: never observe more often.")
    ] = 5.0,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="Then the database counts as away.")
    ] = 8.0,
) -> None:
    """What Prometheus reads: queues, workers, outbox, stores, findings, and what it cost to look."""
    if not 0.1 <= timeout <= 600:
        raise UsageError(f"a timeout is 0.1 to 600 seconds, not {timeout:g}", "leave it out for 8")
    if not 0 <= every <= 3600:
        raise UsageError(f"an interval is 0 to 3,600 seconds, not {every:g}", "leave it out for 5")
    cli.thresholds()  # a config.toml that is wrong is no database that is away
    if how is None:
        await _once(cli, timeout)
    else:
        await _serve(cli, port, address, every, timeout)


async def _once(cli: Cli, timeout_s: float) -> None:
    from pgops.ops.tell.exposition import text
    from pgops.ops.tell.meters import families
    from pgops.ops.tell.meters_parts import METERS

    away: PgopsError | None = None
    snapshot = None
    try:
        async with asyncio.timeout(timeout_s), _opened(cli) as collector:
            snapshot = await collector.collect()
    except TimeoutError:
        away = UnreachableError(f"no answer within {timeout_s:g} s")
    except PgopsError as error:
        away = error
    found = families(snapshot, METERS)
    if not cli.json:
        output.say(text(found).rstrip())
    elif away is None:
        cli.document({"items": found, "next": None})
    if away is not None:
        raise away


async def _serve(cli: Cli, port: int, address: str, fresh_s: float, timeout_s: float) -> None:
    from pgops.ops.tell.exposition import Observer, serve

    stopping = asyncio.Event()
    observer = Observer(lambda: _opened(cli), fresh_s=fresh_s, timeout_s=timeout_s, told=output.talk)
    async with told_to_stop(stopping.set), serve(observer, port, address, timeout_s=timeout_s) as url:
        output.talk(f"answering on {url}")
        await stopping.wait()
    if cli.json:
        cli.document({"url": url})


@asynccontextmanager
async def _opened(cli: Cli) -> AsyncIterator["Collector"]:
    """The target's database, where it can be had without starting it."""
    from pgops.ops.collector import Collector

    cli.require_running()
    async with cli.database(schema=False, max_size=1, quiet=True) as db:
        yield Collector(db, cli.target.display, thresholds=cli.thresholds())

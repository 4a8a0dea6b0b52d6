"""`pgops queue work` and `pgops outbox relay`: programs that run until they are told to stop.

SIGTERM and ctrl-c let them finish or hand back what they hold; a second ctrl-c does not wait for that. What they
say is talk; with --json one document at the end tells what was done.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from pgops.cli import output
from pgops.cli.command import command
from pgops.cli.context import Cli

REPORT_EVERY_S = 10.0


def register(queue: typer.Typer, outbox: typer.Typer) -> None:
    command(queue, "work", example="pgops queue work myjobs:registry -q email --concurrency 50")(work)
    command(outbox, "relay", example="pgops outbox relay --subscription billing --to stdout")(relay)


async def work(
    cli: Cli,
    registry: Annotated[str, typer.Argument(metavar="MODULE:REGISTRY", show_default=False)],
    queues: Annotated[list[str], typer.Option("--queue", "-q", metavar="QUEUE", help="May be repeated.")],
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Jobs at a time.")] = 10,
    grace: Annotated[float, typer.Option("--grace", metavar="SECONDS", help="Time to finish, when stopped.")] = 25.0,
) -> None:
    """Run the jobs of queues through the handlers of a Registry."""
    from pgops.runtime.registry import load_registry
    from pgops.runtime.worker import Worker
    from pgops.services.queue import AsyncQueue

    handlers = load_registry(registry)
    async with cli.database(max_size=8) as db:
        for queue in queues:
            await AsyncQueue(db).refuse_pgmq(queue)
        worker = Worker(db, handlers, queues, concurrency=concurrency, grace_s=grace)
        async with told_to_stop(worker.stop), _reporting(lambda: _line(asdict(worker.stats))):
            stats = await worker.run()
    if cli.json:
        cli.document({"queues": queues, **asdict(stats)})
    else:
        output.talk(_line(asdict(stats)))


async def relay(
    cli: Cli,
    subscription: Annotated[str, typer.Option("--subscription", "-s", metavar="NAME", help="Whose events.")],
    to: Annotated[str, typer.Option("--to", metavar="SINK", help="stdout, or module:function.")],
    batch: Annotated[int, typer.Option("--batch", help="Events of one part at a time, at most.")] = 100,
    attempts: Annotated[int, typer.Option("--attempts", help="Then an event is parked.")] = 5,
) -> None:
    """Hand a subscription's events to a sink, in the order of each key; several relays share the work."""
    from pgops.runtime.relay import Relay
    from pgops.runtime.sinks import SinkClosedError, open_sink

    sink = open_sink(to)
    async with cli.database() as db:
        relay = Relay(db, subscription, sink, batch=batch, attempts=attempts)
        try:
            async with told_to_stop(relay.stop), _reporting(lambda: _line(asdict(relay.stats))):
                await relay.run()
        except SinkClosedError as error:
            raise BrokenPipeError from error
        finally:
            await sink.close()
    if cli.json and to != "stdout":
        cli.document({"subscription": subscription, "sink": to, **asdict(relay.stats)})
    else:
        output.talk(_line(asdict(relay.stats)))


@asynccontextmanager
async def told_to_stop(stop: Callable[[], None]) -> AsyncIterator[None]:
    """Have SIGTERM and the first ctrl-c call `stop`. After a ctrl-c the block ends as interrupted."""
    loop = asyncio.get_running_loop()
    interrupted = False

    def on_interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        output.talk("stopping; ctrl-c again does not wait")
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGINT)
    if interrupted:
        raise KeyboardInterrupt


@asynccontextmanager
async def _reporting(line: Callable[[], str]) -> AsyncIterator[None]:
    """Log to stderr, and now and then say how far it is."""

    async def report() -> None:
        said = line()
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            if line() != said:
                said = line()
                output.talk(said)

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Harmless("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("pgops")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    reporter = asyncio.create_task(report())
    try:
        yield
    finally:
        reporter.cancel()
        log.removeHandler(handler)


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return output.harmless(super().format(record))


def _line(stats: dict[str, object]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in stats.items() if isinstance(number, int))

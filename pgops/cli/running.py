"""`pgops outbox relay`, and what it has in common with the worker: a program that runs until it is told to stop.

SIGTERM and ctrl-c let them finish or hand back what they hold; a second ctrl-c does not wait for that. What they
say is talk; with --json one document at the end tells what was done.
"""

import asyncio
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from pgops.cli import output
from pgops.cli.context import Cli

LOOK_EVERY_S = 0.5
REPORT_EVERY_S = 10.0
SINKS = (
    "stdout, module:function, queue:NAME, notify:CHANNEL, or a URL: rabbitmq://, nats://, redis://, https:// "
    "(a webhook), sqs:// (experimental). A URL with a password is better given in PGOPS_SINK."
)


async def relay(
    cli: Cli,
    subscription: Annotated[str, typer.Option("--subscription", "-s", metavar="NAME", help="Whose events.")],
    to: Annotated[str, typer.Option("--to", metavar="SINK", envvar="PGOPS_SINK", help=SINKS)],
    batch: Annotated[int, typer.Option("--batch", help="Events of one part at a time, at most.")] = 100,
    attempts: Annotated[
        int | None, typer.Option("--attempts", min=1, help="Then an event is parked; as the subscription says.")
    ] = None,
) -> None:
    """Hand a subscription's events to a sink, in the order of each key; several relays share the work."""
    from pgops.runtime.relay import Relay
    from pgops.runtime.sinks import SinkClosedError, in_database, open_sink, shown

    found = None if in_database(to) else open_sink(to)
    async with cli.database() as db:
        sink = found or open_sink(to, db)
        relay = Relay(db, subscription, sink, batch=batch, attempts=attempts)
        try:
            async with told_to_stop(relay.stop), reporting(lambda: counts(asdict(relay.stats))):
                await relay.run()
        except SinkClosedError as error:
            if to != "stdout":
                raise
            raise BrokenPipeError from error
        finally:
            await sink.close()
    if cli.json and to != "stdout":
        cli.document({"subscription": subscription, "sink": shown(to), **asdict(relay.stats)})
    else:
        output.talk(counts(asdict(relay.stats)))


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
async def reporting(line: Callable[[], str], log_format: str = "text") -> AsyncIterator[None]:
    """Log to stderr, as text or as a JSON object a line, and say how far it is: on a terminal in a line that stays
    below, else now and then."""
    from rich.console import Console
    from rich.text import Text

    with ExitStack() as stack:
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        status = stack.enter_context(console.status("")) if console.is_terminal and log_format == "text" else None

        async def report() -> None:
            said = line()
            while True:
                await asyncio.sleep(LOOK_EVERY_S if status is not None else REPORT_EVERY_S)
                now = line()
                if status is not None:
                    status.update(Text(now))
                elif now != said and log_format == "text":
                    output.talk(now)
                said = now

        stack.enter_context(_logging(log_format))
        reporter = asyncio.create_task(report())
        try:
            yield
        finally:
            reporter.cancel()


@contextmanager
def _logging(log_format: str) -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else _Harmless("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("pgops")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


class _Harmless(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return output.harmless(super().format(record))


class JsonLines(logging.Formatter):
    """One object a record: time, level, logger, message, pid, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC), "level": record.levelname.lower(),
            "logger": record.name, "message": record.getMessage(), "pid": record.process,
        }  # fmt: skip
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(output.plain(said))


def counts(stats: Mapping[str, object]) -> str:
    """What was done, in a line."""
    return ", ".join(f"{name} {number:,}" for name, number in stats.items() if isinstance(number, int))

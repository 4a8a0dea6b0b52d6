"""`pgops queue work`: the worker as a program, in one process or in several.

SIGTERM and ctrl-c let it finish or hand back what it holds; a second ctrl-c does not wait for that. What it says is
talk; with --json one document at the end tells what was done.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output
from pgops.cli.context import Cli
from pgops.cli.running import counts, reporting, told_to_stop
from pgops.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from pgops.database import AsyncPool

RESTART_S = 1.0
GIVE_UP_S = 10.0
OWN_CONNECTIONS = 6  # the rest are for handlers that ask for one; none is opened before it is needed


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


async def work(
    cli: Cli,
    registry: Annotated[str, typer.Argument(metavar="MODULE:REGISTRY", show_default=False)],
    queues: Annotated[list[str], typer.Option("--queue", "-q", metavar="QUEUE", help="May be repeated.")],
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Jobs at a time, in each process.")] = 10,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="One a core is usual.")] = 1,
    grace: Annotated[float, typer.Option("--grace", metavar="SECONDS", help="Time to finish, when stopped.")] = 25.0,
    direct_dsn: Annotated[
        str | None,
        typer.Option(
            "--direct-dsn", envvar="PGOPS_DIRECT_DSN", help="Around a pooler, to be told of new jobs at once."
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option("--metrics-port", min=1, max=65_535, help="Prometheus on 127.0.0.1; a port up for each process."),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="How stderr is written.")] = LogFormat.TEXT,
    with_stdin: Annotated[bool, typer.Option("--with-stdin", hidden=True, help="Stop where stdin ends.")] = False,
) -> None:
    """Run the jobs of queues through the handlers of a Registry."""
    from pgops.runtime.parent import at_end_of_stdin
    from pgops.runtime.registry import load_registry
    from pgops.runtime.worker import Worker

    handlers = load_registry(registry)
    if processes > 1:
        await _work_in_processes(cli, queues, processes, metrics_port, grace)
        return
    async with cli.database(max_size=OWN_CONNECTIONS + min(concurrency, 10)) as db:
        await _refuse_pgmq(db, queues)
        worker = Worker(db, handlers, queues, concurrency=concurrency, grace_s=grace, direct_dsn=direct_dsn)
        with ExitStack() as stack:
            if metrics_port is not None:
                from pgops.runtime.metrics import serve

                stack.enter_context(serve(worker, handlers, metrics_port))
            began = monotonic()

            def line() -> str:
                rate = worker.stats.completed / max(monotonic() - began, 0.001)
                return f"{counts(asdict(worker.stats))}, running {worker.running:,}, {rate:,.1f} a second"

            def stop() -> None:
                worker.stop()
                if at_last.ident is None:
                    at_last.start()

            at_last = threading.Timer(grace + GIVE_UP_S, _give_up)
            at_last.daemon = True
            stack.callback(at_last.cancel)
            if with_stdin:
                stack.enter_context(at_end_of_stdin(stop))
            async with told_to_stop(stop), reporting(line, log_format):
                stats = await worker.run()
    if cli.json:
        cli.document({"queues": queues, **asdict(stats)})
    else:
        output.talk(counts(asdict(stats)))


async def _refuse_pgmq(db: "AsyncPool", queues: Sequence[str]) -> None:
    from pgops.services.queue import AsyncQueue

    for queue in queues:
        await AsyncQueue(db).refuse_pgmq(queue)


def _give_up() -> None:
    """A handler swallows its cancellation: nothing else ends it."""
    output.talk("a handler does not end; another worker gets its job when the lease has run out")
    os._exit(ExitCode.FAILED)


async def _work_in_processes(
    cli: Cli, queues: Sequence[str], processes: int, metrics_port: int | None, grace_s: float
) -> None:
    """As many workers as processes, each of them this command again; one that dies is started anew."""
    cli.guard.require()
    stopping = asyncio.Event()
    async with cli.database(max_size=1) as db:
        await _refuse_pgmq(db, queues)
        async with told_to_stop(stopping.set), asyncio.TaskGroup() as tasks:
            started = [
                tasks.create_task(_keep_running(_arguments(number, metrics_port), stopping, grace_s))
                for number in range(processes)
            ]
    total: Counter[str] = Counter()
    for task in started:
        total.update(task.result())
    if cli.json:
        cli.document({"queues": list(queues), "processes": processes, **total})
    else:
        output.talk(counts(total))


def _arguments(number: int, metrics_port: int | None) -> list[str]:
    """This command for one process: what comes later on a command line goes before what came earlier."""
    given = ["--processes", "1", "--with-stdin", "--json"]
    if metrics_port is not None:
        given += ["--metrics-port", str(metrics_port + number)]
    return [sys.executable, "-m", "pgops", *sys.argv[1:], *given]


async def _keep_running(arguments: Sequence[str], stopping: asyncio.Event, grace_s: float) -> Counter[str]:
    total: Counter[str] = Counter()
    while not stopping.is_set():
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        ended = asyncio.ensure_future(_ended(process))
        told = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                process.send_signal(signal.SIGTERM)
                await asyncio.wait([ended], timeout=grace_s + GIVE_UP_S + 5)
        finally:
            told.cancel()
            if process.returncode is None:
                process.kill()
        said = await ended
        if said:
            total.update({name: value for name, value in json.loads(said).items() if type(value) is int})
            total.pop("schema_version", None)
        if process.returncode == 2:
            raise UsageError("a worker process has refused its arguments", "what it says stands above")
        if not stopping.is_set():
            output.talk(f"a worker process has ended with {process.returncode}; another one follows")
            await asyncio.sleep(RESTART_S)
    return total


async def _ended(process: asyncio.subprocess.Process) -> bytes:
    """What it has said by its end. Its stdin stays open until then: it is how it knows that we live."""
    assert process.stdout is not None
    said = await process.stdout.read()
    await process.wait()
    return said

"""The relay over each of its sinks: `pip install '.[bench,sinks]' && python tests/bench/relay.py --json relay.json`.

For each sink, in a fresh database on one server:

    relay     a backlog of events with 1,000 keys, from the start of the relay until the last one is confirmed
    latency   200 events a second, from the commit of each to the sink's word that it is safe at the other end

Brokers are real and of one's own, with durable queues, file storage and `appendfsync always`; the webhook's endpoint is
a process that answers 204 at once. Beside RabbitMQ stands pika's confirmed publisher, which waits for each confirm,
with messages of the same size in the same run. Sinks take turns; figures are medians with the lowest and the highest.
"""

import argparse
import asyncio
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from broker_places import PASSWORD, USER
from brokers import nats_server, rabbitmq_server, redis_broker

from pgops import AsyncPgops
from pgops.bench.measure import paced, payload, quantile, running, until
from pgops.bench.run import environment
from pgops.bench.site import open_server, scratch
from pgops.config import Target
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import FunctionSink, Sink, StdoutSink, open_sink
from pgops.services.models import Event, NewEvent

NAME, KEYS, PAYLOAD_BYTES = "bench", 1_000, 64
WARM_S = 0.5
Open = Callable[[AsyncPgops], Sink]
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Entrant:
    """A sink: how one is opened, and of how many events it takes a share where it is slow."""

    open: Open
    share: int = 1


class Watched:
    """A sink, and when which event was safe there."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.safe: dict[str, float] = {}

    async def deliver(self, events: Sequence[Event]) -> None:
        await self.sink.deliver(events)
        now = perf_counter()
        self.safe.update((str(event.event_id), now) for event in events)

    async def close(self) -> None:
        await self.sink.close()


async def nothing(event: Event) -> None:
    """A function that does nothing."""


@contextmanager
def entrants(names: Sequence[str], made: dict[str, Any]) -> Iterator[dict[str, Entrant]]:
    """Those of `names`, with the brokers that they need running; `made` holds what their other ends are."""
    nowhere = made["nowhere"]
    found = {
        "function": Entrant(lambda pg: FunctionSink(nothing)),
        "stdout": Entrant(lambda pg: StdoutSink(nowhere)),
        "queue": Entrant(lambda pg: open_sink(f"queue:{NAME}", pg.db), 4),
        "notify": Entrant(lambda pg: open_sink(f"notify:{NAME}", pg.db), 2),
    }
    with ExitStack() as stack:
        if "rabbitmq" in names or "pika" in names:
            port = made["rabbitmq"] = stack.enter_context(rabbitmq_server())
            found["rabbitmq"] = Entrant(lambda pg: open_sink(f"rabbitmq://127.0.0.1:{port}/"))
        if "nats" in names:
            nats = f"nats://{USER}:{PASSWORD}@127.0.0.1:{stack.enter_context(nats_server()).where}"
            made["nats"] = nats
            found["nats"] = Entrant(lambda pg: open_sink(f"{nats}/relay"))
        if "redis" in names:
            path = stack.enter_context(redis_broker("--appendonly", "yes", "--appendfsync", "always")).where
            found["redis"] = Entrant(lambda pg: open_sink(f"unix://{path}?stream={NAME}"))
        if "webhook" in names:
            url = f"http://127.0.0.1:{stack.enter_context(endpoint())}/hook?allow_private=1"
            found["webhook"] = Entrant(lambda pg: open_sink(url), 10)
        yield {name: found[name] for name in names if name in found}


@contextmanager
def endpoint() -> Iterator[int]:
    """The port of the webhook's other end."""
    argv = [sys.executable, str(Path(__file__).with_name("endpoint.py"))]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None and process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(5)


async def relayed(dsn: str, entrant: Entrant, given: argparse.Namespace) -> Figures:
    """One sink once, in a database of its own."""
    events = given.events // entrant.share
    async with AsyncPgops.open(dsn) as pg:
        await pg.events.subscribe(NAME)
        body = payload(PAYLOAD_BYTES)
        await pg.events.append_many(NewEvent(NAME, body, str(number % KEYS)) for number in range(events))
        async with watching(pg, entrant) as (sink, relay):
            began = perf_counter()
            async with running(relay) as task:
                await until(lambda: len(sink.safe) >= events, task)
                figures = {"relay_per_s": events / (max(sink.safe.values()) - began)}
        committed: dict[str, float] = {}
        numbers = count()

        async def append() -> None:
            id = await pg.events.append(NAME, body, key=str(next(numbers) % KEYS))
            committed[str(id)] = perf_counter()

        async with watching(pg, entrant) as (sink, relay):
            async with running(relay) as task:
                await asyncio.sleep(WARM_S)
                await paced(append, WARM_S)
                committed.clear()
                await paced(append, given.seconds)
                await until(lambda: sink.safe.keys() >= committed.keys(), task)
        waited = [max(sink.safe[id] - at, 0.0) * 1000 for id, at in committed.items()]
    return figures | {f"latency_p{share}_ms": quantile(waited, share) for share in (50, 95, 99)}


@asynccontextmanager
async def watching(pg: AsyncPgops, entrant: Entrant) -> AsyncIterator[tuple[Watched, Relay]]:
    sink = Watched(entrant.open(pg))
    try:
        yield sink, Relay(pg.db, NAME, sink)
    finally:
        await sink.close()


def declare(made: dict[str, Any]) -> None:
    """The durable queue and the stream in files that the events go to."""
    if "rabbitmq" in made:
        import pika

        with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", made["rabbitmq"])) as connection:
            connection.channel().queue_declare(NAME, durable=True)
    if "nats" in made:
        import nats

        async def add() -> None:
            async with await nats.connect(made["nats"]) as client:
                await client.jetstream().add_stream(name=NAME, subjects=["relay.>"])

        asyncio.run(add())


def pika_publisher(port: int, given: argparse.Namespace) -> Figures:
    """pika's BlockingConnection with confirms: persistent, mandatory, one at a time, as it does it."""
    import pika

    events, body = given.events // 10, b"x" * 380
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/cloudevents+json")
    with pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        began = perf_counter()
        for _ in range(events):
            channel.basic_publish("", NAME, body, properties, mandatory=True)
        return {"relay_per_s": events / (perf_counter() - began)}


def measure(names: Sequence[str], server: str, given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """A value a run of each figure of each sink."""
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    with Path(os.devnull).open("w") as nowhere, entrants(names, made := {"nowhere": nowhere}) as found:
        declare(made)
        for turn in range(given.runs):
            for name in names:
                sys.stderr.write(f"run {turn + 1} of {given.runs}: {name}\n")
                if name == "pika":
                    figures = pika_publisher(made["rabbitmq"], given)
                else:
                    with scratch(server) as dsn:
                        figures = asyncio.run(relayed(dsn, found[name], given))
                for figure, value in figures.items():
                    runs[name].setdefault(figure, []).append(value)
    return runs


def table(runs: dict[str, dict[str, list[float]]]) -> str:
    """In Markdown: a row a sink."""
    lines = ["| relay to | events/s | commit to sink, ms: p50 / p95 / p99 |", "| --- | --- | --- |"]
    for name, found in runs.items():
        rates = found["relay_per_s"]
        spread = f" ({min(rates):,.0f}–{max(rates):,.0f})" if len(rates) > 1 else ""
        waited = " / ".join(
            f"{median(found[f'latency_p{p}_ms']):.1f}" for p in (50, 95, 99) if f"latency_p{p}_ms" in found
        )
        title = "(pika's confirmed publisher, no relay)" if name == "pika" else name
        lines.append(f"| {title} | {median(rates):,.0f}{spread} | {waited or '–'} |")
    return "\n".join(lines)


NAMES = ("function", "stdout", "queue", "notify", "rabbitmq", "pika", "nats", "redis", "webhook")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="SINK", help=", ".join(NAMES))
    parser.add_argument("--dsn", help="a server on which databases may be created; default: the embedded one")
    parser.add_argument("--events", type=int, default=20_000, help="of slow sinks a share")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long at 200 events a second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the document goes")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    try:
        with open_server(Target(given.dsn, "--dsn")) as server:
            with scratch(server) as dsn:
                where = environment(dsn, os.getloadavg()[0])
            runs = measure(given.only, server, given)
    except KeyboardInterrupt:
        sys.exit(130)
    command = shlex.join(["python", "tests/bench/relay.py", *sys.argv[1:]])
    sys.stdout.write(
        f"{table(runs)}\n\n`{command}`: {given.events:,} events of {KEYS:,} keys and {PAYLOAD_BYTES} bytes, medians of "
        f"{given.runs} runs; PostgreSQL {where.versions['postgresql']}; {where.cpus} CPUs ({where.machine}), load "
        f"{where.load_1m:.1f} before; pgops {where.revision}\n"
    )
    if given.json:
        document = {
            "command": command,
            "environment": asdict(where),
            "params": vars(given) | {"json": None},
            "runs": runs,
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Pub/sub by callback, and several durable listeners of one name: a consumer group."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgops.errors import UsageError
from pgops.services.client import AsyncPgops
from pgops.services.models import Message, Missed, NewEvent
from pgops.sync.services.client import Pgops

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
async def pg(dsn: str) -> AsyncIterator[AsyncPgops]:
    async with AsyncPgops.open(dsn) as pg:
        yield pg


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not await true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def listening(pg: AsyncPgops, there: bool = True) -> None:
    """Until somebody does, or nobody any more."""

    async def seen() -> bool:
        return bool(await pg.pubsub.channels()) is there

    await until(seen)


# --- by callback -------------------------------------------------------------------------------------------------


async def test_a_handler_gets_each_message_until_it_is_told_to_stop(pg: AsyncPgops) -> None:
    heard: list[object] = []
    stop = asyncio.Event()

    async def handle(message: Message) -> None:
        heard.append(message.payload)
        if message.payload == "last":
            stop.set()

    running = asyncio.create_task(pg.pubsub.run(handle, "orders", "mail", stop=stop))
    await listening(pg)
    for channel, payload in (("orders", 1), ("mail", {"to": "a"}), ("orders", "last"), ("orders", "unheard")):
        await pg.pubsub.publish(channel, payload)
    assert await asyncio.wait_for(running, 5) == 3
    assert heard == [1, {"to": "a"}, "last"]
    await listening(pg, there=False)


async def test_a_plain_function_runs_in_a_thread_and_the_loop_goes_on(pg: AsyncPgops) -> None:
    stop, called, release = asyncio.Event(), threading.Event(), threading.Event()
    threads: list[int] = []

    def handle(message: Message) -> None:
        threads.append(threading.get_ident())
        called.set()
        assert release.wait(5)
        stop.set()

    running = asyncio.create_task(pg.pubsub.run(handle, "orders", stop=stop))
    await listening(pg)
    await pg.pubsub.publish("orders", 1)
    assert await asyncio.to_thread(called.wait, 5)
    release.set()
    assert await asyncio.wait_for(running, 5) == 1
    assert threads != [threading.get_ident()]


async def test_what_a_handler_raises_is_logged_and_told_and_the_next_message_is_its_turn(
    pg: AsyncPgops, caplog: pytest.LogCaptureFixture
) -> None:
    stop = asyncio.Event()
    told: list[tuple[object, str]] = []

    async def handle(message: Message) -> None:
        if message.payload == "last":
            stop.set()
        else:
            raise ZeroDivisionError(f"no {message.payload}")

    def failed(message: Message, error: Exception) -> None:
        told.append((message.payload, str(error)))

    running = asyncio.create_task(pg.pubsub.run(handle, "orders", stop=stop, failed=failed))
    await listening(pg)
    with caplog.at_level(logging.ERROR, "pgops.pubsub"):
        for payload in (1, 2, "last"):
            await pg.pubsub.publish("orders", payload)
        assert await asyncio.wait_for(running, 5) == 3
    assert told == [(1, "no 1"), (2, "no 2")]
    assert [one.getMessage() for one in caplog.records] == ["the handler of channel orders failed"] * 2
    assert all(one.exc_info is not None for one in caplog.records)


async def test_a_gap_is_told_and_the_handler_goes_on(pg: AsyncPgops, dsn: str) -> None:
    stop = asyncio.Event()
    gaps: list[Missed] = []
    told = asyncio.Event()

    async def handle(message: Message) -> None:
        stop.set()

    async def missed(gap: Missed) -> None:
        gaps.append(gap)
        told.set()

    running = asyncio.create_task(pg.pubsub.run(handle, "orders", stop=stop, missed=missed))
    await listening(pg)
    with psycopg.connect(dsn, autocommit=True) as conn:
        ended = conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where query ~ '^listen' and datname = current_database()"
        )
        assert len(ended.fetchall()) == 1
    await asyncio.wait_for(told.wait(), 10)
    await pg.pubsub.publish("orders", 1)
    assert await asyncio.wait_for(running, 5) == 1
    assert gaps[0].channels == ("orders",)


async def test_cancelling_ends_it_and_lets_the_connection_go(pg: AsyncPgops) -> None:
    running = asyncio.create_task(pg.pubsub.run(print, "orders"))
    await listening(pg)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await listening(pg, there=False)
    with pytest.raises(UsageError, match="channel"):
        await pg.pubsub.run(print)


async def test_a_durable_message_whose_failure_stops_it_comes_again_and_one_that_was_told_does_not(
    pg: AsyncPgops,
) -> None:
    await pg.events.append_many([NewEvent("orders", number, key="k") for number in range(3)])
    heard: list[object] = []
    stop = asyncio.Event()

    async def handle(message: Message) -> None:
        heard.append(message.payload)
        if heard in ([0], [0, 1]):
            raise ZeroDivisionError
        if message.payload == 2:
            stop.set()

    async def give_up(message: Message, error: Exception) -> None:
        if message.payload == 1:
            raise error

    with pytest.raises(ZeroDivisionError):
        await pg.pubsub.run(handle, "orders", durable="s", start="beginning", failed=give_up)
    assert heard == [0, 1]
    assert await asyncio.wait_for(pg.pubsub.run(handle, "orders", durable="s", stop=stop), 10) == 2
    assert heard == [0, 1, 1, 2]


def test_the_blocking_twin_calls_handlers_of_both_kinds(dsn: str) -> None:
    heard: list[object] = []
    stop = threading.Event()

    def handle(message: Message) -> None:
        heard.append(message.payload)

    async def handle_async(message: Message) -> None:
        heard.append(message.payload)
        stop.set()

    with Pgops.open(dsn) as pg:
        with pg.pubsub.listen("orders", durable="s"):
            pass
        pg.pubsub.publish("orders", 1, durable=True)
        once = threading.Event()
        sooner = threading.Thread(target=lambda: pg.pubsub.run(handle, "orders", durable="s", stop=once))
        sooner.start()
        while not heard:
            once.wait(0.01)
        once.set()
        sooner.join(5)
        assert not sooner.is_alive()
        thread = threading.Thread(target=lambda: pg.pubsub.run(handle_async, "orders", stop=stop))
        thread.start()
        while not pg.pubsub.channels():
            once.wait(0.01)
            assert thread.is_alive()
        pg.pubsub.publish("orders", 2)
        thread.join(10)
        assert not thread.is_alive()
    assert heard == [1, 2]


def test_the_blocking_iterator_waits_no_longer_than_it_was_told(dsn: str) -> None:
    with Pgops.open(dsn) as pg, pg.pubsub.listen("orders") as messages:
        began = time.monotonic()
        assert messages.next(0.3) is None
        assert 0.25 < time.monotonic() - began < 3


# --- consumer groups ---------------------------------------------------------------------------------------------

KEYS, EACH = 30, 10


class Group:
    """What the listeners of one name heard: by listener, and in which order by key."""

    def __init__(self) -> None:
        self.by_listener: dict[str, int] = defaultdict(int)
        self.by_key: dict[str | None, list[object]] = defaultdict(list)

    def heard(self, listener: str, message: Message | Missed) -> None:
        assert isinstance(message, Message) and message.event is not None
        self.by_listener[listener] += 1
        self.by_key[message.event.key].append(message.payload)

    @property
    def total(self) -> int:
        return sum(self.by_listener.values())


async def listen(pg: AsyncPgops, group: Group, name: str, *, count: int | None = None) -> None:
    """Until nothing has come for a while, or `count` were heard."""
    async with pg.pubsub.listen("orders", durable="s", timeout_s=3) as messages:
        async for message in messages:
            group.heard(name, message)
            if group.by_listener[name] == count:
                return


async def shares(pg: AsyncPgops) -> list[int]:
    rows = await pg.db.all(b"select count(*) from pgops.subscription_parts where token is not null group by token")
    return sorted(row[0] for row in rows)


async def until_shared(pg: AsyncPgops, listeners: int, at_least: int) -> None:
    async def shared() -> bool:
        found = await shares(pg)
        return len(found) >= listeners and found[0] >= at_least

    await until(shared, 20)


async def send(pg: AsyncPgops) -> None:
    """Events of many keys, interleaved, in each key's order."""
    for number in range(EACH):
        await pg.events.append_many([NewEvent("orders", number, key=f"k{key}") for key in range(KEYS)])


@pytest.fixture
def quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgops.services.durable.LEASE_EVERY_S", 0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_leases")
async def test_three_listeners_of_one_name_get_each_event_once_and_each_key_in_order(pg: AsyncPgops) -> None:
    await pg.events.subscribe("s", topics=["orders"])
    group = Group()

    async def sender() -> None:
        await until_shared(pg, 3, 15)
        await send(pg)

    await asyncio.gather(*(listen(pg, group, name) for name in "abc"), sender())
    assert {key: list(range(EACH)) for key in group.by_key} == group.by_key
    assert len(group.by_key) == KEYS
    assert set(group.by_listener) == set("abc"), "each had a share"


@pytest.mark.slow
@pytest.mark.usefixtures("quick_leases")
async def test_when_one_leaves_the_others_take_over_at_once(pg: AsyncPgops) -> None:
    await pg.events.subscribe("s", topics=["orders"])
    group = Group()

    async def sender() -> None:
        await until_shared(pg, 3, 15)
        await send(pg)

    await asyncio.gather(listen(pg, group, "a"), listen(pg, group, "b"), listen(pg, group, "leaves", count=5), sender())
    assert {key: list(range(EACH)) for key in group.by_key} == group.by_key
    assert len(group.by_key) == KEYS
    assert group.by_listener["leaves"] == 5


VICTIM = """
import asyncio, sys
import pgops.services.durable as durable
from pgops.services.client import AsyncPgops

durable.LEASE_EVERY_S, durable.LEASE_S = 0.1, 2.0

async def main():
    async with AsyncPgops.open(sys.argv[1]) as pg, pg.pubsub.listen("orders", durable="s") as messages:
        while True:
            one = await messages.next()
            print(one.event.key, one.payload, flush=True)
            await asyncio.sleep(30)

asyncio.run(main())
"""


@contextmanager
def victim(dsn: str) -> Iterator["subprocess.Popen[str]"]:
    """A listener of the group in a process of its own, which takes its time over its first message."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", VICTIM, dsn], stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_leases")
async def test_when_one_is_killed_the_others_get_what_it_had_not_handled(
    pg: AsyncPgops, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgops.services.durable.LEASE_S", 2.0)
    await pg.events.subscribe("s", topics=["orders"])
    group = Group()
    with victim(dsn) as process:

        async def kill() -> None:
            await until_shared(pg, 3, 15)
            await send(pg)
            assert process.stdout is not None
            await asyncio.to_thread(process.stdout.readline)
            process.send_signal(signal.SIGKILL)

        async def stay(name: str) -> None:
            async with pg.pubsub.listen("orders", durable="s") as messages:
                async with asyncio.timeout(25):
                    while group.total < KEYS * EACH:
                        if (message := await messages.next(0.2)) is not None:
                            group.heard(name, message)

        await asyncio.gather(stay("a"), stay("b"), kill())
    assert {key: list(range(EACH)) for key in group.by_key} == group.by_key, "and it counted nothing as handled"
    assert len(group.by_key) == KEYS

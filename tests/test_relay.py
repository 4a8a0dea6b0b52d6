"""The relay: order, retries, parking, takeover; and the sinks that come with it."""

import asyncio
import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import NotFoundError, SchemaError, UnreachableError, UsageError
from pgops.ops.collector import collect
from pgops.ops.observe.snapshot import OutboxSubscription, items
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import DeliveryError, FunctionSink, SinkClosedError, StdoutSink, open_sink
from pgops.services.events import AsyncEvents
from pgops.services.models import Event, NewEvent


@pytest.fixture
async def events(db: AsyncPool) -> AsyncEvents:
    found = AsyncEvents(db)
    await found.subscribe("s")
    return found


class Memory:
    """A sink that keeps what it got; `fault` may raise for a batch first."""

    def __init__(self, fault: Callable[[Sequence[Event]], None] = lambda events: None) -> None:
        self.got: list[Event] = []
        self.fault = fault

    async def deliver(self, events: Sequence[Event]) -> None:
        self.fault(events)
        self.got += events

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def running(db: AsyncPool, sink: object, **options: object) -> AsyncIterator[Relay]:
    relay = Relay(db, "s", sink, **({"backoff_s": 0.01} | options))  # type: ignore[arg-type]
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        relay.stop()
        await asyncio.wait_for(task, 10)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def by_key(found: Sequence[Event]) -> dict[str | None, list[object]]:
    return {key: [e.payload for e in found if e.key == key] for key in {e.key for e in found}}


# --- the loop ------------------------------------------------------------------------------------------------


async def test_events_arrive_once_and_in_order_within_their_key(events: AsyncEvents, db: AsyncPool) -> None:
    sink = Memory()
    async with running(db, sink, batch=7) as relay:
        for round in range(3):
            await events.append_many(NewEvent("t", round * 50 + n, key=f"k{n % 5}") for n in range(50))
        await until(lambda: len(sink.got) >= 150)
    assert by_key(sink.got) == {f"k{k}": list(range(k, 150, 5)) for k in range(5)}
    assert (relay.stats.delivered, relay.stats.stale) == (150, 0)
    assert (await events.subscription("s")).relayed == 150


async def test_stop_hands_the_parts_back(events: AsyncEvents, db: AsyncPool) -> None:
    async with running(db, Memory()) as relay:
        await until(lambda: relay.stats.parts == 64)
        assert (await events.subscription("s")).relays == (relay.owner,)
    assert (await events.subscription("s")).relays == ()
    assert await db.all(b"select from pgops.relays") == []


async def test_a_relay_leaves_also_when_the_cancellation_of_its_pulse_is_lost(
    events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pool loses it that hands a connection over in the same moment."""
    lost = asyncio.Event()
    renew = AsyncEvents.renew

    async def slow(self: AsyncEvents, *args: Any, **options: Any) -> None:
        if lost.is_set():
            return await renew(self, *args, **options)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost.set()

    monkeypatch.setattr(AsyncEvents, "renew", slow)
    async with running(db, Memory(), lease_s=0.3):
        await asyncio.sleep(0.3)
    assert lost.is_set()


async def test_an_event_is_delivered_within_moments_also_when_the_relay_was_idle(
    events: AsyncEvents, db: AsyncPool
) -> None:
    sink = Memory()
    async with running(db, sink):
        await asyncio.sleep(0.5)
        await events.append("t", 1)
        await until(lambda: sink.got, seconds=0.5)


async def test_a_slow_sink_keeps_its_leases(events: AsyncEvents, db: AsyncPool) -> None:
    called, got = asyncio.Event(), []

    async def slow(event: Event) -> None:
        called.set()
        await asyncio.sleep(0.7)
        got.append(event.payload)

    await events.append("t", 1)
    async with running(db, FunctionSink(slow), lease_s=0.3) as first:
        await called.wait()
        async with running(db, Memory(), lease_s=0.3) as second:
            await until(lambda: first.stats.batches)
            await asyncio.sleep(0.2)
            assert (got, first.stats.stale, second.stats.delivered) == ([1], 0, 0)


async def test_an_unknown_subscription_and_another_database_end_the_relay(events: AsyncEvents, db: AsyncPool) -> None:
    with pytest.raises(NotFoundError):
        await Relay(db, "nobody", Memory()).run()
    await db.execute(b"update pgops.event_home set system_identifier = 1")
    with pytest.raises(SchemaError, match="belongs to another cluster"):
        await Relay(db, "s", Memory()).run()


@pytest.mark.slow
async def test_a_lost_connection_is_waited_for_and_repeats_nothing(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    async def cut(event: Event) -> None:
        got.append(event.payload)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

    got: list[object] = []
    await events.append("t", 1)
    async with running(db, FunctionSink(cut)) as relay:
        await until(lambda: relay.stats.last_error, seconds=15)
        await asyncio.sleep(1.5)
    assert got == [1]


# --- failures ------------------------------------------------------------------------------------------------


async def test_an_outage_is_waited_out_and_parks_nothing(events: AsyncEvents, db: AsyncPool) -> None:
    calls = 0

    def fault(batch: Sequence[Event]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 8:
            raise UnreachableError("the broker is away")

    sink = Memory(fault)
    await events.append("t", 1)
    async with running(db, sink, attempts=2, backoff_max_s=0.02) as relay:
        await until(lambda: sink.got)
    assert (relay.stats.outages, relay.stats.parked, relay.stats.delivered) == (8, 0, 1)


async def test_stop_does_not_wait_for_the_end_of_an_outage(events: AsyncEvents, db: AsyncPool) -> None:
    def fault(batch: Sequence[Event]) -> None:
        raise ConnectionError("away")

    await events.append("t", 1)
    async with running(db, Memory(fault), backoff_s=30) as relay:
        await until(lambda: relay.stats.outages)
    assert (await events.lag("s")).events == 1


async def test_poison_parks_its_key_and_nothing_else(events: AsyncEvents, db: AsyncPool) -> None:
    def fault(batch: Sequence[Event]) -> None:
        bad = {e.id: "too large" for e in batch if e.payload == 3}
        if bad:
            raise DeliveryError("refused", poison=bad)

    sink = Memory(fault)
    await events.append_many(NewEvent("t", n, key="ab"[n % 2]) for n in range(10))
    async with running(db, sink) as relay:
        await until(lambda: len(sink.got) == 6 and relay.stats.parked == 4)
        await events.append("t", 11, key="b")
        await events.append("t", 10, key="a")
        await until(lambda: len(sink.got) == 7 and relay.stats.parked == 5)
    assert by_key(sink.got) == {"a": [0, 2, 4, 6, 8, 10], "b": [1]}
    parked = [(p.event.payload, p.attempts) for p in await events.parked("s")]
    assert parked == [(3, 1), (5, 0), (7, 0), (9, 0), (11, 0)]
    assert (await events.lag("s")).events == 0


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_event_that_keeps_failing_is_parked_after_its_attempts(
    events: AsyncEvents, db: AsyncPool, is_async: bool
) -> None:
    got: list[object] = []

    def handle(event: Event) -> None:
        if event.payload == "bad":
            raise ValueError("cannot read it")
        got.append(event.payload)

    async def handle_async(event: Event) -> None:
        handle(event)

    await events.append_many(
        NewEvent("t", p, key=k) for p, k in [(1, "k"), ("bad", "k"), (2, "k"), (3, "j"), ("bad", None)]
    )
    async with running(db, FunctionSink(handle_async if is_async else handle), attempts=3) as relay:
        await until(lambda: relay.stats.parked == 3)
    assert sorted(got) == [1, 3]  # type: ignore[type-var]
    parked = {(p.event.key, p.event.payload): (p.attempts, p.error) for p in await events.parked("s")}
    assert parked[("k", "bad")] == (3, "ValueError: cannot read it")
    assert parked[(None, "bad")] == (3, "ValueError: cannot read it")
    assert parked[("k", 2)] == (0, "waits behind an earlier event of its key")
    assert relay.stats.failures == 6


async def test_a_sink_that_cannot_say_which_event_it_was_gets_them_one_by_one(
    events: AsyncEvents, db: AsyncPool
) -> None:
    def fault(batch: Sequence[Event]) -> None:
        if any(event.payload == 5 for event in batch):
            raise RuntimeError("one of these")

    sink = Memory(fault)
    await events.append_many(NewEvent("t", n, key=f"k{n % 3}") for n in range(9))
    async with running(db, sink, attempts=2) as relay:
        await until(lambda: relay.stats.parked == 2)
    assert by_key(sink.got) == {"k0": [0, 3, 6], "k1": [1, 4, 7], "k2": [2]}
    assert [p.event.payload for p in await events.parked("s")] == [5, 8]


async def test_a_parked_key_is_tried_again_in_order_and_whole(
    events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgops.runtime.relay.LEASE_EVERY_S", 0.05)
    broken = True

    def fault(batch: Sequence[Event]) -> None:
        if broken and (bad := {e.id: "no" for e in batch if e.payload == 0}):
            raise DeliveryError("refused", poison=bad)

    sink = Memory(fault)
    await events.append_many(NewEvent("t", n, key="k") for n in range(3))
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.parked == 3)
        await asyncio.sleep(0.2)
        assert sink.got == []
        assert await events.retry_parked("s") == 1
        await asyncio.sleep(0.3)
        assert [(p.event.payload, p.attempts) for p in await events.parked("s")] == [(0, 2), (1, 0), (2, 0)]
        broken = False
        assert await events.retry_parked("s", key="k") == 1
        await events.append("t", 3, key="k")
        await until(lambda: len(sink.got) == 4)
    assert [event.payload for event in sink.got] == [0, 1, 2, 3]
    assert await events.parked("s") == []


async def test_what_waits_behind_a_discarded_event_goes_on(events: AsyncEvents, db: AsyncPool) -> None:
    def fault(batch: Sequence[Event]) -> None:
        if bad := {e.id: "no" for e in batch if e.payload == 0}:
            raise DeliveryError("refused", poison=bad)

    sink = Memory(fault)
    await events.append_many(NewEvent("t", n, key="k") for n in range(3))
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.parked == 3)
    first = (await events.parked("s"))[0]
    assert await events.discard_parked("s", [first.event.id]) == 1
    async with running(db, sink):
        await until(lambda: len(sink.got) == 2)
    assert [event.payload for event in sink.got] == [1, 2]
    assert (await events.subscription("s")).parked == 0


async def test_a_transient_failure_keeps_the_order_of_its_key(events: AsyncEvents, db: AsyncPool) -> None:
    dice = random.Random(1)
    got: list[Event] = []

    async def flaky(event: Event) -> None:
        if dice.random() < 0.2:
            raise ValueError("not now")
        got.append(event)

    await events.append_many(NewEvent("t", n, key=f"k{n % 4}") for n in range(80))
    async with running(db, FunctionSink(flaky), attempts=50, backoff_max_s=0.02):
        await until(lambda: len(got) == 80)
    assert by_key(got) == {f"k{k}": list(range(k, 80, 4)) for k in range(4)}


async def test_stopping_in_the_middle_keeps_what_was_delivered(events: AsyncEvents, db: AsyncPool) -> None:
    def fault(batch: Sequence[Event]) -> None:
        if any(event.payload == 2 for event in batch):
            raise DeliveryError("later", delivered=[e.id for e in batch if e.payload < 2], failed={batch[2].id: "no"})

    await events.append_many(NewEvent("t", n, key="k") for n in range(4))
    async with running(db, Memory(fault), attempts=100, backoff_s=30) as relay:
        await until(lambda: relay.stats.failures)
    sink = Memory()
    async with running(db, sink):
        await until(lambda: len(sink.got) == 2)
    assert [event.payload for event in sink.got] == [2, 3]
    assert (await events.subscription("s")).relayed == 4


async def test_an_outage_is_seen_with_its_reason_and_the_relay_still_lives(events: AsyncEvents, db: AsyncPool) -> None:
    """Longer than its lease: what renews its parts says so too."""
    up = False

    def fault(found: Sequence[Event]) -> None:
        if not up:
            raise ConnectionError("no broker")

    async def seen() -> OutboxSubscription:
        snapshot = await collect(db)
        (one,) = items(snapshot.outbox)
        return one

    async with running(db, Memory(fault), lease_s=0.6, backoff_max_s=0.05) as relay:
        await events.append("t", 1)
        await until(lambda: relay.stats.outages)
        await asyncio.sleep(1.0)
        one = await seen()
        assert (one.relays, one.trouble, one.lag_events) == (1, "no broker", 1)
        up = True
        await until(lambda: relay.stats.delivered)
        await asyncio.sleep(0.4)
        assert (await seen()).trouble is None


async def test_a_statement_that_is_given_up_by_the_server_ends_no_relay(
    events: AsyncEvents, db: AsyncPool, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a lock that somebody holds for longer than the relay's session waits."""
    monkeypatch.setattr("pgops.runtime.relay.RECONNECT_S", 0.1)
    row = await db.one(b"select current_database()")
    assert row is not None
    await db.execute(sql.SQL("alter database {} set lock_timeout = '100ms'").format(sql.Identifier(row[0])))
    sink = Memory()
    async with AsyncPool.open(dsn) as fresh, running(fresh, sink) as relay:
        await until(lambda: relay.stats.parts == 64)
        async with db.transaction() as tx:
            await tx.all(b"select from pgops.subscription_parts for update")
            await events.append("t", 1)
            await until(lambda: "lock timeout" in relay.stats.last_error)
        await events.append("t", 2)
        await until(lambda: {event.payload for event in sink.got} == {1, 2})


# --- several relays, and dead ones ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_relays_that_join_and_leave_lose_and_repeat_nothing(events: AsyncEvents, db: AsyncPool, dsn: str) -> None:
    """Writers commit late, roll back and use savepoints; a key's writers are serialised by its row."""
    await db.execute(b"create table aggregate as select 'k' || n as key, 0 as n from generate_series(0, 29) n")
    await db.execute(b"create table held ()")
    made: list[int] = []

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        count = 0
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            bound = AsyncEvents(AsyncBound(conn, foreign=True))
            for _ in range(150):
                await conn.execute("select pg_current_xact_id()")
                await asyncio.sleep(dice.random() * 0.01)
                key = f"k{dice.randrange(30)}"
                with suppress(RuntimeError):
                    async with conn.transaction():
                        await conn.execute("update aggregate set n = n where key = %s", [key])
                        await bound.append("t", "never", key=key)
                        raise RuntimeError
                cursor = await conn.execute("update aggregate set n = n + 1 where key = %s returning n", [key])
                row = await cursor.fetchone()
                assert row is not None
                await bound.append("t", row[0], key=key)
                await asyncio.sleep(dice.random() * 0.02)
                if dice.random() < 0.1:
                    await conn.rollback()
                else:
                    await conn.commit()
                    count += 1
        made.append(count)

    sink = Memory()

    async def come_and_go() -> None:
        while True:
            async with running(db, sink, lease_s=5) as relay:
                await until(lambda: relay.stats.batches > 3, seconds=20)
            await asyncio.sleep(0.1)

    async with await psycopg.AsyncConnection.connect(dsn) as holder, running(db, sink, lease_s=5) as stays:
        await holder.execute("insert into held default values")
        coming = asyncio.create_task(come_and_go())
        await asyncio.gather(*(write(seed) for seed in range(5)))
        await until(lambda: len(sink.got) >= sum(made))
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await asyncio.sleep(0.2)
        await holder.rollback()
        assert stays.stats.stale == 0
    assert len(sink.got) == len({event.id for event in sink.got}) == sum(made)
    for key, numbers in by_key(sink.got).items():
        assert numbers == list(range(1, len(numbers) + 1)), key


def start_process(dsn: str, out: Path, sink: str = "relay_sink:slow", lease_s: float = 1) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    return subprocess.Popen(
        [sys.executable, str(here / "relay_process.py"), dsn, "s", sink, str(lease_s)],
        env=os.environ | {"RELAY_OUT": str(out), "PYTHONPATH": paths},
    )


@pytest.mark.slow
async def test_after_a_kill_9_the_next_relay_goes_on_and_loses_nothing(
    events: AsyncEvents, db: AsyncPool, dsn: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await events.append_many(NewEvent("t", n, key=f"k{n % 8}") for n in range(100))
    process = start_process(dsn, out)
    try:
        await until(lambda: out.exists() and out.read_text().count("\n") > 10, seconds=20)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    sink = Memory()
    async with running(db, sink, lease_s=1) as relay:
        await until(lambda: {e.payload for e in sink.got} | told(out) >= set(range(100)), seconds=20)
        assert relay.stats.parts == 64
    assert by_key(sink.got) == {f"k{k}": list(range(k, 100, 8)) for k in range(8)}


def told(out: Path) -> set[int]:
    return {int(line.split()[1]) for line in out.read_text().splitlines()}


@pytest.mark.slow
async def test_a_stalled_relay_is_taken_over_and_its_late_advance_is_refused(
    events: AsyncEvents, db: AsyncPool, dsn: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    await events.append_many(NewEvent("t", n, key=f"k{n % 8}") for n in range(100))
    process = start_process(dsn, out)
    try:
        await until(lambda: out.exists() and out.read_text().count("\n") > 10, seconds=20)
        process.send_signal(signal.SIGSTOP)
        sink = Memory()
        async with running(db, sink, lease_s=20):
            await until(lambda: len(sink.got) == 100, seconds=20)
            process.send_signal(signal.SIGCONT)
            await until(lambda: out.read_text().count("\n") >= 100, seconds=20)
            await asyncio.sleep(0.5)
            assert (await events.subscription("s")).relayed == 100
            assert (await events.lag("s")).events == 0
    finally:
        process.kill()
        process.wait()


# --- sinks ---------------------------------------------------------------------------------------------------


async def test_stdout_writes_one_cloudevent_a_line(events: AsyncEvents, db: AsyncPool) -> None:
    out = io.StringIO()
    event_id = await events.append(
        "orders/eu", {"n": 12345678901234567890, "s": "é\n"}, key="k", type="order.made",
        headers={"traceparent": "00-1", "Not-Allowed": 1, "nested": {}, "id": "forged"},
    )  # fmt: skip
    await events.append("t", None)
    async with running(db, StdoutSink(out)):
        await until(lambda: out.getvalue().count("\n") == 2)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    first = next(line for line in lines if line["id"] == str(event_id))
    (second,) = (line for line in lines if line is not first)
    assert first | {"time": "", "pgopsseq": ""} == {
        "specversion": "1.0", "id": str(event_id), "source": "/pgops/orders%2Feu", "type": "order.made", "subject": "k",
        "time": "", "datacontenttype": "application/json", "data": {"n": 12345678901234567890, "s": "é\n"},
        "traceparent": "00-1", "pgopstopic": "orders/eu", "pgopsseq": "",
    }  # fmt: skip
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert first["pgopsseq"].isdigit()
    assert "subject" not in second and second["data"] is None and UUID(second["id"])


async def test_a_reader_that_leaves_ends_the_relay_and_the_event_stays(events: AsyncEvents, db: AsyncPool) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    await events.append("t", 1)
    with pytest.raises(SinkClosedError, match="reader of stdout is gone"):
        await Relay(db, "s", StdoutSink(stream)).run()
    with suppress(BrokenPipeError):
        stream.close()
    assert (await events.lag("s")).events == 1


@pytest.mark.parametrize(
    "name, message",
    [
        ("carrier-pigeon", "there is no sink 'carrier-pigeon'"),
        ("kafka://host", "there is no sink"),
        ("no_such_module:x", "cannot be imported"),
        ("relay_sink:missing", "has no function missing"),
        ("relay_sink:not_a_function", "has no function"),
        (":x", "is not module:function"),
    ],
)
def test_a_sink_that_does_not_exist_is_refused_with_a_hint(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        open_sink(name)
    assert caught.value.hint


def test_a_relay_refuses_settings_that_make_no_sense(db: AsyncPool) -> None:
    with pytest.raises(UsageError, match="batch and attempts"):
        Relay(db, "s", Memory(), batch=0)


async def test_a_function_that_is_async_behind_a_plain_one_is_awaited(events: AsyncEvents, db: AsyncPool) -> None:
    """Else its coroutine would be thrown away, and the event count as delivered."""
    got: list[object] = []

    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        got.append(event.payload)
        if event.payload == 2:
            raise ValueError("no")

    await events.append_many([NewEvent("t", n) for n in range(4)])
    async with running(db, FunctionSink(lambda event: handle(event)), attempts=1) as relay:
        await until(lambda: relay.stats.delivered == 3 and relay.stats.parked == 1)
    assert sorted(set(got)) == [0, 1, 2, 3]


@pytest.mark.parametrize("raised", [ValueError("\ud800"), SystemExit(3), ValueError("\0")], ids=["half", "exit", "nul"])
async def test_an_event_whose_error_is_strange_is_parked_too(
    events: AsyncEvents, db: AsyncPool, raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("pgops.relay"), "disabled", True)  # pytest's workers cannot send such a line

    def handle(event: Event) -> None:
        if event.payload == 1:
            raise raised

    await events.append_many([NewEvent("t", n) for n in range(3)])
    async with running(db, FunctionSink(handle), attempts=2) as relay:
        await until(lambda: relay.stats.delivered == 2 and relay.stats.parked == 1)
    (parked,) = await events.parked("s")
    assert type(raised).__name__ in parked.error

"""What a rule tells of is provoked for real, on a real server, and what its remedy says cures it.

Ages and amounts that would take hours are told early: the lines are moved, never the facts. PostgreSQL's own troubles
are provoked in test_server_parts.py, and what became worse in test_judge_lines.py and its neighbours.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from test_relay import Memory, until

from pgops.database import AsyncPool
from pgops.errors import UnreachableError
from pgops.ops.act import actions
from pgops.ops.act.actions import Action
from pgops.ops.collector import Collector
from pgops.ops.judge.findings import Thresholds
from pgops.ops.observe.snapshot import Finding
from pgops.runtime.registry import Registry
from pgops.runtime.relay import Relay
from pgops.runtime.worker import Worker
from pgops.services.cache import AsyncCache
from pgops.services.embedders import HashingEmbedder
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.models import Event, Job, VectorRow, WorkerState
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors

LONG_AGO = b"update pgops.job_available set ready_at = ready_at - interval '2 minutes'"


class Watch:
    """Looks at everything anew each time, with the lines of this story."""

    def __init__(self, db: AsyncPool, **lines: float) -> None:
        self._db = db
        self._collector = Collector(db, thresholds=Thresholds(**lines))  # type: ignore[arg-type]

    async def finding(self, code: str) -> Finding | None:
        found = (await self._collector.collect(fresh=True)).findings
        return next((one for one in found if one.code == code), None)

    async def told(self, code: str) -> Finding:
        finding = await self.finding(code)
        assert finding is not None, code
        assert finding.evidence and finding.why and finding.remedy
        return finding

    async def act(self, code: str) -> None:
        """Do what the finding offers."""
        finding = await self.told(code)
        assert finding.action is not None and finding.command is not None
        await actions.run(self._db, Action(finding.action, finding.target or ""))  # type: ignore[arg-type]

    async def comes(self, code: str) -> Finding:
        async with asyncio.timeout(20):
            while True:
                if (found := await self.finding(code)) is not None:
                    return found
                await asyncio.sleep(0.05)

    async def cured(self, code: str) -> None:
        async with asyncio.timeout(20):
            while True:
                if await self.finding(code) is None:
                    return
                await asyncio.sleep(0.05)


@asynccontextmanager
async def working(db: AsyncPool) -> AsyncIterator[None]:
    registry = Registry()

    @registry.job("default")
    async def default(job: Job) -> None:
        """A handler that does nothing."""

    worker = Worker(db, registry, ["q"])
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await task


def state(running: int) -> WorkerState:
    return WorkerState("here", os.getpid(), ("q",), 5, 30.0, running, False, {})


async def test_nobody_serves_a_queue_and_a_pause_that_was_forgotten(db: AsyncPool) -> None:
    queue, watch = AsyncQueue(db), Watch(db, unclaimed_s=0, ready_age_warning_s=0)
    await queue.enqueue("q", {})
    assert "pgops queue work" in (await watch.told("queue.no_worker")).remedy
    await queue.pause("q")
    assert await watch.finding("queue.no_worker") is None
    assert "pgops queue resume q" in (await watch.told("queue.paused")).remedy
    await queue.resume("q")
    await watch.told("queue.no_worker")
    async with working(db):
        await watch.cured("queue.no_worker")
        await watch.cured("queue.paused")


async def test_a_worker_that_falls_behind_or_is_full_of_what_does_not_end(db: AsyncPool) -> None:
    queue, watch = AsyncQueue(db), Watch(db)
    await queue.enqueue_many("q", range(3))
    await db.execute(LONG_AGO)
    full = await queue.register_worker(state(5))
    await queue.beat_worker(full, state(5))
    assert "5 of 5 slots taken" in (await watch.told("queue.unclaimed")).evidence
    slow = Watch(db, ready_age_warning_s=60)
    assert await slow.finding("queue.slow") is None, "that nobody claims says more"
    await queue.beat_worker(full, state(4))
    await watch.cured("queue.unclaimed")
    assert "3 jobs ready" in (await slow.told("queue.slow")).evidence
    async with working(db):
        await slow.cured("queue.slow")


async def test_events_that_nobody_relays_that_lag_and_whose_sink_is_away(db: AsyncPool) -> None:
    events, watch = AsyncEvents(db), Watch(db, no_relay_s=0, lag_warning_s=0)
    await events.subscribe("s")
    await events.append("t", 1, key="k")
    await watch.told("outbox.no_relay")
    await events.lease_parts("s", owner="me", token=7, lease_s=60)
    assert await watch.finding("outbox.no_relay") is None
    await watch.told("outbox.lag")
    await events.release("s", owner="me", token=7)

    def away(events: Sequence[Event]) -> None:
        raise UnreachableError("the broker is away")

    sink = Memory(away)
    relay = Relay(db, "s", sink, lease_s=0.5)
    task = asyncio.create_task(relay.run())
    try:
        await until(lambda: relay.stats.outages > 0)
        assert "the broker is away" in (await watch.comes("outbox.sink")).evidence
        sink.fault = lambda events: None
        await watch.cured("outbox.sink")
        await watch.cured("outbox.lag")
    finally:
        relay.stop()
        await task


async def test_keys_that_are_held_events_that_are_parked_and_a_log_that_is_not_at_home(db: AsyncPool) -> None:
    events, watch = AsyncEvents(db), Watch(db)
    await events.subscribe("s")
    await events.park_key("s", "k", "wait for the mend")
    assert "1 key held" in (await watch.told("outbox.held")).evidence
    await events.append("t", 1, key="k")
    sink = Memory()
    relay = Relay(db, "s", sink)
    task = asyncio.create_task(relay.run())
    try:
        await until(lambda: relay.stats.parked == 1)
        await watch.told("outbox.parked")
        await events.unpark_key("s", "k")
        await events.retry_parked("s")
        await watch.cured("outbox.parked")
        assert await watch.finding("outbox.held") is None
        await until(lambda: len(sink.got) == 1)
    finally:
        relay.stop()
        await task
    await db.execute(b"update pgops.event_home set system_identifier = system_identifier + 1")
    assert "pgops outbox rebase" in (await watch.told("outbox.away")).remedy
    await events.rebase()
    await watch.cured("outbox.away")


async def test_stores_full_of_what_is_over_above_their_cap_and_a_cache_that_seldom_hits(db: AsyncPool) -> None:
    cache, kv = AsyncCache(db), AsyncKv(db)
    watch = Watch(
        db, expired_rows=10, over_cap_entries=5, over_cap_bytes=1e12, hit_ratio_reads=10, hit_ratio_reads_per_s=1e9
    )
    await cache.set_many({f"gone{n}": b"x" for n in range(20)}, ttl_s=0.01)
    await kv.set_many({f"gone{n}": "x" for n in range(20)}, ttl_s=0.01)
    await asyncio.sleep(0.05)
    for code in ("cache.expired", "kv.expired"):
        await watch.act(code)
        await watch.cured(code)
    await cache.set_many({f"k{n}": b"x" for n in range(40)}, namespace="n")
    await cache.flush()
    await db.execute(b"insert into pgops.cache_namespaces (namespace, max_entries) values ('n', 5)")
    await watch.act("cache.over_cap")
    await watch.cured("cache.over_cap")
    await cache.get_many([f"missing{n}" for n in range(30)])
    await cache.flush()
    await watch.told("cache.hit_ratio")
    await cache.set("there", b"x")
    for _ in range(40):
        await cache.get("there")
    await cache.flush()
    await watch.cured("cache.hit_ratio")


async def test_a_transaction_that_is_open_and_idle_one_that_is_old_and_a_listener_that_is_deaf(
    db: AsyncPool, dsn: str
) -> None:
    named = make_conninfo(dsn, application_name="forgetful")
    alone = Watch(db, idle_in_transaction_warning_s=0, deaf_listener_s=0)
    conn = await psycopg.AsyncConnection.connect(named)
    try:
        await conn.execute("listen orders")
        assert (await alone.comes("pubsub.idle_listener")).target == str(conn.info.backend_pid)
        assert (await alone.told("sessions.idle_in_transaction")).action == "terminate_backend"
        await actions.run(db, Action("terminate_backend", str(conn.info.backend_pid)))
        await alone.cured("pubsub.idle_listener")
    finally:
        await conn.close()
    old = Watch(db, transaction_warning_s=0, idle_in_transaction_warning_s=1e9)
    async with await psycopg.AsyncConnection.connect(named) as conn:
        await conn.execute("select 1")
        await old.told("sessions.old_transaction")
    full = Watch(db, connections_warning=0.0001, connections_critical=1)
    assert "of" in (await full.told("sessions.full")).evidence
    ageing = await Watch(db, xid_age_times=1e-9).told("wraparound.age")
    assert "the oldest is" in ageing.evidence and "vacuum (freeze)" in ageing.remedy
    assert await Watch(db).finding("wraparound.age") is None


@pytest.mark.vectors
async def test_an_index_that_is_not_what_its_options_say_is_rebuilt(db: AsyncPool) -> None:
    vectors, watch = AsyncVectors(db), Watch(db)
    await vectors.create("docs", 16, embedder="hashing")
    texts = [f"text number {number}" for number in range(250)]
    found = zip(texts, HashingEmbedder(16).embed(texts), strict=True)
    await vectors.add_many("docs", [VectorRow(text, vector) for text, vector in found])
    await vectors.build_index("docs", lists=4)
    row = await db.one(b"select indexrelid::regclass::text from pg_index x join pg_class i on i.oid = x.indexrelid "
                       b"join pg_am m on m.oid = i.relam where m.amname = 'ivfflat'")  # fmt: skip
    assert row is not None
    await db.execute(f"alter index {row[0]} set (lists = 8)".encode())
    assert "built with 4 lists, set to 8" in (await watch.told("vector.lists")).evidence
    await watch.act("vector.lists")
    await watch.cured("vector.lists")

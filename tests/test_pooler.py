"""Through a real PgBouncer in transaction mode: what works, what is refused, and that nothing of ours stays in the
sessions that the next client gets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
import this_server
from pgbouncer import pgbouncer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgops import Registry, migrate
from pgops.database import AsyncPool
from pgops.errors import PgopsError, RefusedError, UnreachableError
from pgops.migrate import Migration
from pgops.ops.act import actions
from pgops.ops.act.actions import Action
from pgops.ops.collector import collect
from pgops.ops.observe.snapshot import Unavailable
from pgops.runtime.relay import Relay
from pgops.runtime.sinks.function import FunctionSink
from pgops.runtime.worker import Worker
from pgops.services.client import AsyncPgops
from pgops.services.models import Event, Message, NewEvent, VectorRow

Leftovers = dict[int, list[tuple[object, ...]]]


@pytest.fixture
async def pg(pooled_dsn: str) -> AsyncIterator[AsyncPgops]:
    async with AsyncPgops.open(pooled_dsn) as pg:
        yield pg


async def leftovers(pooled_dsn: str, sessions: int = 4) -> Leftovers:
    """What the pooler's first sessions have been left with, by their process: settings, channels, locks, tables."""
    found: Leftovers = {}
    async with AsyncExitStack() as held:
        for _ in range(sessions):
            conn = await held.enter_async_context(
                await psycopg.AsyncConnection.connect(pooled_dsn, autocommit=True, prepare_threshold=None)
            )
            await held.enter_async_context(conn.transaction())
            row = await (await conn.execute("select pg_backend_pid()")).fetchone()
            assert row is not None
            left = await conn.execute(
                "select 'setting', name || '=' || setting from pg_settings where source = 'session' "
                "  and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', "
                "                   'standard_conforming_strings', 'transaction_read_only', 'transaction_isolation', "
                "                   'transaction_deferrable') "
                "union all select 'channel', c from pg_listening_channels() c "
                "union all select 'lock', objid::text from pg_locks "
                "  where locktype = 'advisory' and pid = pg_backend_pid() "
                "union all select 'read only', current_setting('transaction_read_only') "
                "  where current_setting('transaction_read_only') <> 'off' "
                "union all select 'prepared', name from pg_prepared_statements"
            )
            found[row[0]] = await left.fetchall()
    return found


async def test_a_pooler_is_recognised(pooled_dsn: str, dsn: str) -> None:
    async with AsyncPool.open(pooled_dsn) as through, AsyncPool.open(dsn) as direct:
        assert through.pooler
        assert not direct.pooler


async def test_listening_through_it_is_refused_within_two_seconds_and_says_what_to_do(
    pg: AsyncPgops, pooled_dsn: str
) -> None:
    began = time.monotonic()
    with pytest.raises(RefusedError, match="pooler") as caught:
        async with pg.pubsub.listen("orders"):
            pass
    assert time.monotonic() - began < 2
    assert "direct DSN" in caught.value.hint
    assert set(map(tuple, (await leftovers(pooled_dsn)).values())) == {()}, "also the attempt left no LISTEN behind"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
async def test_a_pooler_with_hardly_any_sessions_does_not_deceive_it(server_dsn: str, dsn: str, size: int) -> None:
    with pgbouncer(server_dsn, size=size) as pooler:
        pooled = make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])
        async with AsyncPgops.open(pooled) as pg:
            for _ in range(2):
                with pytest.raises(RefusedError, match="pooler"):
                    async with pg.pubsub.listen("orders"):
                        pass
        assert list((await leftovers(pooled, size)).values()) == [[]] * size


async def test_a_pooler_that_lends_whole_sessions_is_no_hindrance(server_dsn: str, dsn: str) -> None:
    with pgbouncer(server_dsn, mode="session") as pooler:
        pooled = make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])
        async with AsyncPgops.open(pooled) as pg, pg.pubsub.listen("orders") as messages:
            await pg.pubsub.publish("orders", 1)
            got = await messages.next(5)
            assert isinstance(got, Message)
            assert got.payload == 1


async def test_publishing_and_durable_listening_work_through_it(pg: AsyncPgops, dsn: str) -> None:
    async with AsyncPgops.open(dsn) as direct, direct.pubsub.listen("orders") as live:
        async with pg.pubsub.listen("orders", durable="s") as kept:
            await pg.pubsub.publish("orders", 1, durable=True)
            await pg.pubsub.publish("orders", "x" * 9_000)
            got = [await live.next(5), await live.next(5)]
            assert [one.payload for one in got if isinstance(one, Message)] == [1, "x" * 9_000]
            one = await kept.next(5)
            assert isinstance(one, Message)
            assert one.payload == 1


async def test_queue_events_and_cache_work_through_it_and_leave_nothing(pg: AsyncPgops, pooled_dsn: str) -> None:
    for number in range(8):  # more often than psycopg runs a statement before it prepares it
        await pg.queue.enqueue("email", {"n": number})
        await pg.cache.set(f"k{number}", b"v", ttl_s=60)
        assert await pg.cache.get(f"k{number}") == b"v"
        await pg.events.append("orders", number)
    await pg.queue.enqueue_many("email", [{"n": number} for number in range(100)])
    claim = await pg.queue.claim("email", owner=1, token=7, limit=5)
    assert len(claim.jobs) == 5
    await pg.queue.complete("email", [job.id for job in claim.jobs], 7)
    await collect(pg.db)
    assert set(map(tuple, (await leftovers(pooled_dsn)).values())) == {()}


@pytest.mark.vectors
async def test_vectors_work_through_it_and_leave_nothing(pg: AsyncPgops, pooled_dsn: str) -> None:
    await pg.vectors.create("docs", 3)
    await pg.vectors.add_many("docs", [VectorRow(f"t{n}", [1.0, n / 100, 0.0]) for n in range(100)])
    await pg.vectors.build_index("docs", lists=2)
    assert len(await pg.vectors.search("docs", [1.0, 0.0, 0.0], limit=3)) == 3
    await pg.vectors.measure_recall("docs")
    await collect(pg.db)
    assert set(map(tuple, (await leftovers(pooled_dsn)).values())) == {()}


async def test_a_worker_and_a_relay_run_through_it_and_leave_nothing(pg: AsyncPgops, pooled_dsn: str) -> None:
    done: list[object] = []
    events: list[Event] = []
    registry = Registry()

    @registry.job("default")
    async def handle(job: object) -> None:
        done.append(job)

    await pg.queue.enqueue_many("email", [{"n": n} for n in range(200)])
    await pg.events.subscribe("s", start="beginning")
    await pg.events.append("orders", 1)
    worker = Worker(pg.db, registry, ["email"], concurrency=10)
    relay = Relay(pg.db, "s", FunctionSink(events.append))
    tasks = [asyncio.create_task(worker.run()), asyncio.create_task(relay.run())]
    try:
        deadline = time.monotonic() + 15
        while len(done) < 200 or not events:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    finally:
        worker.stop()
        relay.stop()
        await asyncio.gather(*tasks)
    assert (await pg.queue.queues()) != []
    assert set(map(tuple, (await leftovers(pooled_dsn)).values())) == {()}


# --- read only -------------------------------------------------------------------------------------------------

WRITES: dict[str, Callable[[AsyncPgops], Awaitable[object]]] = {
    "enqueue": lambda pg: pg.queue.enqueue("email", {}),
    "enqueue many": lambda pg: pg.queue.enqueue_many("email", [{}, {}]),
    "append": lambda pg: pg.events.append("orders", 1),
    "append many": lambda pg: pg.events.append_many([NewEvent("orders", 1)]),
    "subscribe": lambda pg: pg.events.subscribe("s"),
    "set": lambda pg: pg.cache.set("k", b"v"),
    "publish": lambda pg: pg.pubsub.publish("orders", 1),
    "publish large": lambda pg: pg.pubsub.publish("orders", "x" * 9_000),
    "purge": lambda pg: actions.run(pg.db, Action("purge_expired", "")),
    "requeue": lambda pg: actions.run(pg.db, Action("requeue_dead", "email")),
    "migrate": lambda pg: migrate.apply(pg.db, [*migrate.migrations(), Migration("9999_x", "select 1;\n", None)]),
}
if this_server.has_pgvector():
    WRITES["create"] = lambda pg: pg.vectors.create("docs", 3)


@pytest.fixture(params=["direct", "pooled"])
def either_dsn(request: pytest.FixtureRequest, dsn: str) -> Iterator[str]:
    """The same database, directly and through the pooler."""
    yield dsn if request.param == "direct" else request.getfixturevalue("pooled_dsn")


async def test_a_read_only_session_reads_everything_and_changes_nothing(either_dsn: str, dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("email", {})
        await pg.cache.set("k", b"v")
    async with AsyncPgops.open(either_dsn, read_only=True) as pg:
        for name, write in WRITES.items():
            try:
                await write(pg)
            except RefusedError as error:
                assert "read-only" in str(error), name
            else:
                pytest.fail(f"{name} went through")
        assert await pg.cache.get("k") == b"v"
        assert len(await pg.queue.jobs("email")) == 1
        async with pg.db.transaction() as tx:
            assert await tx.one(b"select current_setting('transaction_read_only')") == ("on",)
            async with tx.transaction() as savepoint:
                assert await savepoint.one(b"select 1") == (1,)
        for lent in (pg.db.session(), pg.db.apart()):
            async with lent as session:
                assert await session.all(b"select current_setting('transaction_read_only')") == [("on",)]
        snapshot = await collect(pg.db)
        assert not isinstance(snapshot.queues, Unavailable)
        with pytest.raises(RefusedError, match="read-only"):
            await pg.db.copy(b"copy pgops.inbox (consumer) from stdin (format binary)", [("x",)], ["text"])
    async with AsyncPgops.open(dsn) as pg:
        assert len(await pg.queue.jobs("email")) == 1
        assert await pg.db.one(b"select count(*) from pgops.event_log") == (0,)


async def test_the_next_client_of_the_pooler_may_write(server_dsn: str, dsn: str) -> None:
    """With one session in the pool, so that it is the very one."""
    with pgbouncer(server_dsn, size=1) as pooler:
        pooled = make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])
        async with AsyncPgops.open(pooled, read_only=True) as reader, AsyncPgops.open(pooled) as writer:
            for number in range(3):
                with pytest.raises(RefusedError):
                    await reader.cache.set("k", b"never")
                await reader.cache.get("k")
                await collect(reader.db)
                await writer.cache.set("k", str(number).encode())
                assert await reader.cache.get("k") == str(number).encode()
        assert list((await leftovers(pooled, 1)).values()) == [[]]


async def test_options_of_the_users_own_stay(dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = b"select current_setting('work_mem'), current_setting('default_transaction_read_only')"
    with_options = make_conninfo(dsn, options="-c work_mem=7MB")
    async with AsyncPool.open(with_options, read_only=True) as db:
        assert await db.one(shown) == ("7MB", "on")
    async with AsyncPool.open(with_options) as db:
        assert await db.one(shown) == ("7MB", "off")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=9MB")
    async with AsyncPool.open(dsn, read_only=True) as db:
        assert await db.one(shown) == ("9MB", "on")
    service = tmp_path / "services"
    service.write_text("[mine]\noptions=-c work_mem=11MB\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    async with AsyncPool.open(make_conninfo(dsn, service="mine"), read_only=True) as db:
        assert await db.one(shown) == ("11MB", "on")


async def test_a_pooler_that_went_away_is_unreachable(server_dsn: str, dsn: str) -> None:
    with pgbouncer(server_dsn) as pooler:
        gone = make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])
    with pytest.raises(UnreachableError) as caught:
        async with AsyncPool.open(gone):
            pass
    assert isinstance(caught.value, PgopsError)

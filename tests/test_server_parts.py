"""What PostgreSQL itself suffers from, provoked on a real one: each is seen and told, and its remedy cures it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from time import monotonic

import psycopg
import pytest
from dashboard_story import USUAL, screen
from dashboard_story import until as comes
from standby import pair
from test_roles import role

from pgops import migrate
from pgops.config import Target
from pgops.database import AsyncPool
from pgops.ops.act import actions
from pgops.ops.act.actions import Action
from pgops.ops.collector import Collector
from pgops.ops.judge.findings import Thresholds
from pgops.ops.observe.server_parts import wal_rate
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_server import ReplicationPart, TablePart, WalPart, WraparoundPart
from pgops.services.client import AsyncPgops
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource

Conn = psycopg.Connection[tuple[object, ...]]
SMALL = Thresholds(
    xmin_seen_s=0.0,
    xmin_holder_s=0.0, xmin_dead_rows=100, vacuum_due_rows=100, slot_inactive_bytes=0,
    unused_index_bytes=100_000, unused_index_s=0.0, replica_lag_bytes=1, hot_updates=100, wal_times=0.0,
    wal_bytes_per_s=100_000.0, wal_average_s=0.0, checkpoints_seen=3, checkpoints_requested=0.1,
)  # fmt: skip


@asynccontextmanager
async def observed(dsn: str) -> AsyncIterator[Collector]:
    async with AsyncPool.open(dsn) as db:
        yield Collector(db, thresholds=SMALL)


def told(snapshot: Snapshot, code: str) -> Finding | None:
    return next((one for one in snapshot.findings if one.code == code), None)


def one(snapshot: Snapshot, code: str) -> Finding:
    found = told(snapshot, code)
    assert found is not None, [each.code for each in snapshot.findings]
    return found


def table(snapshot: Snapshot, name: str) -> TablePart:
    return {one.table: one for one in items(snapshot.tables)}[name]


def run(conn: Conn, *statements: str) -> None:
    for statement in statements:
        conn.execute(statement.encode())


@pytest.fixture
def conn(dsn: str) -> Iterator[Conn]:
    with closing(psycopg.connect(dsn, autocommit=True)) as conn:
        yield conn


async def test_every_role_sees_the_log_tables_and_indexes_and_a_monitor_the_rest(dsn: str) -> None:
    with role(dsn) as plain:
        async with observed(plain) as collector:
            seen = await collector.collect()
            wal, wraparound = seen.wal, seen.wraparound
            assert isinstance(wal, WalPart)
            assert wal.bytes is not None
            assert wal.bytes > 0
            assert isinstance(wraparound, WraparoundPart)
            assert 0 < wraparound.xid_age <= wraparound.oldest_xid_age < wraparound.xids_end
            assert (table(seen, "pgops.event_log").partitions, table(seen, "pgops.job_history").partitions) == (32, 32)
            assert table(seen, "pgops.job_running").vacuum_above == 50
            assert table(seen, "pgops.cache_store").unlogged
            assert wraparound.unlogged == (), "pgops' own are meant to be"
            for part in (seen.xmin_holders, seen.replication):
                assert isinstance(part, Unavailable)
                assert part.remedy.startswith("grant pg_monitor to ")
        with psycopg.connect(dsn, autocommit=True) as owner:
            owner.execute(part.remedy.encode())
        async with observed(plain) as collector:
            seen = await collector.collect()
            assert isinstance(seen.replication, ReplicationPart)
            assert not isinstance(seen.xmin_holders, Unavailable)


async def test_the_log_grows_by_the_second_and_a_counter_that_went_back_tells_nothing(dsn: str) -> None:
    async with observed(dsn) as collector:
        first = (await collector.collect()).wal
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("select pg_logical_emit_message(false, 'pgops', repeat('x', 1000000))")
        await asyncio.sleep(0.6)
        seen = await collector.collect(fresh=True)
        second = seen.wal
        assert isinstance(first, WalPart)
        assert isinstance(second, WalPart)
        assert second.bytes_per_s is not None
        assert second.bytes_per_s > 100_000
        assert one(seen, "wal.rate").severity == "info"
        assert wal_rate(first, second, 1.0).bytes_per_s is None


async def test_a_held_transaction_is_named_and_ending_it_lets_vacuum_through(dsn: str, conn: Conn) -> None:
    run(conn, "insert into pgops.kv_store (key, value) select 'k' || n, 'v' from generate_series(1, 500) n")
    async with observed(dsn) as collector, AsyncPgops.open(dsn) as pg:
        with closing(psycopg.connect(dsn, application_name="a report")) as holder:
            holder.execute("begin transaction isolation level repeatable read")
            holder.execute("select from pgops.kv_store limit 1")
            run(conn, "delete from pgops.kv_store", "select pg_stat_force_next_flush()", "vacuum pgops.kv_store")
            seen = await collector.collect()
            pid = holder.info.backend_pid
            held = next(each for each in items(seen.xmin_holders) if each.pid == pid)
            assert (held.kind, held.name, held.state) == ("backend", "a report", "idle in transaction")
            assert held.age_xids > 0
            assert table(seen, "pgops.kv_store").dead_rows == 500
            finding = one(seen, "vacuum.held")
            assert (finding.action, finding.target) == ("terminate_backend", str(pid))
            assert "a report" in finding.evidence
            await actions.run(pg.db, Action("terminate_backend", str(pid), started_at=held.started_at))
            await ended(conn, pid)
        run(conn, "vacuum pgops.kv_store", "select pg_stat_force_next_flush()")
        seen = await collector.collect(fresh=True)
        assert table(seen, "pgops.kv_store").dead_rows == 0
        assert told(seen, "vacuum.held") is None


async def ended(conn: Conn, pid: int) -> None:
    end = monotonic() + 10
    while conn.execute("select from pg_stat_activity where pid = %s", [pid]).fetchone() is not None:
        assert monotonic() < end
        await asyncio.sleep(0.02)


async def test_autovacuum_that_may_not_come_is_told_and_a_vacuum_cures_it(dsn: str, conn: Conn) -> None:
    run(conn, 'create table "Odd table" (id int) with (autovacuum_enabled = off, autovacuum_vacuum_threshold = 7)')
    run(conn, 'insert into "Odd table" select generate_series(1, 300)', 'delete from "Odd table"')
    run(conn, "select pg_stat_force_next_flush()")
    async with observed(dsn) as collector:
        seen = await collector.collect()
        odd = table(seen, 'public."Odd table"')
        assert (odd.dead_rows, odd.vacuum_above, odd.autovacuum, odd.autovacuum_due, odd.own) == (
            300,
            7,
            False,
            True,
            False,
        )
        finding = one(seen, "vacuum.due")
        assert finding.target == odd.table
        run(conn, finding.remedy.partition(";")[0], "select pg_stat_force_next_flush()")
        assert told(await collector.collect(fresh=True), "vacuum.due") is None


async def test_an_index_that_takes_hot_away_is_seen_in_the_share_of_updates(dsn: str, conn: Conn) -> None:
    run(conn, "create index extra on pgops.queue_total (enqueued)")
    run(conn, "insert into pgops.queues (queue) values ('q')", "insert into pgops.queue_total (queue) values ('q')")
    update = "do $$ begin for i in 1..200 loop update pgops.queue_total set enqueued = enqueued + 1; end loop; end $$"
    flush = "select pg_stat_force_next_flush()"
    run(conn, update, flush)
    async with observed(dsn) as collector:
        finding = one(await collector.collect(), "tables.hot")
        assert finding.target == "pgops.queue_total"
        run(conn, "drop index pgops.extra", "vacuum pgops.queue_total", flush)
        run(conn, "select pg_stat_reset_single_table_counters('pgops.queue_total'::regclass)", update, flush)
        seen = await collector.collect(fresh=True)
        assert (table(seen, "pgops.queue_total").hot_share or 0) > 0.5
        assert told(seen, "tables.hot") is None


async def test_indexes_that_only_cost_are_told_and_dropping_them_cures_it(dsn: str, conn: Conn) -> None:
    run(conn, "create table t (id int primary key, a int, b text)")
    run(conn, "insert into t select n, n / 2, n from generate_series(1, 20000) n")
    run(conn, "create index t_a on t (a) where b <> ''", "create index t_a_again on t (a) where b <> ''")
    run(conn, "create index t_a_other on t (a) where b <> 'x'", "create unique index t_id on t (id)")
    run(conn, "create unique index t_key on t (b)", "create unique index t_key_again on t (b)")
    run(conn, "create table child (b text references t (b))")
    run(conn, "analyze t")
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("create unique index concurrently t_unique on t (a)")
    async with observed(dsn) as collector:
        seen = await collector.collect()
        problems = sorted((each.problem, each.index, each.twin) for each in items(seen.indexes))
        assert problems == [
            ("duplicate", "public.t_a_again", "public.t_a"),
            ("duplicate", "public.t_id", "public.t_pkey"),
            ("duplicate", "public.t_key_again", "public.t_key"),
            ("invalid", "public.t_unique", None),
            ("unused", "public.t_a", None),
            ("unused", "public.t_a_again", None),
            ("unused", "public.t_a_other", None),
        ]
        for code in ("indexes.invalid", "indexes.duplicate", "indexes.unused"):
            while (finding := told(await collector.collect(fresh=True), code)) is not None:
                run(
                    conn,
                    "drop index concurrently" + finding.remedy.partition("drop index concurrently")[2].split(",")[0],
                )
        assert items((await collector.collect(fresh=True)).indexes) == ()
    rest = conn.execute("select count(*) from pg_index where indrelid = 't'::regclass").fetchone()
    assert rest == (2,), "a primary key is never told, nor an index that a foreign key needs"


async def test_a_sequence_near_the_end_of_its_column_and_an_unlogged_table_are_told(dsn: str, conn: Conn) -> None:
    run(conn, "create table orders (id serial primary key)", "select setval('orders_id_seq', 2100000000)")
    run(conn, "create sequence wide", "select setval('wide', 2100000000)", "create unlogged table scratch ()")
    run(conn, "alter sequence orders_id_seq as bigint")
    async with observed(dsn) as collector:
        seen = await collector.collect()
        finding = one(seen, "sequences.full")
        assert (finding.severity, finding.target) == ("critical", "public.orders_id_seq")
        assert "2,147,483,647" in finding.evidence
        assert one(seen, "tables.unlogged").target == "public.scratch"
        run(conn, finding.remedy.partition(", and ")[0], one(seen, "tables.unlogged").remedy.partition(",")[0])
        seen = await collector.collect(fresh=True)
        assert told(seen, "sequences.full") is None
        assert told(seen, "tables.unlogged") is None


async def test_a_table_that_is_locked_away_keeps_nobody_waiting(dsn: str, conn: Conn) -> None:
    with conn.transaction():
        conn.execute("lock table pgops.kv_store in access exclusive mode")
        async with observed(dsn) as collector:
            seen = await collector.collect()
    assert table(seen, "pgops.kv_store").bytes is None
    assert (table(seen, "pgops.job_available").bytes or 0) > 0


# --- a primary and its standby ---------------------------------------------------------------------------------------


async def until(collector: Collector, code: str, *, gone: bool = False) -> Snapshot:
    """Look until the finding is there, or gone."""
    end = monotonic() + 15
    while monotonic() < end:
        seen = await collector.collect(fresh=True)
        if (told(seen, code) is None) is gone:
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError([each.code for each in seen.findings])


async def test_slots_prepared_transactions_and_standbys_are_told_and_let_go() -> None:
    with pair() as (primary, standby):
        async with AsyncPool.open(primary) as db:
            await migrate.apply(db)
        with (
            closing(psycopg.connect(primary, autocommit=True)) as conn,
            closing(psycopg.connect(standby, autocommit=True)) as away,
        ):
            async with observed(primary) as collector, observed(standby) as second:
                await slots(collector, conn)
                await lost(collector, conn)
                await archive(collector, conn)
                await alone(collector, conn)
                await prepared(collector, conn)
                await lag(collector, second, conn, away)
                await feedback(collector, conn, away)
            await room(standby)


async def slots(collector: Collector, conn: Conn) -> None:
    run(conn, "select pg_create_physical_replication_slot('forgotten', true)")
    run(conn, "select pg_logical_emit_message(false, 'pgops', repeat('x', 1000000))")
    seen = await until(collector, "slots.inactive")
    assert isinstance(seen.replication, ReplicationPart)
    slot = seen.replication.slots[0]
    assert (slot.name, slot.active, slot.wal_status) == ("forgotten", False, "reserved")
    assert (slot.retained_bytes or 0) > 1_000_000
    run(conn, one(seen, "slots.inactive").remedy.partition("nobody reads it: ")[2])
    await until(collector, "slots.inactive", gone=True)


async def lost(collector: Collector, conn: Conn) -> None:
    run(conn, "alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
    run(conn, "select pg_create_physical_replication_slot('late', true)")
    for _ in range(3):
        run(conn, "select pg_logical_emit_message(false, 'pgops', 'x')", "select pg_switch_wal()")
    run(conn, "checkpoint")
    seen = await until(collector, "slots.lost")
    run(conn, one(seen, "slots.lost").remedy.partition("nobody reads it: ")[2])
    run(conn, "alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")
    await until(collector, "slots.lost", gone=True)


async def archive(collector: Collector, conn: Conn) -> None:
    """It fails by its setting, and does not once that is mended; by then enough checkpoints were asked for."""
    seen = await until(collector, "wal.archive")
    assert one(seen, "wal.archive").severity == "critical", "nothing was ever archived"
    run(conn, "alter system set archive_command = '/bin/true'", "select pg_reload_conf()")
    run(conn, "checkpoint", "checkpoint", "checkpoint", "select pg_switch_wal()")
    seen = await until(collector, "wal.archive", gone=True)
    assert one(seen, "wal.checkpoints").severity == "info"


async def alone(collector: Collector, conn: Conn) -> None:
    run(conn, "alter system set synchronous_commit = 'on'", "alter system set synchronous_standby_names = 'nobody'")
    run(conn, "select pg_reload_conf()")
    await until(collector, "replication.synchronous")
    run(
        conn,
        "alter system reset synchronous_standby_names",
        "alter system reset synchronous_commit",
        "select pg_reload_conf()",
    )
    await until(collector, "replication.synchronous", gone=True)


async def prepared(collector: Collector, conn: Conn) -> None:
    run(conn, "insert into pgops.kv_store (key, value) select 'k' || n, 'v' from generate_series(1, 500) n")
    run(conn, "begin", "insert into pgops.kv_store (key, value) values ('p', 'v')", "prepare transaction 'two'")
    run(conn, "delete from pgops.kv_store", "select pg_stat_force_next_flush()")
    seen = await until(collector, "vacuum.held")
    prepared = [(each.name, each.user) for each in items(seen.xmin_holders) if each.kind == "prepared transaction"]
    assert prepared == [("two", "postgres")]
    run(conn, one(seen, "vacuum.held").remedy.partition(", or ")[2])
    await until(collector, "vacuum.held", gone=True)


async def lag(collector: Collector, second: Collector, conn: Conn, away: Conn) -> None:
    run(away, "select pg_wal_replay_pause()")
    run(conn, "select pg_logical_emit_message(false, 'pgops', repeat('x', 1000000))")
    seen = await until(collector, "replication.lag")
    assert isinstance(seen.replication, ReplicationPart)
    assert [(each.name, each.state) for each in seen.replication.standbys] == [("second", "streaming")]
    there = await until(second, "replication.replay")
    assert isinstance(there.replication, ReplicationPart)
    assert there.replication.replay is not None
    assert there.replication.replay.receiving
    missing = {name for name in Snapshot.__slots__ if isinstance(getattr(there, name), Unavailable)}
    assert not missing & {"xmin_holders", "wal", "replication", "tables", "indexes", "wraparound"}
    run(away, one(there, "replication.replay").remedy)
    await until(second, "replication.replay", gone=True)
    await until(collector, "replication.lag", gone=True)


async def feedback(collector: Collector, conn: Conn, away: Conn) -> None:
    """A level standby holds nobody up; one on which somebody reads for a while does."""
    assert [each for each in items((await collector.collect(fresh=True)).xmin_holders) if each.kind == "standby"] == []
    with away.transaction():
        run(away, "set transaction isolation level repeatable read", "select from pgops.kv_store limit 1")
        run(conn, "do $$ begin for i in 1..150 loop perform pg_current_xact_id(); commit; end loop; end $$")
        end = monotonic() + 10
        while not (found := items((await collector.collect(fresh=True)).xmin_holders)):
            assert monotonic() < end
            await asyncio.sleep(0.1)
        assert (found[0].kind, found[0].name) == ("standby", "second")
        assert found[0].age_xids >= 100


async def room(standby: str) -> None:
    """The dashboard over a standby: it says what it is, and how far behind."""
    app = PgopsApp(LiveSource(Target(standby, "test")))
    async with app.run_test(size=USUAL) as pilot:
        await comes(pilot, lambda: "● live" in screen(pilot))
        await pilot.press("8")
        await comes(pilot, lambda: "this standby: receiving" in screen(pilot))
        assert "tables · most dead rows and largest" in screen(pilot)

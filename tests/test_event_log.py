"""What a subscription takes and where it starts, going back in time, keys held by hand, poison that is skipped; the
inbox; how long events are kept; and a log that was restored elsewhere."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import this_server
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from test_events import drain, events, leased, payloads
from test_relay import by_key, running, until
from test_roles import SCHEMA, TABLES, role

import pgops
from pgops import AsyncPgops, Pgops
from pgops.database import AsyncBound, AsyncPool
from pgops.errors import NotFoundError, SchemaError, UsageError
from pgops.runtime.sinks import DeliveryError
from pgops.runtime.sinks.cloudevents import cloudevent
from pgops.server import Server, binaries
from pgops.services.events import AsyncEvents
from pgops.services.inbox import AsyncInbox
from pgops.services.models import Counted, Event, NewEvent, Rejected

__all__ = ["events"]
DAY = 86_400
OLD = b"""
insert into pgops.event_log (slot, topic, key, payload, created_at)
select (extract(epoch from at)::bigint / 86400 %% 32)::smallint, 't', 'k' || n %% 7, to_jsonb(n), at
from generate_series(1, %(count)s) n, (select statement_timestamp() - make_interval(days => %(days)s) as at) then_
"""


async def older(db: AsyncPool, days: int, count: int = 10) -> None:
    """Events as they would stand there had they been appended so many days ago."""
    await db.execute(OLD, {"days": days, "count": count})


async def all_passed(events: AsyncEvents, **tokens: int) -> None:
    """The cursors of these subscriptions are past all that is there. Somebody's transaction in another database of the
    server keeps them from it for as long as it lasts."""
    async with asyncio.timeout(30):
        while True:
            for name, token in tokens.items():
                await events.advance(await events.fetch(name, token), idle=True)
            if not any(one.behind for one in await events.expiring()):
                return
            await asyncio.sleep(0.05)


# --- what it takes, and from where ---------------------------------------------------------------------------


async def test_a_subscription_takes_its_types_of_its_topics(events: AsyncEvents) -> None:
    await leased(events, topics=["orders", "users"], types=["made", "paid"])
    await events.append_many(
        NewEvent(topic, f"{topic} {type}", type=type) for topic in ("orders", "bills") for type in ("made", "lost")
    )
    assert (await events.lag("s")).events == 1
    assert payloads(await drain(events)) == ["orders made"]
    assert (await events.lag("s")).events == 0


async def test_it_may_start_at_a_moment_and_skips_what_was_made_before(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    await events.append("t", "long ago")
    row = await db.one(b"select clock_timestamp()")
    assert row is not None
    async with await psycopg.AsyncConnection.connect(dsn) as late:
        await AsyncEvents(AsyncBound(late, foreign=True)).append("t", "under way")
        await events.append("t", "since")
        await leased(events, start=row[0])
        assert (await events.lag("s")).events == 1
        assert [(e.payload, e.replayed) for e in await drain(events)] == [("since", False)]
        await late.commit()
    assert payloads(await drain(events)) == ["under way"]


async def test_a_transaction_that_began_before_the_moment_brings_only_its_later_events(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncEvents(AsyncBound(conn, foreign=True))
        await bound.append("t", "before")
        row = await db.one(b"select clock_timestamp()")
        assert row is not None
        await bound.append("t", "after")
        await conn.commit()
    await leased(events, start=row[0])
    assert payloads(await drain(events)) == ["after"]


@pytest.mark.parametrize("start", ["yesterday", datetime(2026, 1, 1)], ids=["a word", "no time zone"])
async def test_a_start_that_is_none_is_refused(events: AsyncEvents, start: object) -> None:
    with pytest.raises(UsageError) as caught:
        await events.subscribe("s", start=start)  # type: ignore[arg-type]
    assert caught.value.hint
    assert await events.subscriptions() == []


@pytest.mark.parametrize(
    "given", [{"poison": "burn"}, {"attempts": 0}, {"types": []}, {"types": [""]}, {"topics": "orders"}], ids=str
)
async def test_settings_that_make_no_sense_are_refused(events: AsyncEvents, given: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        await events.subscribe("s", **given)  # type: ignore[arg-type]
    assert await events.subscriptions() == []


# --- going back ----------------------------------------------------------------------------------------------


async def test_a_replay_delivers_again_from_a_time_on_and_says_so(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    await events.append("t", 1)
    assert payloads(await drain(events)) == [1]
    row = await db.one(b"select clock_timestamp()")
    assert row is not None
    await events.append_many([NewEvent("t", 2, key="k"), NewEvent("t", 3, key="k")])
    await drain(events)
    await events.append("t", 4)  # never delivered: it is not a repetition
    assert await events.count_since("s", row[0], 100) == Counted(2, True)
    assert await events.count_since("s", row[0], 1) == Counted(1, False)
    await events.replay("s", row[0])
    assert (await events.subscription("s")).replaying
    assert (await events.lag("s")).events == 3
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    again = await drain(events)
    assert sorted((e.payload, e.replayed) for e in again) == [(2, True), (3, True), (4, False)]
    await events.advance(await events.fetch("s", 1), idle=True)
    assert not (await events.subscription("s")).replaying
    await events.append("t", 5)
    assert [(e.payload, e.replayed) for e in await drain(events)] == [(5, False)]


async def test_a_replay_from_later_than_the_cursor_skips_nothing(events: AsyncEvents) -> None:
    await leased(events)
    await events.append("t", 1)
    await events.replay("s", datetime.now(UTC) + timedelta(hours=1))
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert [(e.payload, e.replayed) for e in await drain(events)] == [(1, False)]


async def test_a_replay_before_the_start_was_gone_through_skips_nothing_of_it(
    events: AsyncEvents, db: AsyncPool
) -> None:
    start = await db.one(b"select clock_timestamp()")
    await events.append("t", "from the start")
    later = await db.one(b"select clock_timestamp()")
    assert start is not None and later is not None
    await leased(events, start=start[0])
    await events.replay("s", later[0])
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert payloads(await drain(events)) == ["from the start"]


async def test_a_second_replay_while_the_first_is_under_way_counts(events: AsyncEvents) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    await leased(events)
    await events.append_many(NewEvent("t", n, key="k") for n in range(6))
    await drain(events)
    await events.replay("s", began)
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    await events.advance(await events.fetch("s", 1, 2))
    await events.replay("s", began)
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert [(e.payload, e.replayed) for e in await drain(events)] == [(n, True) for n in range(6)]


async def test_a_replay_takes_the_leases_so_that_nothing_under_way_moves_the_cursor_on(events: AsyncEvents) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    await leased(events)
    await events.append("t", 1)
    batch = await events.fetch("s", 1)
    await events.replay("s", began)
    assert len((await events.advance(batch)).stale) == 1
    await events.lease_parts("s", owner="a", token=2, lease_s=30)
    assert payloads(await drain(events, token=2)) == [1]


async def test_a_relay_at_work_goes_through_a_replay(events: AsyncEvents, db: AsyncPool) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    await events.subscribe("s")
    sink = Memory()
    async with running(db, sink):
        await events.append_many(NewEvent("t", n, key=f"k{n % 3}") for n in range(30))
        async with asyncio.timeout(10):
            while (await events.subscription("s")).relayed < 30:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await events.replay("s", began)
        await until(lambda: len(sink.got) >= 60)
    assert by_key(sink.got[-30:]) == {f"k{k}": list(range(k, 30, 3)) for k in range(3)}
    assert {event.replayed for event in sink.got[-30:]} == {True}


def test_the_envelope_says_that_an_event_is_replayed_and_no_header_can() -> None:
    event = Event(1, 1, UUID(int=1), "t", None, "made", "1", '{"pgopsreplayed": true}', datetime.now(UTC))
    assert "pgopsreplayed" not in json.loads(cloudevent(event))
    assert json.loads(cloudevent(replace(event, replayed=True)))["pgopsreplayed"] is True


async def test_what_was_there_before_a_subscription_is_no_repetition_when_it_is_set_back(events: AsyncEvents) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    await events.append("t", "old")
    await leased(events)
    await events.append("t", "delivered")
    await drain(events)
    await events.replay("s", began)
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert sorted((e.payload, e.replayed) for e in await drain(events)) == [("delivered", True), ("old", False)]


async def test_a_replay_of_nobody_is_told(events: AsyncEvents) -> None:
    with pytest.raises(NotFoundError):
        await events.replay("s", datetime.now(UTC))


# --- poison, and keys held by hand ---------------------------------------------------------------------------


class Memory:
    """A sink that keeps what it got, and refuses the payloads in `bad`."""

    def __init__(self, bad: tuple[object, ...] = ()) -> None:
        self.got: list[Event] = []
        self.bad = bad

    async def deliver(self, events: "list[Event]") -> None:
        good, failed = [], {}
        stopped = set()
        for event in events:
            if event.payload in self.bad:
                failed[event.id] = "no"
                stopped.add(event.key)
            elif event.key not in stopped:
                good.append(event)
        self.got += good
        if failed:
            raise DeliveryError("some failed", delivered=[e.id for e in good], failed=failed)

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    "poison, got, parked", [("skip", [0, 2, 3, 4], {1: 2}), ("park", [0], {1: 2, 2: 0, 3: 0, 4: 0})]
)
async def test_what_a_sink_refuses_is_put_aside_and_the_later_ones_of_its_key_go_on_or_wait(
    events: AsyncEvents, db: AsyncPool, poison: str, got: list[int], parked: dict[int, int]
) -> None:
    await events.subscribe("s", poison=poison, attempts=2)  # type: ignore[arg-type]
    await events.append_many(NewEvent("t", n, key="k") for n in range(3))
    sink = Memory(bad=(1,))
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.parked == len([n for n in parked if n < 3]))
        await events.append_many(NewEvent("t", n, key="k") for n in (3, 4))
        await until(lambda: len(sink.got) + relay.stats.parked == 5)
    assert payloads(sink.got) == got
    assert {one.event.payload: one.attempts for one in await events.parked("s")} == parked
    sink.bad = ()
    async with running(db, sink):
        await events.retry_parked("s")
        await until(lambda: len(sink.got) == 5)
    assert await events.parked("s") == []


async def test_a_key_held_by_hand_waits_whole_and_in_order(events: AsyncEvents, db: AsyncPool) -> None:
    await events.subscribe("s")
    assert await events.park_key("s", "k", "its customer called")
    assert not await events.park_key("s", "k")
    sink = Memory()
    async with running(db, sink) as relay:
        await events.append_many(NewEvent("t", f"{key}{n}", key=key) for n in range(3) for key in ("k", "other"))
        await until(lambda: len(sink.got) == 3 and relay.stats.parked == 3)
        (held,) = await events.parked_keys("s")
        assert (held.key, held.reason, held.waiting) == ("k", "its customer called", 3)
        await events.retry_parked("s")
        await asyncio.sleep(0.3)
        assert (await events.subscription("s")).parked == 3, "trying again does not let go of it"
        assert await events.unpark_key("s", "k")
        await events.append("t", "k3", key="k")
        await until(lambda: len(sink.got) == 7)
    assert by_key(sink.got)["k"] == ["k0", "k1", "k2", "k3"]
    assert not await events.unpark_key("s", "k")
    assert await events.parked_keys("s") == []


# --- the inbox -----------------------------------------------------------------------------------------------


async def test_an_event_is_acted_on_once_and_the_mark_commits_with_the_effect(dsn: str, events: AsyncEvents) -> None:
    event_id = await events.append("t", 1)
    with psycopg.connect(dsn) as conn, Pgops.open(dsn) as pg:
        conn.execute("create table effects (n int)")
        for _ in range(2):
            if pg.bind(conn).inbox.first("billing", event_id):
                conn.execute("insert into effects values (1)")
        conn.rollback()
        assert pg.bind(conn).inbox.first("billing", str(event_id)), "rolled back: never seen"
        conn.commit()
        assert not pg.bind(conn).inbox.first("billing", event_id)
        assert pg.bind(conn).inbox.first("shipping", event_id), "each consumer for himself"
        with pytest.raises(UsageError, match="is no event's id"):
            pg.bind(conn).inbox.first("billing", "7")


async def test_two_at_once_act_on_it_once(dsn: str) -> None:
    event_id = "00000000-0000-4000-8000-000000000001"

    async def act(hold_s: float) -> bool:
        async with AsyncPgops.open(dsn) as pg, pg.db.transaction() as tx:
            found = await AsyncInbox(tx).first("c", event_id)
            await asyncio.sleep(hold_s)
            return found

    assert sorted(await asyncio.gather(*(act(0.1) for _ in range(4)))) == [False, False, False, True]


# --- how long events are kept --------------------------------------------------------------------------------


async def test_a_wrap_of_the_ring_without_any_upkeep_fails_no_insert_and_loses_nothing(
    events: AsyncEvents, db: AsyncPool
) -> None:
    """40 days of events, and nobody has looked after them: eight slots hold two days each."""
    await leased(events, start="beginning")
    for days in range(40, -1, -1):
        await older(db, days, 3)
    assert len(await drain(events)) == 41 * 3
    await events.set_retention(keep_s=2 * DAY)
    await all_passed(events, s=1)
    done = await events.purge_events()
    assert (done.held_by, done.lost, done.done) == ((), (), True)
    rows = await db.all(b"select created_at from pgops.event_log")
    age = [(datetime.now(UTC) - row[0]).total_seconds() / DAY for row in rows]
    assert min(age) < 0.1 and max(age) < 1.1
    assert len(rows) == 2 * 3, "today and yesterday, and nothing else"
    await events.append("t", "after")
    assert payloads(await drain(events)) == ["after"]


async def test_nothing_goes_before_its_time_or_before_everybody_has_it(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events, start="beginning")
    await leased(events, "fast", 2, start="beginning")
    for days in (20, 10, 1, 0):
        await older(db, days)
    await drain(events, "fast", 2)
    await events.set_retention(keep_s=7 * DAY)
    assert [(one.behind, one.forced) for one in await events.expiring()] == [((("fast", 0), ("s", 10)), False)] * 2
    done = await events.purge_events()
    assert (done.slots, done.rows, done.held_by, done.lost) == (0, 0, ("fast", "s"), ())
    assert len(await drain(events)) == 40
    await all_passed(events, s=1, fast=2)
    done = await events.purge_events()
    assert (done.slots, done.rows, done.held_by) == (2, 0, ())
    assert (await db.all(b"select count(*) from pgops.event_log"))[0][0] == 20


async def test_by_force_it_names_who_loses_what(events: AsyncEvents, db: AsyncPool) -> None:
    await events.subscribe("slow", start="beginning")
    await events.subscribe("none", start="beginning", topics=["other"])
    await older(db, 20)
    await older(db, 10)
    await events.set_retention(keep_s=7 * DAY, force_after_s=15 * DAY)
    found = {one.forced: one.behind for one in await events.expiring()}
    assert found == {True: (("none", 0), ("slow", 10)), False: (("none", 0), ("slow", 10))}
    done = await events.purge_events()
    assert (done.slots, dict(done.lost)["slow"], done.held_by) == (1, 10, ("none", "slow"))
    await events.lease_parts("slow", owner="a", token=1, lease_s=30)
    assert len(await drain(events, "slow")) == 10


async def test_a_transaction_that_writes_into_an_old_slot_keeps_it(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    await older(db, 20)
    async with await psycopg.AsyncConnection.connect(dsn) as late:
        await late.execute(OLD, {"days": 20, "count": 1})
        done = await events.purge_events()
        assert done.slots == 0
        await late.commit()
    await events.subscribe("s", start="beginning")
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert len(await drain(events)) >= 1, "what was under way is not lost"


async def test_without_the_privilege_to_truncate_old_events_are_deleted(events: AsyncEvents, dsn: str) -> None:
    async with AsyncPool.open(dsn) as db:
        await older(db, 20)
    with role(dsn, (SCHEMA, TABLES, "grant update, delete on all tables in schema pgops to {}")) as theirs:
        async with AsyncPool.open(theirs) as db:
            done = await AsyncEvents(db).purge_events()
    assert (done.slots, done.rows) == (0, 10)
    assert await events.events() == []


async def test_the_inbox_is_kept_as_long_as_it_is_told(events: AsyncEvents, db: AsyncPool) -> None:
    await db.execute(
        b"insert into pgops.inbox select 'c', gen_random_uuid(), now() - make_interval(days => n)"
        b" from generate_series(0, 9) n"
    )
    await events.set_retention(keep_s=DAY, inbox_keep_s=4.5 * DAY)
    assert (await events.purge_events()).rows == 5


@pytest.mark.parametrize(
    "given",
    [{"keep_s": 60}, {"keep_s": 31 * DAY}, {"keep_s": DAY, "force_after_s": 60}, {"keep_s": DAY, "inbox_keep_s": 1}],
    ids=str,
)
async def test_a_retention_out_of_bounds_is_refused(events: AsyncEvents, given: dict[str, float]) -> None:
    before = await events.retention()
    with pytest.raises(UsageError):
        await events.set_retention(**given)
    assert await events.retention() == before


async def test_where_a_relay_runs_old_events_go_and_who_loses_is_said(
    events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pgops.runtime.tidying.EVERY_S", 0.2)
    await events.subscribe("s")
    await events.subscribe("slow", start="beginning")
    await older(db, 20)
    await events.set_retention(keep_s=DAY, force_after_s=2 * DAY)
    with caplog.at_level("WARNING", "pgops.tidying"):
        async with running(db, Memory()):
            await until(lambda: "slow has lost 10 events" in caplog.text)
    assert await events.events() == []


# --- what the articles say of the outbox ---------------------------------------------------------------------

SEEDS_TABLE = b"create table orders (id bigint primary key, total numeric)"
SEEDS_ORDER = b"insert into orders values (7, 12.5)"
SEEDS_EVENT = (
    b"insert into pgops.outbox (aggregate_id, event_type, payload) values ('7', 'order.created', '{\"order\": 7}')"
)


@pytest.mark.parametrize("outcome", ["commit", "rollback", "killed"])
async def test_the_seeds_business_row_and_outbox_row_are_both_there_or_neither(
    events: AsyncEvents, db: AsyncPool, dsn: str, outcome: str
) -> None:
    await db.execute(SEEDS_TABLE)
    with suppress(psycopg.errors.AdminShutdown), psycopg.connect(dsn) as conn:
        conn.execute(SEEDS_ORDER)
        conn.execute(SEEDS_EVENT)
        if outcome == "commit":
            conn.commit()
        elif outcome == "rollback":
            conn.rollback()
        else:
            await db.all(b"select pg_terminate_backend(%(pid)s)", {"pid": conn.info.backend_pid})
    there = 1 if outcome == "commit" else 0
    assert len(await db.all(b"select from orders")) == len(await events.events()) == there


async def test_the_seeds_no_phantom_is_delivered_of_an_order_that_is_rolled_back(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    await db.execute(SEEDS_TABLE)
    await events.subscribe("s")
    sink = Memory()
    async with running(db, sink):
        with psycopg.connect(dsn) as conn:
            conn.execute(SEEDS_ORDER)
            conn.execute(SEEDS_EVENT)
            await asyncio.sleep(0.3)  # the relay looks, and must not see it yet
            assert sink.got == []
            conn.rollback()
        await events.append("t", "after")
        await until(lambda: sink.got)
        await asyncio.sleep(0.2)
    assert payloads(sink.got) == ["after"]


async def test_the_seeds_no_dual_write_a_broker_that_is_down_stops_no_order_and_gets_the_event_later(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    class Broker(Memory):
        up = False

        async def deliver(self, events: "list[Event]") -> None:
            if not self.up:
                raise ConnectionError("no broker")
            await super().deliver(events)

    await db.execute(SEEDS_TABLE)
    await events.subscribe("s")
    broker = Broker()
    async with running(db, broker, backoff_max_s=0.05) as relay:
        with psycopg.connect(dsn) as conn:
            conn.execute(SEEDS_ORDER)
            conn.execute(SEEDS_EVENT)
        await until(lambda: relay.stats.outages)
        assert len(await db.all(b"select from orders")) == 1, "the order is placed all the same"
        broker.up = True
        await until(lambda: broker.got)
    assert [(event.key, event.type, event.payload) for event in broker.got] == [("7", "order.created", {"order": 7})]


# --- restored elsewhere --------------------------------------------------------------------------------------


async def told(*argv: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*argv)
    assert await process.wait() == 0


@pytest.mark.slow
async def test_after_dump_and_restore_the_relay_stops_and_after_rebase_nothing_is_skipped(
    events: AsyncEvents, dsn: str, tmp_path: Path
) -> None:
    """Two subscriptions at different places, one transaction that commits late, and events appended before and after
    the restore. The other cluster's transaction ids are far from this one's."""
    await leased(events, start="beginning")
    await leased(events, "behind", 2, start="beginning")
    await events.append_many(NewEvent("t", n, key=f"k{n % 9}") for n in range(100))
    await drain(events, "behind", 2)
    async with await psycopg.AsyncConnection.connect(dsn) as late:
        await AsyncEvents(AsyncBound(late, foreign=True)).append("t", "late", key="late")
        await events.append_many(NewEvent("t", n, key=f"k{n % 9}") for n in range(100, 150))
        seen = {"s": payloads(await drain(events)), "behind": []}
        await late.commit()
    await events.append("t", "last", key="k0")
    programs = binaries.find().folder
    dump = tmp_path / "dump"
    await told(programs / "pg_dump", "-Fc", "-f", dump, dsn)
    server = Server(tmp_path / "other", settings=this_server.SETTINGS)
    with ExitStack() as stack:
        stack.callback(server.destroy, force=True)
        other = stack.enter_context(server.use())
        with psycopg.connect(other, autocommit=True) as conn:
            conn.execute("create database elsewhere")
        there = make_conninfo(other, dbname="elsewhere")
        await told(programs / "pg_restore", "--no-owner", "-d", there, dump)
        assert conninfo_to_dict(there) != conninfo_to_dict(dsn)
        async with AsyncPool.open(there) as db:
            restored = AsyncEvents(db)
            await restored.append("t", "new", key="k0")
            with pytest.raises(SchemaError, match="belongs to another cluster") as caught:
                await restored.lease_parts("s", owner="a", token=1, lease_s=30)
            assert "rebase" in caught.value.hint
            with pytest.raises(SchemaError, match="belongs to another cluster"):
                await restored.subscribe("another")
            done = await restored.rebase()
            assert done.events == 153
            assert dict(done.backlog) == {"s": 3, "behind": 53}
            assert (await restored.rebase()).events == 0, "it is at home now"
            got = {}
            for name, token in (("s", 11), ("behind", 12)):
                await restored.lease_parts(name, owner="a", token=token, lease_s=30)
                got[name] = [(e.key, e.payload) for e in await drain(restored, name, token)]
            assert sorted(map(str, (p for _, p in got["s"]))) == sorted(["late", "last", "new"])
            assert sorted(map(str, (p for _, p in got["behind"]))) == sorted(
                [*map(str, range(100, 150)), "late", "last", "new"]
            )
            assert [p for key, p in got["behind"] if key == "k0"][-2:] == ["last", "new"]
            await restored.append("t", "goes on", key="k0")
            assert payloads(await drain(restored, "s", 11)) == ["goes on"]
    assert len(seen["s"]) == 150


async def test_a_copy_within_the_cluster_is_told_too_and_rebased(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    await events.append_many(NewEvent("t", n) for n in range(5))
    await drain(events)
    await events.append("t", "open")
    await db.execute(b"update pgops.event_home set database_oid = 1")
    done = await events.rebase()
    assert (done.events, done.backlog) == (6, (("s", 1),))
    await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert payloads(await drain(events)) == ["open"]


async def test_a_rebase_waits_for_nobody_for_long_and_changes_nothing_then(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    await leased(events)
    await db.execute(b"update pgops.event_home set database_oid = 1")
    async with await psycopg.AsyncConnection.connect(dsn) as writer:
        await AsyncEvents(AsyncBound(writer, foreign=True)).append("t", 1)
        with pytest.raises(pgops.PgopsError):
            await events.rebase()
        with pytest.raises(SchemaError):
            await events.lease_parts("s", owner="a", token=1, lease_s=30)


async def test_whoever_leases_renews_advances_and_sets_back_at_once_never_deadlocks(
    events: AsyncEvents, db: AsyncPool
) -> None:
    await events.subscribe("s")
    await db.execute(b"update pgops.subscription_parts set relayed = 1 where part % 3 = 0")
    until = asyncio.get_running_loop().time() + 1.5

    async def again(act: Callable[[], Awaitable[object]]) -> None:
        while asyncio.get_running_loop().time() < until:
            await act()

    async def go_on(token: int) -> None:
        await events.lease_parts("s", owner=str(token), token=token, lease_s=0.005)
        await events.advance(await events.fetch("s", token), idle=True)

    await asyncio.gather(
        again(lambda: go_on(1)), again(lambda: go_on(2)),
        again(lambda: events.renew("s", token=1, lease_s=0.005)),
        again(lambda: events.renew("s", token=2, lease_s=0.005)),
        again(lambda: events.replay("s", datetime.now(UTC))), again(lambda: events.release("s", owner="2", token=2)),
    )  # fmt: skip


async def test_who_retries_and_who_settles_parked_events_never_deadlock(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    await events.append_many(NewEvent("t", n, key=f"k{n}") for n in range(600))
    batch = await events.fetch("s", 1, 1_000)
    await events.advance(batch, rejected=[Rejected(event, 1, "no") for event in reversed(batch.events)])
    until = asyncio.get_running_loop().time() + 1.5

    async def again(act: Callable[[], Awaitable[object]]) -> None:
        while asyncio.get_running_loop().time() < until:
            await act()

    async def settle() -> None:
        parked = await events.fetch_parked("s", 1)
        await events.settle(parked, [], [Rejected(event, 1, "no") for event in parked.events])

    await asyncio.gather(again(settle), *(again(lambda: events.retry_parked("s")) for _ in range(2)))
    assert (await events.subscription("s")).parked == 600

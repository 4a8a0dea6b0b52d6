"""The event log: the snapshot cursor, leases and fences, the doors for plain SQL."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import NotFoundError, SchemaError, UsageError
from pgops.queries import load
from pgops.services.events import AsyncEvents
from pgops.services.models import Batch, Event, NewEvent, Rejected


@pytest.fixture
def events(db: AsyncPool) -> AsyncEvents:
    return AsyncEvents(db)


async def leased(events: AsyncEvents, name: str = "s", token: int = 1, **options: object) -> None:
    await events.subscribe(name, **options)  # type: ignore[arg-type]
    await events.lease_parts(name, owner="a", token=token, lease_s=30)


async def drain(events: AsyncEvents, name: str = "s", token: int = 1, limit: int = 100) -> list[Event]:
    """All that is there, page by page until nothing comes."""
    found: list[Event] = []
    while (batch := await events.fetch(name, token, limit)).events:
        found += batch.events
        assert (await events.advance(batch)).stale == ()
    return found


def payloads(found: Sequence[Event]) -> list[object]:
    return [event.payload for event in found]


# --- the cursor ----------------------------------------------------------------------------------------------


async def test_a_batch_is_delivered_once_and_only_advance_moves_the_cursor(events: AsyncEvents) -> None:
    await leased(events)
    event_id = await events.append("orders", {"n": 1}, key="k", type="made", headers={"h": "x"})
    first = await events.fetch("s", 1)
    again = await events.fetch("s", 1)
    assert first.events == again.events
    (event,) = first.events
    assert (event.event_id, event.topic, event.key, event.type) == (event_id, "orders", "k", "made")
    assert (event.payload, event.headers) == ({"n": 1}, {"h": "x"})
    await events.advance(first)
    assert (await events.fetch("s", 1)).events == ()


async def test_an_event_that_commits_after_a_later_one_was_read_is_not_lost(events: AsyncEvents, dsn: str) -> None:
    """Its transaction runs in `seen`: this is what the late half of the cursor is for."""
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await AsyncEvents(AsyncBound(conn, foreign=True)).append("t", "early id, late commit", key="a")
        await events.append("t", "late id, early commit", key="a")
        assert payloads(await drain(events)) == ["late id, early commit"]
        await conn.commit()
    assert payloads(await drain(events)) == ["early id, late commit"]
    assert payloads(await drain(events)) == []


async def test_a_held_writing_transaction_does_not_hold_up_the_events_of_others(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as held:
        await held.execute("create table held ()")
        for n in range(5):
            await events.append("t", n, key="k")
            assert payloads(await drain(events)) == [n]
        await held.rollback()
    assert await drain(events) == []


async def test_a_rolled_back_event_is_never_seen(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncEvents(AsyncBound(conn, foreign=True))
        await bound.append("t", "kept")
        with pytest.raises(RuntimeError):
            async with conn.transaction():
                await bound.append("t", "gone")
                raise RuntimeError
        assert await drain(events) == []
        await conn.commit()
        await bound.append("t", "gone too")
        await conn.rollback()
    assert payloads(await drain(events)) == ["kept"]


async def test_a_window_is_paged_by_id_and_ignores_what_comes_meanwhile(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as late:
        bound = AsyncEvents(AsyncBound(late, foreign=True))
        for n in range(3):
            await bound.append("t", n, key="k")
        await events.append("t", "x", key="k")
        await drain(events)  # the late ones run in `seen` now
        for n in range(3, 7):
            await events.append("t", n, key="k")
        await bound.append("t", 7, key="k")
        await late.commit()
    pages = []
    batch = await events.fetch("s", 1, limit=3)
    await events.append("t", 8, key="k")
    while batch.events:
        pages.append(payloads(batch.events))
        await events.advance(batch)
        batch = await events.fetch("s", 1, limit=3)
    assert pages == [[0, 1, 2], [3, 4, 5], [6, 7], [8]]


async def test_a_page_does_not_take_what_commits_after_its_window_was_opened(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as other:
        await events.append("t", 1, key="k")
        await AsyncEvents(AsyncBound(other, foreign=True)).append("t", "between", key="k")
        await events.append("t", 2, key="k")
        page = await events.fetch("s", 1, limit=1)
        await events.advance(page)
        await other.commit()
        pages = [payloads(page.events)]
        for _ in range(4):
            page = await events.fetch("s", 1, limit=1)
            pages.append(payloads(page.events))
            await events.advance(page)
    assert pages == [[1], [2], [], ["between"], []]


async def test_a_window_that_ends_on_a_full_page_closes(events: AsyncEvents) -> None:
    await leased(events)
    for n in range(4):
        await events.append("t", n, key="k")
    assert payloads(await drain(events, limit=2)) == [0, 1, 2, 3]
    await events.advance(await events.fetch("s", 1, limit=2))
    await events.append("t", 4, key="k")
    assert payloads(await drain(events, limit=2)) == [4]


async def test_an_event_is_found_in_whatever_slot_it_stands(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    for slot in range(32):
        await db.execute(b"insert into pgops.event_log (slot, payload) values (%s, to_jsonb(%s::int))", [slot, slot])
    assert sorted(payloads(await drain(events))) == list(range(32))  # type: ignore[type-var]
    rows = await db.all(b"select tableoid::regclass::text from pgops.event_log where slot = 7")
    assert rows == [("pgops.event_log_07",)]


@pytest.mark.slow
async def test_nothing_is_lost_or_repeated_and_keys_keep_their_order_among_concurrent_writers(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    """Writers of a key are serialised by its row; they delay, roll back and use savepoints."""
    await db.execute(b"create table aggregate as select 'k' || n as key, 0 as n from generate_series(0, 19) n")
    await events.subscribe("s")
    made: list[int] = []

    async def write(seed: int) -> None:
        dice = random.Random(seed)
        count = 0
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            bound = AsyncEvents(AsyncBound(conn, foreign=True))
            for _ in range(120):
                await conn.execute("select pg_current_xact_id()")
                await asyncio.sleep(dice.random() * 0.01)
                key = f"k{dice.randrange(20)}"
                update = "update aggregate set n = n + 1 where key = %s returning n"
                try:
                    async with conn.transaction():
                        cursor = await conn.execute(update, [key])
                        await bound.append("t", await cursor.fetchone(), key=key)
                        if dice.random() < 0.1:
                            raise RuntimeError
                except RuntimeError:
                    await conn.commit()
                    continue
                await asyncio.sleep(dice.random() * 0.02)
                if dice.random() < 0.1:
                    await conn.rollback()
                else:
                    await conn.commit()
                    count += 1
        made.append(count)

    got: list[Event] = []
    done = asyncio.Event()

    async def read(token: int, stays: bool) -> None:
        while True:
            last = done.is_set()
            await events.lease_parts("s", owner=str(token), token=token, lease_s=30)
            batch = await events.fetch("s", token, limit=5)
            advanced = await events.advance(batch)
            assert advanced.stale == ()
            got.extend(batch.events)
            if (last and not batch.events) or (not stays and random.random() < 0.05):
                await events.release("s", owner=str(token), token=token)
                return
            await asyncio.sleep(0.003)

    async def come_and_go() -> None:
        token = 2
        while not done.is_set():
            await read(token, stays=False)
            token += 1

    reading = [asyncio.create_task(read(1, stays=True)), asyncio.create_task(come_and_go())]
    await asyncio.gather(*(write(seed) for seed in range(6)))
    done.set()
    await asyncio.gather(*reading)
    await events.lease_parts("s", owner="end", token=99, lease_s=30)
    got += await drain(events, token=99)
    assert len(got) == len({event.id for event in got}) == sum(made)
    for key in {event.key for event in got}:
        numbers = [event.payload[0] for event in got if event.key == key]
        assert numbers == list(range(1, len(numbers) + 1))


# --- subscriptions -------------------------------------------------------------------------------------------


async def test_start_now_skips_the_past_and_start_beginning_tells_it(events: AsyncEvents) -> None:
    await events.append("t", "past")
    await leased(events, "now", start="now")
    await leased(events, "all", start="beginning")
    await events.append("t", "new")
    assert payloads(await drain(events, "now")) == ["new"]
    assert sorted(payloads(await drain(events, "all"))) == ["new", "past"]  # type: ignore[type-var]


async def test_a_topic_filter_takes_its_topics_only(events: AsyncEvents) -> None:
    await leased(events, topics=["a", "b"])
    for topic in "abcabc":
        await events.append(topic, topic, key="k")
    assert payloads(await drain(events, limit=1)) == ["a", "b", "a", "b"]
    assert (await events.lag("s")).events == 0


async def test_subscribing_again_finds_the_same_and_refuses_other_settings(events: AsyncEvents) -> None:
    first = await events.subscribe("s", topics=["b", "a"], sink="stdout")
    assert await events.subscribe("s", topics=["a", "b"], sink="stdout") == first
    with pytest.raises(UsageError, match="exists with other settings: topics a, b; sink 'stdout'"):
        await events.subscribe("s", sink="elsewhere")
    assert [found.name for found in await events.subscriptions()] == ["s"]


async def test_unsubscribing_leaves_nothing_behind(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    await events.unsubscribe("s")
    assert await db.all(b"select from pgops.subscription_parts") == []
    with pytest.raises(NotFoundError, match="there is no subscription s"):
        await events.unsubscribe("s")


async def test_an_unknown_name_tells_near_ones(events: AsyncEvents) -> None:
    await events.subscribe("orders")
    with pytest.raises(NotFoundError) as caught:
        await events.lag("order")
    assert caught.value.hint == "did you mean orders?"


async def test_a_paused_subscription_waits(events: AsyncEvents) -> None:
    await leased(events)
    await events.append("t", 1)
    await events.pause("s")
    assert (await events.fetch("s", 1)).events == ()
    await events.resume("s")
    assert payloads(await drain(events)) == [1]


async def test_lag_counts_what_is_not_delivered(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    assert (await events.lag("s")).events == 0
    async with await psycopg.AsyncConnection.connect(dsn) as late:
        await AsyncEvents(AsyncBound(late, foreign=True)).append("t", "late", key="k")
        await events.append("t", "fresh", key="k")
        await drain(events)
        await late.commit()
    await events.append("t", "fresh", key="j")
    lag = await events.lag("s")
    assert (lag.events, lag.exact) == (2, True)
    assert 0 < lag.seconds < 30


async def test_lag_stops_counting_and_says_so(events: AsyncEvents) -> None:
    await events.subscribe("s")
    await events.append_many(NewEvent("t", n) for n in range(10_001))
    lag = await events.lag("s")
    assert (lag.events, lag.exact) == (10_000, False)


@pytest.mark.parametrize("column, value", [("system_identifier", 1), ("database_oid", 1)])
async def test_a_restored_database_is_told_and_nothing_is_leased(
    events: AsyncEvents, db: AsyncPool, column: str, value: int
) -> None:
    await events.subscribe("s")
    other = sql.SQL("update pgops.event_home set {} = {}").format(sql.Identifier(column), sql.Literal(value))
    await db.execute(other)
    with pytest.raises(SchemaError, match="was restored or copied"):
        await events.lease_parts("s", owner="a", token=1, lease_s=30)
    assert await db.all(b"select from pgops.subscription_parts where token is not null") == []


# --- leases --------------------------------------------------------------------------------------------------


async def test_relays_share_the_parts_and_a_newcomer_gets_its_share(events: AsyncEvents) -> None:
    await events.subscribe("s")
    assert len((await events.lease_parts("s", owner="a", token=1, lease_s=30)).parts) == 64
    assert (await events.lease_parts("s", owner="b", token=2, lease_s=30)).parts == ()
    first = await events.lease_parts("s", owner="a", token=1, lease_s=30)
    second = await events.lease_parts("s", owner="b", token=2, lease_s=30)
    assert (len(first.parts), len(first.returned), len(second.parts)) == (32, 32, 32)
    assert not set(first.parts) & set(second.parts)
    await events.release("s", owner="a", token=1)
    assert len((await events.lease_parts("s", owner="b", token=2, lease_s=30)).parts) == 64


async def test_max_parts_bounds_a_relay_and_leaves_the_rest_to_others(events: AsyncEvents) -> None:
    await events.subscribe("s")
    assert len((await events.lease_parts("s", owner="a", token=1, lease_s=30, max_parts=5)).parts) == 5
    assert len((await events.lease_parts("s", owner="b", token=2, lease_s=30)).parts) == 59


async def test_an_expired_lease_is_taken_over_and_the_stale_advance_changes_nothing(
    events: AsyncEvents, db: AsyncPool
) -> None:
    await events.subscribe("s")
    await events.lease_parts("s", owner="a", token=1, lease_s=0.05)
    await events.append("t", "x", key="k")
    stale = await events.fetch("s", 1)
    await asyncio.sleep(0.1)
    assert len((await events.lease_parts("s", owner="b", token=2, lease_s=30)).parts) == 64
    before = await db.all(b"select part, seen::text, after_id, relayed from pgops.subscription_parts order by part")
    rejected = [Rejected(stale.events[0], 1, "no")]
    for late in (await events.advance(stale), await events.advance(stale, rejected=rejected)):
        assert (late.parts, late.stale) == ((), (stale.events[0].part,))
    after = await db.all(b"select part, seen::text, after_id, relayed from pgops.subscription_parts order by part")
    assert before == after
    assert await events.parked("s") == []
    assert await events.renew("s", token=1, lease_s=30) == 0
    assert payloads(await drain(events, token=2)) == ["x"]


async def test_rejected_events_are_parked_with_the_advance_and_their_key_is_marked(events: AsyncEvents) -> None:
    await leased(events)
    for n in range(2):
        await events.append("t", n, key="k")
    batch = await events.fetch("s", 1)
    await events.advance(batch, rejected=[Rejected(batch.events[0], 3, "boom")])
    (parked,) = await events.parked("s")
    assert (parked.event, parked.attempts, parked.error) == (batch.events[0], 3, "boom")
    await events.append("t", 2, key="k")
    await events.append("t", 3, key="j")
    batch = await events.fetch("s", 1)
    assert {e.payload for e in batch.events if e.id in batch.waiting} == {2}
    await events.advance(batch)
    found = await events.subscription("s")
    assert (found.relayed, found.parked) == (3, 1)


# --- producers -----------------------------------------------------------------------------------------------


async def test_the_event_and_the_business_row_are_both_there_or_neither(events: AsyncEvents, dsn: str) -> None:
    await leased(events)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("create table orders (id int)")
        await conn.commit()
        for keep in (True, False):
            await conn.execute("insert into orders values (1)")
            await conn.execute(
                "insert into pgops.outbox (aggregate_id, event_type, payload) values (%s, %s, %s)",
                ["1", "order.created", '{"id": 1}'],
            )
            await (conn.commit() if keep else conn.rollback())
        cursor = await conn.execute("select count(*) from orders")
        assert await cursor.fetchone() == (1,)
    (event,) = await drain(events)
    assert (event.topic, event.key, event.type, event.payload) == ("default", "1", "order.created", {"id": 1})


async def test_the_outbox_takes_the_names_of_debezium(events: AsyncEvents, db: AsyncPool) -> None:
    await leased(events)
    await db.execute(
        b"insert into pgops.outbox (id, aggregatetype, aggregateid, type, payload) "
        b"values ('00000000-0000-0000-0000-000000000001', 'order', '7', 'made', '{}')"
    )
    (event,) = await drain(events)
    assert (event.event_id, event.topic, event.key, event.type) == (UUID(int=1), "order", "7", "made")


async def test_append_many_keeps_the_order_and_any_text(events: AsyncEvents) -> None:
    await leased(events)
    odd = "tab\t newline\n back\\slash \\N é"
    ids = await events.append_many(NewEvent("t", {"n": n, "s": odd}, key=odd, headers={"h": odd}) for n in range(50))
    found = await drain(events)
    assert [event.event_id for event in found] == ids
    assert {(event.key, event.headers["h"], event.payload["s"]) for event in found} == {(odd, odd, odd)}


async def test_append_many_is_all_or_none(events: AsyncEvents) -> None:
    await leased(events)
    with pytest.raises(UsageError, match="not JSON"):
        await events.append_many([NewEvent("t", 1), NewEvent("t", float("nan"))])
    assert await drain(events) == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"topic": ""}, "a topic's name"),
        ({"topic": "x" * 201}, "a topic's name"),
        ({"topic": "a\0"}, "a topic's name"),
        ({"key": "é" * 501}, "an event's key"),
        ({"type": ""}, "a type's name"),
        ({"headers": []}, "headers are a dict"),
        ({"payload": {1, 2}}, "not JSON"),
    ],
)
async def test_a_bad_event_is_refused_with_a_hint(
    events: AsyncEvents, arguments: dict[str, object], message: str
) -> None:
    good: dict[str, object] = {"topic": "t", "payload": 1}
    with pytest.raises(UsageError, match=message) as caught:
        await events.append(**(good | arguments))  # type: ignore[arg-type]
    assert caught.value.hint


async def test_idle_parts_are_moved_on_only_when_asked(events: AsyncEvents) -> None:
    await leased(events)
    batch = await events.fetch("s", 1)
    assert isinstance(batch, Batch) and len(batch.cursors) == 64
    assert (await events.advance(batch)).parts == ()
    assert len((await events.advance(batch, idle=True)).parts) == 64


# --- plans ---------------------------------------------------------------------------------------------------


async def test_an_idle_fetch_and_one_event_cost_no_more_with_a_long_history(events: AsyncEvents, db: AsyncPool) -> None:
    """Pages touched by the generic plan, which relays run: history, bulk inserts and statistics must not matter."""

    async def pages() -> int:
        fetch = load("pgops.services", "event_cursors.sql")["fetch"].decode()
        for name, place in (("subscription", "$1"), ("token", "$2"), ("limit", "$3")):
            fetch = fetch.replace(f"%({name})s", place)
        async with db.transaction() as tx:
            await tx.execute(b"set local plan_cache_mode = force_generic_plan")
            await tx.execute(b"prepare look (text, bigint, bigint) as " + fetch.encode())
            row = await tx.one(b"explain (analyze, buffers, timing off, format json) execute look ('s', 1, 100)")
            await tx.execute(b"deallocate look")
        assert row is not None
        plan = row[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    await leased(events)
    await events.advance(await events.fetch("s", 1), idle=True)
    await events.append("t", 1)
    few = await pages()
    await drain(events)
    for slot in range(5):
        await db.execute(
            b"insert into pgops.event_log (slot, key, payload) select %s, n, '{}' from generate_series(1, 8000) n",
            [slot],
        )
    await drain(events, limit=1_000)
    await events.advance(await events.fetch("s", 1), idle=True)
    await events.append("t", 1)
    unanalyzed = await pages()
    await db.execute(b"vacuum analyze pgops.event_log")
    analyzed = await pages()
    assert max(unanalyzed, analyzed) < few + 200, (few, unanalyzed, analyzed)

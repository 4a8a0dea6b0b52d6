"""Live pub/sub: NOTIFY at commit, LISTEN on a connection of its own, gaps that are told; and durable listening."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import psycopg
import pytest

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.services.client import AsyncPgops
from pgops.services.live import AsyncMessages
from pgops.services.models import Message, Missed, NewEvent
from pgops.sync.services.client import Pgops


@pytest.fixture
async def pg(dsn: str) -> AsyncIterator[AsyncPgops]:
    async with AsyncPgops.open(dsn) as pg:
        yield pg


async def some(messages: AsyncMessages, count: int, timeout_s: float = 5.0) -> list[Message]:
    """The next `count` messages; fewer if nothing more comes."""
    found: list[Message] = []
    while len(found) < count and (got := await messages.next(timeout_s)) is not None:
        assert isinstance(got, Message), got
        found.append(got)
    return found


def end_listeners(conn: psycopg.Connection) -> int:
    """End every session of this database that listens; how many they were."""
    done = conn.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where query ~ '^listen' and datname = current_database()"
    )
    return len(done.fetchall())


async def test_a_message_arrives_with_its_payload_as_it_was(pg: AsyncPgops) -> None:
    payloads = ["hello", "", "grüße €", 'quo"te', {"id": 7, "tags": ["a", None]}, [1, 2.5], 7, None, True]
    async with pg.pubsub.listen("orders") as messages:
        ids = [await pg.pubsub.publish("orders", payload) for payload in payloads]
        found = await some(messages, len(payloads))
    assert [one.payload for one in found] == payloads
    assert [one.id for one in found] == ids
    assert {one.channel for one in found} == {"orders"}


async def test_a_notify_inside_a_transaction_is_delivered_only_at_commit(pg: AsyncPgops, dsn: str) -> None:
    async with pg.pubsub.listen("orders") as messages:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            await conn.execute("create table orders (id int)")
            await conn.execute("insert into orders values (7)")
            await pg.bind(conn).pubsub.publish("orders", {"id": 7})
            await conn.execute("notify orders, 'plain'")
            assert await messages.next(0.3) is None, "nothing before the commit"
            await conn.commit()
            found = await some(messages, 2)
            assert [one.payload for one in found] == [{"id": 7}, "plain"]
            await pg.bind(conn).pubsub.publish("orders", "never")
            await conn.rollback()
        assert await messages.next(0.3) is None, "and nothing of what was rolled back"


async def test_listen_runs_on_a_direct_connection_that_is_never_the_pools(dsn: str) -> None:
    async with AsyncPgops.open(dsn, max_size=1) as pg, pg.pubsub.listen("a") as messages:
        async with pg.db.session() as session:
            row = await session.one(b"select pg_backend_pid()")
            assert row is not None
            channels = await session.one(b"select count(*) from pg_listening_channels()")
            assert channels == (0,), "the pool's one connection listens to nothing"
            listeners = await session.all(
                b"select pid from pg_stat_activity "
                b"where query ~ '^listen' and datname = current_database() and pid <> %s",
                row,
            )
            assert len(listeners) == 1
        await pg.pubsub.publish("a", 1)
        assert [one.payload for one in await some(messages, 1)] == [1]


async def test_equal_messages_of_one_transaction_stay_separate(pg: AsyncPgops, dsn: str) -> None:
    async with pg.pubsub.listen("orders") as messages:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            for _ in range(3):
                await pg.bind(conn).pubsub.publish("orders", "same")
                await conn.execute("notify orders, 'folded'")
        found = await some(messages, 4, 1.0)
        assert [one.payload for one in found if not one.raw] == ["same"] * 3
        assert [one.payload for one in found if one.raw] == ["folded"], "what PostgreSQL does with plain ones"


async def test_a_plain_notify_of_someone_else_is_a_raw_message(pg: AsyncPgops, dsn: str) -> None:
    texts = [
        "",
        "hello",
        '{"pgops":1}',
        '{"pgops":"x","text":"y"}',
        '{"pgops":1,"text":',
        '{"a": 1}',
        '{"pgops":1,"x":2}',
    ]
    async with pg.pubsub.listen("orders") as messages:
        with psycopg.connect(dsn, autocommit=True) as conn:
            for text in texts:
                conn.execute("select pg_notify('orders', %s)", [text])
            pid = conn.info.backend_pid
        found = await some(messages, len(texts))
    assert found == [Message("orders", text, None, pid, raw=True) for text in texts]


@pytest.mark.parametrize("size", [7_900, 7_999, 8_000, 100_000, 999_000])
async def test_a_payload_of_any_size_arrives(pg: AsyncPgops, size: int) -> None:
    async with pg.pubsub.listen("big") as messages:
        await pg.pubsub.publish("big", "x" * size)
        await pg.pubsub.publish("big", {"key": "y" * size})
        found = await some(messages, 2)
    assert [one.payload for one in found] == ["x" * size, {"key": "y" * size}]


async def test_only_what_does_not_fit_is_kept_and_only_for_a_while(pg: AsyncPgops) -> None:
    await pg.pubsub.publish("big", "x" * 7_900)
    assert await pg.db.one(b"select count(*) from pgops.pubsub_payloads") == (0,)
    await pg.pubsub.publish("big", "x" * 8_000)
    assert await pg.pubsub.purge_payloads() == 0
    await pg.db.execute(b"update pgops.pubsub_payloads set created_at = created_at - interval '61 minutes'")
    await pg.pubsub.publish("big", "y" * 8_000)
    assert await pg.pubsub.purge_payloads() == 1
    assert await pg.db.one(b"select count(*) from pgops.pubsub_payloads") == (1,)


async def test_a_payload_that_is_gone_is_told(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("big") as messages:
        await pg.pubsub.publish("big", "x" * 8_000)
        await pg.db.execute(b"delete from pgops.pubsub_payloads")
        got = await messages.next(5)
        assert isinstance(got, Missed)
        assert "gone" in got.reason


async def test_names_with_quotes_capitals_and_spaces_are_names(pg: AsyncPgops) -> None:
    names = ('Or"ders', "two words", "ünï", "a;b", "x" * 63)
    async with pg.pubsub.listen(*names) as messages:
        for name in names:
            await pg.pubsub.publish(name, name)
        assert [one.channel for one in await some(messages, 5)] == list(names)
        assert {one.name for one in await pg.pubsub.channels()} == set(names)


@pytest.mark.parametrize("name", ["", "x" * 64, "ü" * 32, "x" * 100, "a\0b", "a\nb", "pgops_ping_1", "\ud800"])
async def test_a_bad_channel_is_refused_and_nothing_is_sent(pg: AsyncPgops, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        await pg.pubsub.publish(name, 1)
    assert caught.value.hint
    with pytest.raises(UsageError):
        pg.pubsub.listen("good", name)


@pytest.mark.parametrize("payload", [float("nan"), {1, 2}, "a\0b", "x" * 1_000_001])
async def test_a_payload_that_is_no_json_is_refused(pg: AsyncPgops, payload: object) -> None:
    with pytest.raises(UsageError):
        await pg.pubsub.publish("orders", payload)  # type: ignore[arg-type]


async def test_listening_needs_a_channel_and_a_client(pg: AsyncPgops, dsn: str) -> None:
    with pytest.raises(UsageError, match="channel"):
        pg.pubsub.listen()
    with pytest.raises(UsageError, match="channel"):
        pg.pubsub.listen(durable="s")
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        with pytest.raises(UsageError, match="connection of its own"):
            pg.bind(conn).pubsub.listen("orders")


async def test_after_a_lost_connection_the_listener_is_back_and_says_what_it_may_have_missed(
    pg: AsyncPgops, dsn: str
) -> None:
    async with pg.pubsub.listen("orders") as messages:
        await pg.pubsub.publish("orders", 1)
        assert (await some(messages, 1))[0].payload == 1
        with psycopg.connect(dsn, autocommit=True) as conn:
            assert end_listeners(conn) == 1
        await pg.pubsub.publish("orders", "into the gap")
        got = await messages.next(10)
        assert isinstance(got, Missed)
        assert got.channels == ("orders",)
        assert "closed" in got.reason
        await pg.pubsub.publish("orders", 2)
        assert (await some(messages, 1))[0].payload == 2


async def test_cancelling_a_wait_loses_nothing(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("orders") as messages:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(messages.next(), 0.01)
        await pg.pubsub.publish("orders", "x" * 9_000)
        assert len(await some(messages, 1)) == 1


async def test_the_loop_ends_after_a_silence(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("orders", timeout_s=0.2) as messages:
        await pg.pubsub.publish("orders", 1)
        began = time.monotonic()
        assert [one.payload async for one in messages if isinstance(one, Message)] == [1]
    assert 0.15 < time.monotonic() - began < 3


async def test_a_silent_listener_checks_on_itself_and_hears_no_ping(
    pg: AsyncPgops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgops.listener.QUIET_S", 0.05)
    async with pg.pubsub.listen("orders") as messages:
        assert await messages.next(0.5) is None, "ten pings, and none of them is a message"
        await pg.pubsub.publish("orders", 1)
        assert (await some(messages, 1))[0].payload == 1


async def test_channels_tell_who_listens(pg: AsyncPgops, dsn: str) -> None:
    assert await pg.pubsub.channels() == []
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("LISTEN Orders")
        async with pg.pubsub.listen("orders", "mail"):
            found = await pg.pubsub.channels()
            assert [one.name for one in found] == ["mail", "orders"]
            assert other.info.backend_pid in found[1].pids
            assert len(found[1].pids) == 2
    deadline = time.monotonic() + 5
    while await pg.pubsub.channels():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_the_blocking_twin_listens_and_ends_after_a_silence(dsn: str) -> None:
    with Pgops.open(dsn) as pg, pg.pubsub.listen("orders", timeout_s=0.3) as messages:
        sender = threading.Timer(0.1, lambda: _send(dsn))
        sender.start()
        assert [one.payload for one in messages if isinstance(one, Message)] == ["late"]
        sender.join()


def _send(dsn: str) -> None:
    with Pgops.open(dsn) as pg:
        pg.pubsub.publish("orders", "late")


def test_the_blocking_twin_comes_back_too(dsn: str) -> None:
    with Pgops.open(dsn) as pg, pg.pubsub.listen("orders") as messages:
        with psycopg.connect(dsn, autocommit=True) as conn:
            assert end_listeners(conn) == 1
        assert isinstance(messages.next(10), Missed)
        pg.pubsub.publish("orders", 1)
        got = messages.next(5)
        assert isinstance(got, Message)
        assert got.payload == 1


def test_the_blocking_twin_listens_durably(dsn: str) -> None:
    with Pgops.open(dsn) as pg:
        with pg.pubsub.listen("orders", durable="s"):
            pass
        pg.pubsub.publish("orders", 1, durable=True)
        pg.events.append("orders", 2)
        with pg.pubsub.listen("orders", durable="s", timeout_s=0.4) as messages:
            assert [one.payload for one in messages if isinstance(one, Message)] == [1, 2]
        with pg.pubsub.listen("orders", durable="s", timeout_s=0.4) as messages:
            assert list(messages) == []


# --- the article, sentence by sentence, in plain SQL; and ours in its place ------------------------------------


async def test_the_seeds_notify_is_sent_at_commit_and_never_for_a_rolled_back_transaction(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as listener, psycopg.connect(dsn) as sender:
        listener.execute("listen orders")
        sender.execute("notify orders, 'new'")
        assert [*listener.notifies(timeout=0.2)] == [], "nothing before the commit"
        sender.commit()
        assert [one.payload for one in listener.notifies(timeout=5, stop_after=1)] == ["new"]
        sender.execute("notify orders, 'never'")
        sender.rollback()
        assert [*listener.notifies(timeout=0.2)] == []


async def test_the_seeds_who_does_not_listen_at_that_moment_misses_it_and_a_durable_listener_does_not(
    pg: AsyncPgops, dsn: str
) -> None:
    async with pg.pubsub.listen("orders", durable="billing"):
        pass
    await pg.pubsub.publish("orders", "while nobody listens", durable=True)
    with psycopg.connect(dsn, autocommit=True) as late:
        late.execute("listen orders")
        assert [*late.notifies(timeout=0.2)] == []
    async with pg.pubsub.listen("orders") as messages:
        assert await messages.next(0.2) is None, "live, ours misses it too"
    async with pg.pubsub.listen("orders", durable="billing") as messages:
        assert [one.payload for one in await some(messages, 1)] == ["while nobody listens"]


async def test_the_seeds_pgbouncer_gotcha_is_refused_within_two_seconds_and_a_direct_connection_works_beside_it(
    pg: AsyncPgops, dsn: str, pooled_dsn: str
) -> None:
    gotcha = await psycopg.AsyncConnection.connect(pooled_dsn, autocommit=True, prepare_threshold=None)
    async with gotcha, AsyncPgops.open(pooled_dsn) as pooled:
        await gotcha.execute("listen orders")
        await pg.pubsub.publish("orders", 1)
        assert [one async for one in gotcha.notifies(timeout=0.5)] == [], "LISTEN succeeded, and hears nothing"
        await gotcha.execute("unlisten *")
        began = time.monotonic()
        with pytest.raises(RefusedError, match="pooler") as refused:
            async with pooled.pubsub.listen("orders"):
                pass
        assert time.monotonic() - began < 2
        assert "direct DSN" in refused.value.hint
        async with pg.pubsub.listen("orders") as messages:
            await pooled.pubsub.publish("orders", 2)
            assert [one.payload for one in await some(messages, 1)] == [2], "publishing is welcome on either way"


# --- durable ---------------------------------------------------------------------------------------------------


async def test_a_durable_listener_gets_what_was_sent_while_nobody_listened(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("orders", durable="billing"):
        pass
    for number in range(5):
        await pg.pubsub.publish("orders", number, durable=True)
    await pg.pubsub.publish("orders", "only live")
    await pg.events.append("orders", "appended")
    await pg.events.append("other", "another topic")
    async with pg.pubsub.listen("orders", durable="billing") as messages:
        found = await some(messages, 6, 0.5)
    assert [one.payload for one in found] == [0, 1, 2, 3, 4, "appended"]
    assert all(one.event is not None and one.channel == "orders" for one in found)
    async with pg.pubsub.listen("orders", durable="billing") as messages:
        assert await messages.next(0.3) is None, "handled is handled"


async def test_a_durable_message_reaches_live_listeners_too_and_only_if_committed(pg: AsyncPgops, dsn: str) -> None:
    async with pg.pubsub.listen("orders") as live, pg.pubsub.listen("orders", durable="billing") as kept:
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            await pg.bind(conn).pubsub.publish("orders", "never", durable=True)
            await conn.rollback()
            await pg.bind(conn).pubsub.publish("orders", "yes", durable=True)
        assert [one.payload for one in await some(live, 2, 0.5)] == ["yes"]
        assert [one.payload for one in await some(kept, 2, 0.5)] == ["yes"]


async def test_what_was_not_handled_is_delivered_again_and_nothing_else(pg: AsyncPgops) -> None:
    await pg.events.append_many([NewEvent("orders", number, key=str(number % 7)) for number in range(50)])

    async def listen(stop_at: int) -> list[object]:
        found: list[object] = []
        async with pg.pubsub.listen("orders", durable="s", start="beginning", timeout_s=0.5) as messages:
            async for one in messages:
                assert isinstance(one, Message)
                if len(found) == stop_at:
                    raise ZeroDivisionError
                found.append(one.payload)
        return found

    first: list[object] = []
    with pytest.raises(ZeroDivisionError):
        first = await listen(20)
    rest = await listen(1000)
    assert first == []
    assert len(rest) == 30, "20 were handled, the 21st failed"
    assert len(set(map(str, rest))) == 30


async def test_a_block_that_is_left_in_peace_has_handled_its_last_message(pg: AsyncPgops) -> None:
    await pg.events.append_many([NewEvent("orders", number) for number in range(10)])
    seen: list[object] = []
    for _ in range(10):
        async with pg.pubsub.listen("orders", durable="s", start="beginning") as messages:
            seen += [one.payload for one in await some(messages, 1)]
    assert sorted(seen, key=str) == list(range(10))


@pytest.mark.slow
async def test_two_durable_listeners_of_one_name_share(pg: AsyncPgops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgops.services.durable.LEASE_EVERY_S", 0.1)
    await pg.events.subscribe("s", topics=["orders"])
    counts: list[int] = []

    async def listen() -> None:
        async with pg.pubsub.listen("orders", durable="s", timeout_s=3) as messages:
            counts.append(len([one async for one in messages]))

    async def send() -> None:
        shares: list[int] = []
        while len(shares) < 2 or min(shares) < 30:
            await asyncio.sleep(0.05)
            rows = await pg.db.all(
                b"select count(*) from pgops.subscription_parts where token is not null group by token"
            )
            shares = [row[0] for row in rows]
        await pg.events.append_many([NewEvent("orders", number, key=str(number)) for number in range(400)])

    await asyncio.gather(listen(), listen(), send())
    assert sum(counts) == 400
    assert min(counts) > 50


async def test_a_durable_name_with_other_topics_is_refused(pg: AsyncPgops) -> None:
    await pg.events.subscribe("s", topics=["orders"])
    with pytest.raises(UsageError, match="other settings"):
        async with pg.pubsub.listen("mail", durable="s"):
            pass


@pytest.mark.slow
async def test_a_durable_listener_outlives_a_lost_connection(pg: AsyncPgops, dsn: str) -> None:
    async with pg.pubsub.listen("orders", durable="s") as messages:
        await pg.events.append("orders", 1)
        assert (await some(messages, 1))[0].payload == 1
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("select pg_terminate_backend(pid) from pg_stat_activity "
                         "where datname = current_database() and pid <> pg_backend_pid()")  # fmt: skip
            conn.execute("insert into pgops.outbox (aggregate_type, payload) values ('orders', '2')")
        assert (await some(messages, 1, 10))[0].payload == 2
    with pytest.raises(NotFoundError):
        await pg.events.subscription("unknown")


async def test_publishing_needs_a_session_that_may_write(dsn: str) -> None:
    async with AsyncPool.open(dsn, read_only=True) as db:
        from pgops.services.pubsub import AsyncPubsub

        pubsub = AsyncPubsub(db)
        with pytest.raises(RefusedError, match="read-only"):
            await pubsub.publish("orders", 1)
        with pytest.raises(RefusedError, match="read-only"):
            await pubsub.publish("orders", "x" * 8_000)
        async with pubsub.listen("orders") as messages:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute("notify orders, 'hello'")
            assert [one.payload for one in await some(messages, 1)] == ["hello"]

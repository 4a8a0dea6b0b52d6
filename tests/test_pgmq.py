"""Queues of real pgmq in the same database: a late reader changes nothing, what was read too often moves aside and
comes back, and all of it belongs to the caller's transaction."""

import asyncio
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from pgmq import get_embedded_install_sql

from pgops.config import Target
from pgops.database import AsyncBound, AsyncPool
from pgops.errors import ConflictError, ExitCode, NotFoundError, PgopsError, RefusedError, UnavailableError, UsageError
from pgops.services.client import AsyncPgops
from pgops.services.models import PgmqQueue
from pgops.services.pgmq import AsyncPgmq
from pgops.sync.database import Pool
from pgops.sync.services.pgmq import Pgmq


@pytest.fixture
def dsn(pgmq_dsn: str) -> str:
    """The shared database without a queue."""
    with psycopg.connect(pgmq_dsn, autocommit=True) as conn:
        conn.execute("select pgmq.drop_queue(queue_name) from pgmq.meta where not is_partitioned")
    return pgmq_dsn


@pytest.fixture
async def pgmq(db: AsyncPool) -> AsyncPgmq:
    """With a queue `orders`."""
    pgmq = AsyncPgmq(db)
    await pgmq.create("orders")
    return pgmq


async def run_out(db: AsyncPool, table: bytes = b"q_orders") -> None:
    """Every visibility timeout is over."""
    await db.execute(b"update pgmq." + table + b" set vt = clock_timestamp() - interval '1 s'")


async def ids(db: AsyncPool, table: bytes) -> list[int]:
    return [row[0] for row in await db.all(b"select msg_id from pgmq." + table + b" order by 1")]


async def described(pgmq: AsyncPgmq, name: str) -> PgmqQueue:
    (one,) = [queue for queue in await pgmq.queues() if queue.name == name]
    return one


# --- sending and reading -----------------------------------------------------------------------------------------


async def test_a_message_is_read_as_it_was_sent_and_then_hidden(pgmq: AsyncPgmq) -> None:
    sent = await pgmq.send("orders", {"order": 7, "ä": [None, 1.5]}, headers={"trace": "00-4bf9"})
    (message,) = await pgmq.read("orders", vt_s=30)
    assert (message.msg_id, message.read_ct, message.queue) == (sent, 1, "orders")
    assert (message.payload, message.headers) == ({"order": 7, "ä": [None, 1.5]}, {"trace": "00-4bf9"})
    left = message.vt - datetime.now(UTC)
    assert timedelta(seconds=20) < left <= timedelta(seconds=31)
    assert await pgmq.read("orders") == []


async def test_pgmqs_own_functions_and_ours_see_the_same(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await db.one(b"""select pgmq.send('orders', '{"from": "theirs"}', '{"h": 1}'::jsonb, 0)""")
    await pgmq.send("orders", {"from": "ours"})
    theirs, ours = await pgmq.read("orders", limit=5)
    assert (theirs.payload, theirs.headers, ours.payload, ours.headers) == (
        {"from": "theirs"},
        {"h": 1},
        {"from": "ours"},
        None,
    )
    await run_out(db)
    row = await db.one(b"select msg_id, read_ct, last_read_at is not null from pgmq.read('orders', 5, 1)")
    assert row == (theirs.msg_id, 2, True)
    with pytest.raises(ConflictError):
        await pgmq.ack("orders", theirs.msg_id, theirs.read_ct)


async def test_a_delayed_message_is_not_seen_before_its_time(pgmq: AsyncPgmq) -> None:
    await pgmq.send("orders", 1, delay_s=0.2)
    assert await pgmq.read("orders") == []
    await asyncio.sleep(0.3)
    assert [one.payload for one in await pgmq.read("orders")] == [1]


async def test_the_visibility_timeout_may_be_a_part_of_a_second(pgmq: AsyncPgmq) -> None:
    await pgmq.send("orders", 1)
    assert len(await pgmq.read("orders", vt_s=0.1)) == 1
    assert await pgmq.read("orders") == []
    await asyncio.sleep(0.15)
    assert [one.read_ct for one in await pgmq.read("orders")] == [2]


async def test_ten_thousand_messages_are_read_once_each_by_four_readers(pgmq: AsyncPgmq) -> None:
    sent = await pgmq.send_many("orders", ({"n": n} for n in range(10_000)))
    assert sent == sorted(sent)
    before = await described(pgmq, "orders")
    assert (before.length, before.available, before.exact) == (10_000, 10_000, {})

    async def drain() -> list[int]:
        done: list[int] = []
        while messages := await pgmq.read("orders", limit=250):
            done += await pgmq.ack_many("orders", [(one.msg_id, one.read_ct) for one in messages])
        return done

    done = [id for one in await asyncio.gather(*(drain() for _ in range(4))) for id in one]
    assert sorted(done) == sent
    after = await described(pgmq, "orders")
    assert (after.length, after.total) == (0, 10_000)


async def test_many_are_sent_all_or_none(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    with pytest.raises(UsageError):
        await pgmq.send_many("orders", [*range(2_500), float("nan")])
    assert await ids(db, b"q_orders") == []
    assert await pgmq.send_many("orders", []) == []


# --- the fence ---------------------------------------------------------------------------------------------------


async def test_a_reader_whose_time_ran_out_changes_nothing_and_is_told(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send("orders", {"order": 7})
    (late,) = await pgmq.read("orders", vt_s=1)
    await run_out(db)
    (now,) = await pgmq.read("orders", vt_s=60)
    assert (now.msg_id, now.read_ct) == (late.msg_id, 2)
    for act in (pgmq.ack, pgmq.archive, pgmq.dead_letter):
        with pytest.raises(ConflictError, match="was read again: 2 times by now, not 1") as told:
            await act("orders", late.msg_id, late.read_ct)
        assert told.value.exit_code == ExitCode.NO
    with pytest.raises(ConflictError):
        await pgmq.extend("orders", late.msg_id, late.read_ct, 60)
    assert await pgmq.ack_many("orders", [(late.msg_id, late.read_ct)]) == []
    assert await pgmq.archive_many("orders", [(late.msg_id, late.read_ct)]) == []
    (held,) = await pgmq.peek("orders")
    assert held == now, "nothing was changed, not even for how long it is hidden"
    await pgmq.ack("orders", now.msg_id, now.read_ct)
    with pytest.raises(NotFoundError, match="has no message"):
        await pgmq.ack("orders", now.msg_id, now.read_ct)


async def test_a_reader_that_is_late_but_alone_may_still_end_it(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send("orders", 1)
    (message,) = await pgmq.read("orders")
    await run_out(db)
    await pgmq.ack("orders", message.msg_id, message.read_ct)
    assert await ids(db, b"q_orders") == []


async def test_a_read_that_commits_while_the_ack_waits_wins(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    """The acknowledgement has begun, and waits for the row that the other reader is taking."""
    await pgmq.send("orders", 1)
    (late,) = await pgmq.read("orders")
    await run_out(db)
    async with db.transaction() as tx:
        (now,) = await AsyncPgmq(tx).read("orders", vt_s=60)
        acks = [asyncio.create_task(act("orders", late.msg_id, late.read_ct)) for act in (pgmq.ack, pgmq.archive)]
        many = asyncio.create_task(pgmq.ack_many("orders", [(late.msg_id, late.read_ct)]))
        await _waiting(db, 3)
    for ack in acks:
        with pytest.raises(ConflictError, match="being read again just now"):
            await ack
    assert await many == []
    assert [one.read_ct for one in await pgmq.peek("orders")] == [now.read_ct]


async def _waiting(db: AsyncPool, number: int) -> None:
    for _ in range(500):
        row = await db.one(b"select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
                           b"and datname = current_database()")  # fmt: skip
        if row is not None and row[0] >= number:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_a_message_is_extended_and_given_back(pgmq: AsyncPgmq) -> None:
    await pgmq.send("orders", 1)
    (message,) = await pgmq.read("orders", vt_s=1)
    until = await pgmq.extend("orders", message.msg_id, message.read_ct, 600)
    assert until - message.vt > timedelta(seconds=500)
    await pgmq.extend("orders", message.msg_id, message.read_ct, 0)
    assert [one.read_ct for one in await pgmq.read("orders")] == [2]


async def test_what_is_archived_is_kept_whole(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    for n in range(3):
        await pgmq.send("orders", {"n": n}, headers={"h": n})
    first, *others = await pgmq.read("orders", limit=3)
    await pgmq.archive("orders", first.msg_id, first.read_ct)
    held = [(one.msg_id, one.read_ct) for one in others]
    assert await pgmq.archive_many("orders", held) == [one.msg_id for one in others]
    rows = await db.all(b"select msg_id, read_ct, message::text, headers::text, archived_at is not null, "
                        b"last_read_at is not null from pgmq.a_orders order by 1")  # fmt: skip
    assert rows == [(n + 1, 1, f'{{"n": {n}}}', f'{{"h": {n}}}', True, True) for n in range(3)]
    assert await ids(db, b"q_orders") == []


# --- dead letters ------------------------------------------------------------------------------------------------


async def test_a_poison_message_moves_aside_and_comes_back(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send("orders", {"order": 13}, headers={"trace": "x"})
    await pgmq.send("orders", {"order": 14})
    for _ in range(3):
        (poison,) = await pgmq.read("orders", limit=1)
        await run_out(db)
    assert poison.read_ct == 3
    assert await pgmq.dead_letter_worn("orders", more_than=3) == 0
    assert await db.one(b"select to_regclass('pgmq.q_orders_dlq')::text") == (None,), "not made before it is needed"
    assert await pgmq.dead_letter_worn("orders", more_than=2) == 1
    assert [one.payload for one in await pgmq.peek("orders")] == [{"order": 14}]
    (dead,) = await pgmq.peek("orders_dlq")
    assert (dead.payload, dead.read_ct) == ({"order": 13}, 0)
    about = dead.headers["dead_letter"]
    assert (about["queue"], about["msg_id"], about["read_ct"]) == ("orders", poison.msg_id, 3)
    assert (about["reason"], about["times"]) == ("read more than 2 times", 1)
    assert datetime.fromisoformat(about["enqueued_at"]) == poison.enqueued_at
    assert dead.headers["trace"] == "x"
    assert (await described(pgmq, "orders")).dead == 1

    assert await pgmq.redrive("orders") == 1
    assert await pgmq.redrive("orders") == 0
    _, back = await pgmq.read("orders", limit=5)
    assert (back.payload, back.read_ct, back.headers) == ({"order": 13}, 1, dead.headers)
    assert back.msg_id > poison.msg_id, "a new id: no reader of before can end it"
    await pgmq.dead_letter("orders", back.msg_id, back.read_ct, reason="still bad")
    (again,) = await pgmq.peek("orders_dlq")
    assert (again.headers["dead_letter"]["times"], again.headers["dead_letter"]["reason"]) == (2, "still bad")


async def test_what_is_out_with_a_reader_is_not_taken_from_him(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send_many("orders", range(3))
    await pgmq.read("orders", limit=3)
    await run_out(db)
    (held,) = await pgmq.read("orders", vt_s=60)
    assert (await pgmq.count("orders", more_than=0)).count == 2
    async with db.transaction() as tx:
        await tx.one(b"select from pgmq.q_orders where msg_id = 2 for update")
        assert await asyncio.wait_for(pgmq.dead_letter_worn("orders", more_than=0), 10) == 1
    assert await ids(db, b"q_orders") == [held.msg_id, 2]


async def test_headers_of_any_form_do_not_keep_a_message_from_dying(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    forms = ("null", "[1]", '"x"', '{"dead_letter": {"times": "many"}}', '{"dead_letter": 7}')
    for form in forms:
        await db.execute(b"insert into pgmq.q_orders (vt, read_ct, headers) values (now(), 9, %s)", [form])
    assert await pgmq.dead_letter_worn("orders") == len(forms)
    dead = await pgmq.peek("orders_dlq")
    assert all("read more than 5 times" in str(one.headers) and one.payload is None for one in dead)


async def test_a_kill_in_between_leaves_each_message_in_one_place(pgmq: AsyncPgmq, db: AsyncPool, dsn: str) -> None:
    await pgmq.send_many("orders", range(100))
    await db.execute(b"update pgmq.q_orders set read_ct = 9")
    with pytest.raises(psycopg.Error):
        async with await psycopg.AsyncConnection.connect(dsn) as conn:
            assert await _unopened(db).bind(conn).pgmq.dead_letter_worn("orders") == 100
            await db.one(b"select pg_terminate_backend(%s)", [conn.info.backend_pid])
            await conn.commit()
    assert len(await ids(db, b"q_orders")) == 100
    assert await db.one(b"select to_regclass('pgmq.q_orders_dlq')::text") == (None,)
    assert await pgmq.dead_letter_worn("orders") == 100
    assert (len(await ids(db, b"q_orders")), len(await ids(db, b"q_orders_dlq"))) == (0, 100)


def _unopened(db: AsyncPool) -> AsyncPgops:
    return AsyncPgops(db, Target("", "test"))


async def test_dead_letters_have_no_dead_letters(pgmq: AsyncPgmq) -> None:
    with pytest.raises(NotFoundError, match="has no dead letters"):
        await pgmq.redrive("orders")
    await pgmq.send("orders", 1)
    (message,) = await pgmq.read("orders")
    dead = await pgmq.dead_letter("orders", message.msg_id, message.read_ct)
    (letter,) = await pgmq.read("orders_dlq")
    assert letter.msg_id == dead
    for act in (pgmq.dead_letter("orders_dlq", dead, 1), pgmq.redrive("orders_dlq")):
        with pytest.raises(RefusedError, match="holds dead letters itself") as told:
            await act
        assert "'orders'" in told.value.hint
    await pgmq.create("o" * 44)
    await pgmq.send("o" * 44, 1)
    (message,) = await pgmq.read("o" * 44)
    with pytest.raises(RefusedError, match="too long for a queue _dlq"):
        await pgmq.dead_letter("o" * 44, message.msg_id, message.read_ct)


# --- purge -------------------------------------------------------------------------------------------------------


async def test_a_purge_takes_what_is_there_and_waits_for_nobody(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send_many("orders", range(25_000))
    await pgmq.read("orders", limit=10)
    told: list[int] = []
    async with db.transaction() as tx:
        await tx.one(b"select from pgmq.q_orders where msg_id = 77 for update")
        assert await asyncio.wait_for(pgmq.purge("orders", tell=told.append), 30) == 24_999
    assert (max(told), sum(told)) == (10_000, 24_999)
    assert await ids(db, b"q_orders") == [77]
    assert await pgmq.purge("orders") == 1


# --- queues and names --------------------------------------------------------------------------------------------


async def test_queues_are_told_in_numbers(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    assert (await described(pgmq, "orders")).ready_age_s is None
    await pgmq.send_many("orders", range(5))
    await pgmq.send("orders", "later", delay_s=60)
    await pgmq.read("orders", limit=2)
    await db.execute(b"update pgmq.q_orders set enqueued_at = now() - interval '1 hour' where msg_id = 1")
    await db.execute(b"update pgmq.q_orders set vt = now() - interval '1 minute' where msg_id = 3")
    one = await described(pgmq, "orders")
    assert (one.length, one.available, one.running, one.scheduled, one.total) == (6, 3, 2, 1, 6)
    assert one.oldest_age_s is not None and 3_599 < one.oldest_age_s < 3_700
    assert one.newest_age_s is not None and one.newest_age_s < 60
    assert one.ready_age_s is not None and 59 < one.ready_age_s < 100
    assert one.bytes is not None and one.bytes > 8_000
    assert (one.backend, one.partitioned, one.unlogged, one.exact) == ("pgmq", False, False, {})


async def test_one_queue_is_told_in_the_same_numbers(pgmq: AsyncPgmq) -> None:
    await pgmq.create("others")
    await pgmq.send_many("orders", range(6))
    (first,) = await pgmq.read("orders", vt_s=0)
    await pgmq.dead_letter("orders", first.msg_id, first.read_ct)
    one = await pgmq.metrics("orders")
    assert (one.name, one.length, one.available, one.dead, one.total) == ("orders", 5, 5, 1, 6)
    assert (await pgmq.metrics("ORDERS")).name == "orders"
    assert (await pgmq.metrics("orders", cap=2)).exact == {"length": False, "available": False}
    with pytest.raises(NotFoundError) as told:
        await pgmq.metrics("order")
    assert "orders" in told.value.hint


async def test_a_look_at_large_messages_is_cut_where_that_is_asked(pgmq: AsyncPgmq) -> None:
    await pgmq.send("orders", "x" * 500)
    await pgmq.send("orders", "y", headers={"trace": "z" * 500})
    await pgmq.send("orders", "z")
    first, second, third = await pgmq.peek("orders", cut_bytes=100)
    assert "too large" in str(first.payload) and first.headers is None
    assert second.payload == "y" and "too large" in str(second.headers)
    assert (third.payload, third.headers) == ("z", None)
    assert [one.payload for one in await pgmq.peek("orders")] == ["x" * 500, "y", "z"]


@pytest.mark.parametrize("known", [b"analyze pgmq.q_orders", b"select pg_stat_force_next_flush()"])
async def test_beyond_the_cap_the_length_is_an_estimate_and_the_hidden_ones_are_counted(
    pgmq: AsyncPgmq, db: AsyncPool, known: bytes
) -> None:
    async with db.session() as session:
        mine = AsyncPgmq(session)
        await mine.send_many("orders", range(5_000))
        await mine.send_many("orders", range(20), delay_s=60)
        await mine.read("orders", limit=30)
        await session.execute(known)
        (one,) = await mine.queues(cap=100)
        assert one.exact == {"length": False, "available": False}
        assert one.length == 5_020
        assert (one.scheduled, one.running, one.available) == (20, 30, 4_970)
        await mine.read("orders", limit=200)
        (one,) = await mine.queues(cap=100)
        assert one.exact == {"length": False, "available": False, "scheduled": False, "running": False}


async def test_a_look_at_the_queues_reads_no_more_than_its_cap(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    """pgmq.metrics reads every message."""
    await pgmq.send_many("orders", range(20_000))
    await db.execute(b"vacuum analyze pgmq.q_orders")
    async with db.session() as session:
        before = await _rows_read(session)
        await AsyncPgmq(session).queues(cap=100)
        assert 100 <= await _rows_read(session) - before < 1_000
        await session.one(b"select pgmq.metrics('orders')")
        assert await _rows_read(session) - before > 20_000


async def _rows_read(session: AsyncBound) -> int:
    await session.execute(b"select pg_stat_force_next_flush()")
    row = await session.one(b"select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = 'q_orders'")
    assert row is not None
    return int(row[0])


async def test_an_unlogged_queue_works_as_any_and_its_dead_letters_are_logged(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    assert await pgmq.create("fast", unlogged=True)
    assert not await pgmq.create("fast", unlogged=True)
    assert not await pgmq.create("orders")
    for name, unlogged, kind in (("fast", False, "unlogged"), ("orders", True, "logged")):
        with pytest.raises(ConflictError, match=f"there already, and {kind}"):
            await pgmq.create(name, unlogged=unlogged)
    await pgmq.send("fast", 1)
    (message,) = await pgmq.read("fast")
    await pgmq.dead_letter("fast", message.msg_id, message.read_ct)
    assert (await described(pgmq, "fast")).unlogged
    assert not (await described(pgmq, "fast_dlq")).unlogged


@pytest.mark.parametrize("name", ['a"b', "a b", "50%", "%s", "{queue}", "größe", "a.b", "select", "x" * 47, "OrdErs2"])
async def test_a_name_that_pgmq_takes_works_throughout(pgmq: AsyncPgmq, name: str) -> None:
    assert await pgmq.create(name)
    assert not await pgmq.create(name)
    await pgmq.send(name, 1)
    await pgmq.send_many(name, [2, 3])
    one, two, three = await pgmq.read(name, limit=3)
    await pgmq.ack(name, one.msg_id, one.read_ct)
    await pgmq.archive(name, two.msg_id, two.read_ct)
    if len(name) < 40:
        await pgmq.dead_letter(name, three.msg_id, three.read_ct)
        assert await pgmq.redrive(name) == 1
    assert await pgmq.purge(name) == 1
    assert (await described(pgmq, name)).length == 0


@pytest.mark.parametrize("name", ["a$b", "a;b", "a'b", "a--b", "x" * 48, "ä" * 24, "", "a\0b"])
async def test_a_name_that_pgmq_refuses_is_refused_with_the_reason(pgmq: AsyncPgmq, name: str) -> None:
    with pytest.raises(UsageError) as told:
        await pgmq.create(name)
    assert told.value.hint
    assert [one.name for one in await pgmq.queues()] == ["orders"]


async def test_names_that_are_one_table_to_pgmq_are_one_queue(pgmq: AsyncPgmq) -> None:
    await pgmq.create("Mail")
    assert (await described(pgmq, "Mail")).name == "Mail"
    assert await pgmq.send("MAIL", 1) == 1
    with pytest.raises(ConflictError, match="same queue as 'Mail'"):
        await pgmq.create("mail")


async def test_an_unknown_queue_is_told_with_near_names(pgmq: AsyncPgmq) -> None:
    for call in (pgmq.send("order", 1), pgmq.read("order"), pgmq.ack("order", 1, 1), pgmq.purge("order")):
        with pytest.raises(NotFoundError, match="pgmq has no queue 'order'") as told:
            await call
        assert told.value.hint == "did you mean orders?"
    with pytest.raises(NotFoundError) as told:
        await pgmq.read("zzz")
    assert told.value.hint == "see: pgops queue pgmq list"


async def test_a_queue_that_was_dropped_meanwhile_is_looked_up_anew(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await pgmq.send("orders", 1)
    await db.one(b"select pgmq.drop_queue('orders')")
    with pytest.raises(PgopsError):
        await pgmq.send("orders", 1)
    with pytest.raises(NotFoundError):
        await pgmq.send("orders", 1)
    await pgmq.create("orders", unlogged=True)
    assert await pgmq.send("orders", 1) == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda q: q.read("orders", limit=0), "a limit is 1 to 10,000 messages, not 0"),
        (lambda q: q.read("orders", limit=10_001), "not 10001"),
        (lambda q: q.read("orders", vt_s=-1), "not -1"),
        (lambda q: q.read("orders", vt_s=float("nan")), "not nan"),
        (lambda q: q.read("orders", vt_s=float("inf")), "not inf"),
        (lambda q: q.extend("orders", 1, 1, -0.1), "not -0.1"),
        (lambda q: q.send("orders", float("nan")), "not JSON"),
        (lambda q: q.send("orders", {1, 2}), "not JSON"),
        (lambda q: q.send("orders", "a\0b"), "NUL"),
        (lambda q: q.send("orders", "x" * 1_000_000), "1,000,002 bytes"),
        (lambda q: q.send("orders", 1, headers={"x": "y" * 1_000_000}), "bytes, more than"),
        (lambda q: q.send("orders", 1, delay_s=-1), "the delay is 0 seconds"),
        (lambda q: q.ack("orders", 2**63, 1), "no message has the id"),
        (lambda q: q.ack("orders", 1, 2**31), "no message has the id"),
        (lambda q: q.ack_many("orders", [(1, 1), (-(2**63) - 1, 1)]), "no message has the id"),
        (lambda q: q.dead_letter_worn("orders", more_than=-1), "not -1"),
        (lambda q: q.redrive("orders", limit=0), "1 message or more"),
        (lambda q: q.peek("orders", limit=0), "a limit is 1"),
    ],
)  # fmt: skip
async def test_a_bad_argument_is_a_usage_error_before_the_database_is_asked(pgmq: AsyncPgmq, call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=words) as told:
        await call(pgmq)
    assert told.value.hint


async def test_a_megabyte_goes_through(pgmq: AsyncPgmq) -> None:
    payload = "x" * 999_998
    await pgmq.send("orders", payload)
    (message,) = await pgmq.read("orders")
    assert message.payload == payload


# --- versions, rights, transactions ------------------------------------------------------------------------------


async def test_a_queue_of_an_older_pgmq_works_without_headers_and_says_so(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    """Its tables as 1.4 made them, without the columns of 1.5 and 1.10."""
    for table in (b"q_orders", b"a_orders"):
        await db.execute(b"alter table pgmq." + table + b" drop column headers, drop column last_read_at")
    assert await pgmq.send_many("orders", [1, 2, 3]) == [1, 2, 3]
    one, two, three = await pgmq.read("orders", limit=3)
    assert one.headers is None
    await pgmq.archive("orders", one.msg_id, one.read_ct)
    assert await pgmq.archive_many("orders", [(two.msg_id, two.read_ct)]) == [2]
    await pgmq.extend("orders", three.msg_id, three.read_ct, 0)
    assert (await described(pgmq, "orders")).length == 1
    assert [one.payload for one in await pgmq.peek("orders")] == [3]
    for act in (
        pgmq.send("orders", 1, headers={"a": 1}),
        pgmq.dead_letter("orders", 3, 1),
        pgmq.dead_letter_worn("orders", more_than=0),
    ):
        with pytest.raises(UnavailableError, match="headers") as told:
            await act
        assert told.value.hint == "alter extension pgmq update"
    assert await pgmq.purge("orders") == 1


async def test_a_partitioned_queue_is_seen_and_left_alone(pgmq: AsyncPgmq, db: AsyncPool) -> None:
    await db.execute(
        b"create table pgmq.q_parts (msg_id bigint generated by default as identity, read_ct int default 0 not null, "
        b"enqueued_at timestamptz default now() not null, last_read_at timestamptz, vt timestamptz not null, "
        b"message jsonb, headers jsonb) partition by range (msg_id)"
    )
    await db.execute(b"create table pgmq.q_parts_1 partition of pgmq.q_parts for values from (1) to (1000)")
    await db.execute(b"insert into pgmq.meta values ('parts', true, false)")
    await db.execute(b"insert into pgmq.q_parts (vt, message) select now(), '1' from generate_series(1, 40)")
    await db.execute(b"analyze pgmq.q_parts_1")
    one = await described(pgmq, "parts")
    assert (one.partitioned, one.length, one.total, one.exact) == (True, 40, 40, {"length": False})
    assert (one.available, one.running, one.ready_age_s) == (None, None, None)
    assert len(await pgmq.peek("parts", limit=5)) == 5
    for act in (pgmq.send("parts", 1), pgmq.read("parts"), pgmq.ack("parts", 1, 0), pgmq.purge("parts")):
        with pytest.raises(RefusedError, match="is partitioned, and pgops only looks at those"):
            await act
    await db.execute(b"drop table pgmq.q_parts")
    await db.execute(b"delete from pgmq.meta where queue_name = 'parts'")


async def test_where_there_is_no_pgmq_it_is_said_with_the_remedy_and_the_transaction_lives(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        for call in (AsyncPgmq(db).queues(), AsyncPgmq(db).send("x", 1), AsyncPgmq(db).create("x")):
            with pytest.raises(UnavailableError, match="pgmq is not installed in this database") as told:
                await call
            assert "create extension pgmq" in told.value.hint
        async with await psycopg.AsyncConnection.connect(empty_dsn) as conn:
            await conn.execute("create table mine (n int)")
            with pytest.raises(UnavailableError):
                await _unopened(db).bind(conn).pgmq.send("x", 1)
            await conn.execute("insert into mine values (1)")


async def test_a_role_without_rights_is_told_which_it_needs(pgmq: AsyncPgmq, db: AsyncPool, dsn: str) -> None:
    role = "pgmq_nobody"
    await db.execute(b"do $$ begin create role pgmq_nobody login; exception when duplicate_object then null; end $$")
    await pgmq.send("orders", 1)
    async with AsyncPool.open(dsn) as other:
        async with other.session() as session:
            await session.execute(b"set role pgmq_nobody")
            mine = AsyncPgmq(session)
            with pytest.raises(RefusedError, match="may not read pgmq") as told:
                await mine.queues()
            assert told.value.hint.startswith(f"grant usage on schema pgmq to {role}; grant select on all tables")
            await db.execute(b"grant usage on schema pgmq to pgmq_nobody")
            await db.execute(b"grant select on pgmq.meta to pgmq_nobody")
            (seen,) = await mine.queues()
            assert (seen.available, seen.total, seen.exact) == (None, None, {"length": False})
            await db.execute(b"grant select on all tables in schema pgmq to pgmq_nobody")
            (seen,) = await mine.queues()
            assert (seen.length, seen.available) == (1, 1)
            assert seen.total is None, "which stands in a sequence"
            await db.execute(b"grant select on all sequences in schema pgmq to pgmq_nobody")
            assert (await mine.metrics("orders")).total == 1
            for call in (mine.read("orders"), mine.create("other"), mine.send("orders", 1)):
                with pytest.raises(RefusedError, match="permission denied for") as told:
                    await call
                assert told.value.hint.startswith(f"grant usage, create on schema pgmq to {role}; grant select, insert")
            for grant in told.value.hint.split("; "):
                await db.execute(grant.encode())
            assert await mine.send("orders", 2) == 2
            assert await mine.create("other")
            for held in await mine.read("orders", limit=5):
                await mine.archive("orders", held.msg_id, held.read_ct)
            await mine.create("orders_dlq")
            assert await mine.redrive("orders") == 0
            await session.execute(b"reset role")
    await db.execute(b"reassign owned by pgmq_nobody to current_user")
    await db.execute(b"drop owned by pgmq_nobody")


async def test_all_of_it_belongs_to_the_callers_transaction(pgmq: AsyncPgmq, db: AsyncPool, dsn: str) -> None:
    pg = _unopened(db)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        mine = pg.bind(conn).pgmq
        await mine.create("inside")
        await mine.send_many("inside", range(5))
        one, two, *_ = await mine.read("inside", limit=4)
        await mine.ack("inside", one.msg_id, one.read_ct)
        await mine.dead_letter("inside", two.msg_id, two.read_ct)
        with pytest.raises(NotFoundError):
            await mine.ack("inside", one.msg_id, one.read_ct)
        assert await mine.redrive("inside") == 1
        assert [queue.name for queue in await pgmq.queues()] == ["orders"], "nobody sees it before the commit"
        await conn.rollback()
    assert [queue.name for queue in await pgmq.queues()] == ["orders"]
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        assert await pg.bind(conn).pgmq.send("orders", 1) == 1
    assert await ids(db, b"q_orders") == [1]


def _extension_files(folder: Path) -> None:
    """Readable for the server, which may be another user's."""
    home = folder / "extension"
    home.mkdir()
    (home / "pgmq.control").write_text("default_version = '1.13.0'\nrelocatable = false\nschema = 'pgmq'\n")
    (home / "pgmq--1.13.0.sql").write_text(get_embedded_install_sql())
    for path in (folder, home, *home.iterdir()):
        path.chmod(0o755)


async def test_where_pgmq_came_as_an_extension_it_is_the_same(empty_dsn: str) -> None:
    """The extension's files, as its own build makes them, where the server looks for extensions."""
    async with AsyncPool.open(empty_dsn) as db:
        row = await db.one(b"select current_setting('server_version_num')::int >= 180000")
        if row != (True,):
            pytest.xfail("before 18 a server looks for extensions in one folder only")
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            _extension_files(Path(folder))
            async with db.session() as session:
                await session.execute(b"set extension_control_path to " + f"'{folder}:$system'".encode())
                await session.execute(b"create extension pgmq")
        pgmq = AsyncPgmq(db)
        await pgmq.create("orders")
        await pgmq.send("orders", 1)
        (message,) = await pgmq.read("orders")
        await pgmq.dead_letter("orders", message.msg_id, message.read_ct)
        assert await pgmq.redrive("orders") == 1
        assert [(one.name, one.length) for one in await pgmq.queues()] == [("orders", 1), ("orders_dlq", 0)]


def test_the_blocking_twin_does_the_same(dsn: str) -> None:
    with Pool.open(dsn) as db:
        pgmq = Pgmq(db)
        assert pgmq.create("orders")
        assert pgmq.send_many("orders", [1, 2, 3]) == [1, 2, 3]
        one, two, three = pgmq.read("orders", limit=3, vt_s=0)
        (again,) = pgmq.read("orders")
        with pytest.raises(ConflictError):
            pgmq.ack("orders", one.msg_id, one.read_ct)
        pgmq.ack("orders", again.msg_id, again.read_ct)
        pgmq.archive("orders", two.msg_id, two.read_ct)
        pgmq.dead_letter("orders", three.msg_id, three.read_ct, reason="bad")
        assert pgmq.redrive("orders") == 1
        assert [(queue.name, queue.length) for queue in pgmq.queues()] == [("orders", 1), ("orders_dlq", 0)]
        assert pgmq.purge("orders") == 1

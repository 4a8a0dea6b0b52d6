"""`pgops queue pgmq …` on real pgmq, what `pgops queue` says of its queues, and what a snapshot tells of them."""

import asyncio
import os
from collections.abc import AsyncIterator

import psycopg
import pytest
from cli_call import Run, caller
from pgmq import install_pgmq_from_sql
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.ops.collector import Collector, collect
from pgops.ops.observe import pgmq as ops_pgmq
from pgops.ops.observe.parts import Session, begin
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.services.models import PgmqQueue
from pgops.services.pgmq import AsyncPgmq
from pgops.services.queue import AsyncQueue


@pytest.fixture
def dsn(pgmq_dsn: str) -> str:
    """The shared database with one queue of pgmq, `orders`, and none of ours."""
    with psycopg.connect(pgmq_dsn, autocommit=True) as conn:
        conn.execute("select pgmq.drop_queue(queue_name) from pgmq.meta")
        conn.execute("select pgmq.create('orders')")
        conn.execute("truncate pgops.queues cascade")
    return pgmq_dsn


@pytest.fixture
def pgops(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return caller(monkeypatch, capsys)


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as conn:
        return conn.execute(query.encode()).fetchall()


# --- messages ----------------------------------------------------------------------------------------------------


def test_a_message_goes_its_way_and_a_late_reader_is_told(pgops: Run, dsn: str) -> None:
    sent = pgops("queue", "pgmq", "send", "orders", '{"order": 7}', "--headers", '{"trace": "x"}', "--json").document
    assert (sent["queue"], sent["msg_id"], sent["changed"]) == ("orders", 1, 1)
    (message,) = pgops("queue", "pgmq", "read", "orders", "--vt", "0", "--json").document["items"]
    assert (message["payload"], message["headers"], message["read_ct"]) == ({"order": 7}, {"trace": "x"}, 1)
    assert message["vt"].endswith("Z")
    again = pgops("queue", "pgmq", "read", "orders", "--json").document["items"]
    assert [one["read_ct"] for one in again] == [2]
    assert pgops("queue", "pgmq", "read", "orders", "--json").document["items"] == []
    for verb, more in (("ack", ()), ("archive", ()), ("extend", ("--vt", "9")), ("dead", ())):
        late = pgops("queue", "pgmq", verb, "orders", "1", "1", *more, "--json")
        assert (late.code, late.out) == (5, ""), verb
        assert "was read again: 2 times by now, not 1; nothing was changed" in late.error["message"]
        assert "visibility timeout" in late.error["hint"]
    assert rows(dsn, "select read_ct from pgmq.q_orders") == [(2,)]
    assert pgops("queue", "pgmq", "ack", "orders", "1", "2").out == "acknowledged message 1 of orders\n"
    assert pgops("queue", "pgmq", "ack", "orders", "1", "2").code == 5


def test_many_are_sent_from_stdin_all_or_none(pgops: Run, dsn: str) -> None:
    assert pgops("queue", "pgmq", "send", "orders", "--many", stdin='{"n": 1}\n[2\n').code == 2
    assert rows(dsn, "select from pgmq.q_orders") == []
    done = pgops("queue", "pgmq", "send", "orders", "--many", "--delay", "60", "--json", stdin='{"n": 1}\n\n[2]\n')
    assert [done.document[key] for key in ("matched", "changed")] == [2, 2]
    assert rows(dsn, "select count(*) from pgmq.q_orders where vt > now()") == [(2,)]


def test_dead_letters_are_shown_first_moved_and_redriven_with_a_trail(pgops: Run, dsn: str) -> None:
    for n in range(3):
        pgops("queue", "pgmq", "send", "orders", f'{{"order": {n}}}')
    with psycopg.connect(dsn) as conn:
        conn.execute("update pgmq.q_orders set read_ct = 6 where msg_id < 3")
    look = pgops("queue", "pgmq", "dead", "orders", "--dry-run", "--json").document
    assert (look["matched"], look["changed"], look["dry_run"]) == (2, 0, True)
    assert 'insert into "pgmq"."q_orders_dlq"' in look["sql"]
    assert look["samples"][0] == 'message 1, read 6 times: {"order": 0}'
    assert pgops("queue", "pgmq", "dead", "orders", "--more-than", "6", "--dry-run", "--json").document["matched"] == 0
    refused = pgops("queue", "pgmq", "dead", "orders")
    assert refused.code == 4
    assert "--yes" in refused.err
    done = pgops("queue", "pgmq", "dead", "orders", "--yes", "--json").document
    assert (done["action"], done["matched"], done["changed"]) == ("pgmq_dead", 2, 2)
    one = pgops("queue", "pgmq", "read", "orders", "--json").document["items"][0]
    moved = pgops("queue", "pgmq", "dead", "orders", str(one["msg_id"]), "1", "--reason", "no such item", "--json")
    assert moved.document["dead_id"] == 3
    letters = pgops("queue", "pgmq", "peek", "orders_dlq", "--json").document["items"]
    assert [letter["headers"]["dead_letter"]["reason"] for letter in letters] == [
        "read more than 5 times", "read more than 5 times", "no such item",
    ]  # fmt: skip
    look = pgops("queue", "pgmq", "redrive", "orders", "--dry-run", "--json").document
    assert look["matched"] == 3
    assert look["samples"][2].endswith("(no such item)")
    back = pgops("queue", "pgmq", "redrive", "orders", "--yes", "--json").document
    assert (back["changed"], back["dry_run"]) == (3, False)
    assert rows(dsn, "select count(*), max(read_ct) from pgmq.q_orders") == [(3, 0)]
    trail = {act["id"]: act for act in pgops("audit", "list", "--json").document["items"]}
    told = [
        (trail[id]["action"], trail[id]["target"], trail[id]["changed"]) for id in (done["audit_id"], back["audit_id"])
    ]
    assert told == [("pgmq_dead", "orders", 2), ("pgmq_redrive", "orders", 3)]


def test_a_purge_shows_first_and_leaves_a_trail(pgops: Run, dsn: str) -> None:
    pgops("queue", "pgmq", "send", "orders", "--many", stdin='{"n": 1}\n' * 12_000)
    assert pgops("queue", "pgmq", "purge", "orders").code == 4
    look = pgops("queue", "pgmq", "purge", "orders", "--dry-run", "--json").document
    assert (look["matched"], look["changed"], "exact" in look) == (12_000, 0, False)
    assert "no way back" in look["warning"]
    done = pgops("queue", "pgmq", "purge", "orders", "--yes", "--json").document
    assert (done["matched"], done["changed"], done["action"]) == (12_000, 12_000, "pgmq_purge")
    assert rows(dsn, "select count(*) from pgmq.q_orders") == [(0,)]
    (act, *_) = pgops("audit", "list", "--json").document["items"]
    assert (act["id"], act["status"], act["changed"]) == (done["audit_id"], "done", 12_000)


def test_one_queue_is_told_in_numbers(pgops: Run) -> None:
    pgops("queue", "pgmq", "send", "orders", "--many", stdin='{"n": 1}\n' * 3)
    pgops("queue", "pgmq", "read", "orders")
    told = pgops("queue", "pgmq", "metrics", "orders", "--json").document
    assert (told["name"], told["length"], told["available"], told["running"], told["total"]) == ("orders", 3, 2, 1, 3)
    (listed,) = pgops("queue", "pgmq", "list", "--json").document["items"]
    assert set(listed) <= set(told)
    lines = dict(line.split(maxsplit=1) for line in pgops("queue", "pgmq", "metrics", "orders").out.splitlines())
    assert (lines["length"], lines["running"], lines["kind"]) == ("3", "1", "logged")


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (["read", "order"], 5, "did you mean orders?"),
        (["send", "order", "1"], 5, "pgmq has no queue 'order'"),
        (["metrics", "order"], 5, "did you mean orders?"),
        (["read", "orders", "--limit", "0"], 2, "a limit is 1 to 10,000"),
        (["read", "orders", "--vt", "-1"], 2, "visibility timeout"),
        (["extend", "orders", "1", "1", "--vt", "-1"], 2, "visibility timeout"),
        (["send", "orders", "{no"], 2, "not JSON"),
        (["send", "orders", "1", "--headers", "[1]"], 2, "headers are a JSON object"),
        (["send", "orders", "1", "--delay", "-1"], 2, "the delay is 0 seconds"),
        (["send", "orders", '"' + "x" * 1_000_000 + '"'], 2, "bytes, more than"),
        (["send", "orders", "1", "--many"], 2, "--many takes its payloads from stdin"),
        (["create", "a$b"], 2, "pgmq refuses $ in a name"),
        (["create", "x" * 48], 2, "at most 47 bytes"),
        (["create", "ORDERS"], 5, "same queue as 'orders'"),
        (["create", "orders", "--unlogged"], 5, "there already, and logged"),
        (["ack", "orders", "99999999999999999999", "1"], 2, "no message has the id"),
        (["dead", "orders", "1"], 2, "MSG_ID and READ_CT"),
        (["dead", "orders", "--more-than", "-1", "--yes"], 2, "the number of reads"),
        (["redrive", "orders", "--yes"], 5, "has no dead letters"),
        (["redrive", "orders_dlq", "--yes"], 5, "pgmq has no queue 'orders_dlq'"),
        (["purge", "nothing", "--yes"], 5, "pgmq has no queue 'nothing'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_bad_call_is_told_with_its_code_and_changes_nothing(
    pgops: Run, dsn: str, line: list[str], code: int, words: str
) -> None:
    done = pgops("queue", "pgmq", *line)
    assert (done.code, done.out) == (code, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert rows(dsn, "select queue_name::text from pgmq.meta") == [("orders",)]
    assert rows(dsn, "select from pgmq.q_orders") == []


# --- beside our own queues ---------------------------------------------------------------------------------------


def test_the_list_of_queues_shows_both_kinds_with_the_same_keys(pgops: Run) -> None:
    pgops("queue", "enqueue", "email", "{}")
    pgops("queue", "enqueue", "orders_of_ours", "{}")
    pgops("queue", "pgmq", "send", "orders", "1")
    pgops("queue", "pgmq", "send", "orders", "2", "--delay", "60")
    found = {one["name"]: one for one in pgops("queue", "list", "--json").document["items"]}
    assert {name: one["backend"] for name, one in found.items()} == {
        "email": "pgops", "orders_of_ours": "pgops", "orders": "pgmq",
    }  # fmt: skip
    assert set(found["email"]) - set(found["orders"]) == set()
    theirs = found["orders"]
    assert (theirs["available"], theirs["scheduled"], theirs["running"], theirs["dead"]) == (1, 1, 0, 0)
    assert (theirs["paused"], theirs["stuck"], theirs["completed_total"], theirs["enqueued_total"]) == (
        False,
        None,
        None,
        2,
    )
    table = pgops("queue", "list").out
    assert [line.split()[-1] for line in table.splitlines()] == ["backend", "pgops", "pgops", "pgmq"]


@pytest.mark.parametrize(
    "line",
    [
        ["pause", "orders"],
        ["resume", "orders"],
        ["jobs", "orders"],
        ["show", "orders", "1"],
        ["requeue", "orders", "--dead", "--yes"],
        ["enqueue", "orders", "{}", "--priority", "1"],
        ["work", "nothing:registry", "-q", "orders"],
    ],
    ids=lambda line: line[0],
)
def test_what_pgmq_cannot_do_is_refused_and_says_so(
    pgops: Run, dsn: str, line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgops.runtime.registry.load_registry", lambda name: None)
    done = pgops("queue", *line)
    assert (done.code, done.out) == (4, "")
    assert "'orders' is a queue of pgmq" in done.err
    assert "priorities, groups, unique keys, pauses, cancels" in done.err
    assert "pgops queue pgmq --help" in done.err
    assert rows(dsn, "select from pgops.queues") == []


async def test_a_queue_of_ours_with_the_same_name_is_ours(dsn: str) -> None:
    async with AsyncPool.open(dsn) as db:
        queue = AsyncQueue(db)
        with pytest.raises(RefusedError, match="is a queue of pgmq"):
            await queue.limit("orders", max_running=1)
        with pytest.raises(RefusedError, match="is a queue of pgmq"):
            await queue.cancel("orders", [1])
        await queue.enqueue("orders", 1)
        await queue.pause("orders")
        assert [(one.name, one.paused) for one in items((await collect(db)).queues)] == [("orders", True)]


def test_without_our_schema_all_but_the_acts_work(empty_dsn: str, pgops: Run) -> None:
    install_pgmq_from_sql(dsn=empty_dsn)
    at = ("--dsn", empty_dsn, "--json")
    assert pgops("queue", "pgmq", "create", "mail", *at).document["changed"] == 1
    assert pgops("queue", "pgmq", "create", "mail", *at).document["changed"] == 0
    pgops("queue", "pgmq", "send", "mail", "1", *at)
    assert len(pgops("queue", "pgmq", "read", "mail", *at).document["items"]) == 1
    assert pgops("queue", "pgmq", "archive", "mail", "1", "1", *at).code == 0
    assert [one["name"] for one in pgops("queue", "pgmq", "list", *at).document["items"]] == ["mail"]
    both = pgops("queue", "list", "--dsn", empty_dsn)
    assert (both.code, both.out.splitlines()[1].split()[0]) == (0, "mail")
    assert "run: pgops migrate" in both.err
    assert "Queues of pgmq" in pgops("status", "--dsn", empty_dsn).out
    refused = pgops("queue", "pgmq", "purge", "mail", "--yes", *at)
    assert refused.code == 1
    assert refused.error["hint"] == "run: pgops migrate"


def test_without_pgmq_it_is_said(empty_dsn: str, pgops: Run) -> None:
    for line in (["list"], ["read", "orders"], ["create", "orders"]):
        done = pgops("queue", "pgmq", *line, "--dsn", empty_dsn, "--json")
        assert done.code == 1
        assert done.error["message"] == "pgmq is not installed in this database"
        assert "create extension pgmq" in done.error["hint"]
    assert "pgmq" not in pgops("status", "--dsn", empty_dsn).out
    assert "pgmq is not installed" in str(pgops("status", "--dsn", empty_dsn, "--json").document["pgmq"])


# --- the snapshot ------------------------------------------------------------------------------------------------


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[AsyncPool]:
    async with AsyncPool.open(dsn) as pool:
        yield pool


def orders(snapshot: Snapshot) -> PgmqQueue:
    (one,) = [one for one in items(snapshot.pgmq) if one.name == "orders"]
    return one


async def test_a_snapshot_tells_rates_dead_letters_and_what_is_out(db: AsyncPool) -> None:
    pgmq, collector = AsyncPgmq(db), Collector(db)
    await pgmq.send_many("orders", range(20))
    first = orders(await collector.collect())
    assert (first.length, first.available, first.in_per_s) == (20, 20, None)
    await pgmq.send_many("orders", range(30))
    read = await pgmq.read("orders", limit=11)
    await pgmq.ack_many("orders", [(one.msg_id, one.read_ct) for one in read[:10]])
    await pgmq.dead_letter("orders", read[10].msg_id, read[10].read_ct)
    await pgmq.read("orders", limit=4)
    await asyncio.sleep(0.6)
    second = orders(await collector.collect(fresh=True))
    assert (second.length, second.available, second.running, second.dead) == (39, 35, 4, 1)
    assert second.in_per_s is not None and second.out_per_s is not None
    assert 1 < second.out_per_s < second.in_per_s < 50
    assert round(second.in_per_s / second.out_per_s, 3) == round(30 / 11, 3)


async def test_a_look_costs_one_statement_where_there_is_no_pgmq(empty_dsn: str, db: AsyncPool) -> None:
    async with AsyncPool.open(empty_dsn) as without:
        assert await _looked(without) == (ABSENT, 1)
    assert (await _looked(db))[1] == 3, "pgmq is there, its queues, and how many messages the one has"


async def _looked(db: AsyncPool) -> tuple[object, int]:
    async with db.transaction() as tx:
        session = Session(tx)
        look = await begin(session, statement_ms=2_000, lock_ms=250)
        before = session.statements
        return await ops_pgmq.queues(session, look), session.statements - before


async def test_a_queue_that_somebody_locks_harms_no_other(db: AsyncPool) -> None:
    await AsyncPgmq(db).create("mail")
    await AsyncPgmq(db).send("mail", 1)
    async with db.transaction() as tx:
        await tx.execute(b"lock table pgmq.q_orders in access exclusive mode")
        snapshot = await collect(db)
    mail, locked = items(snapshot.pgmq)
    assert (mail.name, mail.length, mail.exact) == ("mail", 1, {})
    assert (locked.available, locked.bytes, locked.exact) == (None, None, {"length": False})
    assert orders(await collect(db)).available == 0


async def test_a_role_without_rights_on_pgmq_is_told_which_it_needs(db: AsyncPool, dsn: str) -> None:
    name = f"pgmq_viewer_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(f"create role {name} login")
        try:
            async with AsyncPool.open(make_conninfo(dsn, user=name)) as mine:
                part = (await collect(mine)).pgmq
                assert isinstance(part, Unavailable)
                assert part.reason == f"role {name} may not read pgmq's queues"
                assert part.remedy.startswith(f"grant usage on schema pgmq to {name}; grant select on all tables")
                for grant in part.remedy.split("; "):
                    conn.execute(grant.encode())
                assert orders(await collect(mine)).available == 0
                conn.execute(sql.SQL("revoke select on pgmq.q_orders from {}").format(sql.Identifier(name)))
                seen = orders(await collect(mine))
                assert (seen.available, seen.exact) == (None, {"length": False})
        finally:
            conn.execute(f"drop owned by {name}")
            conn.execute(f"drop role {name}")

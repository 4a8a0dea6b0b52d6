"""Sessions and locks: who waits for whom, what is said of it, and ending exactly the backend that was meant."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import psycopg
import pytest
from lock_chain import Chain, waiting
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from test_collector import role_dsn
from test_findings import WELL

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.actions import Action, preview, run
from pgops.ops.collector import collect
from pgops.ops.judge.findings import judge
from pgops.ops.observe.connections import rooted
from pgops.ops.observe.snapshot import LockBackend, Unavailable, items

ROOT = LockBackend(
    pid=101, started_at=None, user="app", database="shop", application="web", backend_type="client backend",
    state="idle in transaction", transaction_s=400.0, wait="Client:ClientRead", waited_s=None, blocked_by=(), root=101,
    lock_type=None, lock_mode=None, relation=None, query="update orders set paid = true",
)  # fmt: skip


def waiter(pid: int, *blocked_by: int, waited_s: float | None = 1.0, root: int | None = 101) -> LockBackend:
    return replace(
        ROOT, pid=pid, state="active", wait="Lock:transactionid", waited_s=waited_s, blocked_by=blocked_by, root=root,
        lock_type="transactionid", lock_mode="ShareLock", relation="orders",
    )  # fmt: skip


# --- what is seen ----------------------------------------------------------------------------------------------


async def test_a_chain_of_three_is_seen_with_its_root_and_its_table(db: AsyncPool, dsn: str) -> None:
    async with waiting(dsn) as chain:
        mine = conninfo_to_dict(dsn)["dbname"]
        seen = {one.pid: one for one in items((await collect(db)).locks) if one.database == mine}
    assert set(seen) == {chain.root, chain.middle, chain.last}
    assert [seen[pid].blocked_by for pid in chain.pids] == [(), (chain.root,), (chain.middle,)]
    assert {one.root for one in seen.values()} == {chain.root}
    assert seen[chain.root].state == "idle in transaction"
    assert seen[chain.root].waited_s is None
    middle, last = seen[chain.middle], seen[chain.last]
    assert (middle.relation, middle.lock_type, middle.lock_mode) == ("chained", "transactionid", "ShareLock")
    assert (last.relation, last.lock_type, last.lock_mode) == ("held", "relation", "AccessExclusiveLock")
    assert middle.waited_s is not None and middle.waited_s >= 0
    assert middle.wait == "Lock:transactionid"
    assert middle.query is not None and middle.query.startswith("update chained")
    assert middle.application == "chain middle"


async def test_where_nobody_waits_there_is_no_tree(db: AsyncPool, dsn: str) -> None:
    """Of this database: other tests wait in theirs, and they are seen too."""
    mine = conninfo_to_dict(dsn)["dbname"]
    assert [one for one in items((await collect(db)).locks) if one.database == mine] == []


async def test_a_prepared_transaction_that_blocks_has_the_pid_zero() -> None:
    found = rooted([replace(ROOT, pid=0, root=None), waiter(7, 0, root=None)])
    assert [one.root for one in found] == [0, 0]


@pytest.mark.parametrize(
    ("blocked_by", "root"),
    [
        ({1: (), 2: (1,), 3: (2,)}, {1: 1, 2: 1, 3: 1}),
        ({1: (2,), 2: (1,), 3: (2,)}, {1: None, 2: None, 3: None}),
        ({1: (), 2: (), 3: (1, 2)}, {1: 1, 2: 2, 3: 1}),
        ({1: (2,), 2: (1, 4), 4: ()}, {1: 4, 2: 4, 4: 4}),
    ],
)
def test_a_root_is_who_waits_for_nobody(blocked_by: dict[int, tuple[int, ...]], root: dict[int, int | None]) -> None:
    found = rooted(replace(ROOT, pid=pid, blocked_by=above, root=None) for pid, above in blocked_by.items())
    assert {one.pid: one.root for one in found} == root


async def test_sessions_are_listed_with_what_they_do(db: AsyncPool, dsn: str) -> None:
    named = make_conninfo(dsn, application_name="shop web")
    async with await psycopg.AsyncConnection.connect(named) as conn:
        await conn.execute("\n select 1 as one,\n 2 as two")
        seen = {one.pid: one for one in items((await collect(db)).session_list)}
        mine = seen[conn.info.backend_pid]
    assert (mine.application, mine.state, mine.query) == ("shop web", "idle in transaction", "select 1 as one,")
    assert mine.database == conninfo_to_dict(dsn)["dbname"]
    assert mine.transaction_s is not None and 0 <= mine.transaction_s < 10
    assert mine.wait == "Client:ClientRead"
    assert mine.started_at is not None


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("-- Why it is so.\n-- And more.\n  select 1 -- one\n from pg_class", "select 1 -- one"),
        ("/* from: a */ -- b\n/* c\n* d **/ select 2\nlimit 1", "select 2"),
        ("\n\t select 3", "select 3"),
        ("select '-- 4'", "select '-- 4'"),
        ("select 5 /* five", "select 5 /* five"),
        ("-- nothing but words", "-- nothing but words"),
    ],
)
async def test_a_session_shows_the_first_line_that_is_no_comment(
    statement: str, said: str, db: AsyncPool, dsn: str
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True, application_name="talker") as conn:
        with suppress(psycopg.errors.SyntaxError):
            await conn.execute(statement.encode())
        found = {one.pid: one for one in items((await collect(db)).session_list)}[conn.info.backend_pid]
        samples = (await preview(db, Action("terminate_backend", str(conn.info.backend_pid)))).samples
    assert found.query == said
    assert any(line.startswith(f"last ran: {said}") for line in samples), samples


async def test_the_list_of_sessions_is_bounded(db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgops.ops.observe.connections.SESSIONS_SHOWN", 1)
    assert len(items((await collect(db)).session_list)) == 1


async def test_a_role_that_may_not_see_them_is_told_what_to_grant(dsn: str) -> None:
    with role_dsn(dsn) as plain:
        async with AsyncPool.open(plain) as db:
            snapshot = await collect(db)
    for part in (snapshot.locks, snapshot.session_list):
        assert isinstance(part, Unavailable)
        assert part.remedy.startswith("grant pg_monitor to")


async def test_a_monitor_sees_the_chain(dsn: str) -> None:
    with role_dsn(dsn, "grant pg_monitor") as monitor:
        async with waiting(dsn) as chain, AsyncPool.open(monitor) as db:
            snapshot = await collect(db)
    mine = conninfo_to_dict(dsn)["dbname"]
    assert {one.pid for one in items(snapshot.locks) if one.database == mine} == set(chain.pids)
    assert set(chain.pids) <= {one.pid for one in items(snapshot.session_list)}


# --- what is said of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waited_s", "severities"),
    [(29.9, []), (30.0, ["warning"]), (299.0, ["warning"]), (300.0, ["critical"]), (None, [])],
)
def test_a_chain_is_a_finding_by_its_age(waited_s: float | None, severities: list[str]) -> None:
    snapshot = replace(WELL, locks=(ROOT, waiter(102, 101, waited_s=waited_s), waiter(103, 102, waited_s=1.0)))
    assert [one.severity for one in judge(snapshot) if one.code == "locks.blocked"] == severities


def test_the_finding_tells_who_blocks_whom_and_how_to_end_it() -> None:
    snapshot = replace(WELL, locks=(ROOT, waiter(102, 101, waited_s=400.0), waiter(103, 102, waited_s=90.0)))
    (found,) = judge(snapshot)
    assert found.title == "pid 101 holds up 2 sessions"
    assert "102 waits for 101 on orders for 7 min; 103 waits for 102 on orders for 90 s" in found.evidence
    assert "101 is web as app, idle in transaction, its transaction open for 7 min" in found.evidence
    assert (found.action, found.target, found.command) == ("terminate_backend", "101", "pgops sessions terminate 101")


@pytest.mark.parametrize(
    ("root", "action"),
    [
        (replace(ROOT, state="active"), "cancel_backend"),
        (replace(ROOT, backend_type="autovacuum worker", state=None), None),
        (replace(ROOT, pid=0, root=0, backend_type="prepared transaction"), None),
    ],
)
def test_the_cure_suits_what_blocks(root: LockBackend, action: str | None) -> None:
    snapshot = replace(WELL, locks=(root, waiter(102, root.pid, waited_s=60.0, root=root.pid)))
    (found,) = judge(snapshot)
    assert found.action == action
    assert found.remedy


# --- acts ------------------------------------------------------------------------------------------------------


@dataclass
class Victim:
    conn: "psycopg.AsyncConnection[tuple[object, ...]]"
    sleeping: asyncio.Task[object]
    target: str


@asynccontextmanager
async def busy(db: AsyncPool, dsn: str, **more: str) -> AsyncIterator[Victim]:
    """A session that runs a long statement."""
    conn = await psycopg.AsyncConnection.connect(make_conninfo(dsn, **more), autocommit=True)
    sleeping: asyncio.Task[object] = asyncio.create_task(_sleep(conn))
    victim = Victim(conn, sleeping, str(conn.info.backend_pid))
    for _ in range(500):
        row = await db.one(
            b"select 1 from pg_stat_activity where pid = %s and state = 'active' and query like 'select pg_sleep%%'",
            [conn.info.backend_pid],
        )
        if row is not None:
            break
        await asyncio.sleep(0.01)
    try:
        yield victim
    finally:
        sleeping.cancel()
        await asyncio.gather(sleeping, return_exceptions=True)
        await conn.close()


async def _sleep(conn: "psycopg.AsyncConnection[tuple[object, ...]]") -> None:
    await conn.execute("select pg_sleep(60)")


async def test_a_cancelled_statement_ends_and_its_session_goes_on(db: AsyncPool, dsn: str) -> None:
    async with busy(db, dsn, application_name="report") as victim:
        look = await preview(db, Action("cancel_backend", victim.target))
        assert look.title == f"cancel the statement of session {victim.target}"
        assert "report" in look.samples[0]
        assert "runs: select pg_sleep(60)" in look.samples
        assert "pg_cancel_backend" in look.sql and victim.target in look.sql
        assert not victim.sleeping.done(), "a preview does nothing"
        result = await run(db, look.action)
        with pytest.raises(psycopg.errors.QueryCanceled):
            await victim.sleeping
        await victim.conn.execute("select 1")
    (row,) = await audit.list(db)
    assert (row.id, row.action, row.target, row.status, row.changed) == (
        result.audit_id, "cancel_backend", victim.target, "done", 1,
    )  # fmt: skip


async def test_a_terminated_session_is_gone_and_the_trail_says_what_it_was(db: AsyncPool, dsn: str) -> None:
    async with busy(db, dsn, application_name="report") as victim:
        result = await run(db, Action("terminate_backend", victim.target))
        with pytest.raises(psycopg.errors.AdminShutdown):
            await victim.sleeping
    assert result.message == f"terminated session {victim.target}"
    (row,) = await audit.list(db)
    assert row.action == "terminate_backend"
    assert "report" in str(row.detail)


async def test_a_cancel_of_an_idle_session_is_said_to_change_nothing(db: AsyncPool, dsn: str) -> None:
    async with waiting(dsn) as chain:
        look = await preview(db, Action("cancel_backend", str(chain.root)))
        assert "a cancel changes nothing" in look.warning
        assert f"holds up 1 session: {chain.middle}" in look.samples


async def test_the_end_of_the_root_frees_the_chain(db: AsyncPool, dsn: str) -> None:
    async with waiting(dsn) as chain:
        await run(db, Action("terminate_backend", str(chain.root)))
        await _until_free(db, chain)


async def _until_free(db: AsyncPool, chain: Chain) -> None:
    for _ in range(500):
        if chain.root not in {one.pid for one in items((await collect(db)).locks)}:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("they still wait")


async def test_a_pid_that_was_given_anew_is_not_hit(db: AsyncPool, dsn: str) -> None:
    async with busy(db, dsn) as victim:
        look = await preview(db, Action("terminate_backend", victim.target))
        assert look.action.started_at is not None
        other = replace(look.action, started_at=look.action.started_at - timedelta(microseconds=1))
        with pytest.raises(NotFoundError, match="another session by now"):
            await run(db, other)
        assert not victim.sleeping.done()
    assert await audit.list(db) == ()


async def test_this_session_and_dashboards_are_not_hit(db: AsyncPool, dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as one:
        row = await one.one(b"select pg_backend_pid()")
        assert row is not None
        for act in (preview, run):
            with pytest.raises(RefusedError, match="this very session"):
                await act(one, Action("terminate_backend", str(row[0])))
        assert await one.one(b"select pg_backend_pid()") == row
    async with busy(db, dsn, application_name="pgops dashboard") as victim:
        for act in (preview, run):
            with pytest.raises(RefusedError, match="is a pgops dashboard"):
                await act(db, Action("terminate_backend", victim.target))
        assert not victim.sleeping.done()
    assert await audit.list(db) == ()


async def test_the_servers_own_processes_are_not_hit(db: AsyncPool) -> None:
    row = await db.one(b"select pid from pg_stat_activity where backend_type = 'checkpointer'")
    assert row is not None
    with pytest.raises(RefusedError, match="is a checkpointer"):
        await run(db, Action("terminate_backend", str(row[0])))


async def test_replication_is_not_hit(db: AsyncPool, dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(make_conninfo(dsn, replication="database")) as conn:
        with pytest.raises(RefusedError, match="is a walsender"):
            await run(db, Action("terminate_backend", str(conn.info.backend_pid)))


@pytest.mark.parametrize("target", ["", "x", "-1", "0", "1.5", "99999999999999999999", "٣", "1; drop table a"])
async def test_what_is_no_pid_is_a_usage_error(db: AsyncPool, target: str) -> None:
    with pytest.raises(UsageError, match="a pid is"):
        await preview(db, Action("cancel_backend", target))


async def test_a_pid_that_nobody_has_is_not_found(db: AsyncPool) -> None:
    with pytest.raises(NotFoundError, match="no session has pid"):
        await run(db, Action("cancel_backend", "2147483647"))


async def test_a_role_without_the_right_is_refused_and_no_row_stays(db: AsyncPool, dsn: str) -> None:
    grants = ("grant pg_monitor", "grant usage on schema pgops", "grant insert, select on pgops.audit",
              "grant usage on sequence pgops.audit_id")  # fmt: skip
    with role_dsn(dsn, *grants) as monitor:
        async with busy(db, dsn) as victim, AsyncPool.open(monitor) as weak:
            with pytest.raises(RefusedError) as refused:
                await run(weak, Action("terminate_backend", victim.target))
            assert not victim.sleeping.done()
    assert "pg_signal_backend" in refused.value.hint
    assert await audit.list(db) == ()


async def test_a_role_that_does_not_see_a_session_leaves_it_alone(db: AsyncPool, dsn: str) -> None:
    with role_dsn(dsn) as plain:
        async with busy(db, dsn) as victim, AsyncPool.open(plain) as weak:
            with pytest.raises(RefusedError) as refused:
                await preview(weak, Action("terminate_backend", victim.target))
    assert "pg_monitor" in refused.value.hint


async def test_in_a_read_only_session_nothing_is_sent(db: AsyncPool, dsn: str) -> None:
    read_only = make_conninfo(dsn, options="-c default_transaction_read_only=on")
    async with busy(db, dsn) as victim, AsyncPool.open(read_only) as weak:
        with pytest.raises(RefusedError, match="read-only"):
            await run(weak, Action("terminate_backend", victim.target))
        await asyncio.sleep(0.1)
        assert not victim.sleeping.done()

"""From a job to its session and whoever that waits for: a real worker process behind a real chain of locks."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest
from cli_call import caller
from dashboard_story import SMALL, dashboard, screen, until
from lock_chain import waiting
from snapshots_literal import BUSY, LiteralSource
from snapshots_literal import job as literal_job
from test_findings import EXPIRED, QUEUE, TOO_LONG, WELL

from pgops.database import AsyncPool
from pgops.ops.act.actions import Action
from pgops.ops.collector import collect
from pgops.ops.judge.findings import judge
from pgops.ops.observe.chain_words import chain_words, note
from pgops.ops.observe.job_chain import chain_of, links
from pgops.ops.observe.snapshot import Finding, Snapshot, items
from pgops.ops.observe.snapshot_jobs import ChainLink, JobBackend, JobChain, StuckJob
from pgops.services.arguments import session_name
from pgops.services.queue import AsyncQueue

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
ROOT = ChainLink(4711, BEGAN, "billing", "app", "idle in transaction", 734.0, None, (), None, "update orders")
MIDDLE = ChainLink(4712, BEGAN, "web", "app", "active", 61.0, 60.0, (4711,), "ShareLock on orders", "update orders")
BACKEND = JobBackend(
    pid=4713, started_at=BEGAN, application="pgops worker 7 email/6", state="active", state_s=31.0, transaction_s=31.0,
    wait="Lock:relation", waits_for="AccessShareLock on orders", waited_s=31.0, xmin_age=12, holds_xmin=True,
    query="select from orders", chain=(MIDDLE, ROOT),
)  # fmt: skip


def stuck(*jobs: StuckJob) -> Finding:
    snapshot = replace(WELL, queues=(replace(QUEUE, stuck=len(jobs)),), stuck_jobs=jobs)
    (found,) = judge(snapshot)
    assert found.code == "queue.stuck"
    return found


def test_each_reason_has_its_own_why_and_remedy_and_a_chain_names_its_root() -> None:
    expired, long = stuck(EXPIRED), stuck(TOO_LONG)
    assert "died, hangs or was cut off" in expired.why and "late completion" in expired.remedy
    assert "max_runtime" in long.why and "pgops queue show email 6" in long.remedy
    both = stuck(EXPIRED, TOO_LONG)
    assert expired.why in both.why and long.why in both.why
    held = stuck(replace(TOO_LONG, backend=BACKEND))
    assert held.evidence.endswith(
        "job 6: pid 4713 waits for AccessShareLock on orders behind pid 4712 (web, waits) behind pid 4711 "
        "(billing, idle in transaction)"
    )
    assert "pgops sessions terminate 4711" in held.remedy
    alone = replace(BACKEND, chain=(), waits_for=None, wait="Timeout:PgSleep")
    assert stuck(replace(TOO_LONG, backend=alone)).evidence.endswith(
        "job 6: pid 4713 waits on Timeout:PgSleep for 31 s"
    )
    hidden = replace(alone, state=None, state_s=None, wait=None)
    assert chain_words(hidden) == "pid 4713", "what is hidden is not guessed"


def test_a_name_keeps_the_id_however_long_the_queue_is_called() -> None:
    assert session_name(7, "email", 6) == "pgops worker 7 email/6"
    long = session_name(7, "é" * 200, 123_456)
    assert (len(long), long[-7:], long.isascii()) == (63, "/123456", True)


def test_a_ring_of_locks_has_an_end() -> None:
    from snapshots_literal import lock_backend

    ring = (lock_backend(4711, 4712, root=None), lock_backend(4712, 4711, root=None))
    assert [one.pid for one in links(4711, ring)] == [4712]
    assert links(9, ring) == ()


@contextmanager
def worker(dsn: str) -> "Iterator[subprocess.Popen[str]]":
    command = [sys.executable, "-m", "pgops", "queue", "work", "worker_jobs:registry", "-q", "q"]
    process = subprocess.Popen(
        command, env=os.environ | {"PGOPS_DSN": dsn}, cwd=Path(__file__).parent, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    end = monotonic() + 30
    while not await look():
        assert monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.1)


def found(snapshot: Snapshot, code: str) -> list[Finding]:
    return [one for one in snapshot.findings if one.code == code]


async def test_a_job_that_waits_behind_three_locks_goes_on_once_their_root_has_ended(db: AsyncPool, dsn: str) -> None:
    queue = AsyncQueue(db)
    await queue.configure("q", lease_s=30, max_runtime_s=1)
    with worker(dsn) as process:
        async with waiting(dsn, lets_go=True) as chain:
            ids = [await queue.enqueue("q", payload, kind="locks") for payload in ({}, {"own": "named"}, {"own": "no"})]

            async def all_wait() -> bool:
                row = await db.one(
                    b"select count(*) from pg_stat_activity where query = 'lock table held'"
                    b" and wait_event_type = 'Lock'"
                )
                return row is not None and row[0] == 3

            await eventually(all_wait)

            async def too_long() -> bool:
                return len(items((await collect(db)).stuck_jobs)) == 3

            await eventually(too_long)
            snapshot = await collect(db)
            seen = {one.id: one for one in items(snapshot.stuck_jobs)}
            for id in ids[:2]:
                backend = seen[id].backend
                assert backend is not None
                assert backend.application == f"pgops worker {seen[id].worker} q/{id}"
                assert (backend.state, backend.wait, backend.waits_for) == (
                    "active", "Lock:relation", "AccessExclusiveLock on held",
                )  # fmt: skip
                assert {chain.middle, chain.last} <= {one.pid for one in backend.chain}
                last = backend.chain[-1]
                assert (last.pid, last.application, last.blocked_by) == (chain.root, "chain root", ())
                assert (backend.xmin_age is None) == (backend.holds_xmin is None)
            assert seen[ids[2]].backend is None, "a session with another name is nobody's"
            (finding,) = found(snapshot, "queue.stuck")
            assert f"pgops sessions terminate {chain.root}" in finding.remedy
            told = await chain_of(db, "q", ids[0])
            assert told is not None and (told.pid, told.alive, told.note) == (process.pid, True, "")
            untold = await chain_of(db, "q", ids[2])
            assert untold is not None and (untold.backend, untold.note) == (None, note(True))
            assert await chain_of(db, "q", 10**9) is None

            await db.execute(b"select pg_terminate_backend(%s)", [chain.root])

            async def all_done() -> bool:
                row = await db.one(b"select count(*) from pgops.job_running")
                return row is not None and row[0] == 0

            await eventually(all_done)
        snapshot = await collect(db)
        assert (items(snapshot.stuck_jobs), found(snapshot, "queue.stuck")) == ((), [])


async def test_a_killed_workers_job_is_taken_back_and_what_was_found_goes_away(db: AsyncPool, dsn: str) -> None:
    queue = AsyncQueue(db)
    await queue.configure("q", lease_s=1)
    await db.execute(b"create table held ()")
    with worker(dsn) as process:
        id = await queue.enqueue("q", {}, kind="stubborn")

        async def runs() -> bool:
            return (await queue.job("q", id)).state == "running"

        await eventually(runs)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    async def is_gone() -> bool:
        """Its heartbeat is missed, and its lease has run out: either may be first."""
        now = await collect(db)
        return bool(found(now, "worker.gone") and items(now.stuck_jobs))

    await eventually(is_gone)
    snapshot = await collect(db)
    (lost,) = items(snapshot.stuck_jobs)
    assert (lost.id, lost.reason, lost.backend) == (id, "lease expired", None)
    assert len(found(snapshot, "queue.stuck")) == 1
    told = await chain_of(db, "q", id)
    assert told is not None and (told.alive, told.note) == (False, note(False))
    assert (await queue.reap("q", limit=10)).requeued == 1
    assert (await queue.job("q", id)).state in ("available", "scheduled")
    await db.execute(b"update pgops.workers set heartbeat_at = heartbeat_at - interval '11 min'")
    await queue.forget_lost_workers()
    snapshot = await collect(db)
    assert (found(snapshot, "worker.gone"), found(snapshot, "queue.stuck")) == ([], [])


def test_the_command_shows_the_chain_of_a_job_that_runs(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pgops import Pgops

    with Pgops.open(dsn) as pg:
        id = pg.queue.enqueue("q", {})
        monkeypatch.setenv("PGOPS_DSN", dsn)
        command = caller(monkeypatch, capsys)
        assert command("queue", "show", "q", str(id), "--json").document["chain"] is None
        with pg.db.transaction() as tx:
            tx.execute(b"insert into pgops.workers (host, pid, queues, concurrency, lease) values"
                       b" ('here', 7, '{q}', 1, '30 s')")  # fmt: skip
            row = tx.one(b"select id from pgops.workers")
        assert row is not None
        pg.queue.claim("q", owner=row[0], token=5, limit=1)
        document = command("queue", "show", "q", str(id), "--json").document
        assert (document["chain"]["pid"], document["chain"]["backend"]) == (7, None)
        said = command("queue", "show", "q", str(id)).out
        assert "here, pid 7, alive" in said
        assert "no session is named after it" in said
        with pg.db.transaction() as tx:
            tx.execute(b"select set_config('application_name', %s, true)", [session_name(row[0], "q", id)])
            document = command("queue", "show", "q", str(id), "--json").document
            assert document["chain"]["backend"]["state"] == "idle in transaction"
            assert "pgops sessions terminate" in command("queue", "show", "q", str(id)).out


async def test_the_dashboard_shows_it_as_a_tree_and_acts_on_each() -> None:
    running = literal_job(91_204, "running")
    source = LiteralSource(BUSY, jobs=(running,))
    source.chain_held = JobChain(7, "app-3", 4410, True, BACKEND, "")
    async with dashboard(source, SMALL) as pilot:
        await pilot.press("2", "down", "enter")
        await until(pilot, lambda: "91204" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "4711 billing" in screen(pilot))
        said = screen(pilot)
        assert "4713 its session" in said and "4712 web" in said and "its worker lives" in said
        pilot.app.screen.query_one("#chain").focus()
        await pilot.press("down", "down", "down", "K")
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed[-1] == Action("terminate_backend", "4711", started_at=BEGAN)
        await pilot.press("escape", "C")
        await until(pilot, lambda: source.previewed[-1] == Action("cancel_backend", "4711", started_at=BEGAN))
        await pilot.press("escape", "up", "up", "up", "C")
        await until(pilot, lambda: source.previewed[-1] == Action("cancel_jobs", "email", (91_204,)))

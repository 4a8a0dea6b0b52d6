"""The demo: real content that is read and never run, and live traffic that every counter shows."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from random import Random

import psycopg
import pytest
import this_server
from psycopg.conninfo import make_conninfo

from pgops.config import Target
from pgops.demo import process, run_headless, run_interactive, shop
from pgops.demo.content import documents, row
from pgops.demo.site import Site
from pgops.ops.observe.snapshot import CachePart, KvPart, LimitsPart, PubsubPart, Snapshot, Unavailable, items
from pgops.server import Server
from pgops.services.client import AsyncPgops
from pgops.services.embedders import HashingEmbedder

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_hundreds_of_documents_are_read_and_no_module_is_imported() -> None:
    """In a fresh interpreter, so that nothing is imported already."""
    code = (
        "import sys; from pgops.demo.content import documents; before = set(sys.modules); "
        "found = list(documents()); print(len(found), sorted(set(sys.modules) - before))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    count, _, imported = done.stdout.partition(" ")
    assert int(count) > 200
    assert imported.strip() == "[]"


def test_modules_classes_and_functions_are_documents(tmp_path: Path) -> None:
    lines = ['"""The module, ' + "x" * 60 + '"""', "class Public:", '    """The class, ' + "x" * 60 + '"""',
             "    def method(self):", '        """The method, ' + "x" * 60 + '"""', "    def _hidden(self):",
             '        """Hidden, ' + "x" * 60 + '"""', "def short():", '    """Too short to find."""']  # fmt: skip
    (tmp_path / "csv.py").write_text("\n".join(lines))
    (tmp_path / "queue.py").write_text("this is not python")
    found = [(one.name, one.kind) for one in documents(tmp_path)]
    assert found == [("csv", "module"), ("csv.Public", "class"), ("csv.Public.method", "function")]


def test_a_document_is_found_by_its_words(tmp_path: Path) -> None:
    embedder = HashingEmbedder()
    rows = [row(document, embedder) for document in islice(documents(), 50)]
    question = embedder.embed(["command line tool to validate and pretty-print JSON"])[0]
    nearest = max(rows, key=lambda one: sum(a * b for a, b in zip(one.embedding, question, strict=True)))
    assert nearest.content.startswith("json.tool")


async def test_an_order_its_jobs_and_its_event_stand_together_or_not_at_all(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.events.subscribe("all", start="beginning")
        site = Site(dsn, "demo_")
        store = shop.Shop(pg, site, Random(1))
        async with await store.open() as conn:
            for _ in range(60):
                await store.place_order(conn)
            cursor = await conn.execute("select count(*) from demo_shop_orders")
            orders = (await cursor.fetchone() or (0,))[0]
        assert 0 < orders < 60, "some customers walk away"
        assert len(await pg.queue.jobs("demo_billing", limit=100)) == orders
        assert len(await pg.queue.jobs("demo_email", limit=100)) == orders
        assert (await pg.events.lag("all")).events == orders


@pytest.mark.slow
async def test_a_worker_that_is_killed_is_replaced(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "RESTART_S", 0.1)

    async def pids() -> list[int]:
        return [row[0] for row in await pg.db.all(b"select pid from pgops.workers order by id")]

    async def until(count: int) -> list[int]:
        async with asyncio.timeout(15):
            while len(found := await pids()) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found

    async with AsyncPgops.open(dsn) as pg:
        keeping = asyncio.create_task(process.keep_child("worker", Site(dsn, "demo_")))
        try:
            (first,) = await until(1)
            os.kill(first, signal.SIGKILL)
            _, second = await until(2)
            assert second != first
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        assert await pids() == [first], "the second one has taken its leave"


@pytest.mark.slow
async def test_every_counter_of_a_named_database_moves_within_15_seconds(dsn: str) -> None:
    check_all_counters(await run_headless(15, dsn))
    async with AsyncPgops.open(dsn) as pg:
        jobs = [job for queue in await pg.queue.queues() for job in await pg.queue.jobs(queue.queue, limit=1_000)]
    errors = {error["error"] for job in jobs for error in job.errors}
    assert len(errors) > 2, "jobs fail for different reasons"
    assert [error for error in errors if "no handler" in error or "KeyError" in error] == []


@pytest.mark.slow
def test_traffic_runs_behind_the_dashboard_and_ends_with_it(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:

        def sessions() -> int:
            query = (
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
            return (conn.execute(query).fetchone() or (0,))[0]

        def dashboard(target: Target) -> int:
            assert target.dsn == dsn
            deadline = time.monotonic() + 15
            while conn.execute("select from pgops.queue_total where completed > 0").fetchone() is None:
                assert time.monotonic() < deadline, "no traffic behind the dashboard"
                time.sleep(0.1)
            assert sessions() > 3
            return 7

        assert run_interactive(Target(dsn, "--dsn"), dashboard) == 7
        time.sleep(0.2)
        assert sessions() == 0


@pytest.mark.slow
def test_in_a_named_database_everything_is_called_demo(dsn: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "pgops", "demo", "--headless", "--seconds", "4", "--json", "--yes", "--dsn", dsn]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=env)
    document = json.loads(done.stdout)
    assert len(done.stderr.splitlines()) == 1, "the target, and no warnings"
    names = [queue["name"] for queue in document["queues"]]
    names += [subscription["name"] for subscription in document["outbox"]]
    with psycopg.connect(dsn) as conn:
        names += [row[0] for row in conn.execute("select tablename from pg_tables where schemaname = 'public'")]
        names += [row[0] for row in conn.execute("select distinct namespace from pgops.cache_store")]
        names += [row[0] for row in conn.execute("select namespace from pgops.cache_namespaces")]
        assert conn.execute("select name from pgops.cron").fetchall() == [], "it would go on without the demo"
    assert names
    assert [name for name in names if not name.startswith("demo_")] == []


@pytest.mark.slow
def test_its_relay_goes_to_the_sink_that_is_named(dsn: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PGOPS_DEMO_SINK": "queue:demo_orders?kind=look"}
    line = [sys.executable, "-m", "pgops", "demo", "--headless", "--seconds", "3", "--json", "--yes", "--dsn", dsn]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=env)
    document = json.loads(done.stdout)
    assert [one["sink"] for one in document["outbox"]] == ["queue:demo_orders?kind=look"]
    (queue,) = (one for one in document["queues"] if one["name"] == "demo_orders")
    assert queue["enqueued_total"] > 0
    done = subprocess.run([*line, "--to", "carrier-pigeon"], capture_output=True, text=True, check=False, env=env)
    assert (done.returncode, "there is no sink" in done.stderr) == (2, True)


@pytest.mark.slow
def test_the_scratch_database_is_made_anew_even_after_a_kill(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PGOPS_HOME": str(tmp_path / "home")}
    line = [sys.executable, "-m", "pgops", "demo", "--headless", "--json", "--seconds"]
    try:
        killed = subprocess.Popen([*line, "60"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = subprocess.run([*line[:3], "server", "url"], env=env, capture_output=True, text=True, check=True).stdout
        wait_for_worker(make_conninfo(url.strip(), dbname="pgops_demo"))
        other = subprocess.run([*line, "1"], env=env, capture_output=True, text=True, check=False)
        assert (other.returncode, "a demo is running already" in other.stderr) == (4, True)
        killed.kill()
        killed.wait()
        again = subprocess.run([*line, "3"], env=env, capture_output=True, text=True, check=False)
        assert again.returncode == 0, again.stderr
        document = json.loads(again.stdout)
        assert len([worker for worker in document["workers"] if worker["alive"]]) == 1
        with psycopg.connect(make_conninfo(url.strip(), dbname="pgops_demo")) as conn:
            recurring = conn.execute("select name from pgops.cron order by name").fetchall()
        assert recurring == [("books",), ("stock",)], "in its own database"
    finally:
        Server(tmp_path / "home" / "server").destroy(force=True)


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly(dsn: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "pgops", "demo", "--headless", "--seconds", "60", "--yes", "--dsn", dsn]
    demo = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_worker(dsn)
    time.sleep(1)
    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=10)
    assert demo.returncode == 130, err
    assert "Traceback" not in err
    with psycopg.connect(dsn) as conn:
        held = conn.execute("select count(*) from pgops.job_running").fetchone()
        workers = conn.execute("select count(*) from pgops.workers").fetchone()
    assert (held, workers) == ((0,), (0,)), "the worker has handed back what it held, and has left"


def wait_for_worker(dsn: str) -> None:
    """Until the demo's worker is at work."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(dsn) as conn:
                if conn.execute("select from pgops.workers").fetchone() is not None:
                    return
        except psycopg.Error:
            pass
        assert time.monotonic() < deadline, "the demo does not start"
        time.sleep(0.1)


def check_all_counters(snapshot: Snapshot) -> None:
    """All that the demo is to show has happened."""
    queues = items(snapshot.queues)
    assert sum(queue.completed_total for queue in queues) > 0
    assert sum(queue.failed_total for queue in queues) > 0
    assert sum(queue.dead for queue in queues) > 0
    assert sum(queue.in_per_s or 0 for queue in queues) > 0, "rates come from two observations"
    assert any(worker.alive for worker in items(snapshot.workers))
    assert sum(subscription.relayed_total for subscription in items(snapshot.outbox)) > 0
    assert isinstance(snapshot.cache, CachePart)
    assert snapshot.cache.hits > 0
    assert snapshot.cache.misses > 0
    assert sum(index.searches_total for index in items(snapshot.vectors)) > 0 or not this_server.has_pgvector()
    assert any(one.max_entries and one.hits for one in items(snapshot.cache_namespaces))
    assert isinstance(snapshot.kv, KvPart)
    assert isinstance(snapshot.limits, LimitsPart)
    assert isinstance(snapshot.pubsub, PubsubPart)
    assert min(snapshot.kv.keys, snapshot.kv.ephemeral_keys, snapshot.limits.keys, snapshot.pubsub.listeners) > 0
    assert not isinstance(snapshot.documents, Unavailable)
    assert sum(collection.writes_total for collection in items(snapshot.documents)) > 0

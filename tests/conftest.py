"""One real server a run, one migrated template, a database of its own for every test that asks for one.

All workers of the run share the server of this_server.py, and the last one to leave removes it.
"""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import this_server
from filelock import FileLock
from pgbouncer import pgbouncer
from pgmq import install_pgmq_from_sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgops import migrate
from pgops.database import AsyncPool
from pgops.errors import UnavailableError
from pgops.server import Server


def pytest_configure(config: pytest.Config) -> None:
    """The controller names the run; its workers inherit the name. A shell's background job has Ctrl-C ignored, and
    would hand that down to the programs whose Ctrl-C is tested."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("PGOPS_TEST_RUN", uuid4().hex[:12])
    if not hasattr(config, "workerinput"):
        this_server.forget_abandoned()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are processors: a test waits now and then."""
    return min(len(os.sched_getaffinity(0)) + 1, 8)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a server without pgvector a test that needs it must fail, and with the error that says so: a mark that hides
    more than that turns the run red. What is the same beside every server is not looked at again on another one: the
    dashboard, whose statements the services' tests and the collector's run there (test_postgresql_15.py opens it), what
    brokers make of events, and the measuring."""
    if not this_server.EMBEDDED:
        same = [item for item in items if is_the_same_everywhere(item)]
        config.hook.pytest_deselected(items=same)
        left_out = set(same)
        items[:] = [item for item in items if item not in left_out]
    if not this_server.has_pgvector():
        without = pytest.mark.xfail(raises=UnavailableError, strict=True, reason="the server has no pgvector")
        for item in items:
            if item.get_closest_marker("vectors"):
                item.add_marker(without)


def is_the_same_everywhere(item: pytest.Item) -> bool:
    return item.path.stem.startswith(("test_sinks", "test_tui_", "test_bench", "test_key_stories"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is imported by now stays: the garbage collector need not walk over it in every test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI nothing is left out: a missing part is a failure there, and not a skip."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and under CI that is a failure: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A superuser's DSN of the run's server."""
    with ExitStack() as stack:
        given = os.environ.get("PGOPS_TEST_DSN")
        server = Server(this_server.root(), settings=this_server.SETTINGS, linger=600)
        yield given or stack.enter_context(server.use())


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller outlives its workers: it removes the run's server, also after a failure."""
    if not hasattr(config, "workerinput"):
        Server(this_server.root()).destroy(force=True)
        lock_path().unlink(missing_ok=True)
        if given := os.environ.get("PGOPS_TEST_DSN"):
            with psycopg.connect(given, autocommit=True) as conn:
                conn.execute(f'drop database if exists "pgops_template_{this_server.run_id()}" with (force)')


def lock_path() -> Path:
    return this_server.root().with_suffix(".lock")


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    """The name of a database with the whole schema; made once a run."""
    name = f"pgops_template_{this_server.run_id()}"
    with FileLock(lock_path()), psycopg.connect(server_dsn, autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", [name]).fetchone() is None:
            conn.execute(f'create database "{name}_new"')
            _migrate(make_conninfo(server_dsn, dbname=f"{name}_new"))
            conn.execute(f'alter database "{name}_new" rename to "{name}"')
    return name


def _migrate(dsn: str) -> None:
    async def run() -> None:
        async with AsyncPool.open(dsn) as db:
            await migrate.apply(db)

    asyncio.run(run())


@pytest.fixture
def dsn(server_dsn: str, template: str) -> Iterator[str]:
    """A fresh database with the schema, for tests in which commits matter."""
    with this_server.database(server_dsn, template) as fresh:
        yield fresh


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    """A fresh database without the schema."""
    with this_server.database(server_dsn, "template0") as fresh:
        yield fresh


@pytest.fixture(scope="module")
def pgmq_dsn(server_dsn: str, template: str) -> Iterator[str]:
    """One database with pgmq in it for all tests of a file; each takes away the queues that it meets."""
    with this_server.database(server_dsn, template) as fresh:
        install_pgmq_from_sql(dsn=fresh)
        yield fresh


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[AsyncPool]:
    """A pool on a fresh database."""
    async with AsyncPool.open(dsn) as pool:
        yield pool


@pytest.fixture(scope="session")
def pooler(server_dsn: str) -> Iterator[str]:
    """The DSN of a PgBouncer in transaction mode before the run's server, without a database."""
    with pgbouncer(server_dsn) as dsn:
        yield dsn


@pytest.fixture
def pooled_dsn(pooler: str, dsn: str) -> Iterator[str]:
    """The fresh database of `dsn`, through the pooler."""
    yield make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])

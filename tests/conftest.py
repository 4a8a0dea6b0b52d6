"""One real server a run, one migrated template, a database of its own for every test that asks for one.

The server is the embedded one with fsync off (or the one that PGOPS_TEST_DSN names, a superuser's DSN). All
workers of the run share it, and the last one to leave removes it.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from filelock import FileLock
from pgbouncer import pgbouncer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgops import migrate
from pgops.database import AsyncPool
from pgops.server import Server

FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def pytest_configure(config: pytest.Config) -> None:
    """The controller names the run; its workers inherit the name."""
    os.environ.setdefault("PGOPS_TEST_RUN", uuid4().hex[:12])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI nothing is left out: a missing part is a failure there, and not a skip."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and under CI that is a failure: {report.longrepr}"
    return report


def run_id() -> str:
    return os.environ["PGOPS_TEST_RUN"]


def server_root() -> Path:
    return Path(tempfile.gettempdir()) / f"pgops-tests-{run_id()}"


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[str]:
    """A superuser's DSN of the run's server."""
    with ExitStack() as stack:
        given = os.environ.get("PGOPS_TEST_DSN")
        yield given or stack.enter_context(Server(server_root(), settings=FAST, linger=600).use())


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller outlives its workers: it removes the run's server, also after a failure."""
    if not hasattr(config, "workerinput"):
        Server(server_root()).destroy(force=True)
        lock_path().unlink(missing_ok=True)
        if given := os.environ.get("PGOPS_TEST_DSN"):
            with psycopg.connect(given, autocommit=True) as conn:
                conn.execute(f'drop database if exists "pgops_template_{run_id()}" with (force)')


def lock_path() -> Path:
    return server_root().with_suffix(".lock")


@pytest.fixture(scope="session")
def template(server_dsn: str) -> str:
    """The name of a database with the whole schema; made once a run."""
    name = f"pgops_template_{run_id()}"
    with FileLock(lock_path()), psycopg.connect(server_dsn, autocommit=True) as conn:
        if conn.execute("select from pg_database where datname = %s", [name]).fetchone() is None:
            conn.execute(f'create database "{name}_new"')
            _migrate(make_conninfo(server_dsn, dbname=f"{name}_new"))
            conn.execute(f'alter database "{name}_new" rename to "{name}"')
    return name


def _migrate(dsn: str) -> None:
    import asyncio

    async def run() -> None:
        async with AsyncPool.open(dsn) as db:
            await migrate.apply(db)

    asyncio.run(run())


_numbers = count()


def _fresh_database(server_dsn: str, template: str) -> Iterator[str]:
    name = f"pgops_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute(f'create database "{name}" template "{template}" strategy file_copy')
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            conn.execute(f'drop database if exists "{name}" with (force)')


@pytest.fixture
def dsn(server_dsn: str, template: str) -> Iterator[str]:
    """A fresh database with the schema, for tests in which commits matter."""
    yield from _fresh_database(server_dsn, template)


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    """A fresh database without the schema."""
    yield from _fresh_database(server_dsn, "template0")


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

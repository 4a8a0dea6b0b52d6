"""In the caller's transaction, whoever made it: a job is there when it commits and was never there when it does not.
psycopg's connections and SQLAlchemy's, blocking and async, with savepoints."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from test_worker import queue, until, working
from test_worker_features import worker

from pgops import AsyncPgops, Pgops, Registry, RunningJob
from pgops.database import AsyncPool
from pgops.errors import UsageError
from pgops.services.queue import AsyncQueue

__all__ = ["queue"]  # fixture


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)


def url(dsn: str) -> URL:
    given = {name: value for name, value in conninfo_to_dict(dsn).items() if value is not None}
    return URL.create("postgresql+psycopg", query={name: str(value) for name, value in given.items()})


@pytest.fixture
def engine(dsn: str) -> Iterator[Engine]:
    engine = create_engine(url(dsn), pool_size=2)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
async def async_engine(dsn: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url(dsn), pool_size=2)
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
def pg(dsn: str) -> Iterator[Pgops]:
    with Pgops.open(dsn) as pg:
        yield pg


@pytest.fixture
async def apg(dsn: str) -> AsyncIterator[AsyncPgops]:
    async with AsyncPgops.open(dsn) as pg:
        yield pg


def there(dsn: str) -> tuple[list[int], list[int]]:
    """What others see: orders, and the jobs' payloads."""
    with psycopg.connect(dsn) as conn:
        orders = [id for (id,) in conn.execute("select id from orders order by 1")]
        return orders, [n for (n,) in conn.execute("select payload::int from pgops.job_queue order by 1")]


def add_in_every_way(queue: Any, n: int) -> None:
    """Jobs n to n + 3."""
    queue.enqueue("q", n)
    queue.enqueue("q", n + 1, delay_s=60, hint=True)
    queue.enqueue("q", n + 2, unique_key=f"k{n}", group_key="g")
    assert queue.enqueue_many("q", [n + 3]) == 1


async def add_in_every_way_async(queue: AsyncQueue, n: int) -> None:
    await queue.enqueue("q", n)
    await queue.enqueue("q", n + 1, delay_s=60, hint=True)
    await queue.enqueue("q", n + 2, unique_key=f"k{n}", group_key="g")
    assert await queue.enqueue_many("q", [n + 3]) == 1


# --- psycopg --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocommit", [False, True])
def test_with_psycopg_commit_rollback_and_savepoint(dsn: str, pg: Pgops, engine: Engine, autocommit: bool) -> None:
    with psycopg.connect(dsn, autocommit=autocommit) as conn:
        mine = pg.bind(conn).queue
        with conn.transaction():
            conn.execute("insert into orders values (1)")
            add_in_every_way(mine, 10)
            assert there(dsn) == ([], []), "nobody else sees it yet"
            with conn.transaction(force_rollback=True):
                conn.execute("insert into orders values (2)")
                add_in_every_way(mine, 20)
            add_in_every_way(mine, 30)
        conn.commit()
        assert there(dsn) == ([1], [10, 11, 12, 13, 30, 31, 32, 33])
        with pytest.raises(ZeroDivisionError), conn.transaction():
            add_in_every_way(mine, 40)
            raise ZeroDivisionError
        conn.rollback()
    assert there(dsn) == ([1], [10, 11, 12, 13, 30, 31, 32, 33])


@pytest.mark.parametrize("autocommit", [False, True])
async def test_with_async_psycopg_commit_rollback_and_savepoint(
    dsn: str, apg: AsyncPgops, engine: Engine, autocommit: bool
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit) as conn:
        mine = apg.bind(conn).queue
        async with conn.transaction():
            await conn.execute("insert into orders values (1)")
            await add_in_every_way_async(mine, 10)
            assert there(dsn) == ([], [])
            async with conn.transaction(force_rollback=True):
                await add_in_every_way_async(mine, 20)
            await add_in_every_way_async(mine, 30)
        await conn.commit()
        with pytest.raises(ZeroDivisionError):
            async with conn.transaction():
                await add_in_every_way_async(mine, 40)
                raise ZeroDivisionError
    assert there(dsn) == ([1], [10, 11, 12, 13, 30, 31, 32, 33])


# --- SQLAlchemy -----------------------------------------------------------------------------------------------------


def test_with_a_sqlalchemy_connection(dsn: str, pg: Pgops, engine: Engine) -> None:
    with engine.connect() as conn:
        mine = pg.bind(conn).queue
        add_in_every_way(mine, 10)
        assert there(dsn) == ([], [])
        conn.commit()
        assert there(dsn) == ([], [10, 11, 12, 13]), "also where nothing went through SQLAlchemy before"
        add_in_every_way(mine, 20)
        conn.rollback()
        conn.execute(text("insert into orders values (1)"))
        with conn.begin_nested() as savepoint:
            add_in_every_way(mine, 30)
            savepoint.rollback()
        mine.enqueue("q", 40)
        conn.commit()
    with engine.begin() as conn:
        pg.bind(conn).queue.enqueue("q", 41)
    assert there(dsn) == ([1], [10, 11, 12, 13, 40, 41])
    with pytest.raises(Exception, match="closed"):
        mine.enqueue("q", 99)


@pytest.mark.parametrize("scoped", [False, True])
def test_with_a_sqlalchemy_session(dsn: str, pg: Pgops, engine: Engine, scoped: bool) -> None:
    maker = sessionmaker(engine)
    session: Any = scoped_session(maker) if scoped else maker()
    mine = pg.bind(session).queue
    session.add(Order(id=1))
    add_in_every_way(mine, 10)
    assert there(dsn) == ([], [])
    session.commit()
    assert there(dsn) == ([1], [10, 11, 12, 13])
    mine.enqueue("q", 20)
    session.rollback()
    session.add(Order(id=2))
    savepoint = session.begin_nested()
    mine.enqueue("q", 30)
    savepoint.rollback()
    mine.enqueue("q", 40)
    session.commit()
    session.close()
    with Session(engine) as other, other.begin():
        other.add(Order(id=3))
        pg.bind(other).queue.enqueue("q", 50)
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            pg.bind(other).cache._db.one(b"select pgops.enqueue('', '{}')")
        other.rollback()
    assert there(dsn) == ([1, 2], [10, 11, 12, 13, 40])


def test_after_its_commit_a_session_s_next_transaction_is_meant(dsn: str, pg: Pgops, engine: Engine) -> None:
    """Its connection has gone back to the pool, where somebody else may have it."""
    session = Session(engine)
    mine = pg.bind(session).queue
    mine.enqueue("q", 1)
    session.commit()
    with engine.connect() as somebody_else:
        somebody_else.execute(text("select 1"))
        mine.enqueue("q", 2)
        somebody_else.rollback()
    session.commit()
    session.close()
    assert there(dsn) == ([], [1, 2])


async def test_with_sqlalchemy_s_async_connection_and_session(
    dsn: str, apg: AsyncPgops, async_engine: AsyncEngine
) -> None:
    async with async_engine.connect() as conn:
        mine = apg.bind(conn).queue
        await add_in_every_way_async(mine, 10)
        assert there(dsn) == ([], [])
        await conn.commit()
        await mine.enqueue("q", 20)
        await conn.rollback()
        async with conn.begin_nested() as savepoint:
            await mine.enqueue("q", 30)
            await savepoint.rollback()
        await mine.enqueue("q", 31)
        await conn.commit()
    async with async_sessionmaker(async_engine)() as session:
        session.add(Order(id=1))
        await apg.bind(await session.connection()).queue.enqueue("q", 40)
        await session.commit()
        await apg.bind(await session.connection()).queue.enqueue("q", 50)
        await session.rollback()
        with pytest.raises(UsageError, match="awaited") as refused:
            await apg.bind(session).queue.enqueue("q", 60)  # type: ignore[arg-type]
        assert "await session.connection()" in refused.value.hint
    assert there(dsn) == ([1], [10, 11, 12, 13, 31, 40])


def test_what_is_no_psycopg_connection_is_refused(dsn: str, pg: Pgops, engine: Engine) -> None:
    with create_engine("sqlite://").connect() as other:
        for wrong in (other, object(), engine, dsn, None):
            with pytest.raises(UsageError, match="stands for no psycopg Connection") as refused:
                pg.bind(wrong).queue.enqueue("q", 1)  # type: ignore[arg-type]
            assert "postgresql+psycopg" in refused.value.hint


async def test_a_job_is_completed_in_sqlalchemy_s_transaction(
    dsn: str, db: AsyncPool, queue: AsyncQueue, engine: Engine, async_engine: AsyncEngine
) -> None:
    registry = Registry()

    @registry.job("plain")
    def plain(job: RunningJob) -> None:
        with Session(engine) as session, session.begin():
            session.add(Order(id=job.id))
            job.complete(session)

    @registry.job("awaited")
    async def awaited(job: RunningJob) -> None:
        async with AsyncSession(async_engine) as session, session.begin():
            session.add(Order(id=job.id))
            await job.complete(await session.connection())

    @registry.job("fails")
    def fails(job: RunningJob) -> None:
        with Session(engine) as session, session.begin():
            session.add(Order(id=job.id))
            job.complete(session)
            raise ValueError

    ids = {kind: await queue.enqueue("q", {}, kind=kind, max_attempts=1) for kind in registry.kinds}
    async with working(worker(db, registry)) as its:
        await until(lambda: its.stats.ended == 3)
    assert await db.all(b"select id from orders order by 1") == sorted([(ids["plain"],), (ids["awaited"],)])
    assert [job.id for job in await queue.jobs("q", state="dead")] == [ids["fails"]]
    assert its.stats.stale == 0


# --- who dies between ------------------------------------------------------------------------------------------------

DIES = """
    import os, sys, psycopg
    from pgops import Pgops
    with Pgops.open(os.environ["PGOPS_DSN"]) as pg:
        conn = psycopg.connect(os.environ["PGOPS_DSN"])
        conn.execute("insert into orders values (1)")
        pg.bind(conn).queue.enqueue("q", 1)
        print("written", flush=True)
        sys.stdin.read()
"""


def test_a_producer_that_is_killed_before_its_commit_leaves_neither(dsn: str, engine: Engine) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DIES)], env=os.environ | {"PGOPS_DSN": dsn}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    assert there(dsn) == ([], [])

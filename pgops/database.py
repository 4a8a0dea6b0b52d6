"""Connections: how a statement reaches PostgreSQL, and how its error comes back.

Floor 1. `AsyncDatabase` is what every service is given: `one`, `all`, `execute`, `copy`, `transaction`; a pool also
has `listen` and `aside`, which are connections of their own (listener.py, aside.py).
Two kinds exist. `AsyncPool` owns connections (autocommit, so a single statement is a single round trip) and
translates the driver's errors into PgopsError. `AsyncBound` runs on a connection that is already there: the
caller's own (`foreign`: nothing is set, committed or translated) or one that a pool lends for a while. Through a pooler
a read-only pool lends `AsyncGuarded`, which opens each statement's transaction as BEGIN READ ONLY.

Rows are plain tuples in binary format; a type without a binary loader (jsonb, xid8, pg_snapshot) is cast to
text by the statement that selects it. This file is written once, async; the blocking twin is generated.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Protocol

import psycopg
import psycopg_pool
from psycopg import sql
from psycopg.rows import tuple_row

from pgops.adapting import CONNECT_TIMEOUT_S, connection_kwargs, nearest_first
from pgops.adapting import Packed as Packed
from pgops.aside import AsyncAside
from pgops.listener import AsyncListener
from pgops.translation import translate
from pgops.unwrapping import Holder, driver_connection

Row = tuple[Any, ...]
Query = bytes | sql.Composed
Params = Mapping[str, object] | Sequence[object] | None
Connection = psycopg.AsyncConnection[Any]

LEND_TIMEOUT_S = 60


class AsyncDatabase(Protocol):
    """What a service needs of a database."""

    async def one(self, query: Query, params: Params = None) -> Row | None:
        """The first row, or None."""

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        """All rows."""

    async def execute(self, query: Query, params: Params = None) -> int:
        """Run it; the number of rows it touched."""

    async def copy(self, query: Query, rows: Iterable[Sequence[object]], types: Sequence[str]) -> int:
        """`copy … from stdin (format binary)` of `rows`, whose columns have the SQL `types`; rows copied."""

    async def copy_text(self, query: Query, chunks: Iterable[bytes]) -> int:
        """`copy … from stdin` of text that is already in COPY's format; rows copied."""

    def transaction(self) -> AbstractAsyncContextManager["AsyncBound"]:
        """A transaction; inside another one, a savepoint."""


class AsyncBound:
    """Statements on one given connection. `foreign` says that it is the caller's own, to be left as it is; then it may
    also be one that stands for another."""

    def __init__(self, conn: Connection | Holder, *, foreign: bool = False) -> None:
        self._given = conn
        self._foreign = foreign

    @property
    def _conn(self) -> Connection:
        return driver_connection(self._given, psycopg.AsyncConnection)

    @property
    def address(self) -> str:
        """Where it leads, as host or socket's folder and port."""
        return f"{self._conn.info.host}:{self._conn.info.port}"

    async def one(self, query: Query, params: Params = None) -> Row | None:
        try:
            cursor = self._conn.cursor(binary=True, row_factory=tuple_row)
            await cursor.execute(query, params)
            return await cursor.fetchone()
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        try:
            cursor = self._conn.cursor(binary=True, row_factory=tuple_row)
            await cursor.execute(query, params)
            return await cursor.fetchall()
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def execute(self, query: Query, params: Params = None) -> int:
        try:
            cursor = self._conn.cursor(binary=True, row_factory=tuple_row)
            await cursor.execute(query, params)
            return cursor.rowcount
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def copy(self, query: Query, rows: Iterable[Sequence[object]], types: Sequence[str]) -> int:
        try:
            cursor = self._conn.cursor()
            async with cursor.copy(query) as copy:
                copy.set_types(types)
                for row in rows:
                    await copy.write_row(row)
            return cursor.rowcount
        except psycopg.Error as error:
            raise self._translated(error) from error

    async def copy_text(self, query: Query, chunks: Iterable[bytes]) -> int:
        try:
            cursor = self._conn.cursor()
            async with cursor.copy(query) as copy:
                for chunk in chunks:
                    await copy.write(chunk)
            return cursor.rowcount
        except psycopg.Error as error:
            raise self._translated(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["AsyncBound"]:
        """Own connection: a transaction or savepoint. The caller's: his transaction, untouched, where one is
        open or implied; only on his idle autocommit connection one is opened, so that nothing is half done."""
        idle = self._conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if self._foreign and not (self._conn.autocommit and idle):
            yield self
            return
        try:
            async with self._conn.transaction():
                yield self
        except psycopg.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: psycopg.Error) -> Exception:
        return error if self._foreign else translate(error)


class AsyncGuarded(AsyncBound):
    """Statements on a connection whose transactions are read only, and nothing else says so: a setting of the session
    would be the next client's of a pooler. Outside of a transaction every statement gets one of its own."""

    async def one(self, query: Query, params: Params = None) -> Row | None:
        async with self._guard():
            return await super().one(query, params)

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        async with self._guard():
            return await super().all(query, params)

    async def execute(self, query: Query, params: Params = None) -> int:
        async with self._guard():
            return await super().execute(query, params)

    async def copy(self, query: Query, rows: Iterable[Sequence[object]], types: Sequence[str]) -> int:
        async with self._guard():
            return await super().copy(query, rows, types)

    async def copy_text(self, query: Query, chunks: Iterable[bytes]) -> int:
        async with self._guard():
            return await super().copy_text(query, chunks)

    def _guard(self) -> AbstractAsyncContextManager[object]:
        idle = self._conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        return self.transaction() if idle else nullcontext()


class AsyncPool:
    """The pool of one database; `async with AsyncPool.open(dsn) as db`. `version` is `server_version_num`, `pooler`
    whether a connection pooler stands between."""

    def __init__(
        self,
        pool: "psycopg_pool.AsyncConnectionPool[Connection]",
        version: int,
        *,
        pooler: bool,
        read_only: bool,
        dsn: str,
        kwargs: dict[str, Any],
    ) -> None:
        self._pool = pool
        self._dsn = dsn
        self._kwargs = kwargs
        self._aside = AsyncAside(dsn, kwargs)
        self._bound = AsyncGuarded if pooler and read_only else AsyncBound
        self.version = version
        self.pooler = pooler
        self.read_only = read_only

    @classmethod
    @asynccontextmanager
    async def open(
        cls, dsn: str, *, application_name: str = "pgops", max_size: int = 8, read_only: bool = False
    ) -> AsyncIterator["AsyncPool"]:
        """Connect, and fail at once with the cause if that is not possible. With `read_only` the server refuses to
        change data: it guards against accidents. Raises UnreachableError, UsageError."""
        logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
        kwargs = connection_kwargs(dsn, application_name)
        version, pooler, options, hosts = await _probe(dsn, kwargs)
        kwargs |= hosts
        if pooler:
            kwargs["prepare_threshold"] = None
        elif read_only:
            kwargs["options"] = f"{options} -c default_transaction_read_only=on".lstrip()
        pool = psycopg_pool.AsyncConnectionPool(
            dsn, kwargs=kwargs, min_size=1, max_size=max_size, open=False, timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=30, num_workers=1, configure=_begin_read_only if pooler and read_only else None,
        )  # fmt: skip
        await pool.open()
        db = cls(pool, version, pooler=pooler, read_only=read_only, dsn=dsn, kwargs=kwargs)
        try:
            yield db
        finally:
            await db._aside.close()
            await pool.close()

    async def one(self, query: Query, params: Params = None) -> Row | None:
        conn = await self._borrow()
        try:
            return await self._bound(conn).one(query, params)
        finally:
            await self._pool.putconn(conn)

    async def all(self, query: Query, params: Params = None) -> list[Row]:
        conn = await self._borrow()
        try:
            return await self._bound(conn).all(query, params)
        finally:
            await self._pool.putconn(conn)

    async def execute(self, query: Query, params: Params = None) -> int:
        conn = await self._borrow()
        try:
            return await self._bound(conn).execute(query, params)
        finally:
            await self._pool.putconn(conn)

    async def copy(self, query: Query, rows: Iterable[Sequence[object]], types: Sequence[str]) -> int:
        async with self.session() as session:
            return await session.copy(query, rows, types)

    async def copy_text(self, query: Query, chunks: Iterable[bytes]) -> int:
        async with self.session() as session:
            return await session.copy_text(query, chunks)

    async def _borrow(self) -> Connection:
        """A connection for one statement: autocommit, so that `session` and its commit would be for nothing."""
        try:
            return await self._pool.getconn()
        except psycopg.Error as error:
            raise translate(error) from error

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncBound]:
        """One autocommit connection of the pool for as long as the block lasts."""
        try:
            async with self._pool.connection() as conn:
                yield self._bound(conn)
        except psycopg.Error as error:
            raise translate(error) from error

    @asynccontextmanager
    async def apart(self) -> AsyncIterator[AsyncBound]:
        """One autocommit connection beside the pool for as long as the block lasts, for what must not wait for whoever
        holds all of the pool's. Raises UnreachableError."""
        try:
            async with await psycopg.AsyncConnection.connect(self._dsn, **self._kwargs) as conn:
                if self._bound is AsyncGuarded:
                    await _begin_read_only(conn)
                yield self._bound(conn)
        except psycopg.Error as error:
            raise translate(error) from error

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """The driver's own connection, for whoever brings his own statements; its errors are the driver's. It may
        have to wait a minute for others who hold one."""
        async with self._pool.connection(timeout=LEND_TIMEOUT_S) as conn:
            yield conn

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncBound]:
        async with self.session() as session, session.transaction():
            yield session

    async def aside(self) -> AsyncBound:
        """The one connection beside the pool, for a session's locks; all share it. Raises UnreachableError."""
        return AsyncBound(await self._aside.connection())

    async def listen(self, channels: Sequence[str], *, dsn: str | None = None) -> AsyncListener:
        """A connection of its own that listens to `channels`, whose names were checked; the caller closes it. `dsn` is
        a direct way to the same database, where this pool's leads through a pooler.

        Raises UnreachableError, and RefusedError where a pooler keeps notifications back or on a standby.
        """
        return await AsyncListener.open(dsn or self._dsn, self._kwargs, channels)


async def _begin_read_only(conn: Connection) -> None:
    """Known to the driver alone, which then says BEGIN READ ONLY; nothing is sent here."""
    await conn.set_read_only(True)


async def _probe(dsn: str, kwargs: dict[str, Any]) -> tuple[int, bool, str, dict[str, str]]:
    """Server version, whether a pooler stands between (its process ids are not PostgreSQL's), the server options that
    DSN, service file and environment ask for, and the order of several hosts from now on."""
    try:
        async with await psycopg.AsyncConnection.connect(dsn, **kwargs) as conn:
            cursor = await conn.execute("select pg_backend_pid()", prepare=False)
            row = await cursor.fetchone()
            pooler = row is None or row[0] != conn.info.backend_pid
            info = conn.info
            return info.server_version, pooler, info.options, nearest_first(dsn, info.host, info.port)
    except psycopg.Error as error:
        raise translate(error) from error

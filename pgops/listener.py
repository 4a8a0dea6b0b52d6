"""LISTEN on a connection of its own, which is never one of the pool's; made by `AsyncPool.listen`.

Floor 1, under database.py. The rule: nothing is listened to that was not proven to arrive. A pooler that lends a
server's session for one transaction takes LISTEN without a word and delivers nothing, so a notification to ourselves,
sent by another connection, must come first; only then are the caller's channels listened to.

What is said by one statement stays visible in pg_stat_activity while the session waits: the LISTENs come in one, so
that everyone can see who listens to what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from pgops.errors import PoolerError, UnreachableError
from pgops.translation import translate

Connection = psycopg.AsyncConnection[Any]

PING_PREFIX = "pgops_ping_"
POOLER_PROOF_S = 1.0
DIRECT_PROOF_S = 4.0
QUIET_S = 30.0
KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}


@dataclass(frozen=True, slots=True)
class Notification:
    """One notification as PostgreSQL gives it. `pid` is the backend that sent it."""

    channel: str
    payload: str
    pid: int


class AsyncListener:
    """A connection that listens; it belongs to whoever opened it, and `close` gives it up."""

    def __init__(self, conn: Connection, channels: Sequence[str]) -> None:
        self._conn = conn
        self._ping = PING_PREFIX + token_hex(8)
        self._channels = tuple(channels)
        self._heard_at = monotonic()
        self._pinged = False

    @classmethod
    async def open(cls, dsn: str, kwargs: dict[str, Any], channels: Sequence[str]) -> "AsyncListener":
        """Connect, prove that notifications arrive, and listen. Raises UnreachableError, PoolerError where a pooler
        keeps them back, and RefusedError on a standby."""
        given = conninfo_to_dict(dsn)
        alive = {name: value for name, value in KEEPALIVE.items() if name not in given}
        kwargs = {**kwargs, **alive, "prepare_threshold": None}
        try:
            conn = await psycopg.AsyncConnection.connect(dsn, **kwargs)
            listener = cls(conn, channels)
            try:
                await listener._prove(dsn, kwargs)
                await listener._listen()
            except BaseException:
                await conn.close()
                raise
        except psycopg.Error as error:
            raise translate(error) from error
        return listener

    async def receive(self, timeout_s: float | None = None) -> list[Notification]:
        """What has come, or comes within `timeout_s` (None: at some time); nothing if nothing did. Raises
        UnreachableError when the connection is lost: what was sent from then on does not arrive."""
        until = None if timeout_s is None else monotonic() + timeout_s
        try:
            while True:
                quiet_at = self._heard_at + QUIET_S
                stop_at = quiet_at if until is None else min(until, quiet_at)
                found = await self._take(max(stop_at - monotonic(), 0.0))
                if found or (until is not None and monotonic() >= until):
                    return found
                if monotonic() >= self._heard_at + QUIET_S:
                    await self._check_on_itself()
        except psycopg.Error as error:
            raise translate(error) from error

    async def close(self) -> None:
        await self._conn.close()

    async def _take(self, timeout_s: float) -> list[Notification]:
        """The next packet of notifications, without our own pings."""
        found = [n async for n in self._conn.notifies(timeout=timeout_s, stop_after=1)]
        if found:
            self._heard_at = monotonic()
            self._pinged = False
        return [Notification(n.channel, n.payload, n.pid) for n in found if n.channel != self._ping]

    async def _check_on_itself(self) -> None:
        """After a silence. Raises UnreachableError when the ping of the silence before was not heard either."""
        if self._pinged:
            raise UnreachableError("the subscription died without a word", "it is made anew")
        self._pinged = True
        self._heard_at = monotonic()
        await self._listen()

    async def _listen(self) -> None:
        """Once more is harmless. The ping comes back to this session, and is told apart by its channel."""
        names = [sql.SQL("listen {}").format(sql.Identifier(name)) for name in (*self._channels, self._ping)]
        await self._conn.execute(sql.SQL("; ").join([*names, sql.SQL("notify {}").format(sql.Identifier(self._ping))]))

    async def _prove(self, dsn: str, kwargs: dict[str, Any]) -> None:
        """Listen to the ping's channel alone, and have another connection send it."""
        await self._conn.execute(sql.SQL("listen {}").format(sql.Identifier(self._ping)))
        backend = await self._backend()
        pooled = backend != self._conn.info.backend_pid
        async with await psycopg.AsyncConnection.connect(dsn, **kwargs) as other:
            await other.execute(sql.SQL("notify {}").format(sql.Identifier(self._ping)))
        until = monotonic() + (POOLER_PROOF_S if pooled else DIRECT_PROOF_S)
        while (left := until - monotonic()) > 0:
            heard = [n.channel async for n in self._conn.notifies(timeout=left, stop_after=1)]
            if self._ping in heard:
                return
        if not pooled:
            raise UnreachableError("notifications do not arrive on this connection", "is the server overloaded?")
        await self._take_back(backend)
        raise PoolerError(
            "a connection pooler stands between, and keeps notifications back (transaction pooling)",
            "listen over a direct DSN: PostgreSQL's own host and port instead of the pooler's",
        )

    async def _take_back(self, backend: int) -> None:
        """The pooler's session still listens to the ping's channel: end that, if it can be had again."""
        for _ in range(20):
            async with self._conn.transaction():
                await self._conn.execute(sql.SQL("unlisten {}").format(sql.Identifier(self._ping)))
                if await self._backend() == backend:
                    return

    async def _backend(self) -> int:
        cursor = self._conn.cursor(row_factory=tuple_row)
        await cursor.execute("select pg_backend_pid()")
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

"""The scratch databases of the bench: on the embedded server, or on one that was named.

The rule: no database that was there before is touched. A run gets one of its own and it is dropped when the run ends,
however that is; what a kill -9 leaves, the next bench drops.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from secrets import token_hex

from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgops import migrate
from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import PgopsError
from pgops.queries import load
from pgops.server import Server
from pgops.sync.database import Pool

Q = load("pgops.bench", "bench.sql")


@contextmanager
def open_server(target: Target) -> Iterator[str]:
    """A DSN of the server of `target` as long as the block lasts, cleared of what killed benches have left.

    Raises UnreachableError.
    """
    with ExitStack() as held:
        dsn = target.dsn if target.dsn is not None else held.enter_context(Server().use())
        with Pool.open(dsn, application_name="pgops bench", max_size=1) as admin, admin.session() as own:
            for (name,) in own.all(Q["find_leftovers"]) if own.one(Q["may_clear"]) == (True,) else ():
                with suppress(PgopsError):
                    own.execute(named("drop_leftover", database=name))
        yield dsn


@contextmanager
def scratch(server: str) -> Iterator[str]:
    """The DSN of a new database with the schema. Raises RefusedError where the role may not create one."""
    name = f"pgops_bench_{token_hex(6)}"
    dsn = make_conninfo(server, dbname=name)
    with Pool.open(server, application_name="pgops bench", max_size=1) as admin, admin.session() as own:
        own.one(Q["begin_scratch"])
        try:
            own.execute(named("create_scratch", database=name))
            with Pool.open(dsn, application_name="pgops bench", max_size=1) as keeper, keeper.session():
                own.one(Q["scratch_is_entered"])
                _migrate(dsn)
                yield dsn
        finally:
            own.execute(named("drop_scratch", database=name))


def named(statement: str, **names: str) -> sql.Composed:
    """A statement of bench.sql with its names filled in."""
    return sql.SQL(Q[statement].decode()).format(**{hole: sql.Identifier(name) for hole, name in names.items()})


def _migrate(dsn: str) -> None:
    async def run() -> None:
        async with AsyncPool.open(dsn, application_name="pgops bench", max_size=1) as db:
            await migrate.apply(db)

    asyncio.run(run())

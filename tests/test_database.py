"""Connections and their errors: one line, a hint, the right exit code, and never a secret."""

import asyncio
import socket
from contextlib import suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgops.adapting import nearest_first
from pgops.config import redact, resolve_target
from pgops.database import AsyncBound, AsyncPool
from pgops.errors import ExitCode, PgopsError, RefusedError, SchemaError, UnreachableError, UsageError
from pgops.translation import translate


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:s3cret@h:5432/db", "postgresql://u:***@h:5432/db"),
        ("postgresql://u:s3:c@ret@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
        ("postgres://h/db?password=s3cret&sslmode=require", "postgres://h/db?password=***&sslmode=require"),
        ("host=h user=u password=s3cret dbname=d", "host=h user=u password=*** dbname=d"),
        ("host=h password = 's3 c\\'ret' user=u", "host=h password = *** user=u"),
        ("host=h sslpassword=s3cret", "host=h sslpassword=***"),
        ("PASSWORD=s3cret", "PASSWORD=***"),
        ("", ""),
    ],
)
def test_a_dsn_is_shown_without_its_secrets(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_the_target_is_found_in_order_and_never_shows_its_secret() -> None:
    env = {"PGOPS_DSN": "host=a password=s3cret", "DATABASE_URL": "postgresql://u:s3cret@b/db", "PGHOST": "c"}
    found = [resolve_target("postgresql://u:s3cret@x/y", env)]
    for name in ("PGOPS_DSN", "DATABASE_URL", "PGHOST"):
        found.append(resolve_target(None, env))
        del env[name]
    found.append(resolve_target(None, env))
    assert [target.source for target in found] == ["--dsn", "PGOPS_DSN", "DATABASE_URL", "PGHOST", "embedded"]
    assert [target.embedded for target in found] == [False, False, False, False, True]
    for target in found:
        assert "s3cret" not in target.display
        assert "s3cret" not in repr(target)


@pytest.mark.parametrize("dsn", ["postgresql://[bad", "host=", "nonsense", "postgresql://h:notaport/db"])
async def test_a_dsn_that_does_not_parse_is_a_usage_error(dsn: str) -> None:
    with pytest.raises((UsageError, UnreachableError)) as caught:
        async with AsyncPool.open(dsn):
            pass
    assert caught.value.hint
    assert "\n" not in str(caught.value)


async def test_a_host_that_does_not_answer_is_unreachable_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        port = taken.getsockname()[1]
        with pytest.raises(UnreachableError, match="refused") as caught:
            async with AsyncPool.open(f"postgresql://u:s3cret@127.0.0.1:{port}/db"):
                pass
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert "s3cret" not in str(caught.value)


async def test_a_missing_database_says_so(server_dsn: str) -> None:
    with pytest.raises(UnreachableError, match="does not exist"):
        async with AsyncPool.open(psycopg.conninfo.make_conninfo(server_dsn, dbname="no_such_db")):
            pass


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (b"select * from pgops.nowhere", SchemaError),
        (b"select 'x'::int", UsageError),
        (b"select 1/0", UsageError),
    ],
)
async def test_a_statements_error_is_ours(db: AsyncPool, statement: bytes, kind: type[PgopsError]) -> None:
    with pytest.raises(kind) as caught:
        await db.execute(statement)
    assert isinstance(caught.value.__cause__, psycopg.Error)
    assert "\n" not in str(caught.value)


async def test_a_statement_that_takes_too_long_or_writes_where_it_must_not_says_so(db: AsyncPool) -> None:
    with pytest.raises(PgopsError, match="statement timeout") as caught:
        async with db.transaction() as tx:
            await tx.execute(b"set local statement_timeout = '20ms'")
            await tx.execute(b"select pg_sleep(5)")
    assert caught.value.hint
    with pytest.raises(RefusedError, match="read-only"):
        async with db.transaction() as tx:
            await tx.execute(b"set transaction read only")
            await tx.execute(b"create table x (i int)")


def test_a_rejected_password_is_not_repeated() -> None:
    error = psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "u"')
    told = translate(error)
    assert isinstance(told, UnreachableError)
    assert "PGPASSWORD" in told.hint


async def test_on_the_callers_connection_errors_stay_the_drivers_own(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=psycopg.rows.dict_row) as conn:
        bound = AsyncBound(conn, foreign=True)
        assert await bound.one(b"select 1") == (1,), "his row factory is not used, and not changed"
        assert await (await conn.execute("select 1 as one")).fetchone() == {"one": 1}
        with pytest.raises(psycopg.errors.DivisionByZero):
            await bound.execute(b"select 1/0")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR


async def test_a_transaction_of_the_caller_is_neither_committed_nor_wrapped(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        bound = AsyncBound(conn, foreign=True)
        async with bound.transaction() as tx:
            await tx.execute(b"create table mine (x int)")
        assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        await conn.rollback()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        bound = AsyncBound(conn, foreign=True)
        with pytest.raises(ZeroDivisionError):
            async with bound.transaction() as tx:
                await tx.execute(b"create table mine (x int)")
                raise ZeroDivisionError
        assert await bound.one(b"select to_regclass('mine') is null") == (True,), "on autocommit it is one transaction"


async def test_the_pool_recovers_after_its_connections_were_ended(db: AsyncPool, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    with suppress(UnreachableError):  # one statement may still meet the ended connection
        await db.one(b"select 1")
    assert await db.one(b"select 1") == (1,)


# --- several hosts -----------------------------------------------------------------------------------------------


async def test_of_several_hosts_the_one_that_answered_is_asked_first_from_then_on(dsn: str) -> None:
    given = conninfo_to_dict(dsn)
    asked = 0

    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        writer.close()

    deaf = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = deaf.sockets[0].getsockname()[1]
    both = make_conninfo(
        dsn, host=f"127.0.0.1,{given['host']}", port=f"{port},{given.get('port') or 5432}", connect_timeout=2
    )
    async with deaf, AsyncPool.open(both, max_size=3) as db:
        assert asked == 1
        async with db.session() as one, db.session() as two, db.apart() as three:
            for each in (one, two, three):
                assert await each.one(b"select 1") == (1,)
                assert str(given["host"]) in each.address
        assert asked == 1, "it is not waited for again"


@pytest.mark.parametrize(
    ("dsn", "at", "wanted"),
    [
        ("host=a dbname=x", ("a", 5432), {}), ("dbname=x", ("a", 5432), {}), ("host=a,b", ("a", 5432), {}),
        ("host=a,b", ("b", 5432), {"host": "b,a"}),
        ("host=a,b,c port=1,2,3", ("b", 2), {"host": "b,c,a", "port": "2,3,1"}),
        ("host=a,a port=1,2", ("a", 2), {"host": "a,a", "port": "2,1"}),
        ("host=a,b port=7", ("b", 7), {"host": "b,a"}),
        ("host=a,b hostaddr=10.0.0.1,10.0.0.2", ("b", 5432), {"host": "b,a", "hostaddr": "10.0.0.2,10.0.0.1"}),
        ("host=a,b", ("z", 5432), {}),
        ("postgresql://u@a:1,b:2/x?target_session_attrs=read-write", ("b", 2), {"host": "b,a", "port": "2,1"}),
    ],
)  # fmt: skip
def test_hosts_in_the_order_in_which_they_are_asked(dsn: str, at: tuple[str, int], wanted: dict[str, str]) -> None:
    assert nearest_first(dsn, *at) == wanted

"""The probe of pub/sub: how fast messages arrive, and every cause of their not arriving, against the real thing."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest
from cli_call import Run, caller
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from test_pooler import leftovers
from test_roles import MONITOR, SCHEMA, TABLES, role

from pgops.errors import UsageError
from pgops.ops.collector import collect
from pgops.ops.observe.snapshot import PubsubPart
from pgops.services.client import AsyncPgops
from pgops.services.models import ChannelListener, PubsubProbe, QueueHolder, Trouble
from pgops.services.probe_rules import of_queue
from pgops.sync.services.client import Pgops


@pytest.fixture
async def pg(dsn: str) -> AsyncIterator[AsyncPgops]:
    async with AsyncPgops.open(dsn) as pg:
        yield pg


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def check_measured(found: PubsubProbe) -> None:
    assert (found.sent, found.received) == (5, 5)
    assert found.connect_ms is not None and found.p50_ms is not None and found.max_ms is not None
    assert 0 < found.p50_ms <= found.max_ms < 2_000
    assert 0 < found.connect_ms < 10_000


def troubles(found: PubsubProbe) -> list[Trouble]:
    """But for the notification queue, which is the whole server's and may be held by another test."""
    return [one for one in found.troubles if one.cause != "queue_held"]


async def test_it_measures_from_commit_to_receipt_and_nobody_else_hears_of_it(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("orders") as messages:
        found = await pg.pubsub.probe()
        assert await messages.next(0.1) is None
        assert [one.name for one in await pg.pubsub.channels()] == ["orders"]
    check_measured(found)
    assert (found.ok, found.cause, found.channel, found.listeners) == (True, None, None, ())


def test_the_blocking_twin_probes_too(dsn: str) -> None:
    with Pgops.open(dsn) as pg, pg.pubsub.listen("orders"):
        found = pg.pubsub.probe("orders")
        check_measured(found)
        assert found.ok
        assert len(found.listeners) == 1


async def test_it_needs_a_client_and_a_good_channel(pg: AsyncPgops, dsn: str) -> None:
    with pytest.raises(UsageError, match="63 bytes"):
        await pg.pubsub.probe("x" * 64)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        with pytest.raises(UsageError, match="connection of its own"):
            await pg.bind(conn).pubsub.probe()


# --- causes ------------------------------------------------------------------------------------------------------


async def test_nobody_listens_to_the_channel(pg: AsyncPgops) -> None:
    async with pg.pubsub.listen("mail"):
        found = await pg.pubsub.probe("orders")
    check_measured(found)
    assert (found.ok, found.cause, found.listeners) == (False, "no_listener", ())
    assert "pgops pubsub listen orders" in found.troubles[0].remedy


async def test_who_listens_is_told_by_pid_and_application(pg: AsyncPgops, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, application_name="billing") as other:
        other.execute("listen orders")
        found = await pg.pubsub.probe("orders")
        assert found.ok
        (one,) = found.listeners
        assert (one.pid, one.application, one.state, one.hears) == (other.info.backend_pid, "billing", "idle", True)


async def test_a_role_that_does_not_see_others_says_so_and_blames_nobody(pg: AsyncPgops, dsn: str) -> None:
    draws = "grant usage on sequence pgops.pubsub_id to {}"
    async with pg.pubsub.listen("orders"):
        with role(dsn, (SCHEMA, TABLES, draws)) as mine:
            async with AsyncPgops.open(mine) as plain:
                found = await plain.pubsub.probe("orders")
                assert found.ok
                assert [one.cause for one in troubles(found)] == ["no_listener"]
                assert "grant pg_monitor" in found.troubles[0].remedy
        with role(dsn, (SCHEMA, TABLES, draws, MONITOR)) as mine:
            async with AsyncPgops.open(mine) as seeing:
                assert troubles(await seeing.pubsub.probe("orders")) == []


async def test_a_listener_that_never_committed_its_listen_hears_nothing(pg: AsyncPgops, dsn: str) -> None:
    with psycopg.connect(dsn, application_name="billing") as deaf:
        deaf.execute("listen orders")
        found = await pg.pubsub.probe("orders")
        assert (found.ok, found.cause) == (False, "idle_listener")
        (trouble,) = troubles(found)
        assert trouble.pids == (deaf.info.backend_pid,)
        assert f"pid {deaf.info.backend_pid} (billing)" in trouble.told
        assert f"pgops sessions terminate {deaf.info.backend_pid}" in trouble.remedy
        async with pg.pubsub.listen("orders"):
            beside = await pg.pubsub.probe("orders")
            assert beside.ok, "one of the two hears"
            assert [one.hears for one in beside.listeners].count(False) == 1
        await asyncio.sleep(1.0)
        at_large = await pg.pubsub.probe()
        assert (at_large.ok, [(one.cause, one.pids) for one in troubles(at_large)]) == (
            True, [("idle_listener", (deaf.info.backend_pid,))],
        )  # fmt: skip
        part = (await collect(pg.db)).pubsub
        assert isinstance(part, PubsubPart)
        assert [(one.pid, one.hears) for one in part.listening] == [(deaf.info.backend_pid, False)]
        assert (part.listeners, part.channels) == (0, 0), "it waits for nothing"
        (channel,) = await pg.pubsub.channels()
        assert (channel.pids, channel.listeners[0].pid) == ((), deaf.info.backend_pid)
        deaf.commit()
        unseen = await pg.pubsub.probe("orders")
        assert unseen.cause == "no_listener", "PostgreSQL tells what a session said last, and that is COMMIT"
        assert "COMMIT, is not seen" in unseen.troubles[0].remedy


@contextmanager
def held_queue(dsn: str) -> Iterator[int]:
    """The notification queue grows behind a listener that opened a transaction after its LISTEN; its pid."""
    with psycopg.connect(dsn, application_name="billing") as holder, psycopg.connect(dsn, autocommit=True) as sender:
        holder.execute("listen elsewhere")
        holder.commit()
        holder.execute("select 1")
        for _ in range(10):
            sender.execute("select pg_notify('filler', repeat('x', 7900))")
        time.sleep(1.1)
        yield holder.info.backend_pid


async def test_a_listener_that_is_idle_in_transaction_holds_the_queue_and_is_named(pg: AsyncPgops, dsn: str) -> None:
    with held_queue(dsn) as pid:
        found = await pg.pubsub.probe()
        snapshot = await collect(pg.db)
    check_measured(found)
    assert found.ok, "messages still arrive"
    assert found.queue_usage > 0
    (trouble,) = [one for one in found.troubles if one.cause == "queue_held"]
    assert trouble.blocking is False
    assert pid in trouble.pids
    assert f"pid {pid} (billing)" in trouble.told
    assert isinstance(snapshot.pubsub, PubsubPart)
    assert [one.application for one in snapshot.pubsub.holders if one.pid == pid] == ["billing"]
    assert snapshot.pubsub.queue_usage > 0


def test_of_several_in_a_transaction_nobody_is_to_be_ended_unseen() -> None:
    one = QueueHolder(7, "billing", "app", "shop", "idle in transaction", 40.0)
    (alone,), (several,) = of_queue(0.1, 9, [one], None), of_queue(0.1, 9, [one, replace(one, pid=8)], None)
    assert alone.remedy == "end its transaction: pgops sessions terminate 7"
    assert several.pids == (7, 8)
    assert "terminate" not in several.remedy


@pytest.mark.parametrize(
    ("pages", "usage", "held", "told"),
    [(0, 0.0, True, False), (4, 4e-6, True, False), (5, 5e-6, True, True), (5, 5e-6, False, False),
     (260_000, 0.24, False, False), (270_000, 0.25, False, True)],
)  # fmt: skip
def test_what_the_queue_usually_holds_is_no_trouble(pages: int, usage: float, held: bool, told: bool) -> None:
    holders = [QueueHolder(7, "billing", "app", "shop", "idle in transaction", 40.0)] if held else []
    assert bool(of_queue(usage, pages, holders, None)) is told


async def test_a_pooler_between_is_named_within_two_seconds_and_a_direct_connection_works_beside_it(
    pg: AsyncPgops, pooled_dsn: str
) -> None:
    async with AsyncPgops.open(pooled_dsn) as pooled:
        began = time.monotonic()
        found = await pooled.pubsub.probe()
        assert time.monotonic() - began < 2
    assert (found.ok, found.cause, found.sent, found.connect_ms) == (False, "pooler", 0, None)
    assert "direct DSN" in found.troubles[0].remedy
    assert set(map(tuple, (await leftovers(pooled_dsn)).values())) == {()}
    assert (await pg.pubsub.probe()).ok


async def test_a_session_that_may_not_write_publishes_nothing_though_others_messages_arrive(dsn: str) -> None:
    async with AsyncPgops.open(dsn, read_only=True) as pg:
        asked = await pg.pubsub.probe()
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            psycopg.sql.SQL("alter database {} set default_transaction_read_only = on").format(
                psycopg.sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
            )
        )
    async with AsyncPgops.open(dsn) as pg:
        configured = await pg.pubsub.probe()
    for found in (asked, configured):
        check_measured(found)
        assert (found.ok, found.cause) == (False, "read_only")
        assert "default_transaction_read_only" in found.troubles[0].remedy


async def test_a_role_that_may_not_publish_is_told_what_grants_it(dsn: str) -> None:
    with role(dsn, (SCHEMA, TABLES)) as mine:
        async with AsyncPgops.open(mine) as pg:
            found = await pg.pubsub.probe()
    check_measured(found)
    assert (found.ok, found.cause) == (False, "denied")
    assert "pubsub_id" in found.troubles[0].told
    assert "pgops grants" in found.troubles[0].remedy


@asynccontextmanager
async def swallowing(dsn: str) -> AsyncIterator[str]:
    """The same database behind something that hands everything on but the notifications of a probe."""
    given = conninfo_to_dict(dsn)
    links: list[asyncio.Task[None]] = []
    ends: list[asyncio.StreamWriter] = []

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, drop: bytes | None) -> None:
        while chunk := await source.read(65_536):
            if drop is None or drop not in chunk:
                target.write(chunk)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = given.get("port", 5432)
        up_reader, up_writer = await asyncio.open_unix_connection(f"{given['host']}/.s.PGSQL.{port}")
        for task in (pump(reader, up_writer, None), pump(up_reader, writer, b"pgops_ping_probe_")):
            links.append(asyncio.create_task(task))
        ends.extend((writer, up_writer))

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield make_conninfo(dsn, host=host, port=port, sslmode="disable", gssencmode="disable")
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)
        for end in ends:
            end.close()
            with suppress(OSError):
                await end.wait_closed()
        await server.wait_closed()


async def test_messages_that_vanish_on_the_way_are_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgops.services.probe.ROUND_S", 0.3)
    async with swallowing(dsn) as through, AsyncPgops.open(through) as pg:
        found = await pg.pubsub.probe()
    assert (found.ok, found.cause, found.sent, found.received) == (False, "silent", 1, 0)
    assert found.p50_ms is None
    assert "0.3 s" in found.troubles[0].told


# --- the snapshot ------------------------------------------------------------------------------------------------


async def test_a_snapshot_says_who_listens_to_what_and_what_that_costs(pg: AsyncPgops, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, application_name="billing") as other:
        other.execute('listen orders; listen "Two words"')
        snapshot = await collect(pg.db)
        part = snapshot.pubsub
        assert isinstance(part, PubsubPart)
        pid, user = other.info.backend_pid, other.info.user
        seen = [replace(one, state_s=0.0) for one in part.listening]
        assert seen == [ChannelListener(name, pid, "billing", user, "idle", 0.0) for name in ("Two words", "orders")]
        assert (part.listeners, part.channels, part.pooled) == (1, 2, ())
        assert all(0 <= one.state_s < 60 for one in part.listening)
        assert 0 < snapshot.cost.parts_ms["pubsub"] <= snapshot.cost.duration_ms


async def test_a_listen_through_a_pooler_is_seen_from_inside_the_pooler(dsn: str, pooled_dsn: str) -> None:
    async with AsyncPgops.open(pooled_dsn) as pg:
        async with await psycopg.AsyncConnection.connect(pooled_dsn, autocommit=True) as deaf:
            await deaf.execute("listen orders", prepare=False)
            found = await collect(pg.db)
            assert isinstance(found.pubsub, PubsubPart)
            assert found.pubsub.pooled == ("orders",)
            assert "pubsub.pooler" in [one.code for one in found.findings]
            await deaf.execute("unlisten *", prepare=False)
        after = await collect(pg.db)
        assert isinstance(after.pubsub, PubsubPart)
        assert after.pubsub.pooled == ()
        assert "pubsub.pooler" not in [one.code for one in after.findings]


# --- the command -------------------------------------------------------------------------------------------------


def test_the_command_says_yes_and_how_fast(dsn: str, command: Run) -> None:
    done = command("pubsub", "probe", "--json", "--dsn", dsn)
    assert done.code == 0, done.err
    assert done.document["ok"] is True
    assert (done.document["sent"], done.document["received"], done.document["cause"]) == (5, 5, None)
    assert done.document["p50_ms"] <= done.document["max_ms"]
    plain = command("pubsub", "probe", "--dsn", dsn)
    assert plain.code == 0
    assert "result    messages arrive\n" in plain.out
    assert "5 of 5 arrived, p50" in plain.out


def test_the_command_says_no_with_the_cause_and_an_exit_code(dsn: str, pooled_dsn: str, command: Run) -> None:
    silent = command("pubsub", "probe", "orders", "--dsn", dsn)
    assert silent.code == 5
    assert "messages arrive, but nobody is seen to listen" in silent.out
    assert "pgops pubsub listen orders" in silent.out
    for argv, cause in ((("--dsn", pooled_dsn), "pooler"), (("--dsn", dsn, "--read-only"), "read_only")):
        done = command("pubsub", "probe", "--json", *argv)
        assert done.code == 4, cause
        assert done.document["cause"] == cause
        assert done.document["troubles"][0]["remedy"]
    with psycopg.connect(dsn, autocommit=True, application_name="billing") as other:
        other.execute("listen orders")
        heard = command("pubsub", "probe", "orders", "--json", "--dsn", dsn)
        assert heard.code == 0
        assert [one["application"] for one in heard.document["listeners"]] == ["billing"]
        shown = command("pubsub", "channels", "--json", "--dsn", dsn).document["items"]
        assert shown[0]["sessions"][0]["application"] == "billing"
        assert "billing" in command("pubsub", "channels", "--dsn", dsn).out

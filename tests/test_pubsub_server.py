"""Pub/sub on a server of its own: restarted, with a full notification queue, as a standby."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import this_server
from status_document import check, document_of

from pgops import migrate
from pgops.database import AsyncPool
from pgops.errors import PgopsError, RefusedError
from pgops.ops.act import actions
from pgops.ops.act.actions import Action
from pgops.ops.collector import collect
from pgops.server import Server
from pgops.services.client import AsyncPgops
from pgops.services.models import Message, Missed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not this_server.EMBEDDED, reason="it starts servers of the embedded PostgreSQL"),
]
SETTINGS = this_server.SETTINGS | {"max_notify_queue_pages": "64", "shared_buffers": "16MB"}


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(f"{this_server.root()}-pubsub-{os.getpid()}")
    server = Server(folder, settings=SETTINGS)
    server.start(pin=True)
    yield server
    server.destroy(force=True)


async def migrated(dsn: str) -> None:
    async with AsyncPool.open(dsn) as db:
        await migrate.apply(db)


def demote(server: Server) -> None:
    """Have it come back as a standby that follows nobody."""
    data = Path(server.status().data_dir)
    mark = data / "standby.signal"
    mark.touch()
    os.chown(mark, data.stat().st_uid, data.stat().st_gid)


async def test_a_listener_outlives_a_restart_of_the_server_and_says_what_it_may_have_missed(server: Server) -> None:
    await migrated(server.url)
    async with AsyncPgops.open(server.url) as pg, pg.pubsub.listen("orders") as messages:
        await pg.pubsub.publish("orders", 1)
        first = await messages.next(5)
        assert isinstance(first, Message)
        await asyncio.to_thread(server.stop, force=True)
        assert await messages.next(0.5) is None, "it waits for the server, and raises nothing"
        await asyncio.to_thread(server.start, pin=True)
        gap = await messages.next(20)
        assert isinstance(gap, Missed)
        assert gap.channels == ("orders",)
        assert gap.seconds > 0.4
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("notify orders, 'after'")
        after = await messages.next(5)
        assert isinstance(after, Message)
        assert after.payload == "after"


async def test_a_full_notification_queue_fails_commits_and_the_probe_names_who_holds_it(server: Server) -> None:
    await migrated(server.url)
    async with AsyncPgops.open(server.url) as pg:
        with psycopg.connect(server.url, application_name="billing") as holder:
            holder.execute("listen orders")
            holder.commit()
            holder.execute("select 1")
            with psycopg.connect(server.url, autocommit=True) as sender:
                with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                    for _ in range(100):
                        sender.execute("select pg_notify('orders', repeat('x', 7900))")
            with pytest.raises(PgopsError, match="too many notifications") as caught:
                await pg.pubsub.publish("orders", 1)
            assert "pgops pubsub probe" in caught.value.hint
            await asyncio.sleep(1.1)
            found = await pg.pubsub.probe()
            assert (found.ok, found.cause) == (False, "queue_full")
            assert found.queue_usage > 0.9
            (trouble,) = found.troubles
            assert trouble.pids == (holder.info.backend_pid,)
            assert f"pid {holder.info.backend_pid} (billing)" in trouble.told
            assert f"pgops sessions terminate {holder.info.backend_pid}" in trouble.remedy
            (finding,) = [one for one in (await collect(pg.db)).findings if one.code.startswith("pubsub.")]
            assert (finding.code, finding.severity) == ("pubsub.queue", "critical")
            assert (finding.action, finding.target) == ("terminate_backend", str(holder.info.backend_pid))
            holder.rollback()
            assert len([*holder.notifies(timeout=1)]) > 50, "the holder gets all of it"
            with pytest.raises(PgopsError, match="too many notifications"):
                await pg.pubsub.publish("orders", 1)
            assert (await pg.pubsub.probe()).ok, "it asks how full the queue is, which frees what all have read"
            await pg.pubsub.publish("orders", 1)


async def test_a_standby_neither_listens_nor_publishes_nor_acts_and_says_so(server: Server) -> None:
    await migrated(server.url)
    await asyncio.to_thread(server.stop, force=True)
    await asyncio.to_thread(demote, server)
    await asyncio.to_thread(server.start, pin=True)
    async with AsyncPgops.open(server.url) as pg:
        found = await pg.pubsub.probe("orders")
        assert (found.ok, found.cause, found.sent) == (False, "standby", 0)
        assert "primary" in found.troubles[0].remedy
        with pytest.raises(RefusedError, match="recovery"):
            async with pg.pubsub.listen("orders"):
                pass
        for action in (
            Action("vacuum_table", "pgops.job_dead"), Action("reindex_index", "pgops.job_dead_died_at"),
            Action("drop_invalid_index", "pgops.job_dead_died_at"), Action("tune_queue_tables", ""),
            Action("reset_stats", ""), Action("outbox_keep", "", given='{"keep_s": 86400}'),
        ):  # fmt: skip
            with pytest.raises(RefusedError, match="is a standby"):
                await actions.run(pg.db, action)
        document = document_of(await collect(pg.db))
    check(document)
    assert document["server"]["in_recovery"] is True
    assert document["cache"]["unavailable"]["remedy"] == "a standby has no unlogged tables: look at the primary"

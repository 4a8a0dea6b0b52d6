"""A Source over one database. It connects when it is first asked, and anew after the connection was lost, so that the
dashboard can open before the database can be reached.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from pgops import migrate
from pgops.config import Target
from pgops.errors import PgopsError, RefusedError, UnreachableError
from pgops.ops.act import actions, audit, progress, undoing
from pgops.ops.act.actions import Action, Preview, Result
from pgops.ops.act.audit import AuditRow
from pgops.ops.act.previews import given
from pgops.ops.act.undoing import Trail
from pgops.ops.act.unlocking import UNLOCK_S, Unlocked
from pgops.ops.collector import Collector
from pgops.ops.observe.job_chain import chain_of
from pgops.ops.observe.snapshot import Snapshot
from pgops.ops.observe.snapshot_jobs import JobChain
from pgops.ops.thresholds import Thresholds
from pgops.services.client import AsyncPgops
from pgops.services.models import (
    CronEntry,
    DocumentIndex,
    FailureGroup,
    JobMatch,
    JobPage,
    JobRow,
    JobState,
    PgmqMessage,
    PubsubProbe,
)
from pgops.tui.news import SchemaSeen
from pgops.tui.schema_watch import SchemaWatch
from pgops.tui.source import SubscriptionView
from pgops.tui.standing import Standing, standing_of
from pgops.tui.starting import embedded_server
from pgops.tui.unlocking import Unlocking
from pgops.tui.works import MOST

CONNECT_WITHIN_S, ANSWER_WITHIN_S = 30.0, 10.0  # of several hosts each may take its five seconds
LOOK_WITHIN_S = 2.0
CUT_BYTES = 8_192
# A long act holds two, and what is shown meanwhile needs its own; opened when they are needed.
CONNECTIONS = 4 + 2 * MOST


class LiveSource:
    """One database. A connection that is lost is given up, and opened anew by the next call; what was unlocked is
    locked then. Acts on a guarded one run over a pool of their own, the rest over one that never writes."""

    def __init__(self, target: Target, thresholds: Thresholds | None = None) -> None:
        self.target = target.display
        self.doing = ""
        self._target = self._reached = target
        self.thresholds = thresholds or Thresholds()
        self._opening = asyncio.Lock()
        self._unlocking = Unlocking(CONNECTIONS)
        self._schema_watch = SchemaWatch()
        self._stack = AsyncExitStack()
        self._open: tuple[AsyncPgops, Collector] | None = None

    @property
    def schema(self) -> SchemaSeen | None:
        return self._schema_watch.seen

    async def migrations(self) -> list[migrate.Step]:
        pg, _ = await self._connected()
        return await migrate.plan(pg.db)

    async def migrate(self) -> list[migrate.Step]:
        pg, collector = await self._connected()
        try:
            async with self._acting() as pg:
                return await migrate.apply(pg.db)
        finally:
            self._schema_watch.expire()
            collector.expire()

    @property
    def standing(self) -> Standing:
        return standing_of(self._target, self._unlocking.left_s)

    async def unlock(self, reason: str) -> Unlocked:
        if not self._target.guard:
            raise RefusedError("nothing is guarded here", "a profile with guard = true is")
        await self._started()
        return await self._unlocking.unlock(self._reached, reason, UNLOCK_S)

    async def lock(self) -> None:
        await self._unlocking.lock()

    @asynccontextmanager
    async def _acting(self) -> AsyncIterator[AsyncPgops]:
        if self._target.guard:
            async with self._unlocking.writing(self._target.profile) as pg:
                yield pg
        else:
            yield (await self._connected())[0]

    async def snapshot(self) -> Snapshot:
        try:
            await self._started()
            async with asyncio.timeout(CONNECT_WITHIN_S):
                pg, collector = await self._connected()
            async with asyncio.timeout(ANSWER_WITHIN_S):
                found = await collector.collect()
                await self._schema_watch.look(pg.db)
                return found
        except TimeoutError:
            await self._lose()
            raise UnreachableError(
                f"no answer within {ANSWER_WITHIN_S:.0f} s", "is the server overloaded, or the network gone?"
            ) from None
        except UnreachableError:
            await self._lose()
            raise

    async def preview(self, action: Action) -> Preview:
        pg, _ = await self._connected()
        return await actions.preview(pg.db, action)

    async def run(self, action: Action) -> Result:
        """What it did is seen by the next snapshot, also in parts that are taken seldom."""
        pg, collector = await self._connected()
        if action.name == "search":
            return await actions.run(pg.db, action)
        try:
            async with self._acting() as pg:
                return await actions.run(pg.db, action)
        except UnreachableError:
            await self.lock()
            raise
        finally:
            collector.expire()

    async def how_far(self, action: Action) -> str:
        pg, _ = await self._connected()
        return await progress.how_far(pg.db, action)

    async def left_of(self, action: Action) -> str:
        pg, _ = await self._connected()
        return await progress.left_of(pg.db, action)

    async def given(self, action: Action) -> str:
        pg, _ = await self._connected()
        return await given(pg.db, action)

    async def page(
        self,
        queue: str,
        state: JobState | None,
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        match: JobMatch | None = None,
    ) -> JobPage:
        pg, _ = await self._connected()
        return await pg.queue.page(
            queue, state=state, limit=limit, after=after, before=before, match=match, cut_bytes=CUT_BYTES
        )

    async def job(self, queue: str, id: int) -> JobRow:
        pg, _ = await self._connected()
        return await pg.queue.job(queue, id)

    async def chain(self, queue: str, id: int) -> JobChain | None:
        pg, _ = await self._connected()
        return await chain_of(pg.db, queue, id)

    async def failures(self, queue: str | None) -> list[FailureGroup]:
        pg, _ = await self._connected()
        return await pg.queue.failures(queue)

    async def dead_jobs(self, queue: str, ids: Sequence[int]) -> list[JobRow]:
        pg, _ = await self._connected()
        return await pg.queue.dead_jobs(queue, ids, cut_bytes=CUT_BYTES)

    async def pgmq_messages(self, queue: str, limit: int) -> list[PgmqMessage]:
        pg, _ = await self._connected()
        return await pg.pgmq.peek(queue, limit=limit, cut_bytes=CUT_BYTES)

    async def subscription(self, name: str, limit: int) -> SubscriptionView:
        pg, _ = await self._connected()
        one = await pg.events.subscription(name)
        parts, held = await pg.events.parts(name), await pg.events.parked_keys(name)
        return SubscriptionView(one, tuple(parts), tuple(await pg.events.parked(name, limit)), tuple(held))

    async def crons(self) -> tuple[CronEntry, ...]:
        pg, _ = await self._connected()
        return await pg.queue.cron.list()

    async def acts(self, limit: int) -> tuple[AuditRow, ...]:
        pg, _ = await self._connected()
        return await audit.list(pg.db, limit)

    async def trail(self, act: int) -> Trail:
        pg, _ = await self._connected()
        return await undoing.show(pg.db, str(act))

    async def document_indexes(self, collection: str) -> tuple[DocumentIndex, ...]:
        pg, _ = await self._connected()
        return await pg.documents.list_indexes(collection)

    async def probe(self, channel: str | None) -> PubsubProbe:
        pg, _ = await self._connected()
        return await pg.pubsub.probe(channel)

    async def close(self) -> None:
        await self._unlocking.close()
        await self._lose()

    async def _lose(self) -> None:
        """An act that is under way over its own pool learns from that whether it is gone."""
        await self._unlocking.lock()
        self._open = None
        self._schema_watch.expire()
        self._reached = self._target
        with suppress(PgopsError):
            await self._stack.aclose()

    async def _started(self) -> None:
        """Have the embedded server run where it is meant. It takes its time, and has its own patience."""
        async with self._opening:
            if self._reached.embedded:
                url = await self._stack.enter_async_context(embedded_server(self._tell))
                self._reached = replace(self._target, dsn=url)

    def _tell(self, doing: str) -> None:
        self.doing = doing

    async def _connected(self) -> tuple[AsyncPgops, Collector]:
        await self._started()
        async with self._opening:
            if self._open is None:
                pg = await self._stack.enter_async_context(
                    AsyncPgops.open(self._reached, application_name="pgops dashboard", max_size=CONNECTIONS)
                )
                self._open = pg, Collector(pg.db, self.target, thresholds=self.thresholds, within_s=LOOK_WITHIN_S)
            return self._open

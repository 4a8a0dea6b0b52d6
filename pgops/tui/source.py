"""All that the screens know of a database: `Source`. live.py has the one over a real one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pgops.migrate import Step
from pgops.ops.act.actions import Action, Preview, Result
from pgops.ops.act.audit import AuditRow
from pgops.ops.act.undoing import Trail
from pgops.ops.act.unlocking import Unlocked
from pgops.ops.observe.snapshot import Snapshot
from pgops.ops.observe.snapshot_jobs import JobChain
from pgops.ops.thresholds import Thresholds
from pgops.services.models import (
    CronEntry,
    DocumentIndex,
    FailureGroup,
    JobMatch,
    JobPage,
    JobRow,
    JobState,
    ParkedEvent,
    ParkedKey,
    PartState,
    PgmqMessage,
    PubsubProbe,
    Subscription,
)
from pgops.tui.news import SchemaSeen
from pgops.tui.standing import Standing


@dataclass(frozen=True, slots=True)
class SubscriptionView:
    """A subscription with all that is to be seen of it."""

    subscription: Subscription
    parts: tuple[PartState, ...]
    parked: tuple[ParkedEvent, ...]
    held: tuple[ParkedKey, ...]


class Source(Protocol):
    """Snapshots, jobs and acts of one database. `doing` is what it is about before it can observe, "" for nothing in
    particular. Every method raises PgopsError."""

    target: str
    doing: str
    thresholds: Thresholds

    @property
    def schema(self) -> SchemaSeen | None:
        """Why the schema is not this program's, as the last look found it."""

    async def migrations(self) -> Sequence[Step]:
        """The state of every migration."""

    async def migrate(self) -> Sequence[Step]:
        """Apply what is pending. Raises SchemaError for a changed or newer schema."""

    @property
    def standing(self) -> Standing:
        """What may be changed here now."""

    async def unlock(self, reason: str) -> Unlocked:
        """Let acts run for a while. Raises RefusedError where nothing is guarded."""

    async def lock(self) -> None:
        """Let no act begin."""

    async def snapshot(self) -> Snapshot:
        """Observe now. Raises UnreachableError."""

    async def preview(self, action: Action) -> Preview:
        """What the act would hit."""

    async def given(self, action: Action) -> str:
        """What an act that is given a text would find there now, to be edited. Raises NotFoundError."""

    async def run(self, action: Action) -> Result:
        """Do it."""

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
        """A page of a queue's jobs. Raises NotFoundError."""

    async def how_far(self, action: Action) -> str:
        """How far an act is that is done now; "" where nobody knows."""

    async def left_of(self, action: Action) -> str:
        """What is left of an act that was stopped, and what to do about it."""

    async def job(self, queue: str, id: int) -> JobRow:
        """One job. Raises NotFoundError."""

    async def chain(self, queue: str, id: int) -> JobChain | None:
        """A running job's worker, session and blockers; None where it does not run."""

    async def failures(self, queue: str | None) -> list[FailureGroup]:
        """Why jobs of a queue, or of all, died. Raises NotFoundError."""

    async def dead_jobs(self, queue: str, ids: Sequence[int]) -> list[JobRow]:
        """Those of these that are dead letters."""

    async def pgmq_messages(self, queue: str, limit: int) -> list[PgmqMessage]:
        """The first messages of a queue of pgmq, none of them read. Raises NotFoundError, and RefusedError without the
        privilege."""

    async def subscription(self, name: str, limit: int) -> SubscriptionView:
        """A subscription, its parts, and what is put aside for it. Raises NotFoundError."""

    async def crons(self) -> tuple[CronEntry, ...]:
        """Every recurring job, by name."""

    async def acts(self, limit: int) -> tuple[AuditRow, ...]:
        """The last acts, newest first."""

    async def trail(self, act: int) -> Trail:
        """One act: what it has kept, and whether it can be undone. Raises NotFoundError."""

    async def document_indexes(self, collection: str) -> tuple[DocumentIndex, ...]:
        """The indexes of a document collection. Raises NotFoundError."""

    async def probe(self, channel: str | None) -> PubsubProbe:
        """Try whether messages arrive, and whether somebody hears `channel`."""

    async def close(self) -> None:
        """Let go of every connection."""

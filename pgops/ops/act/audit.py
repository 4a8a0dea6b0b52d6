"""The trail of every act: who did what, to how much, and how it ended.

Floor 3. A transactional act writes its row in its own transaction. A long one commits `started` first, through a
session that it holds until it ends: when that backend is gone and the row still says `started`, the act was
interrupted, and `list` says so.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import PgopsError, UnreachableError, UsageError
from pgops.queries import load
from pgops.services.models import JsonValue

Q = load("pgops.ops.act", "audit.sql")

Status = Literal["started", "done", "failed", "interrupted"]
MAX_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One act. `actor` is the database role, `client` the application; numbers are None where they are unknown.
    `undo_until`: it can be undone until then, None where it cannot, or not any more; `undone_by`: by this act."""

    id: int
    started_at: datetime
    finished_at: datetime | None
    actor: str
    client: str
    action: str
    target: str
    status: Status
    matched: int | None
    changed: int | None
    detail: JsonValue
    undo_until: datetime | None = None
    undone_by: int | None = None

    @property
    def undoable(self) -> bool:
        """Whether it can be undone, as far as the row tells: its time may be over."""
        return self.undo_until is not None and self.undone_by is None

    @property
    def reason(self) -> str:
        """Why a guarded database was unlocked; "" for every other act."""
        found = self.detail.get("reason") if self.action == "unlock" and isinstance(self.detail, dict) else None
        return str(found or "")


class Act:
    """A long act that goes on; what it has done so far is noted here."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.changed = 0
        self.detail: dict[str, JsonValue] = {}


async def record(
    db: AsyncDatabase,
    action: str,
    target: str,
    *,
    matched: int,
    changed: int,
    detail: Mapping[str, JsonValue] | None = None,
    id: int | None = None,
    undo_days: int | None = None,
) -> int:
    """Note an act as done, in the caller's transaction; the row's id, which may have been drawn before. With
    `undo_days` it can be undone for so long. Raises RefusedError where it is read-only."""
    params = {
        "action": action, "target": target, "matched": matched, "changed": changed, "detail": json.dumps(detail or {}),
        "id": id, "undo_days": undo_days,
    }  # fmt: skip
    row = await db.one(Q["record_act"], params)
    assert row is not None
    return int(row[0])


async def start(
    db: AsyncDatabase, action: str, target: str, *, matched: int, detail: Mapping[str, JsonValue] | None = None
) -> int:
    """Note that a long act begins; the row's id. `db` is the session that owns it."""
    params = {"action": action, "target": target, "matched": matched, "detail": json.dumps(detail or {})}
    row = await db.one(Q["start_act"], params)
    assert row is not None
    return int(row[0])


async def finish(
    db: AsyncDatabase, id: int, status: Status, *, changed: int, detail: Mapping[str, JsonValue] | None = None
) -> None:
    """Close a started row, once."""
    params = {"id": id, "status": status, "changed": changed, "detail": json.dumps(detail or {})}
    await db.execute(Q["finish_act"], params)


async def note(db: AsyncDatabase, act: Act) -> None:
    """Have the trail say how far a long act is by now."""
    await db.execute(Q["note_act"], {"id": act.id, "changed": act.changed, "detail": json.dumps(act.detail)})


@asynccontextmanager
async def long_act(
    db: AsyncPool, action: str, target: str, *, matched: int, detail: Mapping[str, JsonValue] | None = None
) -> AsyncIterator[Act]:
    """A row `started` now, and done, failed or interrupted when the block ends. Takes one connection of the pool."""
    async with db.session() as owner:
        act = Act(await start(owner, action, target, matched=matched, detail=detail))
        try:
            yield act
        except BaseException as error:
            status: Status = "failed" if isinstance(error, Exception) else "interrupted"
            said = {"error": str(error)[:MAX_ERROR_CHARS]} if isinstance(error, PgopsError) else {}
            try:
                await finish(owner, act.id, status, changed=act.changed, detail={**act.detail, **said})
            except PgopsError as lost:
                error.add_note(f"the audit row {act.id} could not be closed: {lost}")
            raise
        try:
            await finish(owner, act.id, "done", changed=act.changed, detail=act.detail)
        except UnreachableError:
            await finish(db, act.id, "done", changed=act.changed, detail=act.detail)


async def list(db: AsyncDatabase, limit: int = 50) -> tuple[AuditRow, ...]:
    """The last acts, newest first. Raises UsageError for a limit below 1 or above 10,000."""
    if not 1 <= limit <= 10_000:
        raise UsageError(f"a limit is 1 to 10,000, not {limit}", "leave it out for 50")
    return tuple(audit_row(*row) for row in await db.all(Q["list_acts"], {"limit": limit}))


def audit_row(
    id: int,
    started_at: datetime,
    finished_at: datetime | None,
    actor: str,
    client: str,
    action: str,
    target: str,
    status: Status,
    matched: int | None,
    changed: int | None,
    detail: str,
    undo_until: datetime | None,
    undone_by: int | None,
) -> AuditRow:
    """A row as list_acts selects it."""
    return AuditRow(
        id, started_at, finished_at, actor, client, action, target, status, matched, changed, json.loads(detail),
        undo_until, undone_by,
    )  # fmt: skip

"""Undoing an act: what it would bring back and what it would leave alone, and doing it, which is an act as well.

Floor 3, under actions.py and previews.py. Whatever was touched since is not overwritten: it is left alone and counted.
An act is undone once.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pgops.database import AsyncDatabase, AsyncPool, Row
from pgops.errors import NotFoundError, RefusedError, UsageError
from pgops.ops.act import audit
from pgops.ops.act.acting import SAMPLES, Action, Preview, first_line, shown
from pgops.ops.act.actions_jobs import Done, apply_settings
from pgops.ops.act.acts_tuning import options_now, same, set_options, statements
from pgops.ops.act.audit import AuditRow
from pgops.ops.act.keeping import KEEP_BYTES, KEEP_DAYS, KEEP_ROWS, Q, lock_queue
from pgops.ops.act.previews_jobs import current, settings
from pgops.ops.wording import size
from pgops.services.models import JsonValue

MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Undone:
    """How much is brought back, or would be; how much has moved on since; how much of what comes back has been edited
    since, and stays so."""

    restored: int
    moved_on: int
    edited: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """One row that an act has kept: the table it stood in, as it was, and what the act made of it."""

    stood_in: str
    before: Mapping[str, JsonValue]
    after: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Way:
    """How the acts of one name are undone, and in words: what comes back, and what has moved on."""

    look: Callable[[AsyncDatabase, AuditRow], Awaitable[Undone]]
    undo: Callable[[AsyncDatabase, AuditRow], Awaitable[Undone]]
    comes_back: str
    moved_on: str
    sql: Callable[[AsyncDatabase, AuditRow], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Trail:
    """One act in full: its row, some of what it has kept, why it cannot be undone, or the SQL that would undo it."""

    act: AuditRow
    kept: tuple[Kept, ...]
    refused: str
    hint: str
    sql: str


async def show(db: AsyncDatabase, id: str, shown: int = SAMPLES) -> Trail:
    """An act by its id. Raises NotFoundError, UsageError for what is no id."""
    act, over, old = await _find(db, id)
    refused, hint = _why_not(act, over, old)
    rows = await db.all(Q["kept_rows"], {"id": act.id, "shown": shown})
    sql = "" if refused else await WAYS[act.action].sql(db, act)
    return Trail(act, tuple(_kept(row) for row in rows), refused, hint, sql)


async def preview(db: AsyncPool, action: Action) -> Preview:
    act = await _undoable(db, action.target)
    way = WAYS[act.action]
    look = await way.look(db, act)
    what = act.action.replace("_", " ") + (f" of {act.target}" if act.target else "")
    return Preview(
        action=action,
        title=f"undo {what} (audit {act.id}, by {act.actor})",
        matched=look.restored,
        exact=True,
        samples=_told(way, look),
        sql=await way.sql(db, act),
        undo="cannot be undone: do the act again instead",
    )


async def carry_out(db: AsyncPool, action: Action) -> Done:
    """Undo it in one transaction with the row of this act. Raises RefusedError where it cannot be undone, or was."""
    await _undoable(db, action.target)
    async with db.transaction() as tx:
        locked = await tx.one(Q["lock_act"], {"id": _id(action.target)})
        act = await _undoable(tx, action.target)
        if locked is None:
            raise RefusedError(f"act {act.id} cannot be undone now", f"see: pgops audit show {act.id}")
        way = WAYS[act.action]
        done = await way.undo(tx, act)
        detail: dict[str, JsonValue] = {"of": act.action, "target": act.target, "moved_on": done.moved_on}
        detail |= {"edited": done.edited} if done.edited else {}
        audit_id = await audit.record(
            tx, "undo", action.target, matched=done.restored + done.moved_on, changed=done.restored, detail=detail
        )
        if done.restored:
            await tx.execute(Q["mark_undone"], {"id": act.id, "by": audit_id})
    said = f"undid act {act.id}: {'; '.join(_told(way, done))}"
    return Done(done.restored + done.moved_on, done.restored, audit_id, said)


async def _undoable(db: AsyncDatabase, id: str) -> AuditRow:
    act, over, old = await _find(db, id)
    refused, hint = _why_not(act, over, old)
    if refused:
        raise RefusedError(refused, hint)
    return act


async def _find(db: AsyncDatabase, id: str) -> tuple[AuditRow, bool, bool]:
    """The act, whether its time to be undone is over, and whether it is older than anything that is kept."""
    row = await db.one(Q["one_act"], {"id": _id(id), "days": KEEP_DAYS})
    if row is None:
        raise NotFoundError(f"there is no act {id}", "see: pgops audit list")
    *columns, in_time, old = row
    return audit.audit_row(*columns), in_time is False, bool(old)


def _why_not(act: AuditRow, over: bool, old: bool) -> tuple[str, str]:
    """Why it cannot be undone, and what to do instead; "" where it can."""
    if act.action == "undo":
        of = act.detail.get("of") if isinstance(act.detail, dict) else None
        on = act.detail.get("target") if isinstance(act.detail, dict) else None
        return f"act {act.id} is an undo itself", f"do the act again: {of} of {on}" if of else "do the act again"
    if act.action not in WAYS:
        return f"act {act.id} ({act.action}) cannot be undone", f"what can: {', '.join(WAYS)}"
    if act.undone_by is not None:
        return f"act {act.id} was undone already", f"by act {act.undone_by}: pgops audit show {act.undone_by}"
    if act.status != "done" or not act.changed:
        return f"act {act.id} changed nothing", "there is nothing to undo"
    if over or (act.undo_until is None and old):
        return f"act {act.id} was kept to be undone for {KEEP_DAYS} days", "that is over"
    if act.undo_until is None:
        return (
            f"act {act.id} hit more than is kept to be undone",
            f"{KEEP_ROWS:,} rows or {size(KEEP_BYTES)} an act; its preview said so",
        )
    return "", ""


def _told(way: Way, done: Undone) -> tuple[str, ...]:
    told = [way.comes_back.format(count=f"{done.restored:,}")]
    told += [way.moved_on.format(count=f"{done.moved_on:,}")] if done.moved_on else []
    told += [f"{done.edited:,} of them with the payload that was given since"] if done.edited else []
    return tuple(told)


def _id(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 20 and 0 < int(text) <= MAX_ID:
        return int(text)
    raise UsageError(f"an act's id is a whole number, not {first_line(text)[:40]!r}", "see: pgops audit list")


# --- jobs --------------------------------------------------------------------------------------------------------


def _of_jobs(name: str, comes_back: str, moved_on: str) -> Way:
    async def look(db: AsyncDatabase, act: AuditRow) -> Undone:
        return _counted(await db.one(Q[f"look_{name}"], {"id": act.id}))

    async def undo(db: AsyncDatabase, act: AuditRow) -> Undone:
        return _counted(await db.one(Q[f"undo_{name}"], {"id": act.id}))

    async def sql(db: AsyncDatabase, act: AuditRow) -> str:
        return shown(Q[f"undo_{name}"], {"id": act.id})

    return Way(look, undo, comes_back, moved_on, sql)


def _counted(row: Row | None) -> Undone:
    return Undone(*row) if row is not None else Undone(0, 0)


def _of_one(name: str, comes_back: str, moved_on: str) -> Way:
    """What one statement sets back, if it is still as the act has set it."""

    async def look(db: AsyncDatabase, act: AuditRow) -> Undone:
        row = await db.one(Q[f"look_{name}"], {"id": act.id})
        return _either(row is not None and bool(row[0]))

    async def undo(db: AsyncDatabase, act: AuditRow) -> Undone:
        if name == "edit":
            row = await db.one(Q["undo_edit"], {"id": act.id})
            return _either(row is not None and bool(row[0]))
        return _either(bool(await db.execute(Q[f"undo_{name}"], {"id": act.id})))

    async def sql(db: AsyncDatabase, act: AuditRow) -> str:
        return shown(Q[f"undo_{name}"], {"id": act.id})

    return Way(look, undo, comes_back, moved_on, sql)


def _either(done: bool) -> Undone:
    return Undone(int(done), int(not done))


# --- what is set -------------------------------------------------------------------------------------------------


async def _settings(db: AsyncDatabase, act: AuditRow) -> tuple[dict[str, JsonValue], dict[str, JsonValue], int]:
    """A queue's settings now, those to set back, and how many have been set anew since."""
    kept = await _only(db, act)
    now = current(await settings(db, act.target))
    back = {name: value for name, value in kept.before.items() if now[name] == kept.after[name]}
    return now, back, len(kept.before) - len(back)


async def _look_settings(db: AsyncDatabase, act: AuditRow) -> Undone:
    _, back, moved_on = await _settings(db, act)
    return Undone(len(back), moved_on)


async def _undo_settings(db: AsyncDatabase, act: AuditRow) -> Undone:
    await lock_queue(db, act.target)
    now, back, moved_on = await _settings(db, act)
    await apply_settings(db, act.target, now, back)
    return Undone(len(back), moved_on)


async def _sql_settings(db: AsyncDatabase, act: AuditRow) -> str:
    _, back, _ = await _settings(db, act)
    return f"-- as {json.dumps(back)} would set them: pgops queue set"


async def _retuned(db: AsyncDatabase, act: AuditRow) -> tuple[list[tuple[str, dict[str, str | None]]], int]:
    """The tables with the options to set back, and how many tables have been set anew since."""
    rows = [_kept(row) for row in await db.all(Q["kept_rows"], {"id": act.id, "shown": KEEP_ROWS})]
    now = await options_now(db, [str(one.before["table"]) for one in rows])
    back: list[tuple[str, dict[str, str | None]]] = []
    for one in rows:
        table, (options, _) = str(one.before["table"]), now.get(str(one.before["table"]), ({}, False))
        set_now, was = _options(one.after), _options(one.before)
        if table in now and all(same(options.get(name), value) for name, value in set_now.items()):
            back.append((table, was))
    return back, len(rows) - len(back)


async def _look_tuning(db: AsyncDatabase, act: AuditRow) -> Undone:
    back, moved_on = await _retuned(db, act)
    return Undone(len(back), moved_on)


async def _undo_tuning(db: AsyncDatabase, act: AuditRow) -> Undone:
    back, moved_on = await _retuned(db, act)
    for table, options in back:
        await set_options(db, table, options)
    return Undone(len(back), moved_on)


async def _sql_tuning(db: AsyncDatabase, act: AuditRow) -> str:
    back, _ = await _retuned(db, act)
    return ";\n".join(one.as_string(None) for table, options in back for one in statements(table, options))


def _options(side: Mapping[str, JsonValue]) -> dict[str, str | None]:
    found = side["options"]
    assert isinstance(found, dict)
    return {name: None if value is None else str(value) for name, value in found.items()}


async def _only(db: AsyncDatabase, act: AuditRow) -> Kept:
    row = await db.one(Q["kept_rows"], {"id": act.id, "shown": 1})
    assert row is not None, "an act that can be undone has kept something"
    return _kept(row)


def _kept(row: Row) -> Kept:
    return Kept(row[0], json.loads(row[1]), json.loads(row[2]) if row[2] else {})


_PAUSE = _of_one("pause", "{count} queue is as it was", "{count} was paused or resumed since, and stays so")
WAYS: Mapping[str, Way] = {
    "requeue_dead": _of_jobs(
        "requeue", "{count} back among the dead letters", "{count} claimed since, and left alone"
    ),
    "discard_dead": _of_jobs("discard", "{count} back among the dead letters", "{count} there already, and left alone"),
    "cancel_jobs": _of_jobs(
        "cancel", "{count} waiting again, behind what has come since",
        "{count} not brought back: another job holds the unique key",
    ),
    "edit_job": _of_one(
        "edit", "{count} job with the payload it had", "{count} left alone: it was edited or claimed since, or is done"
    ),
    "set_queue": Way(
        _look_settings, _undo_settings, "{count} set back", "{count} set anew since, and left alone", _sql_settings
    ),
    "pause": _PAUSE,
    "resume": _PAUSE,
    "tune_queue_tables": Way(
        _look_tuning, _undo_tuning, "{count} tables stored as before", "{count} set anew since, and left alone",
        _sql_tuning,
    ),
}  # fmt: skip

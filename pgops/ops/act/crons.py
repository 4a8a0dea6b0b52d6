"""Acts on recurring jobs: what each would change, and carrying it out in the transaction of its audit row.

Floor 3, under actions.py and previews.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pgops.database import AsyncDatabase
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act.acting import Action, ActionName, Preview, shown
from pgops.ops.wording import many
from pgops.services.cron import AsyncCron, Q
from pgops.services.cron_rules import find_timezone
from pgops.services.models import CronEntry, JsonValue, NewCron

NAMES: tuple[ActionName, ...] = ("cron_add", "cron_remove", "cron_pause", "cron_resume", "cron_run")


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did; `more` goes to the trail and to scripts."""

    changed: int
    message: str
    more: Mapping[str, JsonValue]


async def preview(db: AsyncDatabase, action: Action) -> Preview:
    """What it would change. Raises NotFoundError for an unknown entry, except where one is added."""
    if action.name == "cron_add":
        return await _preview_add(db, action)
    entry = await AsyncCron(db).get(action.target)
    names: dict[str, object] = {"name": entry.name}
    if action.name == "cron_run":
        samples = (f"a job of kind {entry.kind} in queue {entry.queue}", *_overlap(entry))
        return Preview(action, f"run {entry.name} now", 1, True, samples, shown(Q["run_cron"], names))
    if action.name == "cron_remove":
        samples = (about(entry), f"{many(entry.ticks, 'tick')} so far; jobs that it has added stay")
        return Preview(action, f"remove recurring job {entry.name}", 1, True, samples, shown(Q["remove_cron"], names))
    if action.name == "cron_pause":
        title, then = f"pause recurring job {entry.name}", "no more ticks; none is made up for afterwards"
        return Preview(action, title, 1, True, (about(entry), then), shown(Q["pause_cron"], names))
    title = f"resume recurring job {entry.name}"
    (next_at,) = await AsyncCron(db).next_runs(entry.expression, entry.timezone, 1)
    samples = (about(entry), f"next at {next_at.isoformat()}")
    return Preview(action, title, 1, True, samples, shown(Q["resume_cron"], names | {"next_at": next_at}))


async def carry_out(db: AsyncDatabase, action: Action) -> Done:
    """Do it. Raises NotFoundError for an unknown entry."""
    cron, name = AsyncCron(db), action.target
    if action.name == "cron_add":
        made = await cron.put(asked(action))
        then = "it stays paused"
        if made.next_at is not None:
            then = f"next at {made.next_at.astimezone(find_timezone(made.timezone)).isoformat()}"
        more = {"expression": made.expression, "timezone": made.timezone, "queue": made.queue}
        return Done(1, f"{name}: {about(made)}; {then}", more)
    if action.name == "cron_run":
        queue = (await cron.get(name)).queue
        job = await cron.run_now(name)
        said = f"added job {job.id} to {queue}"
        if job.existing:
            said = f"job {job.id} of {name} is not done yet, none was added"
        return Done(int(not job.existing), said, {"queue": queue, "id": job.id, "existing": job.existing})
    if action.name == "cron_remove":
        entry = await cron.get(name)
        await cron.remove(name)
        return Done(1, f"removed {name}", {"expression": entry.expression, "queue": entry.queue})
    await (cron.pause if action.name == "cron_pause" else cron.resume)(name)
    return Done(1, f"{'paused' if action.name == 'cron_pause' else 'resumed'} {name}", {})


def asked(action: Action) -> NewCron:
    """What cron_add is to add. Raises UsageError where nothing says so."""
    if action.cron is None:
        raise UsageError("nothing says what should recur", "give the action its `cron`, made by new_cron")
    return replace(action.cron, name=action.target)


def about(entry: CronEntry | NewCron) -> str:
    """An entry in a line."""
    return f"{entry.expression} in {entry.timezone}, to queue {entry.queue}, kind {entry.kind}"


async def _preview_add(db: AsyncDatabase, action: Action) -> Preview:
    wanted = asked(action)
    cron = AsyncCron(db)
    runs = await cron.next_runs(wanted.expression, wanted.timezone, 3)
    try:
        samples = ["instead of " + about(await cron.get(wanted.name))]
    except NotFoundError:
        samples = []
    samples += [about(wanted), "next at " + ", ".join(run.isoformat() for run in runs)]
    values = {
        "name": wanted.name, "expression": wanted.expression, "timezone": wanted.timezone, "queue": wanted.queue,
        "kind": wanted.kind, "payload": wanted.payload_json, "priority": wanted.priority, "missed": wanted.missed,
        "overlap": wanted.overlap, "replace": True, "next_at": runs[0],
    }  # fmt: skip
    verb = "replace" if len(samples) > 2 else "add"
    return Preview(action, f"{verb} recurring job {wanted.name}", 1, True, tuple(samples), shown(Q["put_cron"], values))


def _overlap(entry: CronEntry) -> tuple[str, ...]:
    return () if entry.overlap else ("none where the job before is not done",)

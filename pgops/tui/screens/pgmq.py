"""Queues of pgmq among the rows of room 2, and what can be done about one. Pure."""

from collections.abc import Iterator

from pgops.ops.act.actions import Action
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Snapshot, Unavailable, items
from pgops.ops.observe.snapshot_jobs import Queue
from pgops.services.models import PgmqQueue
from pgops.services.pgmq_rules import DEAD
from pgops.tui import formats
from pgops.tui.screens.base import Choice
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Line

_MARK = "\0pgmq "


def pgmq_key(one: PgmqQueue) -> str:
    """The key of its row, which no queue of ours can have."""
    return _MARK + one.name


def find(snapshot: Snapshot | None, key: str | None) -> Queue | PgmqQueue | None:
    """The queue whose row has this key."""
    if snapshot is None or key is None:
        return None
    if key.startswith(_MARK):
        return next((one for one in items(snapshot.pgmq) if pgmq_key(one) == key), None)
    return next((one for one in items(snapshot.queues) if one.name == key), None)


def pgmq_line(one: PgmqQueue) -> Line:
    """A queue of pgmq as a row under the columns of ours; what pgmq does not know is a dash."""
    name = formats.clean(one.name)
    kind = ("partitioned",) if one.partitioned else ("unlogged",) if one.unlogged else ()
    unknown = number(formats.UNKNOWN)
    cells = (
        ink(name), number(_roughly(one, one.available, "available")),
        number(_roughly(one, one.scheduled, "scheduled")), number(_roughly(one, one.running, "running")), unknown,
        number(formats.roughly(one.dead, one.exact, "dead"), "warn" if one.dead else "plain"),
        number(formats.duration(one.ready_age_s)), number(formats.rate(one.in_per_s)),
        number(formats.rate(one.out_per_s)), unknown, unknown, unknown,
    )  # fmt: skip
    order = (
        name, one.available or 0, one.scheduled or 0, one.running or 0, 0, one.dead, one.ready_age_s or 0.0,
        one.in_per_s or 0.0, one.out_per_s or 0.0, 0, 0, 0,
    )  # fmt: skip
    return Line(pgmq_key(one), cells, order, one.name, ("pgmq", *kind))


def source_of(queue: str) -> str:
    """The queue that the dead letters in this one come from, where it holds such; else the queue itself."""
    return queue[: -len(DEAD)] if queue.lower().endswith(DEAD) else queue


def hidden_pgmq(snapshot: Snapshot) -> str:
    """Why the queues of pgmq cannot be seen, though it is there; nothing where there is nothing to say."""
    part = snapshot.pgmq
    if not isinstance(part, Unavailable) or part == ABSENT:
        return ""
    return f"◌ pgmq unavailable: {formats.clean(part.reason)} → {formats.clean(part.remedy)}"


def dead_choices(snapshot: Snapshot) -> list[Choice]:
    """What could start over, and where one may set aside what was read too often."""
    return [choice for one in items(snapshot.pgmq) if not one.partitioned for choice in _dead_choices(one)]


def _dead_choices(one: PgmqQueue) -> Iterator[Choice]:
    name = formats.clean(one.name, 60)
    if one.dead:
        dead = _roughly(one, one.dead, "dead")
        yield Choice(f"{name}: let {dead} dead start over", Action("pgmq_redrive", one.name))
    if not one.name.lower().endswith(DEAD):
        aside = Action("pgmq_dead", one.name)
        yield Choice(f"{name}: set aside what was read more than {aside.more_than} times", aside)


def empty_choices(snapshot: Snapshot) -> list[Choice]:
    """What could be emptied: all that pgops may change."""
    return [
        Choice(
            f"{formats.clean(one.name, 60)}: delete {_roughly(one, one.length, 'length')} messages",
            Action("pgmq_purge", one.name),
        )
        for one in items(snapshot.pgmq)
        if not one.partitioned
    ]


def _roughly(one: PgmqQueue, count: int | None, name: str) -> str:
    return formats.UNKNOWN if count is None else formats.roughly(count, one.exact, name)

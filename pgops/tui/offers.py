"""What every act could hit, from a snapshot: what a key asks about, and what the palette offers from anywhere.

The rule: an act stands here under the id of its key, so that none can be left out. Pure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import SessionRow, Snapshot, items
from pgops.tui import formats
from pgops.tui.screens.base import Choice, requeue_choices
from pgops.tui.screens.pgmq import dead_choices, empty_choices
from pgops.tui.screens.stores import purge_choices
from pgops.tui.screens.vectors import builds

SINCE = {
    "15 minutes": timedelta(minutes=15), "hour": timedelta(hours=1), "6 hours": timedelta(hours=6),
    "day": timedelta(days=1), "7 days": timedelta(days=7),
}  # fmt: skip

CHURNING = ("job_available", "job_scheduled", "job_running", "job_dead", "queue_delta")
HOT_INDEXES = (
    "job_available_pkey", "job_available_returned", "job_scheduled_run_at", "job_running_pkey", "job_running_owner",
    "job_dead_died_at", "queue_delta_pkey",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offer:
    """An act in words, what it could hit, and what is said where there is nothing."""

    title: str
    choices: Callable[[Snapshot], list[Choice]]
    nothing: str


def _purge_cache(snapshot: Snapshot) -> list[Choice]:
    return [Choice("cache", Action("purge_expired", ""))]


def _hold(snapshot: Snapshot) -> list[Choice]:
    found = []
    for one in items(snapshot.queues):
        verb: ActionName = "resume" if one.paused else "pause"
        found.append(Choice(f"{verb} {formats.clean(one.name, 60)}", Action(verb, one.name)))
    return found


def _cancel_jobs(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(f"{formats.clean(one.queue, 40)} {one.id}: {one.reason}", Action("cancel_jobs", one.queue, (one.id,)))
        for one in items(snapshot.stuck_jobs)
    ]


def _invalidate(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(f"discard {formats.clean(one.name, 60)}", Action("invalidate", one.name))
        for one in items(snapshot.cache_namespaces)
    ]


def _discard(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(f"{formats.clean(one.name, 60)}: discard {one.dead:,} dead", Action("discard_dead", one.name))
        for one in items(snapshot.queues)
        if one.dead
    ]


def _edit_queue(snapshot: Snapshot) -> list[Choice]:
    return [Choice(formats.clean(one.name, 60), Action("set_queue", one.name)) for one in items(snapshot.queues)]


def _rebuild(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(f"{formats.clean(one.collection or '', 60)}: {choice.words}", choice.action)
        for one in items(snapshot.vectors)
        for choice in builds(one)
    ]


def _unsubscribe(snapshot: Snapshot) -> list[Choice]:
    return [_drop(one.name, "unsubscribe") for one in items(snapshot.outbox)]


def _hold_events(snapshot: Snapshot) -> list[Choice]:
    found = []
    for one in items(snapshot.outbox):
        verb = "resume" if one.paused else "pause"
        name: ActionName = "outbox_resume" if one.paused else "outbox_pause"
        found.append(Choice(f"{verb} {formats.clean(one.name, 60)}", Action(name, one.name)))
    return found


def _replay(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(
            f"{formats.clean(one.name, 60)}: again what was made in the last {words}",
            Action("outbox_replay", one.name, since=snapshot.taken_at - ago),
        )
        for one in items(snapshot.outbox)
        for words, ago in SINCE.items()
    ]


def _unpark(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice(f"{formats.clean(one.name, 60)}: {one.parked:,} put aside", Action("outbox_unpark", one.name))
        for one in items(snapshot.outbox)
        if one.parked
    ]


def _keep(snapshot: Snapshot) -> list[Choice]:
    return [Choice("how long events are kept", Action("outbox_keep", ""))]


def _purge_events(snapshot: Snapshot) -> list[Choice]:
    return [
        Choice("let old events go", Action("outbox_purge", "")),
        Choice("after a restore: make the log this database's own", Action("outbox_rebase", "")),
    ]


def _drop_collection(snapshot: Snapshot) -> list[Choice]:
    names = dict.fromkeys(one.collection for one in items(snapshot.vectors))
    return [_drop(name, "drop_collection") for name in names if name is not None]


def _drop_documents(snapshot: Snapshot) -> list[Choice]:
    return [_drop(one.name, "drop_documents") for one in items(snapshot.documents)]


def _drop(name: str, act: ActionName) -> Choice:
    return Choice(f"drop {formats.clean(name, 60)}", Action(act, name))


def _vacuum(snapshot: Snapshot) -> list[Choice]:
    """Of the tables of the queue, which live through most, and of those that are shown."""
    tables = dict.fromkeys([*(f"pgops.{name}" for name in CHURNING), *(one.table for one in items(snapshot.tables))])
    return [
        Choice("tune: set all of them up for their churn again", Action("tune_queue_tables", "")),
        *(Choice(f"vacuum {formats.clean(name, 90)}", Action("vacuum_table", name)) for name in tables),
        Choice("reset the counters of the database", Action("reset_stats", "")),
    ]


def _mend_index(snapshot: Snapshot) -> list[Choice]:
    """Of the same tables, vector indexes that are not of a collection of ours, and those that never became valid."""
    theirs = [one.index for one in items(snapshot.vectors) if one.collection is None and one.index is not None]
    return [
        *(
            Choice(f"build {name} anew", Action("reindex_index", name))
            for name in (f"pgops.{one}" for one in HOT_INDEXES)
        ),
        *(Choice(f"build {formats.clean(one, 60)} anew", Action("reindex_index", one)) for one in theirs),
        *(
            Choice(f"drop {formats.clean(one.index, 60)}, never valid", Action("drop_invalid_index", one.index))
            for one in items(snapshot.indexes)
            if one.problem == "invalid"
        ),
    ]


def _sessions(act: ActionName) -> Callable[[Snapshot], list[Choice]]:
    """On exactly the backends that are shown, also where a pid is given anew meanwhile."""

    def choices(snapshot: Snapshot) -> list[Choice]:
        return [
            Choice(_session(one), Action(act, str(one.pid), started_at=one.started_at))
            for one in items(snapshot.session_list)
        ]

    return choices


def _session(one: SessionRow) -> str:
    who = formats.clean(f"{one.user or formats.UNKNOWN} {one.application}", 40)
    return f"{one.pid:<8}{who}, {one.state or formats.UNKNOWN}: {formats.clean(one.query or '', 60)}"


OFFERS = {
    "requeue": Offer("Requeue jobs", requeue_choices, "Nothing is stuck or dead."),
    "redrive": Offer("Dead letters of pgmq", dead_choices, "There is nothing of pgmq to move here."),
    "empty": Offer("Empty a queue of pgmq", empty_choices, "There is nothing of pgmq to empty."),
    "cancel_jobs": Offer("Cancel a stuck job", _cancel_jobs, "No job is stuck; a queue's list has the others."),
    "discard": Offer("Discard dead letters", _discard, "No queue has dead letters."),
    "edit_queue": Offer("Change a queue's settings", _edit_queue, "There is no queue."),
    "purge": Offer("Purge the cache", _purge_cache, ""),
    "purge_stores": Offer("Purge a store", purge_choices, "There is nothing here to purge."),
    "invalidate": Offer("Discard a cache namespace", _invalidate, "The cache has no namespace."),
    "hold": Offer("Pause or resume a queue", _hold, "There is no queue."),
    "rebuild": Offer("Build or rebuild a vector index", _rebuild, "There is no collection of vectors."),
    "hold_events": Offer("Pause or resume a subscription", _hold_events, "There is no subscription."),
    "replay": Offer("Deliver events again", _replay, "There is no subscription."),
    "unpark": Offer("Try events again that were put aside", _unpark, "Nothing is put aside."),
    "keep": Offer("How long events are kept", _keep, ""),
    "purge_events": Offer("Purge the event log", _purge_events, ""),
    "unsubscribe": Offer("Drop a subscription", _unsubscribe, "There is no subscription."),
    "drop": Offer("Drop a vector collection", _drop_collection, "There is no index of a pgops collection."),
    "drop_documents": Offer("Drop a document collection", _drop_documents, "There is no collection."),
    "cancel": Offer("Cancel a statement", _sessions("cancel_backend"), "No session is seen."),
    "vacuum": Offer("Vacuum or tune tables, or reset counters", _vacuum, ""),
    "mend_index": Offer("Build an index anew, or drop a failed one", _mend_index, ""),
    "terminate": Offer("Terminate a session", _sessions("terminate_backend"), "No session is seen."),
}

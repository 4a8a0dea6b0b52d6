"""How dangerous an act is: what has to be typed before it is done, and in words why it cannot be undone.

Floor 3, pure, over acting.py. The rule: what is small or can be undone is done on a yes; what destroys much for good is
done once the name of its target was typed. Where nobody could count to the line, it counts as over it.
"""

from collections.abc import Mapping

from pgops.ops.act.acting import ActionName, Preview

MANY = 1_000
MANY_ENTRIES = 10_000
TYPED_CHARS = 60
# From how many on, of what the preview counts, the name is typed.
DESTROYS: Mapping[ActionName, int] = {
    "drop_collection": 1,
    "drop_documents": 1,
    "unsubscribe": 1,
    "pgmq_purge": 1,
    "terminate_backend": 2,
    "discard_dead": MANY + 1,
    "cancel_jobs": MANY + 1,
    "outbox_discard": MANY + 1,
    "invalidate": MANY_ENTRIES + 1,
}

NO_WAY = "cannot be undone: "
NO_NEED = "nothing to undo: "
# Of every act that keeps nothing of what it changes and has no words of its own.
UNDO: Mapping[ActionName, str] = {
    "requeue_stuck": f"{NO_WAY}what was taken back runs again",
    "requeue_ladder": f"{NO_WAY}what went has run by then",
    "purge_expired": f"{NO_NEED}what goes has expired, and is never returned",
    "invalidate": f"{NO_WAY}what is forgotten is computed anew",
    "purge_kv": f"{NO_NEED}what goes has expired, and is never returned",
    "purge_limits": f"{NO_NEED}what goes denies nothing any more",
    "build_index": f"{NO_NEED}the rows stay as they are",
    "rebuild_index": f"{NO_NEED}the rows stay as they are; built with the former numbers it is the former index",
    "search": f"{NO_NEED}it only reads",
    "unsubscribe": f"{NO_WAY}its cursor and what was parked for it are gone; subscribed again, it begins anew",
    "drop_collection": f"{NO_WAY}its rows and its index are gone for good",
    "drop_documents": f"{NO_WAY}its documents and indexes are gone for good",
    "drop_index": f"{NO_WAY}build it again instead",
    "cancel_backend": f"{NO_WAY}the client has to send its statement again",
    "terminate_backend": f"{NO_WAY}what its transaction had not committed is gone",
    "cron_add": f"{NO_WAY}remove it instead, or add what stood there before",
    "cron_remove": f"{NO_WAY}add it again, as the trail has it",
    "cron_pause": f"{NO_NEED}resume it; ticks that have passed by then stay out",
    "cron_resume": f"{NO_NEED}pause it again; what was added by then stays",
    "cron_run": f"{NO_WAY}cancel the job that it adds, while it waits",
    "pgmq_purge": f"{NO_WAY}the messages are gone for good",
    "pgmq_dead": f"{NO_NEED}pgops queue pgmq redrive brings them back",
    "pgmq_redrive": f"{NO_WAY}whoever reads them works on them again",
    "outbox_pause": f"{NO_NEED}resume it; what waits by then is delivered",
    "outbox_resume": f"{NO_NEED}pause it again; what was delivered by then stays delivered",
    "outbox_replay": f"{NO_WAY}what is delivered again stays delivered",
    "outbox_unpark": f"{NO_WAY}what is delivered stays delivered; what fails is parked again",
    "outbox_discard": f"{NO_WAY}they are gone from what is parked",
    "outbox_park": f"{NO_NEED}unpark lets the key go, and delivers what waited",
    "outbox_keep": f"{NO_WAY}set the former times instead, which the trail keeps; what has gone by then stays gone",
    "outbox_purge": f"{NO_WAY}the events are gone for good",
    "outbox_rebase": f"{NO_WAY}every event has a transaction id of this cluster from then on",
}
# Of an act that keeps what it changes, where it found nothing that it could keep.
NOTHING_KEPT = f"{NO_NEED}it would keep nothing"
RUNNING = f"{NO_WAY}a running job that is told to end does not begin again"


def danger(look: Preview) -> str:
    """What has to be typed before it is done, "" where a yes is enough: the target's name, or how many it would hit
    where that name cannot be typed."""
    line = DESTROYS.get(look.action.name)
    if line is None or (look.exact and look.matched < line):
        return ""
    target = look.action.target
    typed = target.isprintable() and 0 < len(target) <= TYPED_CHARS and target == " ".join(target.split())
    return target if typed else str(look.matched)


def way_back(look: Preview) -> str:
    """Whether it can be undone, or why not, in words that are never empty."""
    if look.undo:
        return look.undo
    if look.action.name == "cancel_jobs" and look.matched:
        return RUNNING
    return UNDO.get(look.action.name, NOTHING_KEPT)


def for_good(look: Preview) -> bool:
    """Whether its words say that there is no way back."""
    return look.undo.startswith("cannot be undone")


def meanwhile(look: Preview, changed: int) -> str:
    """How much of what was shown had changed before it was done, "" for none: only of an act that counts what it
    hits, and where the preview could count it."""
    missed = look.matched - changed
    if look.action.name not in COUNTED or not look.exact or missed <= 0:
        return ""
    return f"{missed:,} of {look.matched:,} changed meanwhile, and {'was' if missed == 1 else 'were'} left alone"


COUNTED: frozenset[ActionName] = frozenset(
    {"requeue_stuck", "requeue_dead", "cancel_jobs", "discard_dead", "set_queue", "pgmq_dead", "pgmq_redrive",
     "pgmq_purge", "outbox_unpark", "outbox_discard", "tune_queue_tables"}
)  # fmt: skip

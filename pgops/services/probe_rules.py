"""Why messages do not arrive: pure rules, facts -> Trouble.

Floor 2, under probe.py. What PostgreSQL refuses speaks for itself; who listens and who keeps the notification queue
from being emptied is told as far as sessions can be seen.
"""

from collections.abc import Sequence
from shlex import quote

from pgops.errors import PgopsError, PoolerError, RefusedError
from pgops.services.models import ChannelListener, ProbeCause, PubsubProbe, QueueHolder, Trouble

PAGE_BYTES = 8_192
# The tail moves on after so many pages, so that less waits for nobody in particular.
USUAL_PAGES = 4
FILLING = 0.25
DEAF_AFTER_S = 1.0
_QUEUE_FULL = "54000"


def refusal(error: PgopsError) -> Trouble | None:
    """What listening or publishing was refused for; None where it is another failure."""
    cause = _cause(error)
    return None if cause is None else Trouble(cause, str(error), _REMEDIES.get(cause, error.hint))


def _cause(error: PgopsError) -> ProbeCause | None:
    state = getattr(error.__cause__, "sqlstate", None)
    if isinstance(error, PoolerError):
        return "pooler"
    if state == "25006":
        return "standby" if "recovery" in str(error) else "read_only"
    if state == _QUEUE_FULL:
        return "queue_full"
    return "denied" if isinstance(error, RefusedError) else None


_REMEDIES: dict[ProbeCause, str] = {
    "read_only": "publish from a session that may write: leave out --read-only, or look at "
    "default_transaction_read_only",
    "queue_full": "end the transaction that holds it",
}


def silence(waited_s: float) -> Trouble:
    """A message that was sent and did not come."""
    told = f"a message was sent and did not arrive within {waited_s:g} s"
    return Trouble("silent", told, "is the server overloaded, or does something on the way swallow it?")


def verdict(found: PubsubProbe) -> str:
    """The probe's answer in a few words."""
    return "messages arrive" if found.cause is None else _VERDICTS.get(found.cause, "messages do not arrive")


_VERDICTS: dict[ProbeCause, str] = {
    "read_only": "messages arrive, but this session may not publish",
    "denied": "messages arrive, but this role may not publish",
    "queue_full": "nobody can publish",
    "no_listener": "messages arrive, but nobody is seen to listen",
    "idle_listener": "messages arrive, but who listens hears nothing",
}


def of_channel(channel: str, listeners: Sequence[ChannelListener], *, sees_all: bool) -> list[Trouble]:
    """Who is there to hear a channel."""
    if not listeners:
        return [_nobody(channel, sees_all=sees_all)]
    deaf = [one for one in listeners if not one.hears]
    return [_deaf(deaf, blocking=len(deaf) == len(listeners))] if deaf else []


def of_all_channels(listeners: Sequence[ChannelListener]) -> list[Trouble]:
    """Who listens to anything and hears nothing, for longer than a commit takes."""
    deaf = [one for one in listeners if not one.hears and one.state_s >= DEAF_AFTER_S]
    return [_deaf(deaf, blocking=False)] if deaf else []


def _deaf(deaf: Sequence[ChannelListener], *, blocking: bool) -> Trouble:
    sessions = {one.pid: one for one in deaf}
    who = ", ".join(_session(one.pid, one.application, one.state_s) for one in sessions.values())
    remedy = f"commit after LISTEN, or listen on an autocommit connection; {_terminate([*sessions])}"
    told = f"listening inside an open transaction, and so hearing nothing: {who}"
    return Trouble("idle_listener", told, remedy, tuple(sessions), blocking=blocking)


def _nobody(channel: str, *, sees_all: bool) -> Trouble:
    told = f"nobody is seen to listen to {channel}"
    if not sees_all:
        told += ", but this role sees its own sessions only"
        return Trouble("no_listener", told, "grant pg_monitor to this role to see the others'", blocking=False)
    remedy = (
        f"start one: pgops pubsub listen {quote(channel)} (with --durable NAME nothing is lost meanwhile); a session "
        "that has said anything since its LISTEN, be it COMMIT, is not seen"
    )
    return Trouble("no_listener", told, remedy)


def of_queue(usage: float, pages: int, holders: Sequence[QueueHolder], full: Trouble | None) -> list[Trouble]:
    """Whom the notification queue waits for. `full` is what a full one was refused with."""
    pids = tuple(one.pid for one in holders)
    who = ", ".join(_session(one.pid, one.application, one.transaction_s) for one in holders)
    if full is not None:
        told = "the notification queue is full: every commit that notifies fails"
        return [Trouble("queue_full", f"{told}; in a transaction: {who or 'nobody that is seen'}", _end(pids), pids)]
    if pages <= USUAL_PAGES or not (holders or usage >= FILLING):
        return []
    told = f"{pages * PAGE_BYTES:,} bytes of notifications ({usage:.1%} of the queue) wait for a listener"
    return [
        Trouble(
            "queue_held", f"{told}; in a transaction: {who or 'nobody that is seen'}", _end(pids), pids, blocking=False
        )
    ]


def _session(pid: int, application: str, seconds: float) -> str:
    return f"pid {pid} ({application or 'no name'}) for {seconds:,.0f} s"


def _end(pids: Sequence[int]) -> str:
    """One session is to blame; of several only what they do tells which, and the others' work is not to be undone."""
    if not pids:
        return "grant pg_monitor to this role to see who is in a transaction, and end that of the listener"
    if len(pids) > 1:
        return "end the transaction of whichever of them listens: pgops sessions list shows what they do"
    return f"end its transaction: {_terminate(pids)}"


def _terminate(pids: Sequence[int]) -> str:
    return "; ".join(f"pgops sessions terminate {pid}" for pid in pids[:3])

"""What `pgops check` says of a snapshot, in the form of the monitoring plugins: pure.

The first line is the worst, with the figures; every finding follows on a line of its own, with what to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pgops.cli import checking_server, output
from pgops.cli.inputs import chosen
from pgops.ops.judge.finding_codes import ASKED, CODES, NEEDS, SUBSYSTEMS
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable, items
from pgops.ops.thresholds import Thresholds

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
UNKNOWN = 3
LONGEST = 30


@dataclass(frozen=True, slots=True)
class Choice:
    """Which findings count: of `only`, where anything is said, and none of `ignored`; codes, or whole subsystems."""

    only: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def takes(self, code: str) -> bool:
        names = {code, code.partition(".")[0]}
        return (not self.only or bool(names & set(self.only))) and not names & set(self.ignored)

    def concerns(self, subsystem: str) -> bool:
        """Whether any finding of it counts."""
        return any(self.takes(code) for code in CODES if code.startswith(f"{subsystem}."))


ALL = Choice()


def choice(only: str | None, ignore: str | None) -> Choice:
    """What --only and --ignore say. Raises UsageError with what is near a code that there is not."""
    known = (*SUBSYSTEMS, *CODES)
    return Choice(*(() if one is None else tuple(chosen(one, known, "finding")) for one in (only, ignore)))


def verdict(snapshot: Snapshot, of: Choice = ALL) -> tuple[int, str]:
    """The exit code and what to say: the worst finding; unknown where nothing is wrong but not all could be seen."""
    findings = counted(snapshot, of)
    for code, severity in ((2, "critical"), (1, "warning")):
        worst = [one for one in findings if one.severity == severity]
        if worst:
            others = len([one for one in findings if one.severity != "info"]) - 1
            more = f"; {others} more" if others else ""
            return code, f"{worst[0].title} ({worst[0].evidence}){more}"
    if gone := unseen(snapshot, of):
        return UNKNOWN, gone[0]
    return 0, "nothing needs a human"


def counted(snapshot: Snapshot, of: Choice = ALL) -> list[Finding]:
    """The findings that count, the worst first."""
    return [one for one in snapshot.findings if of.takes(one.code)]


def unseen(snapshot: Snapshot, of: Choice = ALL) -> list[str]:
    """The parts that could not be had and are needed, of what is asked for by name all of them. A standby never has
    the cache: its tables are not logged; a database without pgvector has no vectors, and nobody misses them."""
    server = snapshot.server
    never = set[str]()
    if not isinstance(server, Unavailable):
        never = {name for name, is_so in (("cache", server.in_recovery), ("vectors", not server.pgvector)) if is_so}
    needed = [] if of.only else ["server"]
    needs = ASKED if of.only else NEEDS
    needed += [part for subsystem, parts in needs.items() if of.concerns(subsystem) for part in parts]
    gone = {name: part for name in needed if isinstance(part := getattr(snapshot, name), Unavailable)}
    return [f"{name}: {part.reason} ({part.remedy})" for name, part in gone.items() if name not in never]


def perfdata(snapshot: Snapshot, lines: Thresholds | None = None) -> dict[str, str]:
    """Label -> value;warning;critical;min;max: all that the thresholds speak of. What is unknown is left out, and so
    is a threshold that is not crossed by the figure alone."""
    lines = lines or Thresholds()
    return {
        **_of_sessions(snapshot, lines), **_of_jobs(snapshot, lines), **_of_events(snapshot, lines),
        **_of_stores(snapshot, lines), **checking_server.figures(snapshot, lines),
        "observed_in": f"{snapshot.cost.duration_ms:.3f}ms;;;0",
    }  # fmt: skip


def _of_sessions(snapshot: Snapshot, lines: Thresholds) -> dict[str, str]:
    found: dict[str, str] = {}
    sessions = snapshot.sessions
    if not isinstance(sessions, Unavailable):
        warning, critical = (
            int(sessions.max * share) for share in (lines.connections_warning, lines.connections_critical)
        )
        oldest_s, idle_s = sessions.oldest_transaction_s or 0.0, sessions.oldest_idle_in_transaction_s or 0.0
        found["connections"] = f"{sessions.total};{warning};{critical};0;{sessions.max}"
        found["oldest_transaction"] = f"{oldest_s:.3f}s;{lines.transaction_warning_s:g};;0"
        found["idle_in_transaction"] = _aged(
            idle_s, lines.idle_in_transaction_warning_s, lines.idle_in_transaction_critical_s
        )
    if not isinstance(snapshot.locks, Unavailable):
        waited_s = max((one.waited_s or 0.0 for one in snapshot.locks), default=0.0)
        found["blocked"] = f"{len([one for one in snapshot.locks if one.blocked_by])};;;0"
        found["blocked_longest"] = _aged(waited_s, lines.blocked_warning_s, lines.blocked_critical_s)
    return found


def _of_jobs(snapshot: Snapshot, lines: Thresholds) -> dict[str, str]:
    found: dict[str, str] = {}
    if not isinstance(snapshot.queues, Unavailable):
        queues = snapshot.queues
        for name in ("available", "running", "stuck", "dead"):
            found[f"jobs_{name}"] = f"{sum(getattr(one, name) for one in queues)};;;0"
        oldest_s = max((one.oldest_age_s or 0.0 for one in queues), default=0.0)
        found["jobs_oldest"] = _aged(oldest_s, lines.ready_age_warning_s, lines.ready_age_critical_s)
    if not isinstance(snapshot.workers, Unavailable):
        found["workers"] = f"{len([one for one in snapshot.workers if one.alive])};;;0"
    return found


def _of_events(snapshot: Snapshot, lines: Thresholds) -> dict[str, str]:
    found: dict[str, str] = {}
    if not isinstance(snapshot.outbox, Unavailable):
        lag_s = max((one.lag_s or 0.0 for one in snapshot.outbox), default=0.0)
        behind = max((one.lag_events for one in snapshot.outbox), default=0)
        found["outbox_lag"] = _aged(lag_s, lines.lag_warning_s, lines.lag_critical_s)
        found["outbox_lag_events"] = f"{behind};{lines.lag_events_warning};;0"
        found["outbox_parked"] = f"{sum(one.parked for one in snapshot.outbox)};;;0"
    if not isinstance(snapshot.pubsub, Unavailable):
        filled, *drawn = (
            round(share * 100, 3)
            for share in (snapshot.pubsub.queue_usage, lines.notify_queue_warning, lines.notify_queue_critical)
        )
        found["notify_queue"] = f"{filled:g}%;{drawn[0]:g};{drawn[1]:g};0;100"
    return found


def _of_stores(snapshot: Snapshot, lines: Thresholds) -> dict[str, str]:
    found: dict[str, str] = {}
    cache, kv = snapshot.cache, snapshot.kv
    if not isinstance(cache, Unavailable):
        found["cache_expired"] = f"{cache.expired_backlog};;;0"
        found["cache_hits"], found["cache_misses"] = f"{cache.hits}c", f"{cache.misses}c"
    if not isinstance(kv, Unavailable):
        found["kv_expired"] = f"{kv.expired_backlog + kv.ephemeral_expired_backlog};;;0"
    recalls = [one.recall for one in items(snapshot.vectors) if one.recall is not None]
    if recalls:
        found["recall_lowest"] = f"{min(recalls):.3f};{lines.recall:g}:;;0;1"
    return found


def _aged(seconds: float, warning_s: float, critical_s: float) -> str:
    return f"{seconds:.3f}s;{warning_s:g};{critical_s:g};0"


def line(code: int, message: str, data: Mapping[str, str]) -> str:
    """The plugin's first line."""
    figures = " ".join(f"{label}={value}" for label, value in data.items())
    return f"PGOPS {STATES[code]} - {_one_line(message)}" + (f"|{figures}" if figures else "")


def more(findings: Sequence[Finding], gone: Sequence[str]) -> list[str]:
    """What stands below: every finding with what to do, then what could not be seen."""
    told = [f"{one.severity} {one.code}: {one.title} ({one.evidence}): {one.command or one.remedy}" for one in findings]
    told += [f"not seen: {one}" for one in gone]
    cut = [f"{len(told) - LONGEST} more: pgops status"] if len(told) > LONGEST else []
    return [_one_line(one) for one in [*told[:LONGEST], *cut]]


def _one_line(said: str) -> str:
    """A bar would begin figures, and a line end another line."""
    return " ".join(output.harmless(said).replace("|", "/").split())

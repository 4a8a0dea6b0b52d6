"""The fingerprint of an error: what is left of its text without what differs from job to job.

Below the service; pure. Times, UUIDs, addresses, quoted texts, hex, the varying parts of paths, and numbers become `?`;
a number stays where it is the name of an error (errno, an HTTP status, an exit code). Every pattern is linear in its
text, of which the first MOST characters count.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from pgops.services.models import FailureGroup

MOST = 500
SHOWN = 200
NOTHING = "(no text)"
INTERVALS = 12
EVERY_S = 600

_SPACE = re.compile(r"\s+")
_NAMES = re.compile(
    r"(?i)\b(?:errno|sqlstate|signal|status(?: code)?|exit (?:code|status)|HTTP(?:/\d\.\d)?)"
    r"[ :=]{1,3}(?:\d{1,5}|\d[0-9A-Z]{4})\b"
)
_TAKEN_OUT = (
    re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    re.compile(r"\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"),
    re.compile(r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
    re.compile(r"[^\s@\"'<>()]{1,80}@[\w.-]{1,80}\w"),
    re.compile(r"(?<!\w)\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)|`[^`]*`|“[^”]*”|«[^»]*»"),
    re.compile(r"(?i)\b0x[0-9a-f]+\b"),
    re.compile(r"(?i)\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,}\b"),
    re.compile(r"\?[\w.~%-]+=[^\s)\]]*"),
    re.compile(r"(?<=/)[^/\s:,;)\]]*\d[^/\s:,;)\]]*"),
    re.compile(r"[-+]?\d+(?:[.,:_]\d+)*"),
)
_LIST = re.compile(r"\?(?:[\s,;|]+\?)+")
_KEPT = re.compile(r"\x00(k+)\x00")


def fingerprint(error: str) -> str:
    """What is the same in all errors of its kind: "TimeoutError: no answer after ? s"."""
    text = _SPACE.sub(" ", error[:MOST].replace("\x00", " ")).strip()
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return "\x00" + "k" * len(kept) + "\x00"

    text = _NAMES.sub(keep, text)
    for pattern in _TAKEN_OUT:
        text = pattern.sub("?", text)
    text = _LIST.sub("?", text)
    text = _KEPT.sub(lambda found: kept[len(found[1]) - 1], text)
    return text.replace("\x00", "")[:SHOWN] or NOTHING


def grouped(rows: Iterable[Sequence[object]], cap: int) -> tuple[FailureGroup, ...]:
    """Dead letters (queue, id, kind, error, when it died, what time it is), the youngest of each queue first and one
    more than `cap` of it where there are, by queue, kind and fingerprint: the largest group first."""
    queues: dict[str, int] = {}
    found: dict[tuple[str, str, str], list[tuple[int, str, datetime]]] = {}
    moment = datetime.max.replace(tzinfo=UTC)
    for queue, id, kind, error, died_at, now in rows:
        assert isinstance(queue, str) and isinstance(kind, str) and isinstance(id, int)
        assert isinstance(error, str) and isinstance(died_at, datetime) and isinstance(now, datetime)
        moment = now
        queues[queue] = queues.get(queue, 0) + 1
        if queues[queue] <= cap:
            found.setdefault((queue, kind, fingerprint(error)), []).append((id, error, died_at))
    groups = [
        FailureGroup(
            queue=queue, kind=kind, fingerprint=text, jobs=len(jobs), of=min(queues[queue], cap),
            first_at=jobs[-1][2], last_at=jobs[0][2], sample=jobs[0][1], sample_id=jobs[0][0],
            ids=tuple(id for id, _, _ in jobs), trend=trend_of([died_at for _, _, died_at in jobs], moment),
            exact={} if queues[queue] <= cap else {"jobs": False, "of": False, "first_at": False, "trend": False},
        )
        for (queue, kind, text), jobs in found.items()
    ]  # fmt: skip
    return tuple(sorted(groups, key=lambda one: (-one.jobs, one.queue, one.kind, one.fingerprint)))


def trend_of(died: Sequence[datetime], now: datetime) -> tuple[int, ...]:
    """How many died in each of the last INTERVALS of EVERY_S seconds, the oldest first."""
    counts = [0] * INTERVALS
    for moment in died:
        ago = int((now - moment).total_seconds() // EVERY_S)
        if ago < INTERVALS:
            counts[-1 - max(ago, 0)] += 1
    return tuple(counts)

"""What a page of jobs asks: its conditions in SQL, the places where pages begin and end, and how one is filled.

Floor 2, under job_pages.py and queue.py; no I/O. Values are parameters, and only what is asked for is a condition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pgops.errors import UsageError
from pgops.services.arguments import MAX_SECONDS, check_unicode, encode_json
from pgops.services.models import JobMatch, JobPage, JobRow, JobState

ALL = sql.SQL("true")
STATES: tuple[JobState, ...] = ("running", "available", "scheduled", "waiting", "dead")
FIRST, LAST = -(10**17), 3 * 10**17  # around every priority, and every moment that Python has, in microseconds
MOST = 2**63 - 1
FAR_END = "end"
SCAN = 100_000
MOST_SCAN = 1_000_000

_CONDITIONS = {
    "id": "id = %(id)s",
    "kind": "kind = %(kind)s",
    "not_kinds": "kind <> all(%(not_kinds)s::text[])",
    "error": "position(lower(%(error)s) in lower(errors -> -1 ->> 'error')) > 0",
    "older_than_s": "created_at <= statement_timestamp() - make_interval(secs => %(older_than_s)s)",
    "younger_than_s": "created_at > statement_timestamp() - make_interval(secs => %(younger_than_s)s)",
    "payload": "payload @> %(payload)s::jsonb",
    "words": "not exists (select from unnest(%(words)s::text[]) as word where position(lower(word) in"
    " lower(concat_ws(' ', kind, errors -> -1 ->> 'error', payload::text))) = 0)",
    "not_words": "not exists (select from unnest(%(not_words)s::text[]) as word where position(lower(word) in"
    " lower(concat_ws(' ', kind, errors -> -1 ->> 'error', payload::text))) > 0)",
}


def conditions(match: JobMatch | None) -> sql.Composable:
    """What a row must be, as one condition."""
    asked = [sql.SQL(text) for name, text in _CONDITIONS.items() if match is not None and _asks(match, name)]
    return sql.SQL("coalesce({}, false)").format(sql.SQL(" and ").join(asked)) if asked else ALL


def values(match: JobMatch | None) -> dict[str, object]:
    """Its parameters. Raises UsageError for a payload that is no JSON, and for an age that is none."""
    if match is None:
        return {}
    for age_s in (match.older_than_s, match.younger_than_s):
        if age_s is not None and not 0 <= age_s <= MAX_SECONDS:
            raise UsageError(f"an age is 0 seconds to 100 years, not {age_s!r}", "for example 300")
    for text in (match.kind or "", match.error or "", *match.not_kinds, *match.words, *match.not_words):
        if "\0" in check_unicode(text, "what is looked for"):
            raise UsageError("what is looked for holds a NUL character", "no job has one")
    found = {name: getattr(match, name) for name in _CONDITIONS if _asks(match, name)}
    lists: dict[str, object] = {name: list(one) for name, one in found.items() if isinstance(one, tuple)}
    payload: dict[str, object] = {} if match.payload is None else {"payload": encode_json(match.payload)}
    return {**found, **lists, **payload}


def _asks(match: JobMatch, name: str) -> bool:
    return getattr(match, name) not in (None, ())


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place among the jobs of a queue: the state, and the key of its order there."""

    state: JobState
    first: int
    second: int

    def __str__(self) -> str:
        return f"{self.state},{self.first},{self.second}"


def cursor_of(text: str | None, state: JobState | None) -> Cursor | None:
    """The cursor that `text` is. Raises UsageError for another text, and for a cursor of another state."""
    if text is None:
        return None
    words = text.split(",")
    found = next((one for one in STATES if one == words[0]), None)
    try:
        first, second = (int(word) for word in words[1:])
    except ValueError:
        found = None
    least = -1 if found in ("available", "waiting") else FIRST
    if found is None or not (least <= first <= LAST and -1 <= second <= MOST):
        raise UsageError(f"{text!r} is no place among jobs", "take it from the page before, as it stands there")
    if state not in (None, found):
        raise UsageError(f"{text!r} is a place among {found} jobs, not {state} ones", f"add --state {found}")
    return Cursor(found, first, second)


def edge(state: JobState, *, back: bool) -> Cursor:
    """The place before the first job of a state, or with `back` behind the last."""
    return Cursor(state, LAST, MOST) if back is not (state == "dead") else Cursor(state, FIRST, -1)


def direction(state: JobState, *, back: bool) -> dict[str, sql.Composable]:
    """How a page of it is read on, or back."""
    down = back is not (state == "dead")
    return {"beyond": sql.SQL("<" if down else ">"), "way": sql.SQL("desc" if down else "asc")}


def turns(start: Cursor | None, state: JobState | None, *, back: bool) -> Sequence[JobState]:
    """The states that a page may reach into, in this order."""
    if state is not None:
        return (state,)
    order = STATES[::-1] if back else STATES
    return order if start is None else order[order.index(start.state) :]


def check_page(after: str | None, before: str | None, limit: int, scan: int, match: JobMatch | None) -> None:
    if after is not None and before is not None:
        raise UsageError("a page stands after one place or before one", "not both")
    if limit < 1:
        raise UsageError(f"a page has at least 1 job, not {limit}", "leave it out for 50")
    if not 1 <= scan <= MOST_SCAN:
        raise UsageError(f"a search looks at 1 to {MOST_SCAN:,} jobs, not {scan}", f"leave it out for {SCAN:,}")
    if match is not None and match.id is not None and match != JobMatch(id=match.id):
        raise UsageError("a job's id is looked up alone", "leave out what else it has to be")


@dataclass(slots=True)
class Walk:
    """A page while it is filled, state by state, with one job more than it has to see whether there is one."""

    limit: int
    scan: int
    back: bool
    found: list[tuple[JobRow, Cursor]] = field(default_factory=list)
    searched: int = 0
    stopped: Cursor | None = None

    @property
    def full(self) -> bool:
        return len(self.found) > self.limit

    @property
    def done(self) -> bool:
        return self.full or self.stopped is not None

    def asks(self, cursor: Cursor) -> dict[str, object]:
        """Where the next look begins, how many rows it is about, and how many of them it may give."""
        left = self.limit + 1 - len(self.found)
        return {"first": cursor.first, "second": cursor.second, "scan": self.scan, "limit": left}

    def took(self, rows: Sequence[tuple[JobRow, Cursor, int, bool]]) -> None:
        """What a look gave: jobs with their places, how many rows had been looked at by then, whether it matches."""
        self.found += [(job, place) for job, place, _, fits in rows if fits]
        if rows:
            _, place, looked, _ = rows[-1]
            self.searched += looked
            self.stopped = place if looked >= self.scan and not self.full else None

    def page(self, after: str | None, start: Cursor | None) -> JobPage:
        """The page that was filled from `start` on."""
        kept = self.found[: self.limit]
        on = kept[-1][1] if self.full else self.stopped
        came = start if not kept else kept[0][1]
        come_from = None if start is None else _text(came)
        jobs = tuple(job for job, _ in (reversed(kept) if self.back else kept))
        cut = self.stopped is not None
        if not self.back:
            return JobPage(jobs, _text(on), come_from, after, self.searched, cut)
        again = self.found[self.limit][1] if self.full else self.stopped
        return JobPage(jobs, come_from, _text(on), _text(again), self.searched, cut)


def _text(cursor: Cursor | None) -> str | None:
    return None if cursor is None else str(cursor)

"""What is known now and when to look again: the last snapshot, its history, live, paused or lost. Pure: the time
(monotonic seconds) is always given.

A lost connection keeps the last snapshot and is tried again after 1, 2, 4, 8, then every 15 s.
"""

from collections import deque
from dataclasses import dataclass

from pgops.errors import PgopsError
from pgops.ops.observe.snapshot import Snapshot
from pgops.tui.news import News, SchemaSeen, news_of
from pgops.tui.standing import OPEN, Standing
from pgops.tui.tracks import Tracks
from pgops.tui.works import Work

HISTORY = 120
SPEEDS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
BACKOFF_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@dataclass(frozen=True, slots=True)
class Lost:
    """Why nothing new is known, since how long, and in how many seconds it is tried again (None: just now)."""

    reason: str
    hint: str
    for_s: float
    retry_in_s: float | None


@dataclass(frozen=True, slots=True)
class View:
    """All that a screen draws from. `history` ends with `snapshot`; `doing` is what must be done before the first."""

    target: str
    snapshot: Snapshot | None
    history: tuple[Snapshot, ...]
    lost: Lost | None
    paused: bool
    every_s: float
    busy: tuple[str, ...]
    doing: str = ""
    standing: Standing = OPEN
    schema: SchemaSeen | None = None
    news: News | None = None


class Feed:
    """The state behind every View. The app asks `due`, observes, and says what came of it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.paused = False
        self.busy: list[Work] = []
        self.tracks = Tracks()
        self.doing = ""
        self.standing = OPEN
        self.schema: SchemaSeen | None = None
        self._news: News | None = None
        self._speed = SPEEDS_S.index(1.0)
        self._history: deque[Snapshot] = deque(maxlen=HISTORY)
        self._error: PgopsError | None = None
        self._lost_at = 0.0
        self._failures = 0
        self._next_at = 0.0
        self._looking = False

    @property
    def every_s(self) -> float:
        return SPEEDS_S[self._speed]

    def due(self, now: float) -> bool:
        """Whether to observe now: never while an observation is under way, so that a slow one skips."""
        return not self._looking and now >= self._next_at and (not self.paused or self._error is not None)

    def started(self, now: float) -> None:
        """An observation is under way; the next one is due a period from its start."""
        self._looking = True
        self._next_at = now + self.every_s

    def hurry(self) -> None:
        """Look again as soon as possible, whatever the period or the back-off."""
        self._next_at = 0.0

    @property
    def looking(self) -> bool:
        return self._looking

    def took(self, snapshot: Snapshot) -> None:
        self._looking = False
        self._error = None
        self._failures = 0
        self._news = news_of(self._history[-1] if self._history else None, snapshot) or self._news
        self._history.append(snapshot)
        self.tracks.take(snapshot)

    def failed(self, error: PgopsError, now: float) -> None:
        self._looking = False
        if self._error is None:
            self._lost_at = now
        self._error = error
        self._next_at = now + BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
        self._failures += 1

    def faster(self) -> None:
        self._speed = max(self._speed - 1, 0)
        self.hurry()

    def slower(self) -> None:
        self._speed = min(self._speed + 1, len(SPEEDS_S) - 1)

    def view(self, now: float) -> View:
        """What is known at `now`."""
        history = tuple(self._history)
        lost = None
        if self._error is not None:
            wait = None if self._looking else max(self._next_at - now, 0.0)
            lost = Lost(str(self._error), self._error.hint, now - self._lost_at, wait)
        news = self._news if self._news is not None and self._news.fresh(history[-1].taken_at) else None
        return View(
            self.target, history[-1] if history else None, history, lost, self.paused, self.every_s,
            tuple(work.words(now) for work in self.busy), self.doing, self.standing, self.schema, news,
        )  # fmt: skip

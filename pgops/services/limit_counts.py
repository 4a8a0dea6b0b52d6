"""What rate limits have decided in this process and is not in the database yet.

Below the service; nothing here does I/O. Threads of a client share one of these. The name of a limit is what stands
before the first colon of its key ("login" of "login:ann"); keys without one stand together, and so do those beyond
MAX_NAMES, so that neither keys nor names fill memory.
"""

from threading import Lock
from time import monotonic

FLUSH_SECONDS = 5.0
MAX_NAMES = 200
MAX_NAME = 100
UNNAMED = "(unnamed)"
OTHERS = "(others)"
Counts = dict[str, tuple[int, int]]


class LimitCounts:
    """Decisions and denials since the last flush, by name."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counts = {}
        self._due_at = monotonic() + FLUSH_SECONDS

    def add(self, key: str, denied: bool) -> None:
        name, colon, _ = key.partition(":")
        name = name[:MAX_NAME] if colon and name else UNNAMED
        with self._lock:
            self._count(name, 1, int(denied))

    def due(self) -> bool:
        return monotonic() >= self._due_at and bool(self._counts)

    def take(self) -> Counts:
        """The counts, which are then zero here; the next flush is due FLUSH_SECONDS from now."""
        with self._lock:
            taken, self._counts = self._counts, {}
            self._due_at = monotonic() + FLUSH_SECONDS
            return taken

    def give_back(self, taken: Counts) -> None:
        """Keep what could not be written."""
        with self._lock:
            for name, (decisions, denials) in taken.items():
                self._count(name, decisions, denials)

    def _count(self, name: str, decisions: int, denials: int) -> None:
        if name not in self._counts and len(self._counts) >= MAX_NAMES:
            name = OTHERS
        mine = self._counts.get(name, (0, 0))
        self._counts[name] = mine[0] + decisions, mine[1] + denials

"""What happened to the cache in this process and is not in the database yet.

Below the service; nothing here does I/O. A client and the services that it binds share one of these, also over threads.
"""

from collections.abc import Iterable
from threading import Lock
from time import monotonic

FLUSH_OPERATIONS = 1_000
FLUSH_SECONDS = 5.0
COUNTERS = ("hits", "misses", "sets", "expired", "evicted")
Counts = dict[str, dict[str, int]]


class CacheCounts:
    """Counts since the last flush, by namespace, and sliding values that were read where they could not be extended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counts = {}
        self._read: dict[str, set[str]] = {}
        self._operations = 0
        self._due_at = monotonic() + FLUSH_SECONDS

    def add(self, namespace: str, counter: str, amount: int = 1) -> None:
        with self._lock:
            counts = self._counts.get(namespace)
            if counts is None:
                counts = self._counts[namespace] = dict.fromkeys(COUNTERS, 0)
            counts[counter] += amount
            self._operations += amount

    def extend_later(self, namespace: str, keys: Iterable[str]) -> None:
        """Have the next flush extend these sliding values."""
        with self._lock:
            self._read.setdefault(namespace, set()).update(keys)

    def due(self) -> bool:
        return self._operations >= FLUSH_OPERATIONS or (self._operations > 0 and monotonic() >= self._due_at)

    def take(self) -> Counts:
        """The counts, which are then zero here; the next flush is due FLUSH_SECONDS from now."""
        with self._lock:
            taken, self._counts = self._counts, {}
            self._operations = 0
            self._due_at = monotonic() + FLUSH_SECONDS
            return taken

    def take_read(self) -> dict[str, set[str]]:
        """The keys to extend, by namespace, which are then forgotten here."""
        with self._lock:
            read, self._read = self._read, {}
            return read

    def give_back(self, taken: Counts) -> None:
        """Keep what could not be written, without making a flush due at once."""
        with self._lock:
            for namespace, counts in taken.items():
                mine = self._counts.setdefault(namespace, dict.fromkeys(COUNTERS, 0))
                for counter, amount in counts.items():
                    mine[counter] += amount
            self._operations = max(self._operations, 1)

"""The key-value store: an entry, and a page of them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class KvEntry:
    """A key and what stands there. `version` grows with each write and is what a compare-and-set compares; `ttl_s` is
    the seconds it has left, None without an end."""

    key: str
    value: bytes
    version: int
    ttl_s: float | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class KvPage:
    """Entries in byte order of their keys. `next` goes into `after` of the next scan; None: there are no more."""

    entries: tuple[KvEntry, ...]
    next: str | None

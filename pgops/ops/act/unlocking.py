"""Leave to change a guarded database: why, who and until when stand in the trail of acts before anything is changed.

Floor 3. The guard itself is the session, which is read-only; this is what is written before another one is used.
"""

import getpass
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pgops.config import redact
from pgops.database import AsyncDatabase
from pgops.errors import RefusedError, UsageError
from pgops.queries import load
from pgops.services.arguments import check_unicode

Q = load("pgops.ops.act", "audit.sql")

UNLOCK_S = 600.0
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Unlocked:
    """The row that was written. `until` is on the database's clock, None for one command."""

    audit_id: int
    reason: str
    until: datetime | None


def check_reason(reason: str) -> str:
    """It, as it is written down: in one line, without the passwords of DSNs. Raises UsageError for none."""
    words = redact(" ".join(check_unicode(reason, "a reason").split()))
    if "\0" in words:
        raise UsageError("a reason holds a NUL character", "say it in words")
    if not words:
        raise UsageError("a reason is needed to unlock", "say in a few words why data must be changed here")
    if len(words) > MAX_REASON:
        raise UsageError(f"a reason has {MAX_REASON} characters at most, not {len(words):,}", "name the ticket")
    return words


async def unlock(db: AsyncDatabase, profile: str, reason: str, *, seconds: float | None = None) -> Unlocked:
    """Write it down; `db` may write. Raises UsageError for an empty reason, and whatever keeps the row from being
    written, so that nobody goes on without one."""
    words = check_reason(reason)
    row = await db.one(Q["record_unlock"], {"target": profile, "reason": words, "by": who(), "seconds": seconds})
    assert row is not None
    return Unlocked(int(row[0]), words, row[1])


def who() -> str:
    """The person at the machine, as far as it knows: a role is often shared."""
    name = str(os.getuid()) if hasattr(os, "getuid") else "?"
    with suppress(KeyError, OSError, ImportError):
        name = getpass.getuser()
    return f"{name}@{socket.gethostname()}"


def locked(profile: str | None, remedy: str) -> RefusedError:
    """What is said to who would change something all the same."""
    return RefusedError(f"profile {profile} is guarded: this session is read-only", remedy)

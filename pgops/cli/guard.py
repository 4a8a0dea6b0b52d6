"""The guard of a production database for commands: read-only, unless --unlock says why not.

The rule: the server refuses, whatever a command does; what is here says so before somebody is asked, writes the reason
down before anything is changed, and tells who was refused what to add.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pgops.config import Target
from pgops.errors import PgopsError, RefusedError, SchemaError, UsageError

if TYPE_CHECKING:
    from pgops.database import AsyncPool

READ_ONLY = "25006"
REMEDY = 'add --unlock "why it must be changed"; it is written down'


class Guard:
    """Of one call. `reason` is what --unlock gave. Raises UsageError for an empty one, RefusedError where no reason
    unlocks: --read-only, or a profile that is read_only. `target` is the one that is worked on."""

    def __init__(self, target: Target, reason: str | None) -> None:
        self._target = target
        self.target = target if reason is None else target.unlocked
        self._reason = reason
        self._noted = False
        if reason is None:
            return
        if not reason.strip():
            raise UsageError("--unlock wants a reason", 'for example --unlock "ticket 4711"')
        if target.read_only and not target.guard:
            why = "this call is read-only" if target.profile is None else f"profile {target.profile} is read-only"
            raise RefusedError(f"this cannot be unlocked: {why}", "only a guarded profile can")

    @property
    def read_only(self) -> bool:
        """Whether the sessions of this call are."""
        return self.target.read_only

    @property
    def words(self) -> list[str]:
        """What is told of it beside the target."""
        if self._target.guard:
            return ["guarded, unlocked" if self._reason is not None else "guarded, read-only"]
        return ["read-only"] if self._target.read_only else []

    def require(self) -> None:
        """Before somebody is asked in vain. Raises RefusedError."""
        if self._target.guard and self.read_only:
            raise self._refusal()

    async def note(self, db: "AsyncPool", *, schema: bool) -> None:
        """Write the reason down, if there is one, once. A database that was never migrated has no trail yet: who makes
        it there comes again."""
        if self._reason is None or self._noted or not self._target.guard:
            return
        from pgops.ops.act.unlocking import unlock

        try:
            await unlock(db, self._target.profile or "", self._reason)
            self._noted = True
        except SchemaError:
            if schema:
                raise

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """What the server refuses to a guarded session says how it is unlocked."""
        try:
            yield
        except PgopsError as error:
            if self._target.guard and _of_the_session(error):
                raise self._refusal() from error
            raise

    def _refusal(self) -> RefusedError:
        from pgops.ops.act.unlocking import locked

        return locked(self._target.profile, REMEDY)


def _of_the_session(error: BaseException | None) -> bool:
    """Whether the server refused it since the session is read-only, and not since it is a standby."""
    if error is None or "recovery" in str(error):
        return False
    return getattr(error, "sqlstate", None) == READ_ONLY or _of_the_session(error.__cause__)

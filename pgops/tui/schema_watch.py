"""Whether the schema is this program's: looked at when a connection is new, then now and then, sooner in trouble."""

from time import monotonic

from pgops import migrate
from pgops.database import AsyncPool
from pgops.errors import PgopsError, UnreachableError
from pgops.tui.news import SchemaSeen, schema_seen

EVERY_S, IN_TROUBLE_S = 60.0, 5.0


class SchemaWatch:
    """Of one database; what was `seen` last."""

    def __init__(self) -> None:
        self.seen: SchemaSeen | None = None
        self._due_at = 0.0

    def expire(self) -> None:
        """Look anew the next time."""
        self._due_at = 0.0

    async def look(self, db: AsyncPool) -> None:
        """If it is time. What this role may not read it cannot tell. Raises UnreachableError."""
        if monotonic() < self._due_at:
            return
        try:
            self.seen = schema_seen(await migrate.plan(db))
        except UnreachableError:
            raise
        except PgopsError:
            self.seen = None
        self._due_at = monotonic() + (EVERY_S if self.seen is None else IN_TROUBLE_S)

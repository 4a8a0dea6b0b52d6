"""How the load grows, an hour a row in pgops.growth: one look a minute, by whichever worker or relay has the turn.

ops/observe/outgrow.py tells from it when one PostgreSQL will no longer do.
"""

from pgops.database import AsyncPool
from pgops.queries import load

Q = load("pgops.runtime", "growth.sql")


async def note_growth(db: AsyncPool) -> bool:
    """Look, and note it; whether it was this one's turn. Raises PgopsError where the database refuses."""
    async with db.transaction() as tx:
        if await tx.one(Q["take_turn"]) is None:
            return False
        seen = await tx.all(Q["look"])
        names = ("measures", "values", "counts", "each")
        columns = dict(zip(names, (list(column) for column in zip(*seen, strict=True)), strict=True))
        await tx.execute(Q["note"], columns)
        return True

"""What relays do: lease parts of a subscription, fetch, deliver, advance; parked events tried again.

Floor 2, under events.py. Only the living token moves a cursor.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches

from pgops.database import AsyncDatabase
from pgops.errors import NotFoundError
from pgops.queries import load
from pgops.services.arguments import error_text
from pgops.services.event_rules import batch_of, check_home, rejected_row
from pgops.services.models import Advanced, Batch, Event, Leased, Rejected

Q = load("pgops.services", "event_cursors.sql")

PARTS = 64


class AsyncEventCursors:
    """The cursors, through a lease."""

    _db: AsyncDatabase

    async def lease_parts(
        self,
        subscription: str,
        *,
        owner: str,
        token: int,
        lease_s: float,
        max_parts: int = PARTS,
        trouble: str | None = None,
    ) -> Leased:
        """Take and keep a fair share of the parts, at most `max_parts`, for `lease_s` seconds; call it again well
        before they have passed. `token` is a random 63-bit number, new for each run of a relay; `trouble` is why it
        delivers nothing, for those who look.

        Raises NotFoundError, and SchemaError where the database is not the one that the cursor belongs to.
        """
        row = await self._db.one(Q["standing"], {"name": subscription})
        if row is None:
            raise await self._unknown(subscription)
        check_home(*row[:2])
        values = {
            "subscription": subscription, "owner": owner, "token": token, "lease_s": lease_s, "max_parts": max_parts,
            "trouble": None if trouble is None else error_text(trouble),
        }  # fmt: skip
        await self._db.execute(Q["beat"], values)
        rows = sorted(await self._db.all(Q["lease_parts"], values))
        mine, returned = ([part for part, keep in rows if keep is kept] for kept in (True, False))
        return Leased(tuple(mine), tuple(returned), attempts=row[2], poison=row[3])

    async def renew(
        self, subscription: str, *, token: int, lease_s: float, owner: str | None = None, trouble: str | None = None
    ) -> int:
        """Extend the leases that are still the token's, and take none; how many they are. `owner` is alive then."""
        values = {
            "subscription": subscription, "token": token, "lease_s": lease_s, "owner": owner,
            "trouble": None if trouble is None else error_text(trouble),
        }  # fmt: skip
        return len(await self._db.all(Q["renew_leases"], values))

    async def release(self, subscription: str, *, owner: str, token: int) -> int:
        """Hand all parts back; how many they were."""
        values = {"subscription": subscription, "owner": owner, "token": token}
        return await self._db.execute(Q["release_parts"], values)

    async def fetch(self, subscription: str, token: int, limit: int = 100) -> Batch:
        """The next page of every part that the token leases, at most `limit` events of each; one statement. A
        paused subscription gives none. Nothing moves until `advance`."""
        values = {"subscription": subscription, "token": token, "limit": limit}
        return batch_of(subscription, token, limit, await self._db.all(Q["fetch"], values))

    async def advance(self, batch: Batch, *, rejected: Sequence[Rejected] = (), idle: bool = False) -> Advanced:
        """Move the cursors past `batch`, all of which is delivered except `rejected`, which is parked in the same
        transaction. With `idle` also the cursors of parts that had nothing new, so that they stay young."""
        moving = [c for c in batch.cursors if idle or c.fresh_from is not None or c.late_from is not None]
        if not moving:
            return Advanced((), ())
        kept_back: dict[int, int] = {}
        for one in rejected:
            kept_back[one.event.part] = kept_back.get(one.event.part, 0) + 1
        cursors = json.dumps([asdict(c) | {"relayed": c.events - kept_back.get(c.part, 0)} for c in moving])
        values = {
            "subscription": batch.subscription, "token": batch.token, "target": batch.target, "cursors": cursors,
        }  # fmt: skip
        if not rejected:
            rows = await self._db.all(Q["advance"], values)
        else:
            async with self._db.transaction() as tx:
                rows = await tx.all(Q["advance"], values)
                moved = {row[0] for row in rows}
                parked = [rejected_row(one) for one in rejected if one.event.part in moved]
                await tx.execute(Q["park"], {"subscription": batch.subscription, "rejected": json.dumps(parked)})
        parts = sorted(row[0] for row in rows)
        return Advanced(tuple(parts), tuple(sorted({c.part for c in moving} - set(parts))))

    async def fetch_parked(self, subscription: str, token: int, limit: int = 1_000) -> Batch:
        """Parked events to try again in the parts that the token leases, in order. They have no cursor: `settle`."""
        values = {"subscription": subscription, "token": token, "limit": limit}
        rows = await self._db.all(Q["fetch_parked"], values)
        return Batch(subscription, token, None, (), tuple(Event(*row) for row in rows), frozenset())

    async def settle(self, batch: Batch, delivered: Sequence[int], rejected: Sequence[Rejected]) -> None:
        """Forget the parked events that are delivered now, and keep those that failed again."""
        values: dict[str, object] = {"subscription": batch.subscription, "token": batch.token}
        async with self._db.transaction() as tx:
            await tx.execute(Q["hold_parked"], values | {"ids": [event.id for event in batch.events]})
            await tx.execute(Q["unpark"], values | {"ids": list(delivered)})
            if rejected:
                again = json.dumps([rejected_row(one) for one in rejected])
                await tx.execute(Q["park_again"], values | {"rejected": again})

    async def _unknown(self, name: str) -> NotFoundError:
        near = get_close_matches(name, [row[0] for row in await self._db.all(Q["subscription_names"])])
        hint = f"did you mean {' or '.join(near)}?" if near else "make it with subscribe"
        return NotFoundError(f"there is no subscription {name}", hint)

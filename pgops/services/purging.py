"""Walking over a table in small slices, each a transaction of its own, to remove what is over.

Below the services. A slice reads some pages by Tid Range Scan and deletes at most a batch by Tid Scan, so that no
lock is held long and no statement reads the whole table.
"""

from time import monotonic

from pgops.database import AsyncDatabase
from pgops.errors import UsageError
from pgops.services.models import Purged

SLICE_PAGES = 128


class AsyncPurge:
    """One table's walk; where it stopped is where it goes on. `count_pages` and `purge_slice` are its statements: the
    latter takes low, high and batch and gives the number of rows it deleted."""

    def __init__(self, db: AsyncDatabase, count_pages: bytes, purge_slice: bytes) -> None:
        self._db = db
        self._count_pages = count_pages
        self._purge_slice = purge_slice
        self._page = 0

    async def run(self, batch: int, budget_s: float) -> Purged:
        """Until the table was walked or the budget is spent. Raises UsageError for one that is not positive."""
        if batch < 1 or not budget_s > 0:
            raise UsageError("a purge needs a batch of at least 1 row and a positive budget", "for example batch=1000")
        deadline = monotonic() + budget_s
        pages = await self._db.one(self._count_pages)
        end = 0 if pages is None else int(pages[0])
        page = self._page if self._page < end else 0
        rows = batches = 0
        while page < end and (batches == 0 or monotonic() < deadline):
            params = {"low": f"({page},0)", "high": f"({page + SLICE_PAGES},0)", "batch": batch}
            gone = await self._db.one(self._purge_slice, params)
            deleted = 0 if gone is None else int(gone[0])
            rows, batches = rows + deleted, batches + 1
            page += SLICE_PAGES if deleted < batch else 0
        done = page >= end
        self._page = 0 if done else page
        return Purged(rows, batches, done)

"""Finding documents by what is in them: conditions, order, pages, counts.

Floor 2, under documents.py. A page is cut by keyset and never by offset, so that the last one costs no more than the
first. What is written for a condition depends on the indexes that are there, see document_query.py; what it means does
not.
"""

from collections.abc import Iterable, Mapping, Sequence

from psycopg import sql

from pgops.database import Params, Row
from pgops.errors import SchemaError, UsageError
from pgops.services.document_index import AsyncDocumentIndexes
from pgops.services.document_query import Conditions, compose, json_at, read_document
from pgops.services.document_rules import Mark, check_path, decode_mark, encode_mark, path_text
from pgops.services.models import DocumentCount, DocumentPage, JsonValue, Path, Where

COUNT_CAP = 10_000
MAX_COUNT = 1_000_000
MAX_LIMIT = 10_000


class AsyncDocumentFinds(AsyncDocumentIndexes):
    """What AsyncDocuments can find."""

    async def find(
        self,
        collection: str,
        where: Mapping[str, JsonValue] | Iterable[Where] = (),
        *,
        sort: Path | None = None,
        descending: bool = False,
        limit: int = 100,
        after: str | None = None,
    ) -> DocumentPage:
        """The documents for which all of `where` is true; a mapping of paths to values says that each is equal.

        They come by id, which for drawn ids is the order they were made in, or by the value at `sort` as jsonb orders
        it (texts, numbers, true and false; those without such a value last). `after` is the `next` of the page before.
        How a find meets an index, see create_index.

        Raises UsageError for a bad path, condition, limit or `after`, NotFoundError for an unknown collection.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise UsageError(f"a limit is 1 to {MAX_LIMIT:,}, not {limit}", "go on with `after`")
        steps = None if sort is None else check_path(sort)
        told = ("-" if descending else "+") + ("" if steps is None else path_text(steps))
        mark = None if after is None else decode_mark(after, told)
        wanted = [*_conditions(where)]
        key = sql.SQL("null") if steps is None else json_at(steps)
        rows: Sequence[Row] = ()
        if steps is not None and (mark is None or mark.key is not None):
            rows = await self._page(collection, wanted, key, True, descending, mark, limit + 1)
            mark = None
        if len(rows) <= limit:
            there = None if steps is None else False
            more = await self._page(collection, wanted, key, there, descending, mark, limit + 1 - len(rows))
            rows = [*rows, *more]
        last = rows[limit - 1] if len(rows) > limit else None
        next = None if last is None else encode_mark(Mark(told, last[6], last[0]))
        return DocumentPage(tuple(read_document(*row[:6]) for row in rows[:limit]), next)

    async def count(
        self, collection: str, where: Mapping[str, JsonValue] | Iterable[Where] = (), *, cap: int = COUNT_CAP
    ) -> DocumentCount:
        """How many a find would find, counted to `cap`. Raises as find does."""
        if not 1 <= cap <= MAX_COUNT:
            raise UsageError(f"a cap is 1 to {MAX_COUNT:,}, not {cap}", "leave it out for 10,000")
        conditions = Conditions(await self._knows(collection)).add(_conditions(where))
        statement = compose("count_found", collection, conditions=conditions.joined())
        rows = await self._all(statement, collection, {**conditions.params, "cap": cap})
        return DocumentCount(min(rows[0][0], cap), rows[0][0] <= cap)

    async def _page(
        self,
        collection: str,
        where: Iterable[Where],
        key: sql.Composable,
        there: bool | None,
        down: bool,
        mark: Mark | None,
        limit: int,
    ) -> Sequence[Row]:
        """One part of a page: those that have a sort key (`there`), those that have none, or by id alone (None)."""
        conditions = Conditions(await self._knows(collection)).add(where)
        if there is not None:
            conditions.present(key, there)
        if mark is not None:
            conditions.beyond(key, down, mark.key, mark.id)
        by_id = sql.SQL("id desc" if down else "id")
        order = sql.SQL("{} desc, id desc" if down else "{}, id").format(key) if there else by_id
        statement = compose("find", collection, key=key, conditions=conditions.joined(), order=order)
        return await self._all(statement, collection, {**conditions.params, "limit": limit})

    async def _all(self, statement: sql.Composed, collection: str, params: Params) -> Sequence[Row]:
        try:
            return await self._db.all(statement, params)
        except SchemaError:
            self._known.pop(collection, None)
            await self._find(collection)
            raise


def _conditions(where: Mapping[str, JsonValue] | Iterable[Where]) -> Iterable[Where]:
    if isinstance(where, Mapping):
        return [Where(path, "=", value) for path, value in where.items()]
    return where

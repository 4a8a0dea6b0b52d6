"""Document collections: JSON objects under an id, changed without losing anybody's change, found by what is in them.

Floor 2. A collection is a table pgops.doc_<name> in a register, so that plain SQL reads and joins it; finding is the
business of document_find.py, its indexes that of document_index.py. A write is one statement, a version check part of
it. Expiry is the database's clock.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice

from psycopg import sql

from pgops.database import AsyncDatabase, AsyncPool, Params, Row
from pgops.errors import ConflictError, NotFoundError, SchemaError, UsageError
from pgops.services.document_find import COUNT_CAP, AsyncDocumentFinds
from pgops.services.document_query import Q, compose, fill, read_document
from pgops.services.document_rules import (
    check_id,
    check_name,
    check_ttl,
    check_version,
    encode_document,
)
from pgops.services.models import (
    Document,
    DocumentCollection,
    JsonValue,
    NewDocument,
)

BATCH_DOCUMENTS = 1_000
BATCH_CHARS = 8 * 1024 * 1024


class AsyncDocuments(AsyncDocumentFinds):
    """Collections by name: create, fill, change, find; their indexes."""

    def __init__(self, db: AsyncDatabase) -> None:
        super().__init__(db)
        self._own = isinstance(db, AsyncPool)

    # --- collections -------------------------------------------------------------------------------------------

    async def create(self, name: str) -> DocumentCollection:
        """Make an empty collection. Raises UsageError for a bad name and where it is taken."""
        check_name(name)
        async with self._db.transaction() as tx:
            if await tx.one(Q["register_collection"], {"name": name}) is None:
                raise UsageError(f"there is a collection {name!r} already", "choose another name, or drop it first")
            await tx.execute(fill("create_table", name))
            index = sql.Identifier(f"doc_{name}_expires_at")
            await tx.execute(compose("create_expiry_index", name, index_name=index))
        return await self.describe(name)

    async def list(self) -> tuple[DocumentCollection, ...]:
        """All collections, by name."""
        rows = await self._db.all(Q["find_collections"], {"name": None})
        return tuple([await self._collection(row) for row in rows])

    async def describe(self, name: str) -> DocumentCollection:
        """One collection. Raises NotFoundError, with near names."""
        return await self._collection(await self._find(name))

    async def drop(self, name: str) -> None:
        """Drop the collection with its documents and indexes. Raises NotFoundError for an unknown one."""
        await self._find(name)
        self._known.pop(name, None)
        async with self._db.transaction() as tx:
            await tx.execute(Q["unregister_collection"], {"name": name})
            await tx.execute(fill("drop_table", name))

    # --- documents ---------------------------------------------------------------------------------------------

    async def put(
        self,
        collection: str,
        data: Mapping[str, JsonValue],
        id: str | None = None,
        *,
        expected_version: int | None = None,
        ttl_s: float | None = None,
    ) -> Document:
        """Store an object, in the place of what was under `id`; without an id one is drawn. With `expected_version`
        only over that version, where 0 says that there is none yet. It is gone after `ttl_s`, or stays for good.

        Raises UsageError for what is no JSON object or over 8 MB, ConflictError where the version is another,
        NotFoundError for an unknown collection and where the expected version's document is gone.
        """
        version = check_version(expected_version)
        params = {"data": encode_document(data), "ttl_s": check_ttl(ttl_s)}
        if id is None:
            if version is not None:
                raise UsageError("a version is expected of a document that has no id yet", "give the id, or no version")
            row = await self._one("insert", collection, params)
        else:
            name = "upsert" if version is None else "insert_new" if version == 0 else "replace"
            row = await self._one(name, collection, {**params, "id": check_id(id), "version": version})
        if row is None:
            raise await self._refusal(collection, id or "", version or 0)
        return Document(row[0], data, *row[1:])

    async def put_many(
        self,
        collection: str,
        documents: Iterable[NewDocument | Mapping[str, JsonValue]],
        *,
        ttl_s: float | None = None,
    ) -> int:
        """Store documents, all of them or none; how many they were. Under an id that is taken the old one is replaced;
        give all of them an id, or none. Those without are streamed, in batches; the others are sorted first.

        Raises UsageError for a document that cannot be stored or an id that stands twice, NotFoundError.
        """
        check_name(collection)
        ttl = check_ttl(ttl_s)
        incoming = map(_new, documents)
        first = next(incoming, None)
        if first is None:
            await self._find(collection)
            return 0
        packed = _packed(chain((first,), incoming), with_ids=first.id is not None)
        if first.id is not None:
            packed = iter(_sorted_once(packed))
        elif not self._own:
            packed = iter([*packed])
        statement = fill("insert_many" if first.id is None else "upsert_many", collection)
        count = 0
        try:
            async with self._db.transaction() as tx:
                while batch := _batch(packed):
                    ids, texts = zip(*batch, strict=True)
                    params = {"data": [*texts], "ids": [*ids], "ttl_s": ttl}
                    count += await tx.execute(statement, params)
        except SchemaError:
            await self._find(collection)
            raise
        return count

    async def get(self, collection: str, id: str) -> Document | None:
        """The document, or None. Raises NotFoundError for an unknown collection, UsageError for a bad id."""
        row = await self._one("get", collection, {"id": check_id(id)})
        return None if row is None else read_document(*row)

    async def patch(
        self, collection: str, id: str, patch: Mapping[str, JsonValue], *, expected_version: int | None = None
    ) -> Document:
        """Change a document by a JSON merge patch (RFC 7386): null removes a key, objects are merged, all else
        replaces. It is merged in the database, so that of two patches at once neither is lost.

        Raises NotFoundError where there is none, ConflictError where the version is another, UsageError for a patch
        that is no JSON object.
        """
        params = {
            "id": check_id(id), "patch": encode_document(patch, "a patch"), "version": check_version(expected_version),
        }  # fmt: skip
        row = await self._one("patch", collection, params)
        if row is None:
            raise await self._refusal(collection, id, expected_version)
        return read_document(*row)

    async def delete(self, collection: str, id: str, *, expected_version: int | None = None) -> bool:
        """Remove a document; whether there was one. Raises ConflictError where it has another version."""
        params = {"id": check_id(id), "version": check_version(expected_version)}
        row = await self._one("delete", collection, params)
        if row is None and expected_version is not None and await self.get(collection, id) is not None:
            raise await self._refusal(collection, id, expected_version)
        return row is not None and bool(row[0])

    async def purge_expired(self, collection: str, *, batch: int = 1_000) -> int:
        """Remove up to `batch` documents that have expired; how many. Raises NotFoundError."""
        if not 1 <= batch <= 100_000:
            raise UsageError(f"a batch is 1 to 100,000, not {batch}", "leave it out for 1,000")
        try:
            return await self._db.execute(fill("purge_expired", check_name(collection)), {"batch": batch})
        except SchemaError:
            await self._find(collection)
            raise

    # --- the way to the table ----------------------------------------------------------------------------------

    async def _one(self, name: str, collection: str, params: Params) -> Row | None:
        try:
            return await self._db.one(fill(name, check_name(collection)), params)
        except SchemaError:
            await self._find(collection)
            raise

    async def _refusal(self, collection: str, id: str, version: int | None) -> NotFoundError | ConflictError:
        """Why a write met no row."""
        found = await self.get(collection, id)
        if found is None:
            return NotFoundError(f"there is no document {id[:60]!r} in {collection!r}", "it was never put, or is gone")
        if not version:
            return ConflictError(f"document {id[:60]!r} is there already", f"it has version {found.version:,}")
        return ConflictError(
            f"document {id[:60]!r} has version {found.version:,}, not {version:,}",
            "somebody changed it meanwhile: get it, and do your change on that",
        )

    async def _collection(self, row: Row) -> DocumentCollection:
        name, created_at, estimated, size, index_size = row
        found = await self._db.one(compose("count_found", name, conditions=sql.SQL("true")), {"cap": COUNT_CAP})
        count = 0 if found is None else int(found[0])
        exact = count <= COUNT_CAP
        documents = count if exact else max(count, estimated)
        return DocumentCollection(name, f"pgops.doc_{name}", documents, exact, size, index_size, created_at)


def _new(document: object) -> NewDocument:
    if isinstance(document, NewDocument):
        return document
    if isinstance(document, Mapping):
        return NewDocument(document)
    raise UsageError(f"put_many takes objects or NewDocument, not {type(document).__name__}", 'for example {"a": 1}')


def _packed(documents: Iterable[NewDocument], *, with_ids: bool) -> Iterator[tuple[str, str]]:
    """Id and JSON text of each; "" where an id is to be drawn."""
    for one in documents:
        if (one.id is not None) != with_ids:
            raise UsageError("some documents have an id and some have none", "give every one of a call an id, or none")
        yield "" if one.id is None else check_id(one.id), encode_document(one.data)


def _sorted_once(packed: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """By id as the database sorts it (bytes). Raises UsageError for an id that stands twice."""
    found = dict[str, str]()
    for id, text in packed:
        if id in found:
            raise UsageError(f"document {id[:60]!r} stands twice", "which one is meant? put them one after the other")
        found[id] = text
    return sorted(found.items(), key=lambda item: item[0].encode())


def _batch(packed: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """The next of them, so many that they go in one statement."""
    batch: list[tuple[str, str]] = []
    size = 0
    for one in islice(packed, BATCH_DOCUMENTS):
        batch.append(one)
        size += len(one[1])
        if size >= BATCH_CHARS:
            break
    return batch

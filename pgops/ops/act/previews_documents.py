"""What the acts on document collections would hit: dropping one, and dropping one of its indexes.

Floor 3, under previews.py. Nothing here changes data.
"""

from psycopg import sql

from pgops.database import AsyncPool
from pgops.errors import NotFoundError
from pgops.ops.act.acting import COUNT_CAP, SAMPLES, Action, Preview, first_line, shown
from pgops.ops.wording import many, size
from pgops.queries import load
from pgops.services.document_query import Q as DOCUMENTS
from pgops.services.document_query import compose, fill
from pgops.services.documents import AsyncDocuments

Q = load("pgops.ops.act", "previews.sql")


async def drop_documents(db: AsyncPool, action: Action) -> Preview:
    documents = AsyncDocuments(db)
    found = await documents.describe(action.target)
    counted = await documents.count(action.target, cap=COUNT_CAP)
    sample = sql.SQL(Q["sample_documents"].decode()).format(documents=sql.Identifier("pgops", f"doc_{action.target}"))
    rows = await db.all(sample, {"shown": SAMPLES})
    return Preview(
        action=action,
        title=f"drop collection {action.target} with its documents and indexes",
        matched=counted.count,
        exact=counted.count_exact,
        samples=(f"{found.bytes + found.index_bytes:,} bytes", *(f"{id}: {first_line(data)}" for id, data in rows)),
        sql=f"{shown(DOCUMENTS['unregister_collection'], {'name': found.name})};\n"
        + fill("drop_table", action.target).decode(),
        warning="export what you need first",
    )


async def drop_index(db: AsyncPool, action: Action) -> Preview:
    collection, _, name = action.target.partition(".")
    found = {one.name: one for one in await AsyncDocuments(db).list_indexes(collection)}
    if name not in found:
        raise NotFoundError(f"{collection} has no index {name[:63]!r}", f"see: pgops doc index {collection}")
    index = found[name]
    statement = compose("drop_index", collection, index=sql.Identifier("pgops", name))
    return Preview(
        action=action,
        title=f"drop index {name} of {collection}",
        matched=1,
        exact=True,
        samples=(index.definition, f"{size(index.bytes)}, used by {many(index.scans_total, 'scan')}"),
        sql=statement.as_string(None),
        warning="what it made fast reads the whole collection from then on" if index.scans_total else "",
    )

"""What the acts on vector collections would hit: a rebuild, a search, a drop.

Floor 3, under previews.py. Nothing here changes data.
"""

import json

from psycopg import sql

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.acting import Action, Preview, shown
from pgops.ops.wording import many
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import VectorIndex
from pgops.services.vector_found import Q as VECTORS
from pgops.services.vector_found import fill, options
from pgops.services.vector_rules import check_lists, ef_search_for, lists_for, probes_for
from pgops.services.vectors import AsyncVectors

HASHED = "the text is embedded by the built-in hashing embedder: sensible where the collection was filled with it"


async def rebuild_index(db: AsyncPool, action: Action) -> Preview:
    index = await AsyncVectors(db).stats(action.target)
    name = index.index
    if name is None:
        raise NotFoundError(
            f"collection {action.target!r} has no index to rebuild", f"build one: pgops vector build {action.target}"
        )
    lists = check_lists(lists_for(index.rows) if action.lists is None else action.lists, index.rows)
    built = "unknown" if index.lists_built is None else f"{index.lists_built:,}"
    recall = "never measured" if index.recall is None else f"{index.recall:.0%} at the last measurement"
    return Preview(
        action=action,
        title=f"rebuild index {name} with {many(lists, 'list')}",
        matched=1,
        exact=True,
        samples=(
            f"{'' if index.rows_exact else 'about '}{index.rows:,} rows, {index.bytes or 0:,} bytes",
            f"lists: built with {built}, set to {index.lists_set or 'the default'}, will be {lists:,}",
            f"recall {recall}",
            *(() if index.valid else ("it is invalid now: no search uses it",)),
        ),
        sql=_rebuild_sql(action.target, index, lists),
        warning="it reads the whole table and takes memory and disk; reads and writes go on meanwhile",
    )


def _rebuild_sql(collection: str, index: VectorIndex, lists: int) -> str:
    name = sql.Identifier("pgops", index.index or "")
    if not index.valid:
        return f"drop index concurrently {name.as_string(None)};\n-- then it is created anew, with {lists} lists"
    steps = [
        sql.SQL(VECTORS[step].decode()).format(index=name, options=options({"lists": lists})).as_string(None)
        for step in ("set_options", "reindex")
    ]
    return ";\n".join(steps)


async def search(db: AsyncPool, action: Action) -> Preview:
    vectors = AsyncVectors(db)
    collection = await vectors.get(action.target)
    embedding, warning = embed(action, collection.dimensions)
    row = await db.one(VECTORS["vector_schema"])
    assert row is not None
    name = "search_exact" if action.exact else "search"
    statement = fill(VECTORS[name], action.target, collection.metric, row[0], {}, collection.type)
    numbers = [*embedding[:3], *([] if len(embedding) <= 3 else ["…"])]
    params = {
        "embedding": f"[{', '.join(str(number) for number in numbers)}]", "limit": action.limit,
        "probes": probes_for(collection.lists or 1), "ef_search": ef_search_for(action.limit), "filter": None,
    }  # fmt: skip
    return Preview(
        action=action,
        title=f"search collection {action.target}",
        matched=collection.rows,
        exact=collection.rows_exact,
        samples=(),
        sql=shown(statement, params),
        warning=warning,
    )


async def drop_collection(db: AsyncPool, action: Action) -> Preview:
    found = await AsyncVectors(db).get(action.target)
    rows = f"{'' if found.rows_exact else 'about '}{many(found.rows, 'row')}"
    title = f"drop collection {found.name} with {rows} and its index"
    table = sql.Identifier("pgops", f"vec_{found.name}").as_string(None)
    return Preview(action, title, found.rows, found.rows_exact, (), f"drop table {table}")


def embed(action: Action, dimensions: int) -> tuple[list[float], str]:
    """The query as a vector, and a warning where it came from the built-in embedder. Raises UsageError."""
    text = action.query.strip()
    if not text:
        raise UsageError("a search needs a query", "a text, or a JSON array of numbers such as [0.1, 0.2]")
    if not text.startswith("["):
        return HashingEmbedder(dimensions).embed([text])[0], HASHED
    try:
        numbers = json.loads(text)
    except (ValueError, RecursionError):
        return HashingEmbedder(dimensions).embed([text])[0], HASHED
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers):
        raise UsageError("a query vector is a JSON array of numbers", "for example [0.1, 0.2]")
    return numbers, ""

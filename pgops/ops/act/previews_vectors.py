"""What the acts on vector collections would hit: building an index, a search, a drop; and what their actions mean.

Floor 3, under previews.py. Nothing here changes data, and no text is sent to an embedder.
"""

import json
import os
from collections.abc import Sequence

from psycopg import sql

from pgops.calling import async_call
from pgops.database import AsyncPool
from pgops.embedder_settings import HASHING
from pgops.errors import UsageError
from pgops.ops.act.acting import SAMPLES, Action, Preview, first_line, shown
from pgops.ops.wording import many
from pgops.profiles import find_embedder
from pgops.queries import load
from pgops.services.embedding import embedder_of
from pgops.services.models import Collection, IndexPlan, VectorIndex
from pgops.services.vector_found import Q as VECTORS
from pgops.services.vector_found import fill
from pgops.services.vector_rules import EF_CONSTRUCTION, M, ef_search_for, probes_for
from pgops.services.vectors import AsyncVectors

Q = load("pgops.ops.act", "previews.sql")
HASHED = "the text is embedded by the built-in hashing embedder: sensible where the collection was filled with it"
READS_ALL = "it reads the whole table and takes memory and disk; reads and writes go on meanwhile"


async def build_index(db: AsyncPool, action: Action) -> Preview:
    vectors = AsyncVectors(db)
    plan = await plan_of(vectors, action)
    index = await vectors.stats(action.target)
    return Preview(
        action=action,
        title=f"build index {plan.index} with {index_words(plan)}",
        matched=1,
        exact=True,
        samples=(_rows(index),),
        sql=plan.sql,
        warning=READS_ALL,
    )


async def rebuild_index(db: AsyncPool, action: Action) -> Preview:
    vectors = AsyncVectors(db)
    plan = await plan_of(vectors, action)
    index = await vectors.stats(action.target)
    recall = "never measured" if index.recall is None else f"{index.recall:.0%} at the last measurement"
    return Preview(
        action=action,
        title=f"rebuild index {index.index} with {index_words(plan)}",
        matched=1,
        exact=True,
        samples=(
            f"{_rows(index)}, {index.bytes or 0:,} bytes",
            _change(index, plan),
            f"recall {recall}",
            *(() if index.valid else ("it is invalid now: no search uses it",)),
        ),
        sql=plan.sql,
        warning=READS_ALL,
    )


def _rows(index: VectorIndex) -> str:
    return f"{'' if index.rows_exact else 'about '}{index.rows:,} rows of {index.type}"


def _change(index: VectorIndex, plan: IndexPlan) -> str:
    if plan.method != index.method:
        return f"{index.index} ({index.method}) serves until {plan.index} ({plan.method}) is there, and is dropped then"
    if plan.lists is None:
        return (
            f"m {index.m or M}, ef_construction {index.ef_construction or EF_CONSTRUCTION}, will be {index_words(plan)}"
        )
    built = "unknown" if index.lists_built is None else f"{index.lists_built:,}"
    return f"lists: built with {built}, set to {index.lists_set or 'the default'}, will be {plan.lists:,}"


async def plan_of(vectors: AsyncVectors, action: Action) -> IndexPlan:
    """How the action would have its index built. Raises as building it does."""
    return await vectors.plan_index(
        action.target, rebuild=action.name == "rebuild_index", method=action.method, lists=action.lists, m=action.m,
        ef_construction=action.ef_construction,
    )  # fmt: skip


def index_words(plan: IndexPlan) -> str:
    """4 lists; m 16 and ef_construction 64."""
    return f"m {plan.m} and ef_construction {plan.ef_construction}" if plan.lists is None else many(plan.lists, "list")


async def search(db: AsyncPool, action: Action) -> Preview:
    collection = await AsyncVectors(db).get(action.target)
    numbers = numbers_of(action)
    warning = "" if numbers is not None else await _about(embedded_by(action, collection))
    row = await db.one(VECTORS["vector_schema"])
    assert row is not None
    name = "search_exact" if action.exact else "search"
    statement = fill(VECTORS[name], action.target, collection.metric, row[0], {}, collection.type)
    some = [str(number) for number in numbers or ()][:3]
    params = {
        "embedding": f"[{', '.join([*some, '…'] if numbers is None or len(numbers) > 3 else some)}]",
        "limit": action.limit, "probes": probes_for(collection.lists or 1), "ef_search": ef_search_for(action.limit),
        "filter": json.dumps(dict(action.filter)) if action.filter else None,
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


async def _about(embedder: str) -> str:
    """Where a text goes. Raises UsageError for an embedder that is not known here."""
    if embedder == HASHING:
        return HASHED
    settings = await async_call(find_embedder, embedder, os.environ)
    return f"the text goes to {settings.url or settings.function} (embedder {embedder})"


async def drop_collection(db: AsyncPool, action: Action) -> Preview:
    found = await AsyncVectors(db).get(action.target)
    rows = f"{'' if found.rows_exact else 'about '}{many(found.rows, 'row')}"
    title = f"drop collection {found.name} with {rows} and its index"
    table = sql.Identifier("pgops", f"vec_{found.name}")
    rows_shown = await db.all(sql.SQL(Q["sample_vectors"].decode()).format(table=table), {"shown": SAMPLES})
    return Preview(
        action=action,
        title=title,
        matched=found.rows,
        exact=found.rows_exact,
        samples=tuple(f"{id}: {first_line(content or 'no text')}" for id, content in rows_shown),
        sql=f"{shown(VECTORS['unregister_collection'], {'name': found.name})};\ndrop table {table.as_string(None)}",
        warning="whoever searches it gets an error from then on",
    )


def numbers_of(action: Action) -> Sequence[float] | None:
    """The query's vector, None where it is a text. Raises UsageError."""
    text = action.query.strip()
    if not text:
        raise UsageError("a search needs a query", "a text, or a JSON array of numbers such as [0.1, 0.2]")
    try:
        numbers = json.loads(text) if text.startswith("[") else None
    except (ValueError, RecursionError):
        return None
    if numbers is not None and not all(type(number) in (int, float) for number in numbers):
        raise UsageError("a query vector is a JSON array of numbers", "for example [0.1, 0.2]")
    return numbers


def embedded_by(action: Action, collection: Collection) -> str:
    """The name of the embedder of the query's text. Raises UsageError where there is none."""
    return action.embedder or embedder_of(collection.name, collection.embedder)

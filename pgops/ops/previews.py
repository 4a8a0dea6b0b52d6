"""Look before the leap: what an Action would hit, counted to a cap, with samples and its SQL.

Floor 3, under actions.py, which is where others import these names from. Nothing here changes data.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from psycopg import sql

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops import backends
from pgops.ops.wording import age, many
from pgops.queries import load
from pgops.services.cache import SLICE_PAGES, AsyncCache
from pgops.services.cache import Q as CACHE
from pgops.services.embedders import HashingEmbedder
from pgops.services.events import AsyncEvents
from pgops.services.events import Q as EVENTS
from pgops.services.models import VectorIndex
from pgops.services.queue import AsyncQueue
from pgops.services.queue import Q as QUEUE
from pgops.services.vector_found import Q as VECTORS
from pgops.services.vector_found import fill
from pgops.services.vector_rules import check_lists, lists_for, probes_for
from pgops.services.vectors import AsyncVectors

Q = load("pgops.ops", "catalog.sql")

ActionName = Literal[
    "requeue_stuck", "requeue_dead", "purge_expired", "rebuild_index", "search",
    "pause", "resume", "unsubscribe", "drop_collection", "cancel_backend", "terminate_backend",
]  # fmt: skip
COUNT_CAP = 100_000
SAMPLES = 5
PURGE_BATCH = 1_000
HASHED = "the text is embedded by the built-in hashing embedder: sensible where the collection was filled with it"
_PARAMETER = re.compile(r"%\((\w+)\)[sbt]")


@dataclass(frozen=True, slots=True)
class Action:
    """What to do, and to what. `target` is a queue, "" for the whole cache, a subscription, a vector collection, or a
    backend's pid, which `started_at` tells from another backend with the same; `ids` narrows a requeue to these jobs;
    `lists` is for rebuild_index; `query` (a text, or a JSON array of numbers), `limit` and `exact` are for search."""

    name: ActionName
    target: str
    ids: tuple[int, ...] = ()
    lists: int | None = None
    query: str = ""
    limit: int = 10
    exact: bool = False
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What the action would hit: `matched` rows (`exact` false: at least so many), some samples, the SQL. `action` is
    what to run: the one that was asked for, for exactly what was found."""

    action: Action
    title: str
    matched: int
    exact: bool
    samples: tuple[str, ...]
    sql: str
    warning: str = ""


async def preview(db: AsyncPool, action: Action) -> Preview:
    """Look before the leap; changes nothing. Raises NotFoundError for an unknown target, UsageError for an action
    that could not be run."""
    return await _PREVIEWS[action.name](db, action)


async def requeue_stuck(db: AsyncPool, action: Action) -> Preview:
    await AsyncQueue(db).require(action.target)
    params = requeue_params(action)
    rows = await db.all(Q["preview_stuck"], {**params, "cap": COUNT_CAP, "shown": SAMPLES})
    count = rows[0][0] if rows else 0
    return Preview(
        action=action,
        title=f"take back stuck jobs of queue {action.target}",
        matched=min(count, COUNT_CAP),
        exact=count <= COUNT_CAP,
        samples=tuple(
            f"job {id} {kind}: started {age(age_s)} ago, {'its lease expired' if expired else 'running too long'}"
            f" (worker {owner})"
            for _, id, kind, expired, age_s, owner in rows
        ),
        sql=shown(QUEUE["requeue_stuck"], params),
        warning="a worker that hangs may still be doing it: the job can be done twice",
    )


async def requeue_dead(db: AsyncPool, action: Action) -> Preview:
    await AsyncQueue(db).require(action.target)
    params = requeue_params(action)
    row = await db.one(Q["count_dead"], {**params, "cap": COUNT_CAP})
    count = 0 if row is None else int(row[0])
    rows = await db.all(Q["sample_dead"], {**params, "shown": SAMPLES})
    return Preview(
        action=action,
        title=f"let dead letters of queue {action.target} start over",
        matched=min(count, COUNT_CAP),
        exact=count <= COUNT_CAP,
        samples=tuple(
            f"job {id} {kind}: died {age(age_s)} ago after {many(attempt, 'attempt')}: {_line(error)}"
            for id, kind, attempt, error, age_s in rows
        ),
        sql=shown(QUEUE["requeue_dead"], params),
    )


async def purge_expired(db: AsyncPool, action: Action) -> Preview:
    check_purge(action)
    found = await AsyncCache(db).count_expired(COUNT_CAP)
    rows = await db.all(Q["sample_expired"], {"shown": SAMPLES})
    batch = {"low": "(0,0)", "high": f"({SLICE_PAGES},0)", "batch": PURGE_BATCH}
    return Preview(
        action=action,
        title="remove expired entries from the cache",
        matched=found.count,
        exact=found.exact,
        samples=tuple(f"{_line(key)} in {namespace}: expired {age(age_s)} ago" for namespace, key, age_s in rows),
        sql=shown(CACHE["purge_slice"], batch) + f"\n-- and so on, {SLICE_PAGES} pages at a time",
    )


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
        sql.SQL(VECTORS[step].decode()).format(index=name, lists=sql.Literal(lists)).as_string(None)
        for step in ("set_lists", "reindex")
    ]
    return ";\n".join(steps)


async def search(db: AsyncPool, action: Action) -> Preview:
    vectors = AsyncVectors(db)
    collection = await vectors.get(action.target)
    embedding, warning = embed(action, collection.dimensions)
    row = await db.one(VECTORS["vector_schema"])
    assert row is not None
    name = "search_exact" if action.exact else "search"
    statement = fill(VECTORS[name], action.target, collection.metric, row[0], {})
    numbers = [*embedding[:3], *([] if len(embedding) <= 3 else ["…"])]
    params = {
        "embedding": f"[{', '.join(str(number) for number in numbers)}]", "limit": action.limit,
        "probes": probes_for(collection.lists or 1), "filter": None,
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


async def pause(db: AsyncPool, action: Action) -> Preview:
    paused = action.name == "pause"
    await AsyncQueue(db).require(action.target)
    title = f"pause queue {action.target}" if paused else f"resume queue {action.target}"
    sample = "no worker claims from it; what runs goes on" if paused else "workers claim from it again"
    params = {"queue": action.target, "paused": paused}
    return Preview(action, title, 1, True, (sample,), shown(QUEUE["set_paused"], params))


async def unsubscribe(db: AsyncPool, action: Action) -> Preview:
    found = await AsyncEvents(db).subscription(action.target)
    title = f"drop subscription {found.name}, its cursor and {many(found.parked, 'parked event')}"
    samples = (f"sink {found.sink or 'not said'}, {many(found.relayed, 'event')} relayed",)
    return Preview(action, title, 1, True, samples, shown(EVENTS["unsubscribe"], {"name": found.name}))


async def drop_collection(db: AsyncPool, action: Action) -> Preview:
    found = await AsyncVectors(db).get(action.target)
    rows = f"{'' if found.rows_exact else 'about '}{many(found.rows, 'row')}"
    title = f"drop collection {found.name} with {rows} and its index"
    table = sql.Identifier("pgops", f"vec_{found.name}").as_string(None)
    return Preview(action, title, found.rows, found.rows_exact, (), f"drop table {table}")


async def backend(db: AsyncPool, action: Action) -> Preview:
    name: backends.Signal = "cancel_backend" if action.name == "cancel_backend" else "terminate_backend"
    found = await backends.find(db, action.target, action.started_at)
    verb = "cancel the statement of" if name == "cancel_backend" else "terminate"
    return Preview(
        action=replace(action, started_at=found.started_at),
        title=f"{verb} session {found.pid}",
        matched=1,
        exact=True,
        samples=backends.about(found),
        sql=shown(backends.Q[name], {"pid": found.pid, "started_at": found.started_at}),
        warning=backends.warning(name, found),
    )


def requeue_params(action: Action) -> dict[str, object]:
    return {"queue": action.target, "ids": [*action.ids], "all": not action.ids}


def check_purge(action: Action) -> None:
    if action.target:
        raise UsageError(
            f"a purge walks over the whole cache, not over namespace {action.target!r} alone",
            "leave the namespace out: an expired value is never returned, whoever owns it",
        )


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


def shown(statement: bytes, params: Mapping[str, object]) -> str:
    """The statement with its values, as one can paste it into psql."""
    return _PARAMETER.sub(lambda found: sql.Literal(params[found[1]]).as_string(None), statement.decode())


def _line(text: str) -> str:
    """The first line of a text, at most 120 characters."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 120 else f"{line[:119]}…"


_PREVIEWS = {
    "requeue_stuck": requeue_stuck,
    "requeue_dead": requeue_dead,
    "purge_expired": purge_expired,
    "rebuild_index": rebuild_index,
    "search": search,
    "pause": pause,
    "resume": pause,
    "unsubscribe": unsubscribe,
    "drop_collection": drop_collection,
    "cancel_backend": backend,
    "terminate_backend": backend,
}

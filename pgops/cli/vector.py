"""`pgops vector …`: collections, rows and searches. vector_index.py has the commands of their indexes."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, TypeVar

import typer

from pgops.cli import acts, inputs, output, tables, vector_index
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.cli.vector_index import Name
from pgops.errors import UsageError
from pgops.services.models import JsonValue, Metric, TextRow, VectorRow, VectorType

app = group("vector", "Vector collections and their indexes.")
Embedder = Annotated[
    str | None, typer.Option("--embedder", metavar="NAME", help="One of config.toml, or hashing, which is built in.")
]
HASHING_DIMENSIONS = 384
Row = TypeVar("Row", TextRow, VectorRow)


@command(app, "list", example="pgops vector list --json")
async def list_(cli: Cli) -> None:
    """Every collection, its type, its index and the recall last measured."""
    async with cli.connect() as pg:
        found = await pg.vectors.list()
    heads = ("collection", "type", "dimensions", "metric", "rows", "index", "lists", "recall", "embedder")
    rows = [
        (
            one.name, one.type, one.dimensions, one.metric, one.rows if one.rows_exact else f"~{one.rows:,}",
            one.method, one.lists, one.recall, one.embedder,
        )
        for one in found
    ]  # fmt: skip
    cli.items(found, heads, rows)


@command(app, "create", example="pgops vector create notes --dimensions 1536 --type halfvec --json")
async def create(
    cli: Cli,
    collection: Name,
    size: Annotated[int | None, typer.Argument(metavar="DIMENSIONS", show_default=False)] = None,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", help="Otherwise as many as the embedder gives.")
    ] = None,
    type: Annotated[
        VectorType, typer.Option("--type", help="halfvec: 16 bits a number, and an index up to 4,000 dimensions.")
    ] = "vector",
    metric: Annotated[Metric, typer.Option("--metric", help="What near means.")] = "cosine",
    embedder: Embedder = None,
) -> None:
    """Make an empty collection."""
    from pgops.services.vector_rules import MAX_INDEXED

    if None not in (size, dimensions) and size != dimensions:
        raise UsageError(f"dimensions are said twice, {size} and {dimensions}", "say them once")
    wanted = _dimensions(embedder) if size is None and dimensions is None else dimensions or size or 0
    async with cli.connect() as pg:
        made = await pg.vectors.create(collection, wanted, metric=metric, type=type, embedder=embedder)
    if wanted > MAX_INDEXED[type]:
        half = f"; one of halfvec takes {MAX_INDEXED['halfvec']:,}" if type == "vector" else ""
        output.talk(f"every search of it will read all rows: an index takes {MAX_INDEXED[type]:,} dimensions{half}")
    cli.done("create", f"created {collection}", more={"collection": made})


def _dimensions(embedder: str | None) -> int:
    """As many as the embedder is known to give. Raises UsageError."""
    import os

    from pgops.embedder_settings import HASHING
    from pgops.profiles import find_embedder

    if embedder == HASHING:
        return HASHING_DIMENSIONS
    known = None if embedder is None else find_embedder(embedder, os.environ).dimensions
    if known is None:
        raise UsageError("how many dimensions the vectors have is not said", "for example --dimensions 1536")
    return known


@command(app, "set-embedder", example="pgops vector set-embedder docs hashing --json")
async def set_embedder(
    cli: Cli, collection: Name, embedder: Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
) -> None:
    """Have texts embedded by another embedder of config.toml from now on; what is in the collection stays as it is."""
    async with cli.connect() as pg:
        found = await pg.vectors.set_embedder(collection, embedder)
    cli.done("set-embedder", f"texts of {collection} are embedded by {embedder}", more={"collection": found})


@command(app, "add", example="""echo '{"content": "hello world"}' | pgops vector add docs --json""")
async def add(
    cli: Cli,
    collection: Name,
    text: Annotated[list[str] | None, typer.Option("--text", help="A row's content; may be repeated.")] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="An object, for each --text.")
    ] = None,
    embedder: Embedder = None,
) -> None:
    """Add rows, all or none: each --text, or from stdin one JSON object a line, of content and optional embedding,
    metadata and id.

    What comes without an embedding gets one from the embedder, or from the collection's own.
    """
    if metadata is not None and text is None:
        raise UsageError("--metadata goes with --text", "on stdin each line has its own")
    about = {} if metadata is None else inputs.payload(metadata)
    lines: Iterable[JsonValue] = inputs.stdin_lines() if text is None else [
        {"content": one, "metadata": about} for one in text
    ]  # fmt: skip
    async with cli.connect() as pg:
        await pg.vectors.get(collection)
        rows = (_row(line) for line in lines)
        first = next(rows, None)
        if isinstance(first, VectorRow):
            added = await pg.vectors.add_many(collection, _alike(VectorRow, chain([first], rows)))
        elif first is not None:
            added = await pg.vectors.add_texts(
                collection, _alike(TextRow, chain([first], rows)), embedder=embedder
            )  # fmt: skip
        else:
            added = 0
    cli.done("add", f"added {added:,} rows to {collection}", matched=added, changed=added)


def _row(line: JsonValue) -> TextRow | VectorRow:
    if isinstance(line, dict) and isinstance(line.get("content"), str):
        try:
            return VectorRow(**line) if "embedding" in line else TextRow(**line)
        except TypeError:
            pass
    raise UsageError(
        "a row is an object of content and optional embedding, metadata and id", """for example {"content": "hello"}"""
    )


def _alike(kind: type[Row], rows: Iterable[TextRow | VectorRow]) -> Iterator[Row]:
    for row in rows:
        if not isinstance(row, kind):
            raise UsageError("some rows have an embedding and some have none", "give every row one, or none")
        yield row


@command(app, "search", example="""pgops vector search docs "how do I sort a list" --limit 3 --json""")
async def search(
    cli: Cli,
    collection: Name,
    text: Annotated[
        str, typer.Argument(help="What to look for: a text, or a JSON array of numbers.", show_default=False)
    ],
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many matches.")] = 10,
    filter: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Only rows whose metadata have it; may be repeated."),
    ] = None,
    embedder: Embedder = None,
    exact: Annotated[bool, typer.Option("--exact", help="Read every row instead of the index.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """The rows nearest to a text or a vector, nearest first. It changes nothing and asks nothing."""
    from pgops.ops.act import actions
    from pgops.services.vector_rules import parse_filter

    wanted = tuple(parse_filter(one) for one in filter or ())
    action = actions.Action(
        "search", collection, query=text, limit=limit, exact=exact, embedder=embedder or "", filter=wanted
    )
    async with cli.database() as db:
        if dry_run:
            acts.report_preview(cli, await actions.preview(db, action))
            return
        result = await actions.run(db, action)
    if cli.json:
        items = [{"id": id, "score": score, "content": content} for id, score, content in result.rows]
        acts.report(cli, result, {"items": items, "next": None})
    else:
        tables.table(("id", "score", "content"), [(str(id), score, content) for id, score, content in result.rows])
        output.talk(result.message)


@command(app, "drop", example="pgops vector drop docs --yes --json")
async def drop(cli: Cli, collection: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop a collection with its rows and its index."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("drop_collection", collection), yes=yes, dry_run=dry_run)


vector_index.register(app)

"""`pgops vector …`: collections, searches, and an index that has drifted: its recall, and building it anew."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import UsageError
from pgops.services.models import JsonValue, Metric, VectorRow

if TYPE_CHECKING:
    from pgops.services.embedders import HashingEmbedder

app = group("vector", "Vector collections and their indexes.")
Name = Annotated[str, typer.Argument(metavar="COLLECTION", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many matches.")]
Lists = Annotated[int | None, typer.Option("--lists", help="Otherwise as the number of rows asks for.")]
Exact = Annotated[bool, typer.Option("--exact", help="Read every row instead of the index.")]


@command(app, "list", example="pgops vector list --json")
async def list_(cli: Cli) -> None:
    """Every collection, its index and the recall last measured."""
    async with cli.connect() as pg:
        found = await pg.vectors.list()
    rows = [
        (one.name, one.dimensions, one.metric, one.rows if one.rows_exact else f"~{one.rows:,}", one.lists, one.recall)
        for one in found
    ]
    cli.items(found, ("collection", "dimensions", "metric", "rows", "lists", "recall"), rows)


@command(app, "create", example="pgops vector create notes 3 --metric cosine --json")
async def create(
    cli: Cli,
    collection: Name,
    dimensions: Annotated[int, typer.Argument(show_default=False)],
    metric: Annotated[Metric, typer.Option("--metric", help="What near means.")] = "cosine",
) -> None:
    """Make an empty collection."""
    async with cli.connect() as pg:
        made = await pg.vectors.create(collection, dimensions, metric=metric)
    cli.done("create", f"created {collection}", more={"collection": made})


@command(app, "add", example="""echo '{"content": "hello world"}' | pgops vector add docs --json""")
async def add(cli: Cli, collection: Name) -> None:
    """Add rows from stdin, all or none: one JSON object a line, of content and optional embedding, metadata and id.

    What comes without an embedding gets the built-in hashing one.
    """
    from pgops.services.embedders import HashingEmbedder

    async with cli.connect() as pg:
        embedder = HashingEmbedder((await pg.vectors.get(collection)).dimensions)
        added = await pg.vectors.add_many(collection, (_row(line, embedder) for line in inputs.stdin_lines()))
    cli.done("add", f"added {added:,} rows to {collection}", matched=added, changed=added)


def _row(line: JsonValue, embedder: "HashingEmbedder") -> VectorRow:
    if isinstance(line, dict) and isinstance(content := line.get("content"), str):
        embedding = line["embedding"] if "embedding" in line else embedder.embed([content])[0]
        try:
            return VectorRow(**{**line, "embedding": embedding})
        except TypeError:
            pass
    raise UsageError(
        "a row is an object of content and optional embedding, metadata and id", """for example {"content": "hello"}"""
    )


@command(app, "search", example="""pgops vector search docs "how do I sort a list" --limit 3 --json""")
async def search(
    cli: Cli,
    collection: Name,
    text: Annotated[
        str, typer.Argument(help="What to look for: a text, or a JSON array of numbers.", show_default=False)
    ],
    limit: Limit = 10,
    exact: Exact = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """The rows nearest to a text or a vector, nearest first. It changes nothing and asks nothing."""
    from pgops.ops import actions

    action = actions.Action("search", collection, query=text, limit=limit, exact=exact)
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


@command(app, "recall", example="pgops vector recall docs --json")
async def recall(
    cli: Cli,
    collection: Name,
    probes: Annotated[int | None, typer.Option("--probes", help="Lists to read; otherwise the usual number.")] = None,
) -> None:
    """Measure what share of the true nearest the index finds, against exact search."""
    async with cli.connect() as pg:
        found = await pg.vectors.measure_recall(collection, probes=probes)
    share = f"{found.recall:.1%} ({found.low:.1%} to {found.high:.1%})"
    cli.facts(
        {"collection": collection, "recall": found},
        [
            ("collection", collection),
            ("recall", share),
            ("k", found.k),
            ("queries", found.queries),
            ("probes", found.probes),
        ],
    )


@command(app, "build", example="pgops vector build docs --lists 4 --json")
async def build(cli: Cli, collection: Name, lists: Lists = None) -> None:
    """Build the index of a collection that has none."""
    async with cli.connect() as pg:
        made = await pg.vectors.build_index(collection, lists=lists)
    cli.done("build", f"built {made.index} with {made.lists_set} lists", more={"index": made})


@command(app, "rebuild", example="pgops vector rebuild docs --lists 4 --yes --json")
async def rebuild(
    cli: Cli,
    collection: Name,
    lists: Lists = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Build a collection's index anew, without blocking readers or writers."""
    from pgops.ops.actions import Action

    await acts.act(cli, Action("rebuild_index", collection, lists=lists), yes=yes, dry_run=dry_run)


@command(app, "drop", example="pgops vector drop docs --yes --json")
async def drop(cli: Cli, collection: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop a collection with its rows and its index."""
    from pgops.ops.actions import Action

    await acts.act(cli, Action("drop_collection", collection), yes=yes, dry_run=dry_run)

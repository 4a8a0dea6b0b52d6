"""`pgops vector recall|build|rebuild`: the index of a collection, and how much it finds."""

from typing import Annotated

import typer

from pgops.cli import acts
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.services.models import IndexMethod

Name = Annotated[str, typer.Argument(metavar="COLLECTION", show_default=False)]
Lists = Annotated[int | None, typer.Option("--lists", help="Of ivfflat; otherwise as the number of rows asks for.")]
M = Annotated[int | None, typer.Option("--m", help="Of hnsw: neighbours of a row; 16 is usual.")]
EfConstruction = Annotated[
    int | None, typer.Option("--ef-construction", help="Of hnsw: candidates while it is built; 64 is usual.")
]


def register(app: typer.Typer) -> None:
    command(app, "recall", example="pgops vector recall docs --json")(recall)
    command(app, "build", example="pgops vector build docs --lists 4 --json")(build)
    command(app, "rebuild", example="pgops vector rebuild docs --lists 4 --yes --json")(rebuild)


async def recall(
    cli: Cli,
    collection: Name,
    probes: Annotated[
        int | None, typer.Option("--probes", help="Lists of ivfflat to read; otherwise the usual number.")
    ] = None,
    ef_search: Annotated[
        int | None, typer.Option("--ef-search", help="Candidates of hnsw to keep; otherwise the usual number.")
    ] = None,
) -> None:
    """Measure what share of the true nearest the index finds, against exact search."""
    async with cli.connect() as pg:
        found = await pg.vectors.measure_recall(collection, probes=probes, ef_search=ef_search)
    share = f"{found.recall:.1%} ({found.low:.1%} to {found.high:.1%})"
    read = ("probes", found.probes) if found.ef_search is None else ("ef_search", found.ef_search)
    cli.facts(
        {"collection": collection, "recall": found},
        [("collection", collection), ("recall", share), ("k", found.k), ("queries", found.queries), read],
    )


async def build(
    cli: Cli,
    collection: Name,
    method: Annotated[
        IndexMethod, typer.Option("--method", help="hnsw finds more and is built for longer.")
    ] = "ivfflat",
    lists: Lists = None,
    m: M = None,
    ef_construction: EfConstruction = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Build the index of a collection that has none, without blocking readers or writers. It asks nothing."""
    from pgops.ops.act import actions
    from pgops.services.vectors import AsyncVectors

    action = actions.Action("build_index", collection, method=method, lists=lists, m=m, ef_construction=ef_construction)
    async with cli.database() as db:
        if dry_run:
            acts.report_preview(cli, await actions.preview(db, action))
            return
        result = await actions.run(db, action)
        made = await AsyncVectors(db).stats(collection)
    cli.done(
        "build_index", result.message, matched=result.matched, changed=result.changed, audit_id=result.audit_id,
        more={"index": made},
    )  # fmt: skip


async def rebuild(
    cli: Cli,
    collection: Name,
    method: Annotated[
        IndexMethod | None, typer.Option("--method", help="Another one takes over once it is built.")
    ] = None,
    lists: Lists = None,
    m: M = None,
    ef_construction: EfConstruction = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Build a collection's index anew, without blocking readers or writers."""
    from pgops.ops.act.actions import Action

    action = Action("rebuild_index", collection, method=method, lists=lists, m=m, ef_construction=ef_construction)
    await acts.act(cli, action, yes=yes, dry_run=dry_run)

"""`pgops index …`: build an index anew, and drop one that never became valid, without blocking anybody."""

from typing import Annotated

import typer

from pgops.cli import acts
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli

app = group("index", "Indexes of the database: build anew, drop what never became valid.")

Name = Annotated[str, typer.Argument(help="An index, also as schema.name.", metavar="INDEX", show_default=False)]


@command(app, "reindex", example="pgops index reindex pgops.job_dead_died_at --yes --json")
async def reindex(cli: Cli, index: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Build an index anew while reads and writes go on. What an interrupted build has left is dropped."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("reindex_index", index), yes=yes, dry_run=dry_run)


@command(app, "drop-invalid", example="pgops index drop-invalid half_built --yes --json")
async def drop_invalid(cli: Cli, index: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop an index that no query uses since its build failed; no other."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("drop_invalid_index", index), yes=yes, dry_run=dry_run)

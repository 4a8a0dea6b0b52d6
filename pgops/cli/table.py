"""`pgops table …`: vacuum one, set ours up for their churn again, reset what the server has counted."""

from typing import Annotated

import typer

from pgops.cli import acts
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import UsageError

app = group("table", "Tables of the database: vacuum, storage, counters.")

Name = Annotated[str, typer.Argument(help="A table, also as schema.name.", metavar="TABLE", show_default=False)]


@command(app, "vacuum", example="pgops table vacuum pgops.job_dead --yes --json")
async def vacuum(
    cli: Cli,
    table: Name,
    analyze_only: Annotated[
        bool, typer.Option("--analyze-only", help="Only read what the planner needs to know.")
    ] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Remove a table's dead rows and see what is in it, while reads and writes go on; who keeps dead rows is named."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("vacuum_table", table, analyze_only=analyze_only), yes=yes, dry_run=dry_run)


@command(app, "tune", example="pgops table tune --yes --json")
async def tune(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Have tables of pgops that change all the time vacuumed and filled as they need it, where that was changed."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("tune_queue_tables", ""), yes=yes, dry_run=dry_run)


@command(app, "reset-stats", example="pgops table reset-stats pgops.job_dead --yes --json")
async def reset_stats(
    cli: Cli,
    table: Annotated[
        str | None, typer.Argument(help="Only this one; otherwise all of the database.", metavar="TABLE")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Begin anew to count what is read and written. What was counted is gone."""
    from pgops.ops.act.actions import Action

    if table == "":
        raise UsageError("a table's name is not empty", "leave it out for all of the database")
    await acts.act(cli, Action("reset_stats", table or ""), yes=yes, dry_run=dry_run)

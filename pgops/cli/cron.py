"""`pgops queue cron …`: recurring jobs, when they run, and steering them."""

from typing import Annotated, Literal

import typer

from pgops.cli import acts, inputs, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli

app = group("cron", "Recurring jobs: a timetable each; workers add a job whenever it fires.")
Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Expression = Annotated[
    str,
    typer.Argument(
        metavar="EXPRESSION",
        show_default=False,
        help="'minute hour day month weekday', with seconds first if six, or @daily and the like.",
    ),
]
Timezone = Annotated[str, typer.Option("--timezone", metavar="ZONE", help="For example Europe/Berlin.")]
HEADS = ("name", "expression", "timezone", "queue", "kind", "paused", "next", "last", "last job", "ticks", "skipped")


@command(app, "list", example="pgops queue cron list --json")
async def list_(cli: Cli) -> None:
    """Every recurring job: when it runs next, when it ran last."""
    async with cli.connect() as pg:
        found = await pg.queue.cron.list()
    rows = [
        (
            one.name, one.expression, one.timezone, one.queue, one.kind, one.paused, one.next_at, one.last_at,
            None if one.last_id is None else str(one.last_id), one.ticks, one.skipped,
        )
        for one in found
    ]  # fmt: skip
    cli.items(found, HEADS, rows)


@command(app, "add", example="pgops queue cron add hourly '0 * * * *' --queue email --payload '{}' --json")
async def add(
    cli: Cli,
    name: Name,
    expression: Expression,
    queue: Annotated[str, typer.Option("--queue", "-q", metavar="QUEUE", help="Where its jobs go.")],
    kind: Annotated[str, typer.Option("--kind", help="What the worker's handler is chosen by.")] = "default",
    payload: Annotated[str, typer.Option("--payload", metavar="JSON", help="Or - for stdin.")] = "{}",
    timezone: Timezone = "UTC",
    priority: Annotated[int, typer.Option("--priority", help="1 is first, 4 is last.")] = 2,
    missed: Annotated[
        Literal["skip", "once"], typer.Option("--missed", help="What comes of ticks while no worker ran.")
    ] = "skip",
    overlap: Annotated[bool, typer.Option("--overlap", help="Add a job although the one before is not done.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Let a job recur; an entry of that name is replaced, and stays paused if it was. It asks nothing."""
    from pgops.ops.act.actions import Action
    from pgops.services.cron_rules import new_cron

    entry = new_cron(
        name, expression, queue, inputs.payload(payload), kind=kind, priority=priority, timezone=timezone,
        missed=missed, overlap=overlap,
    )  # fmt: skip
    await acts.act(cli, Action("cron_add", name, cron=entry), yes=True, dry_run=dry_run)


@command(app, "remove", example="pgops queue cron remove nightly --yes --json")
async def remove(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Drop a recurring job; jobs that it has added stay."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cron_remove", name), yes=yes, dry_run=dry_run)


@command(app, "pause", example="pgops queue cron pause nightly --json")
async def pause(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """No more ticks until it is resumed. It asks nothing."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cron_pause", name), yes=True, dry_run=dry_run)


@command(app, "resume", example="pgops queue cron resume nightly --json")
async def resume(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Go on with the next tick from now; what fell into the pause is not made up for. It asks nothing."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cron_resume", name), yes=True, dry_run=dry_run)


@command(app, "run", example="pgops queue cron run nightly --json")
async def run(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Add its job now, beside the timetable. It asks nothing."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cron_run", name), yes=True, dry_run=dry_run)


@command(app, "next", example="pgops queue cron next '0 3 * * *' --timezone Europe/Berlin --json")
async def next_(
    cli: Cli,
    expression: Expression,
    timezone: Timezone = "UTC",
    count: Annotated[int, typer.Option("--count", min=1, max=1_000)] = 5,
) -> None:
    """When an expression would run next, by the database's clock."""
    async with cli.connect() as pg:
        runs = await pg.queue.cron.next_runs(expression, timezone, count)
    items = [{"at": run, "local": run.isoformat()} for run in runs]
    cli.items(items, ("at", f"in {timezone}"), [(tables.cell(run), f"{run:%Y-%m-%d %H:%M:%S %z}") for run in runs])

"""`pgops outbox …`, acting: pause, replay, parked events and keys, how long events are kept, rebase."""

from typing import Annotated

import typer

from pgops.cli import acts, inputs
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.cli.outbox_look import Name


def register(app: typer.Typer) -> None:
    command(app, "pause", example="pgops outbox pause billing --yes --json")(pause)
    command(app, "resume", example="pgops outbox resume billing --yes --json")(resume)
    command(app, "replay", example="pgops outbox replay billing --since 2h --yes --json")(replay)
    command(app, "park", example="pgops outbox park billing 7 --reason 'its customer called' --yes --json")(park)
    command(app, "unpark", example="pgops outbox unpark billing --yes --json")(unpark)
    command(app, "discard", example="pgops outbox discard billing 7 --yes --json")(discard)
    command(app, "keep", example="""pgops outbox keep '{"keep_s": 604800}' --yes --json""")(keep)
    command(app, "purge", example="pgops outbox purge --yes --json")(purge)
    command(app, "rebase", example="pgops outbox rebase --yes --json")(rebase)


async def pause(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Deliver nothing for a while; events wait in the log."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_pause", name), yes=yes, dry_run=dry_run)


async def resume(cli: Cli, name: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Deliver again."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_resume", name), yes=yes, dry_run=dry_run)


async def replay(
    cli: Cli,
    name: Name,
    since: Annotated[
        str,
        typer.Option("--since", metavar="WHEN", help="How long ago (15m, 2h, 7d), or a moment (2026-01-31T12:00Z)."),
    ],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Deliver again what was made since then, flagged as replayed."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_replay", name, since=inputs.moment(since)), yes=yes, dry_run=dry_run)


async def park(
    cli: Cli,
    name: Name,
    key: Annotated[str, typer.Argument(help="Of which no event is delivered.", show_default=False)],
    reason: Annotated[str, typer.Option("--reason", help="For whoever finds it held.")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Hold a key back: its events are put aside as they come, in their order."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_park", name, key=key, given=reason), yes=yes, dry_run=dry_run)


async def unpark(
    cli: Cli,
    name: Name,
    key: Annotated[str | None, typer.Option("--key", help="Only this key; it is let go if it was held.")] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Try parked events again, and those behind them."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_unpark", name, key=key), yes=yes, dry_run=dry_run)


async def discard(
    cli: Cli,
    name: Name,
    ids: Annotated[
        list[int], typer.Argument(metavar="ID", help="As pgops outbox parked shows it.", show_default=False)
    ],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Give parked events up: they are never delivered, and what waits behind them goes on."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_discard", name, tuple(ids)), yes=yes, dry_run=dry_run)


async def keep(
    cli: Cli,
    times: Annotated[
        str | None, typer.Argument(help="JSON of keep_s, force_after_s and inbox_keep_s; leave it out to look.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """How long events are kept, and the marks of consumers; or change it."""
    from pgops.ops.act.actions import Action

    if times is not None:
        await acts.act(cli, Action("outbox_keep", "", given=times), yes=yes, dry_run=dry_run)
        return
    async with cli.connect() as pg:
        now = await pg.events.retention()
    cli.facts({"keep_s": now.keep_s, "force_after_s": now.force_after_s, "inbox_keep_s": now.inbox_keep_s})


async def purge(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let go of events that are older than they are kept. Workers and relays do it by themselves."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_purge", ""), yes=yes, dry_run=dry_run)


async def rebase(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """After a restore or copy: make the log this database's own, so that relays go on where they were."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("outbox_rebase", ""), yes=yes, dry_run=dry_run)

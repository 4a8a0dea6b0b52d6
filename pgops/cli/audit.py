"""`pgops audit …`: who did what."""

from typing import Annotated

import typer

from pgops.cli.command import command, group
from pgops.cli.context import Cli

app = group("audit", "Who did what through pgops.")
HEADS = ("id", "started", "actor", "client", "action", "target", "status", "matched", "changed")


@command(app, "list", example="pgops audit list --limit 20 --json")
async def list_(cli: Cli, limit: Annotated[int, typer.Option("--limit", help="How many, at most.")] = 50) -> None:
    """The last acts, newest first; one whose owner is gone shows as interrupted."""
    from pgops.ops import audit

    async with cli.database() as db:
        acts = await audit.list(db, limit)
    rows = [
        (
            str(act.id), act.started_at, act.actor, act.client, act.action, act.target, act.status, act.matched,
            act.changed,
        )
        for act in acts
    ]  # fmt: skip
    cli.items(acts, HEADS, rows)

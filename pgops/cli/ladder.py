"""`pgops queue requeue --ladder`, with how far it is while it climbs."""

from typing import TYPE_CHECKING

from pgops.cli import acts
from pgops.cli.context import Cli

if TYPE_CHECKING:
    from pgops.database import AsyncPool
    from pgops.ops.act.actions import Action


async def climb(cli: Cli, action: "Action", *, yes: bool, dry_run: bool) -> None:
    """Preview it, have it confirmed, and climb."""
    from pgops.ops.act.ladder import progress

    async def how_far(db: "AsyncPool") -> str:
        return await progress(db, action.target)

    await acts.act(cli, action, yes=yes, dry_run=dry_run, progress=how_far)

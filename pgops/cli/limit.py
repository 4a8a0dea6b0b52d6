"""`pgops limit …`: whether one more is allowed now, as an application would ask."""

from typing import Annotated

import typer

from pgops.cli import acts
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import ExitCode, NotFoundError
from pgops.services.models import Algorithm, Decision, LimitStats

app = group("limit", "Rate limits by key.")
Key = Annotated[str, typer.Argument(show_default=False)]
Limit = Annotated[int, typer.Option("--limit", help="How many are allowed in a period.", show_default=False)]
Per = Annotated[float, typer.Option("--per", metavar="SECONDS", help="The period.", show_default=False)]
Burst = Annotated[int | None, typer.Option("--burst", help="How many at once; otherwise the limit.")]
Cost = Annotated[int, typer.Option("--cost", help="How many this one counts for.")]
How = Annotated[Algorithm, typer.Option("--algorithm", help="Evenly, or by windows of the clock.")]


@command(app, "hit", example="pgops limit hit login:ann --limit 5 --per 60 --json")
async def hit(
    cli: Cli, key: Key, limit: Limit, per: Per, burst: Burst = None, cost: Cost = 1, algorithm: How = "gcra"
) -> None:
    """Take one if it is allowed now; exit code 5 where it is denied."""
    async with cli.connect() as pg:
        said = await pg.limits.hit(key, limit, per, burst=burst, cost=cost, algorithm=algorithm)
    _tell(cli, key, said)


@command(app, "peek", example="pgops limit peek login:ann --limit 5 --per 60 --json")
async def peek(
    cli: Cli, key: Key, limit: Limit, per: Per, burst: Burst = None, cost: Cost = 1, algorithm: How = "gcra"
) -> None:
    """What a hit would say now, without one; exit code 5 where it would be denied."""
    async with cli.connect() as pg:
        said = await pg.limits.peek(key, limit, per, burst=burst, cost=cost, algorithm=algorithm)
    _tell(cli, key, said)


@command(app, "reset", example="pgops limit reset login:ann --json")
async def reset(cli: Cli, key: Key) -> None:
    """Forget what a key has used; exit code 5 where it has used nothing."""
    async with cli.connect() as pg:
        if not await pg.limits.reset(key):
            raise NotFoundError(f"{key[:60]!r} has used nothing", "it is not limited now")
    cli.done("reset", f"reset {key}", more={"key": key})


@command(app, "stats", example="pgops limit stats --json")
async def stats(cli: Cli) -> None:
    """What was decided, by the name of the limit: what stands before the first colon of its key. Each process adds what
    it has decided every five seconds."""
    async with cli.connect() as pg:
        found = await pg.limits.stats()
    rows = [(one.name, one.decisions, one.denied, _share(one), one.since) for one in found]
    cli.items(found, ("limit", "decisions", "denied", "share", "since"), rows)


def _share(one: LimitStats) -> str:
    return f"{one.denied / one.decisions:.1%}" if one.decisions else "-"


@command(app, "purge", example="pgops limit purge --yes --json")
async def purge(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove keys that say nothing any more; no decision changes by it."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("purge_limits", ""), yes=yes, dry_run=dry_run)


def _tell(cli: Cli, key: str, said: Decision) -> None:
    """A denial is an answer: it is data, and an exit code."""
    body: dict[str, object] = {
        "key": key, "allowed": said.allowed, "remaining": said.remaining, "retry_after_s": said.retry_after_s,
        "reset_s": said.reset_s,
    }  # fmt: skip
    cli.facts(body)
    if not said.allowed:
        raise typer.Exit(ExitCode.NO)

"""`pgops advise`: what needs a human and how everything stands, as Markdown for a ticket."""

import typer

from pgops.cli import output
from pgops.cli.command import command
from pgops.cli.context import Cli


def register(app: typer.Typer) -> None:
    command(app, "advise", example="pgops advise")(advise)


async def advise(cli: Cli) -> None:
    """Markdown for a ticket: findings with evidence and remedy, then the state; exit 0 whatever is found."""
    from pgops.ops.collector import collect
    from pgops.ops.tell import advice

    lines = cli.thresholds()
    async with cli.database(schema=False) as db:
        snapshot = await collect(db, cli.target.display, thresholds=lines)
    text = advice.advise(snapshot)
    if cli.json:
        cli.document(
            {"taken_at": snapshot.taken_at, "findings": snapshot.findings, "unseen": advice.unseen(snapshot),
             "cost": snapshot.cost, "markdown": text}
        )  # fmt: skip
    else:
        output.say(text.rstrip())

"""`pgops outgrow`: up to where one PostgreSQL does, today's load against it, and when it will be too much."""

from typing import TYPE_CHECKING

import typer

from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.errors import RefusedError

if TYPE_CHECKING:
    from pgops.ops.observe.snapshot_outgrow import OutgrowLine, OutgrowPart

HEADS = ("line", "today", "does until", "share", "a day", "reached", "what it counts")


def register(app: typer.Typer) -> None:
    command(app, "outgrow", example="pgops outgrow --json")(outgrow)


async def outgrow(cli: Cli) -> None:
    """Lines up to which one PostgreSQL does, with the trend and the day each is reached; config.toml moves them."""
    from pgops.ops.collector import collect
    from pgops.ops.observe.snapshot import Unavailable

    lines = cli.thresholds()
    async with cli.database(schema=False) as db:
        part = (await collect(db, cli.target.display, thresholds=lines)).outgrow
    if isinstance(part, Unavailable):
        raise RefusedError(part.reason, part.remedy)
    if cli.json:
        cli.document({"lines": part.lines, "written": part.written, "hours": part.hours})
    else:
        _show(part)


def _show(part: "OutgrowPart") -> None:
    from pgops.cli.output import say
    from pgops.cli.tables import table
    from pgops.ops.observe.outgrow import NEAR_AT_LEAST, age_words, shares

    table(HEADS, [_row(one) for one in part.lines])
    say(age_words(part))
    if found := shares(part):
        say("written, estimated: " + ", ".join(f"{name} {share:.0%}" for name, share in found))
    for one in part.lines:
        if (one.share or 0) >= NEAR_AT_LEAST:
            say(f"{one.name}: {one.remedy}")


def _row(one: "OutgrowLine") -> tuple[object, ...]:
    from pgops.ops.observe.outgrow import pace, reached
    from pgops.ops.wording import figure

    about = "~" if one.exact.get("value") is False and one.value is not None else ""
    share = "-" if one.share is None else f"{one.share:.0%}"
    value = "-" if one.value is None else about + figure(one.value, one.unit)
    return one.name, value, figure(one.line, one.unit), share, pace(one), reached(one), one.what

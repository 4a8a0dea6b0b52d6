"""`pgops outbox …`, looking: one subscription with its parts and keys, its lag, and the newest events of the log."""

from typing import Annotated

import typer

from pgops.cli import tables
from pgops.cli.command import command
from pgops.cli.context import Cli

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]


def register(app: typer.Typer) -> None:
    command(app, "show", example="pgops outbox show billing --json")(show)
    command(app, "lag", example="pgops outbox lag billing --json")(lag)
    command(app, "events", example="pgops outbox events --topic orders --limit 20 --json")(events)


async def show(cli: Cli, name: Name) -> None:
    """One subscription: its settings, its lag, who holds which of its 64 parts, and the keys that are held back."""
    async with cli.connect() as pg:
        one, lag = await pg.events.subscription(name), await pg.events.lag(name)
        parts, held = await pg.events.parts(name), await pg.events.parked_keys(name)
    if cli.json:
        cli.document({"subscription": one, "lag": lag, "parts": parts, "held_keys": held})
        return
    owners: dict[str, list[int]] = {}
    for part in parts:
        owners.setdefault(part.owner or "nobody", []).append(part.part)
    cli.facts(
        {
            "name": one.name, "topics": one.topics or "all", "types": one.types or "all", "sink": one.sink,
            "poison": f"{one.poison} after {one.attempts} attempts", "paused": one.paused, "replaying": one.replaying,
            "lag": f"{'' if lag.exact else 'at least '}{lag.events:,} events, {tables.duration(lag.seconds)}",
            "relayed": one.relayed, "parked": one.parked, "advanced": one.advanced_at,
            **{f"parts of {owner}": _ranges(numbers) for owner, numbers in sorted(owners.items())},
            **{f"held key {key.key}": f"{key.waiting:,} wait; {key.reason}" for key in held},
        }
    )  # fmt: skip


async def lag(cli: Cli, name: Name) -> None:
    """What a subscription has still to deliver: events, and the age of the oldest."""
    async with cli.connect() as pg:
        found = await pg.events.lag(name)
    if cli.json:
        cli.document({"name": name, "lag_events": found.events, "lag_s": found.seconds, "exact": found.exact})
    else:
        cli.facts(
            {
                "events": f"{'' if found.exact else 'at least '}{found.events:,}",
                "oldest": tables.duration(found.seconds),
            }
        )


async def events(
    cli: Cli,
    topic: Annotated[str | None, typer.Option("--topic", help="Only this topic.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only this key, in the reverse of its order.")] = None,
    type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    id: Annotated[str | None, typer.Option("--id", metavar="EVENT_ID", help="One event by its name.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 100,
) -> None:
    """The newest events of the log."""
    async with cli.connect() as pg:
        if id is not None:
            found = [await pg.events.event(id)]
        else:
            found = await pg.events.events(topic=topic, key=key, type=type, limit=limit)
    items = [
        {
            "id": one.id, "event_id": one.event_id, "topic": one.topic, "key": one.key, "type": one.type,
            "part": one.part, "payload": one.payload, "headers": one.headers, "created_at": one.created_at,
        }
        for one in found
    ]  # fmt: skip
    heads = ("id", "topic", "type", "key", "made", "payload")
    cli.items(items, heads, [(e.id, e.topic, e.type, e.key, e.created_at, e.payload_json) for e in found])


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 as 1-3, 7."""
    said: list[list[int]] = []
    for number in numbers:
        if said and said[-1][-1] == number - 1:
            said[-1][1:] = [number]
        else:
            said.append([number])
    return ", ".join("-".join(map(str, ends)) for ends in said)

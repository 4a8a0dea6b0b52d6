"""`pgops outbox …`: append events, subscribe to them, see what lags, relay them to a sink."""

from typing import Annotated, Literal

import typer

from pgops.cli import acts, inputs, outbox_act, outbox_look, running, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.cli.outbox_look import Name

STARTS: dict[str, Literal["now", "beginning"]] = {"now": "now", "beginning": "beginning"}
app = group("outbox", "Events: the transactional outbox and its subscriptions.")


@command(app, "append", example="""pgops outbox append orders '{"id": 7}' --key 7 --json""")
async def append(
    cli: Cli,
    topic: Annotated[str, typer.Argument(show_default=False)],
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)],
    key: Annotated[str | None, typer.Option("--key", help="Events of one key keep their order.")] = None,
    type: Annotated[str, typer.Option("--type", help="What kind of event it is.")] = "event",
) -> None:
    """Add an event."""
    value = inputs.payload(payload)
    async with cli.connect() as pg:
        event_id = await pg.events.append(topic, value, key=key, type=type)
    cli.done("append", f"appended event {event_id} to {topic}", more={"topic": topic, "event_id": event_id})


@command(app, "list", example="pgops outbox list --json")
async def list_(cli: Cli) -> None:
    """Every subscription, and what it has still to deliver."""
    items: list[dict[str, object]] = []
    async with cli.connect() as pg:
        for one in await pg.events.subscriptions():
            lag = await pg.events.lag(one.name)
            item: dict[str, object] = {
                "name": one.name, "sink": one.sink, "lag_events": lag.events, "lag_s": lag.seconds,
                "relayed_total": one.relayed, "parked": one.parked, "paused": one.paused, "topics": one.topics,
                "types": one.types, "poison": one.poison, "held_keys": one.held_keys, "replaying": one.replaying,
                "relays": one.relays, "created_at": one.created_at, "advanced_at": one.advanced_at,
            }  # fmt: skip
            items.append(item if lag.exact else {**item, "exact": {"lag_events": False}})
    heads = ("subscription", "topics", "paused", "lag", "lag age", "relayed", "parked", "relays", "sink")
    cli.items(items, heads, [_row(item) for item in items])


@command(app, "parked", example="pgops outbox parked billing --json")
async def parked(cli: Cli, name: Name, limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 100) -> None:
    """Events that a subscription's sink would not take, with its error, and those that wait behind them."""
    async with cli.connect() as pg:
        await pg.events.subscription(name)
        found = await pg.events.parked(name, limit)
    heads = ("event", "topic", "key", "type", "attempts", "parked", "error")
    rows = [
        (
            str(one.event.event_id),
            one.event.topic,
            one.event.key,
            one.event.type,
            one.attempts,
            one.parked_at,
            one.error,
        )
        for one in found
    ]
    cli.items(found, heads, rows)


def _row(item: dict[str, object]) -> tuple[object, ...]:
    topics, relays, age = item["topics"], item["relays"], item["lag_s"]
    return (
        item["name"], "all" if topics is None else topics, item["paused"],
        f"at least {item['lag_events']:,}" if "exact" in item else item["lag_events"],
        tables.duration(age) if isinstance(age, float) else None, item["relayed_total"], item["parked"],
        len(relays) if isinstance(relays, tuple) else 0, item["sink"],
    )  # fmt: skip


@command(app, "subscribe", example="pgops outbox subscribe billing --topic orders --from beginning --json")
async def subscribe(
    cli: Cli,
    name: Name,
    topic: Annotated[list[str] | None, typer.Option("--topic", help="Only this topic; may be repeated.")] = None,
    types: Annotated[list[str] | None, typer.Option("--type", help="Only this type; may be repeated.")] = None,
    start: Annotated[
        str,
        typer.Option(
            "--from", metavar="WHEN", help="now, beginning, or a moment such as 2h (ago) or 2026-01-31T12:00Z."
        ),
    ] = "now",
    sink: Annotated[str, typer.Option("--sink", help="A note of where its events go.")] = "",
    poison: Annotated[
        Literal["park", "skip"], typer.Option("--poison", help="Behind a refused event its key waits, or goes on.")
    ] = "park",
    attempts: Annotated[int, typer.Option("--attempts", min=1, max=1_000, help="Then an event is put aside.")] = 5,
) -> None:
    """Make a subscription; one that exists with the same settings is left as it is."""
    from pgops.runtime.sinks.address import shown

    since = STARTS.get(start) or inputs.moment(start)
    async with cli.connect() as pg:
        known = {one.name for one in await pg.events.subscriptions()}
        made = await pg.events.subscribe(
            name,
            topics=topic or None,
            types=types or None,
            start=since,
            sink=shown(sink),
            poison=poison,
            attempts=attempts,
        )
    changed = int(name not in known)
    message = f"subscribed {name}" if changed else f"{name} is subscribed already"
    cli.done("subscribe", message, changed=changed, more={"subscription": made})


@command(app, "unsubscribe", example="pgops outbox unsubscribe billing --yes --json")
async def unsubscribe(
    cli: Cli,
    name: Name,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Drop a subscription with its cursor and its parked events."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("unsubscribe", name), yes=yes, dry_run=dry_run)


command(app, "relay", example="pgops outbox relay --subscription billing --to stdout")(running.relay)
outbox_look.register(app)
outbox_act.register(app)

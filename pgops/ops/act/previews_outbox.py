"""What an act on the event log or one of its subscriptions would hit.

Floor 3, under previews.py. The statements are the ones that the act runs, with its values.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from pgops.database import AsyncDatabase, AsyncPool
from pgops.errors import UsageError
from pgops.ops.act.acting import COUNT_CAP, SAMPLES, Action, ActionName, Preview, first_line, shown
from pgops.ops.wording import age, many
from pgops.services.event_upkeep import Q as UPKEEP
from pgops.services.events import AsyncEvents, Q
from pgops.services.models import Expiring, ParkedEvent

KEEPS = ("keep_s", "force_after_s", "inbox_keep_s")


async def hold(db: AsyncPool, action: Action) -> Preview:
    paused = action.name == "outbox_pause"
    found = await AsyncEvents(db).subscription(action.target)
    sample = "nothing is delivered; events wait in the log" if paused else "its relays deliver again"
    values = {"name": found.name, "paused": paused}
    title = f"{'pause' if paused else 'resume'} subscription {found.name}"
    return Preview(action, title, 1, True, (sample,), shown(Q["pause_subscription"], values))


async def replay(db: AsyncPool, action: Action) -> Preview:
    events, since = AsyncEvents(db), since_of(action)
    one = await events.subscription(action.target)
    found = await events.count_since(one.name, since, COUNT_CAP)
    return Preview(
        action=action,
        title=f"deliver again what {one.name} has passed since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        matched=found.count,
        exact=found.exact,
        samples=(f"to {one.sink or 'a sink that is not said'}, flagged as replayed",),
        sql=shown(Q["replay"], {"name": one.name, "since": since}),
        warning="consumers get these events again: who keeps no inbox acts on them twice",
    )


async def unpark(db: AsyncPool, action: Action) -> Preview:
    events, key = AsyncEvents(db), action.key
    await events.subscription(action.target)
    parked = [one for one in await events.parked(action.target, COUNT_CAP) if key is None or one.event.key == key]
    failed = [one for one in parked if one.attempts]
    held = [one for one in await events.parked_keys(action.target) if one.key == key]
    values = {"subscription": action.target, "key": key}
    let_go = [f"-- the key is let go\n{shown(Q['unpark_key'], values)}"] if held else []
    return Preview(
        action=action,
        title=f"try parked events of {action.target} again" + ("" if key is None else f", those of key {key}"),
        matched=len(failed) + len(held),
        exact=len(parked) < COUNT_CAP,
        samples=tuple(_parked(one) for one in failed[:SAMPLES]),
        sql="\n".join([shown(Q["retry_parked"], values), *let_go]),
        warning="" if len(failed) == len(parked) else f"{many(len(parked) - len(failed), 'event')} behind them follow",
    )


async def discard(db: AsyncPool, action: Action) -> Preview:
    wanted = set(action.ids)
    found = [one for one in await AsyncEvents(db).parked(action.target, COUNT_CAP) if one.event.id in wanted]
    return Preview(
        action=action,
        title=f"give parked events of {action.target} up",
        matched=len(found),
        exact=True,
        samples=tuple(_parked(one) for one in found[:SAMPLES]),
        sql=shown(Q["discard_parked"], {"subscription": action.target, "ids": [*action.ids]}),
        warning=f"{action.target} never delivers them; what waits behind them goes on",
    )


async def park(db: AsyncPool, action: Action) -> Preview:
    events, key = AsyncEvents(db), key_of(action)
    await events.subscription(action.target)
    held = key in {one.key for one in await events.parked_keys(action.target)}
    values = {"subscription": action.target, "key": key, "reason": action.given}
    sample = "it is held already" if held else "its events are put aside as they come, until it is let go"
    title = f"hold key {first_line(key)} of {action.target} back"
    return Preview(action, title, int(not held), True, (sample,), shown(Q["park_key"], values))


async def keep(db: AsyncPool, action: Action) -> Preview:
    now = asdict(await AsyncEvents(db).retention())
    wanted = now | keeps_of(action)
    changed = {name: value for name, value in wanted.items() if now[name] != value}
    return Preview(
        action=action,
        title="change how long events are kept",
        matched=len(changed),
        exact=True,
        samples=tuple(f"{name}: {span(now[name])} becomes {span(value)}" for name, value in changed.items()),
        sql=shown(UPKEEP["set_retention"], wanted),
        warning="who has not passed an event by then loses it" if changed.get("force_after_s") else "",
    )


async def purge(db: AsyncPool, action: Action) -> Preview:
    check_log(action)
    found = await AsyncEvents(db).expiring()
    going = [one for one in found if one.forced or one.mixed or not one.behind]
    lost = [f"{name} loses {count:,}" for one in going if one.forced for name, count in one.behind if count]
    held = sorted({name for one in found if one not in going for name, _ in one.behind})
    warning = "; ".join([*lost, *([f"kept for {', '.join(held)}, who has not passed them" if held else ""])])
    return Preview(
        action=action,
        title="let old events go",
        matched=len(going),
        exact=True,
        samples=tuple(_slot(one) for one in found[:SAMPLES]),
        sql="\n".join(f"truncate pgops.event_log_{one.slot:02}" for one in going) or "-- nothing is old enough",
        warning=warning.strip("; "),
    )


async def rebase(db: AsyncPool, action: Action) -> Preview:
    check_log(action)
    away = not all(await AsyncEvents(db).home())
    return Preview(
        action=action,
        title="make the event log this database's own",
        matched=int(away),
        exact=True,
        samples=(
            "every event and cursor gets transaction ids of this cluster" if away else "it is at home here already",
        ),
        sql=UPKEEP["place_events"].decode(),
        warning="producers wait meanwhile; what was under way may be delivered twice" if away else "",
    )


def since_of(action: Action) -> datetime:
    """From when on a replay delivers again. Raises UsageError where nothing says so."""
    if action.since is None:
        raise UsageError("nothing says from when on", "give the action its `since`")
    return action.since


def keeps_of(action: Action) -> dict[str, float | None]:
    """What is to be kept how long, by name. Raises UsageError."""
    try:
        given = json.loads(action.given)
    except ValueError as error:
        raise UsageError(f"the times are not JSON: {error}", 'write for example {"keep_s": 604800}') from error
    if not isinstance(given, dict) or not given or set(given) - set(KEEPS):
        raise UsageError("nothing says how long events are kept", f"of {', '.join(KEEPS)}, in seconds")
    for name, value in given.items():
        if (value is not None or name != "force_after_s") and (isinstance(value, bool) or not _is_number(value)):
            raise UsageError(f"{name} is a number of seconds, not {value!r}", "null for force_after_s never forces")
    return given


async def given(db: AsyncDatabase) -> str:
    """The retention as one edits it."""
    return json.dumps(asdict(await AsyncEvents(db).retention()), indent=2)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def key_of(action: Action) -> str:
    if action.key is None:
        raise UsageError("nothing says which key", "give the action its `key`")
    return action.key


def check_log(action: Action) -> None:
    if action.target:
        raise UsageError(f"this is about the whole log, not {action.target[:60]!r} alone", "leave the name out")


def span(seconds: float | None) -> str:
    return "never" if seconds is None else age(seconds)


def _parked(one: ParkedEvent) -> str:
    event = one.event
    key = "" if event.key is None else f" key {first_line(event.key)}"
    return f"{event.id} {event.topic} {event.type}{key}, {many(one.attempts, 'attempt')}: {first_line(one.error)}"


def _slot(one: Expiring) -> str:
    behind = ", ".join(f"{name} has not passed {count:,}" for name, count in one.behind)
    what = f"{one.oldest:%Y-%m-%d}" if not one.mixed else f"{one.oldest:%Y-%m-%d} to {one.newest:%Y-%m-%d}"
    return f"slot {one.slot}: events of {what}" + (f"; {behind}" if behind else "")


PREVIEWS: Mapping[ActionName, Callable[[AsyncPool, Action], Awaitable[Preview]]] = {
    "outbox_pause": hold,
    "outbox_resume": hold,
    "outbox_replay": replay,
    "outbox_unpark": unpark,
    "outbox_discard": discard,
    "outbox_park": park,
    "outbox_keep": keep,
    "outbox_purge": purge,
    "outbox_rebase": rebase,
}

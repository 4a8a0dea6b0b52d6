"""`pgops pubsub …`: send a message, listen to channels, see who listens, try whether messages arrive."""

import json
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pgops.cli import inputs, output, tables
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.cli.running import told_to_stop
from pgops.errors import ExitCode, NotFoundError, UsageError
from pgops.services.models import JsonValue

if TYPE_CHECKING:
    from pgops.services.models import Message, Missed, PubsubProbe

app = group("pubsub", "Messages to whoever listens, live or durable.")
LOOK_UP_EVERY_S = 0.25
REFUSALS = {"pooler", "standby", "read_only", "denied"}


@command(app, "publish", example="""pgops pubsub publish orders '{"id": 7}' --json""")
async def publish(
    cli: Cli,
    channel: Annotated[str, typer.Argument(show_default=False)],
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)],
    text: Annotated[bool, typer.Option("--text", help="The payload is text as it is, not JSON.")] = False,
    durable: Annotated[bool, typer.Option("--durable", help="Keep it for durable listeners too.")] = False,
) -> None:
    """Send a message to those who listen to a channel."""
    if text:
        value: JsonValue = inputs.stdin_text() if payload == "-" else payload
    else:
        value = inputs.payload(payload)
    async with cli.connect() as pg:
        id = await pg.pubsub.publish(channel, value, durable=durable)
    more = {"channel": channel, "id": id, "durable": durable}
    cli.done("publish", f"published message {id} to {channel}", more=more)


@command(app, "listen", example="pgops pubsub listen orders --count 1 --timeout 60 --json")
async def listen(
    cli: Cli,
    channels: Annotated[list[str], typer.Argument(metavar="CHANNEL", show_default=False)],
    durable: Annotated[
        str | None, typer.Option("--durable", metavar="NAME", help="By this subscription: nothing is lost meanwhile.")
    ] = None,
    start: Annotated[
        Literal["now", "beginning"], typer.Option("--from", help="Where a new durable name begins.")
    ] = "now",
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", help="End when nothing has come for so long.")
    ] = None,
) -> None:
    """Print messages as they come, one a line, until ctrl-c; exit code 5 where fewer than --count came.

    Live listening needs a direct connection: a pooler in transaction mode is recognised and refused.
    """
    if timeout is not None and not 0 < timeout <= 86_400:
        raise UsageError(
            f"a timeout is more than 0 and at most 86,400 seconds, not {timeout:g}", "leave it out to wait"
        )
    stopping: list[bool] = []
    heard = 0
    async with cli.connect() as pg, told_to_stop(lambda: stopping.append(True)):
        async with pg.pubsub.listen(*channels, durable=durable, start=start) as messages:
            output.talk(f"listening to {', '.join(channels)}")
            quiet_since = monotonic()
            while not stopping and (count is None or heard < count):
                got = await messages.next(LOOK_UP_EVERY_S if timeout is None else min(timeout, LOOK_UP_EVERY_S))
                if got is not None:
                    heard += _show(cli, got)
                    quiet_since = monotonic()
                elif timeout is not None and monotonic() - quiet_since >= timeout:
                    break
    if count is not None and heard < count and not stopping:
        raise NotFoundError(f"{heard} of {count} messages came within {timeout:g} seconds", "is somebody publishing?")


def _show(cli: Cli, got: "Message | Missed") -> int:
    """Print one; how many messages that was. With --json what may have been missed is a line too."""
    from pgops.services.models import Missed

    if isinstance(got, Missed):
        if cli.json:
            missed = {"channels": got.channels, "reason": got.reason, "seconds": got.seconds}
            cli.document({"missed": missed}, one_line=True)
        else:
            output.talk(f"messages may be missing here: {got.reason}; nobody listened for {got.seconds:.1f} s")
        return 0
    if cli.json:
        event_id = None if got.event is None else got.event.event_id
        cli.document(
            {
                "channel": got.channel, "payload": got.payload, "id": got.id, "raw": got.raw, "pid": got.pid,
                "event_id": event_id,
            },
            one_line=True,
        )  # fmt: skip
    else:
        shown = got.payload if isinstance(got.payload, str) else json.dumps(got.payload, ensure_ascii=False)
        output.say(f"{got.channel}\t{shown}".replace("\n", "\\n"))
    return 1


@command(app, "channels", example="pgops pubsub channels --json")
async def channels(cli: Cli) -> None:
    """The channels that sessions of this database listen to, and who they are, as far as this role may see."""
    async with cli.connect() as pg:
        found = await pg.pubsub.channels()
    items = [
        {"channel": one.name, "listeners": len(one.pids), "pids": one.pids, "sessions": one.listeners} for one in found
    ]
    rows = [
        (each.channel, each.pid, each.application, each.user, each.state, tables.duration(each.state_s))
        for one in found
        for each in one.listeners
    ]
    cli.items(items, ("channel", "pid", "application", "user", "state", "for"), rows)


@command(app, "probe", example="pgops pubsub probe --json")
async def probe(
    cli: Cli,
    channel: Annotated[
        str | None, typer.Argument(metavar="[CHANNEL]", help="See also whether somebody is there to hear it.")
    ] = None,
) -> None:
    """Try whether messages arrive, how fast, and if not, why: a few to ourselves, which nobody else hears.

    Exit code 5 where they do not arrive or nobody listens to CHANNEL, 4 where listening or publishing is refused
    (a pooler in transaction mode, a read-only session, a standby, a missing privilege).
    """
    async with cli.connect() as pg:
        found = await pg.pubsub.probe(channel)
    cli.facts({"ok": found.ok, "cause": found.cause, **_facts(found)}, _told(found))
    if not found.ok:
        raise typer.Exit(ExitCode.REFUSED if found.cause in REFUSALS else ExitCode.NO)


def _facts(found: "PubsubProbe") -> dict[str, object]:
    return {
        "channel": found.channel, "connect_ms": found.connect_ms, "sent": found.sent, "received": found.received,
        "p50_ms": found.p50_ms, "max_ms": found.max_ms, "queue_usage": found.queue_usage,
        "listeners": found.listeners, "troubles": found.troubles,
    }  # fmt: skip


def _told(found: "PubsubProbe") -> list[tuple[str, object]]:
    """The same for a person: what was measured, then each trouble with its remedy."""
    from pgops.services.probe_rules import verdict

    lines: list[tuple[str, object]] = [("result", verdict(found))]
    if found.connect_ms is not None:
        lines.append(("connect", f"{found.connect_ms:,.1f} ms until it was proven to listen"))
    if found.sent:
        times = "" if found.p50_ms is None else f", p50 {found.p50_ms:,.2f} ms, max {found.max_ms:,.2f} ms"
        lines.append(("messages", f"{found.received} of {found.sent} arrived{times}"))
    lines.append(("queue", "< 0.1% filled" if 0 < found.queue_usage < 0.001 else f"{found.queue_usage:.1%} filled"))
    for one in found.listeners:
        lines.append(("listener", f"pid {one.pid} ({one.application or 'no name'}), {one.state}"))
    for each in found.troubles:
        lines += [(each.cause.replace("_", " "), each.told), ("→", each.remedy)]
    return lines

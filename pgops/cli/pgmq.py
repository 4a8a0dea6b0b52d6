"""`pgops queue pgmq …`: queues of pgmq in the same database; nothing of pgops need be set up there.

Whoever ends or extends a message names its READ_CT as `read` told it, and is told when it is another's by now.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import UsageError

if TYPE_CHECKING:
    from pgops.services.models import PgmqMessage

app = group("pgmq", "Queues of pgmq in the same database: messages with a visibility timeout.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)]
MsgId = Annotated[int, typer.Argument(metavar="MSG_ID", show_default=False)]
ReadCt = Annotated[int, typer.Argument(metavar="READ_CT", help="As read told it.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", help="How many at most, up to 10,000.")]
_MESSAGE_HEADS = ("id", "read", "enqueued", "hidden until", "payload", "headers")


@command(app, "list", example="pgops queue pgmq list --json")
async def list_(cli: Cli) -> None:
    """Every queue of pgmq in numbers; what is long is estimated, and marked so."""
    from pgops.cli.report import PGMQ_HEADS, pgmq_row
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        queues = await AsyncPgmq(db).queues()
    cli.items(queues, PGMQ_HEADS, [pgmq_row(one) for one in queues])


@command(app, "metrics", example="pgops queue pgmq metrics orders --json")
async def metrics(cli: Cli, queue: Name) -> None:
    """One queue of pgmq in the same numbers, and what it takes on disk."""
    from pgops.cli.report import PGMQ_HEADS, pgmq_row
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        found = await AsyncPgmq(db).metrics(queue)
    sizes = [("size", tables.size(found.bytes)), ("archive", tables.size(found.archive_bytes))]
    cli.facts(output.plain(found), [*zip(PGMQ_HEADS, pgmq_row(found), strict=True), *sizes])


@command(app, "create", example="pgops queue pgmq create orders --json")
async def create(
    cli: Cli,
    queue: Name,
    unlogged: Annotated[bool, typer.Option("--unlogged", help="Faster, and empty after a crash.")] = False,
) -> None:
    """Make a queue of pgmq; nothing is changed where it is there already."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        made = await AsyncPgmq(db).create(queue, unlogged=unlogged)
    said = f"created pgmq queue {queue}" if made else f"pgmq queue {queue} is there already"
    cli.done("create", said, changed=int(made), more={"queue": queue, "unlogged": unlogged})


@command(app, "send", example="""pgops queue pgmq send orders '{"order": 7}' --json""")
async def send(
    cli: Cli,
    queue: Name,
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)] = "-",
    delay: Annotated[float | None, typer.Option("--delay", metavar="SECONDS", help="Nobody sees it before.")] = None,
    headers: Annotated[str | None, typer.Option("--headers", metavar="JSON", help="An object beside it.")] = None,
    many: Annotated[bool, typer.Option("--many", help="One message for each line of JSON on stdin.")] = False,
) -> None:
    """Add a message, or with --many one for each line of stdin, all or none."""
    from pgops.services.pgmq import AsyncPgmq

    if many and (payload != "-" or headers is not None):
        raise UsageError(
            "--many takes its payloads from stdin, and no --headers",
            "for example: pgops queue pgmq send orders --many < messages.jsonl",
        )
    beside = None if headers is None else inputs.payload(headers)
    if beside is not None and not isinstance(beside, dict):
        raise UsageError("headers are a JSON object", """for example --headers '{"trace": "00-4bf9"}'""")
    value = None if many else inputs.payload(payload)
    async with cli.database(schema=False) as db:
        pgmq = AsyncPgmq(db)
        if many:
            sent = await pgmq.send_many(queue, inputs.stdin_lines(), delay_s=delay)
            more = {"queue": queue, "first": sent[0] if sent else None, "last": sent[-1] if sent else None}
            cli.done("send", f"sent {len(sent):,} messages to {queue}", matched=len(sent), changed=len(sent), more=more)
            return
        id = await pgmq.send(queue, value, delay_s=delay, headers=beside)
    cli.done("send", f"sent message {id} to {queue}", more={"queue": queue, "msg_id": id})


@command(app, "read", example="pgops queue pgmq read orders --limit 5 --vt 30 --json")
async def read(
    cli: Cli,
    queue: Name,
    limit: Limit = 1,
    vt: Annotated[float, typer.Option("--vt", metavar="SECONDS", help="Hidden from others for so long.")] = 30.0,
) -> None:
    """Take messages for a while; acknowledge, archive or extend each by its id and read count."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        found = await AsyncPgmq(db).read(queue, limit=limit, vt_s=vt)
    _show(cli, found)


@command(app, "peek", example="pgops queue pgmq peek orders --limit 5 --json")
async def peek(cli: Cli, queue: Name, limit: Limit = 10) -> None:
    """The first messages, without taking them: nothing changes."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        found = await AsyncPgmq(db).peek(queue, limit=limit)
    _show(cli, found)


@command(app, "ack", example="pgops queue pgmq ack orders 1 1 --json")
async def ack(cli: Cli, queue: Name, msg_id: MsgId, read_ct: ReadCt) -> None:
    """Delete a message that is done; exit code 5 where it was read again meanwhile, or is gone."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        await AsyncPgmq(db).ack(queue, msg_id, read_ct)
    cli.done("ack", f"acknowledged message {msg_id} of {queue}", more={"queue": queue, "msg_id": msg_id})


@command(app, "archive", example="pgops queue pgmq archive orders 1 1 --json")
async def archive(cli: Cli, queue: Name, msg_id: MsgId, read_ct: ReadCt) -> None:
    """Move a message that is done to the queue's archive; exit code 5 as for ack."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        await AsyncPgmq(db).archive(queue, msg_id, read_ct)
    cli.done("archive", f"archived message {msg_id} of {queue}", more={"queue": queue, "msg_id": msg_id})


@command(app, "extend", example="pgops queue pgmq extend orders 1 1 --vt 60 --json")
async def extend(
    cli: Cli,
    queue: Name,
    msg_id: MsgId,
    read_ct: ReadCt,
    vt: Annotated[
        float, typer.Option("--vt", metavar="SECONDS", help="From now; 0 gives it back.", show_default=False)
    ],
) -> None:
    """Keep a message that was read hidden for longer; exit code 5 as for ack."""
    from pgops.services.pgmq import AsyncPgmq

    async with cli.database(schema=False) as db:
        until = await AsyncPgmq(db).extend(queue, msg_id, read_ct, vt)
    more = {"queue": queue, "msg_id": msg_id, "vt": until}
    cli.done("extend", f"message {msg_id} of {queue} is hidden until {until:%Y-%m-%d %H:%M:%S%z}", more=more)


@command(app, "dead", example="pgops queue pgmq dead orders --more-than 5 --yes --json")
async def dead(
    cli: Cli,
    queue: Name,
    msg_id: Annotated[int | None, typer.Argument(metavar="MSG_ID", help="Only this one.", show_default=False)] = None,
    read_ct: Annotated[
        int | None, typer.Argument(metavar="READ_CT", help="As read told it.", show_default=False)
    ] = None,
    more_than: Annotated[int, typer.Option("--more-than", help="So many reads, and nobody has it now.")] = 5,
    reason: Annotated[str, typer.Option("--reason", help="Of one message, for its headers.")] = "given up",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Move messages that were read too often, or the one that is named, to the queue QUEUE_dlq."""
    from pgops.ops.act.actions import Action
    from pgops.services.pgmq import AsyncPgmq

    if msg_id is None:
        await acts.act(cli, Action("pgmq_dead", queue, more_than=more_than), yes=yes, dry_run=dry_run)
        return
    if read_ct is None or dry_run:
        raise UsageError(
            "one message is named by MSG_ID and READ_CT, and has no --dry-run", "see: pgops queue pgmq read"
        )
    async with cli.database(schema=False) as db:
        id = await AsyncPgmq(db).dead_letter(queue, msg_id, read_ct, reason=reason)
    more = {"queue": queue, "msg_id": msg_id, "dead_id": id}
    cli.done("dead", f"moved message {msg_id} of {queue} to its dead letters, as {id}", more=more)


@command(app, "redrive", example="pgops queue pgmq redrive orders --yes --json")
async def redrive(cli: Cli, queue: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let the dead letters of a queue start over in it, as new messages."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("pgmq_redrive", queue), yes=yes, dry_run=dry_run)


@command(app, "purge", example="pgops queue pgmq purge orders --yes --json")
async def purge(cli: Cli, queue: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Delete all messages of a queue; there is no way back."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("pgmq_purge", queue), yes=yes, dry_run=dry_run)


def _show(cli: Cli, found: "Sequence[PgmqMessage]") -> None:
    rows = [
        (str(one.msg_id), one.read_ct, one.enqueued_at, one.vt, one.payload, one.headers if one.headers else None)
        for one in found
    ]
    cli.items(found, _MESSAGE_HEADS, rows)

"""`pgops queue …`: see queues and jobs, add jobs, take back what is stuck or dead, run a worker."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pgops.cli import acts, cron, failures, inputs, jobs, output, pgmq, worker
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.cli.job import show
from pgops.cli.job_match import (
    NotOfKind,
    OfKind,
    OlderThan,
    WithError,
    WithoutWords,
    WithPayload,
    WithWords,
    YoungerThan,
    match_of,
)
from pgops.cli.looking import Over, look
from pgops.errors import UnavailableError, UsageError
from pgops.services.models import PgmqQueue

app = group("queue", "Jobs: queues, dead letters, workers.")
app.add_typer(cron.app)
Name = Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)]
UNKNOWN_OF_PGMQ = (
    "stuck", "waiting", "completed_total", "failed_total", "limited", "arriving_per_s", "served_per_s", "rates_over_s",
    "drains", "drain_s", "workers_needed",
)  # fmt: skip


@command(app, "list", example="pgops queue list --json")
async def list_(cli: Cli, over: Over = None) -> None:
    """Every queue: what waits, runs, is stuck or dead; those of pgmq in the same database too."""
    from pgops import migrate
    from pgops.cli.report import QUEUE_HEADS, pgmq_as_queue_row, queue_row
    from pgops.ops.collector import Collector
    from pgops.ops.observe.pgmq import ABSENT
    from pgops.ops.observe.snapshot import Unavailable, items

    async with cli.database(schema=False) as db:
        snapshot = await look(Collector(db), over)
        if not items(snapshot.pgmq):
            await migrate.require(db)
    queues, theirs = snapshot.queues, items(snapshot.pgmq)
    if isinstance(queues, Unavailable) and not theirs:
        raise UnavailableError(queues.reason, queues.remedy)
    if isinstance(queues, Unavailable):
        output.talk(f"only queues of pgmq: {queues.reason} ({queues.remedy})")
    if isinstance(snapshot.pgmq, Unavailable) and snapshot.pgmq != ABSENT:
        output.talk(f"without queues of pgmq: {snapshot.pgmq.reason} ({snapshot.pgmq.remedy})")
    rows = [(*queue_row(one), one.backend) for one in items(queues)]
    rows += [(*pgmq_as_queue_row(one), one.backend) for one in theirs]
    cli.items([*items(queues), *map(_as_queue, theirs)], (*QUEUE_HEADS, "backend"), rows)


command(app, "jobs", example="pgops queue jobs email --state dead --json")(jobs.jobs)
command(app, "show", example="pgops queue show email 1 --json")(show)


@command(app, "enqueue", example="""pgops queue enqueue email '{"to": "a@example.org"}' --json""")
async def enqueue(
    cli: Cli,
    queue: Name,
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)] = "-",
    kind: Annotated[str, typer.Option("--kind", help="What the worker's handler is chosen by.")] = "default",
    delay: Annotated[float | None, typer.Option("--delay", metavar="SECONDS", help="Run it later.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="1 is first, 4 is last.")] = 2,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", help="Otherwise as the queue says.")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="KEY", help="One at a time, in order.")] = None,
    unique: Annotated[str | None, typer.Option("--unique", metavar="KEY", help="Not if one with it is there.")] = None,
    unique_for: Annotated[float | None, typer.Option("--unique-for", metavar="SECONDS", help="At most.")] = None,
    many: Annotated[bool, typer.Option("--many", help="One job for each line of JSON on stdin.")] = False,
) -> None:
    """Add a job, or with --many one for each line of stdin, all or none."""
    if many and (payload != "-" or any(one is not None for one in (delay, max_attempts, group, unique))):
        raise UsageError(
            "--many takes its payloads from stdin, and no --delay, --max-attempts, --group or --unique",
            "for example: pgops queue enqueue email --many < jobs.jsonl",
        )
    value = None if many else inputs.payload(payload)
    async with cli.connect() as pg:
        await pg.queue.refuse_pgmq(queue)
        if many:
            added = await pg.queue.enqueue_many(queue, inputs.stdin_lines(), kind=kind, priority=priority)
            cli.done("enqueue", f"enqueued {added:,} jobs in {queue}", matched=added, changed=added)
            return
        job = await pg.queue.enqueue(
            queue, value, kind=kind, priority=priority, delay_s=delay, max_attempts=max_attempts, group_key=group,
            unique_key=unique, unique_for_s=unique_for,
        )  # fmt: skip
    cli.done("enqueue", f"enqueued job {job} in {queue}", more={"queue": queue, "id": job})


@command(app, "requeue", example="pgops queue requeue email --dead --yes --json")
async def requeue(
    cli: Cli,
    queue: Name,
    ids: Annotated[list[int] | None, typer.Argument(metavar="JOB", help="Only these jobs.")] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Take running jobs back from a worker that hangs.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Let dead letters start over.")] = False,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Dead letters: 1, then 10, then the rest, until their error comes back.")
    ] = False,
    rate: Annotated[float | None, typer.Option("--rate", help="With --ladder: the rest so many a second; 10.")] = None,
    kind: OfKind = None,
    error: WithError = None,
    words: WithWords = None,
    payload: WithPayload = None,
    not_kinds: NotOfKind = None,
    not_words: WithoutWords = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Make stuck or dead jobs available again: all of the queue, those named, or of the dead those that match. With
    --ladder it waits for how the first ones end before the others follow, and ctrl-c stops it."""
    from pgops.ops.act.actions import Action

    if stuck == (dead or ladder):
        raise UsageError("say which jobs: --stuck or --dead", "for example: pgops queue requeue email --dead")
    if rate is not None and not ladder:
        raise UsageError("--rate goes with --ladder", "without it all start over at once")
    match = match_of(kind, error, words, payload, not_kinds, not_words, older_than, younger_than, ids)
    if stuck and match is not None:
        raise UsageError("what jobs have to match goes with --dead", "stuck jobs are named, or all")
    if ladder:
        action = Action("requeue_ladder", queue, tuple(ids or ()), match, rate=rate)
    else:
        action = Action("requeue_stuck" if stuck else "requeue_dead", queue, ids=tuple(ids or ()), match=match)
    await acts.act(cli, action, yes=yes, dry_run=dry_run)


@command(app, "cancel", example="pgops queue cancel email 1 --yes --json")
async def cancel(
    cli: Cli,
    queue: Name,
    ids: Annotated[list[int], typer.Argument(metavar="JOB...", show_default=False)],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """End jobs: what has not started is gone, and the worker of what runs is told."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cancel_jobs", queue, ids=tuple(ids)), yes=yes, dry_run=dry_run)


@command(app, "discard", example="pgops queue discard email --yes --json")
async def discard(
    cli: Cli,
    queue: Name,
    ids: Annotated[list[int] | None, typer.Argument(metavar="JOB", help="Only these dead letters.")] = None,
    kind: OfKind = None,
    error: WithError = None,
    words: WithWords = None,
    payload: WithPayload = None,
    not_kinds: NotOfKind = None,
    not_words: WithoutWords = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Give dead letters up: all of the queue, those named, or those that match. The history keeps them."""
    from pgops.ops.act.actions import Action

    match = match_of(kind, error, words, payload, not_kinds, not_words, older_than, younger_than, ids)
    action = Action("discard_dead", queue, ids=tuple(ids or ()), match=match)
    await acts.act(cli, action, yes=yes, dry_run=dry_run)


@command(app, "edit", example="""pgops queue edit email 1 '{"to": "b@example.org"}' --yes --json""")
async def edit(
    cli: Cli,
    queue: Name,
    job: Annotated[int, typer.Argument(metavar="JOB", show_default=False)],
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Give a job that does not run another payload."""
    from pgops.ops.act.actions import Action

    given = inputs.stdin_text() if payload == "-" else payload
    inputs.payload(given)
    await acts.act(cli, Action("edit_job", queue, ids=(job,), given=given), yes=yes, dry_run=dry_run)


@command(app, "set", example="""pgops queue set email '{"lease_s": 60, "max_running": 5}' --yes --json""")
async def set_(
    cli: Cli,
    queue: Name,
    settings: Annotated[str, typer.Argument(help="JSON, or - for stdin; without it they are shown.")] = "",
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Change settings of a queue, or see them: max_attempts, lease_s, max_runtime_s, backoff_s, backoff_max_s, history
    (none, failures, all), aging_s (waiting so long is worth one priority), durability (durable; relaxed: a crash of the
    server may lose the last second), and the limits max_running, rate_per_s and burst, for all workers together. null
    takes a limit away."""
    if not settings:
        from pgops.ops.act.previews_jobs import settings as settings_now

        async with cli.database() as db:
            cli.facts(asdict(await settings_now(db, queue)))
        return
    from pgops.ops.act.actions import Action

    given = json.dumps(inputs.payload(settings), ensure_ascii=False)
    await acts.act(cli, Action("set_queue", queue, given=given), yes=yes, dry_run=dry_run)


@command(app, "history", example="pgops queue history email --json")
async def history(
    cli: Cli, queue: Name, limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50
) -> None:
    """The youngest jobs that have ended, and what they returned, as far as the queue keeps them."""
    async with cli.connect() as pg:
        found = await pg.queue.history(queue, limit=limit)
    rows = [(job.id, job.outcome, job.kind, job.attempt, job.finished_at, job.payload, job.result) for job in found]
    cli.items(found, ("id", "outcome", "kind", "attempt", "finished", "payload", "result"), rows)


@command(app, "pause", example="pgops queue pause email --json")
async def pause(cli: Cli, queue: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let no worker claim from a queue; jobs that run go on. It asks nothing."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("pause", queue), yes=True, dry_run=dry_run)


@command(app, "resume", example="pgops queue resume email --json")
async def resume(cli: Cli, queue: Name, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Let workers claim from a queue again. It asks nothing."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("resume", queue), yes=True, dry_run=dry_run)


def _as_queue(one: PgmqQueue) -> dict[str, object]:
    """A queue of pgmq with all that a queue of ours says too; what pgmq does not know is null."""
    unknown = dict.fromkeys(UNKNOWN_OF_PGMQ)
    known = {"paused": False, "oldest_age_s": one.ready_age_s, "enqueued_total": one.total}
    return {**output.plain(one), **unknown, **known, "oldest_message_age_s": one.oldest_age_s}


command(app, "failures", example="pgops queue failures --queue email --json")(failures.failures)
command(app, "work", example="pgops queue work myjobs:registry -q email --concurrency 50")(worker.work)
app.add_typer(pgmq.app)

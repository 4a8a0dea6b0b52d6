"""`pgops queue …`: see queues and jobs, add jobs, take back what is stuck or dead, run a worker."""

from typing import Annotated

import typer

from pgops.cli import acts, inputs, output
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import UnavailableError, UsageError
from pgops.services.models import JobRow, JobState, PgmqQueue

app = group("queue", "Jobs: queues, dead letters, workers.")
Name = Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)]
JOB_HEADS = ("id", "state", "kind", "priority", "attempt", "created", "run at", "payload")


@command(app, "list", example="pgops queue list --json")
async def list_(cli: Cli) -> None:
    """Every queue: what waits, runs, is stuck or dead; those of pgmq in the same database too."""
    from pgops import migrate
    from pgops.cli.report import QUEUE_HEADS, pgmq_as_queue_row, queue_row
    from pgops.ops.collector import collect
    from pgops.ops.snapshot import Unavailable, items

    async with cli.database(schema=False) as db:
        snapshot = await collect(db)
        if not items(snapshot.pgmq):
            await migrate.require(db)
    queues, theirs = snapshot.queues, items(snapshot.pgmq)
    if isinstance(queues, Unavailable) and not theirs:
        raise UnavailableError(queues.reason, queues.remedy)
    if isinstance(queues, Unavailable):
        output.talk(f"only queues of pgmq: {queues.reason} ({queues.remedy})")
    rows = [(*queue_row(one), one.backend) for one in items(queues)]
    rows += [(*pgmq_as_queue_row(one), one.backend) for one in theirs]
    cli.items([*items(queues), *map(_as_queue, theirs)], (*QUEUE_HEADS, "backend"), rows)


@command(app, "jobs", example="pgops queue jobs email --state dead --json")
async def jobs(
    cli: Cli,
    queue: Name,
    state: Annotated[JobState | None, typer.Option("--state", help="Only these.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
) -> None:
    """The first jobs of a queue, by state, in the order that matters there."""
    async with cli.connect() as pg:
        found = await pg.queue.jobs(queue, state=state, limit=limit)
    rows = [
        (job.id, job.state, job.kind, job.priority, _attempt(job), job.created_at, job.run_at, job.payload)
        for job in found
    ]
    cli.items(found, JOB_HEADS, rows)


@command(app, "show", example="pgops queue show email 1 --json")
async def show(cli: Cli, queue: Name, job: Annotated[int, typer.Argument(metavar="JOB", show_default=False)]) -> None:
    """One job: where it stands, its payload, and the error of every failed attempt."""
    async with cli.connect() as pg:
        found = await pg.queue.job(queue, job)
    facts = [
        ("queue", found.queue), ("id", str(found.id)), ("state", found.state), ("kind", found.kind),
        ("priority", found.priority), ("attempt", _attempt(found)), ("created", found.created_at),
        ("run at", found.run_at), ("started", found.started_at), ("lease until", found.lease_until),
        ("worker", None if found.owner is None else str(found.owner)), ("payload", found.payload),
        *((f"error {number}", error) for number, error in enumerate(found.errors, 1)),
    ]  # fmt: skip
    cli.facts({"job": found}, facts)


@command(app, "enqueue", example="""pgops queue enqueue email '{"to": "a@example.org"}' --json""")
async def enqueue(
    cli: Cli,
    queue: Name,
    payload: Annotated[str, typer.Argument(help="JSON, or - for stdin.", show_default=False)] = "-",
    kind: Annotated[str, typer.Option("--kind", help="What the worker's handler is chosen by.")] = "default",
    delay: Annotated[float | None, typer.Option("--delay", metavar="SECONDS", help="Run it later.")] = None,
    priority: Annotated[int, typer.Option("--priority", help="1 is first, 4 is last.")] = 2,
    max_attempts: Annotated[int | None, typer.Option("--max-attempts", help="Otherwise as the queue says.")] = None,
    many: Annotated[bool, typer.Option("--many", help="One job for each line of JSON on stdin.")] = False,
) -> None:
    """Add a job, or with --many one for each line of stdin, all or none."""
    if many and (payload != "-" or delay is not None or max_attempts is not None):
        raise UsageError(
            "--many takes its payloads from stdin, and no --delay or --max-attempts",
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
            queue, value, kind=kind, priority=priority, delay_s=delay, max_attempts=max_attempts
        )
    cli.done("enqueue", f"enqueued job {job} in {queue}", more={"queue": queue, "id": job})


@command(app, "requeue", example="pgops queue requeue email --dead --yes --json")
async def requeue(
    cli: Cli,
    queue: Name,
    ids: Annotated[list[int] | None, typer.Argument(metavar="JOB", help="Only these jobs.")] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Take running jobs back from a worker that hangs.")] = False,
    dead: Annotated[bool, typer.Option("--dead", help="Let dead letters start over.")] = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Make stuck or dead jobs available again: all of the queue, or those named."""
    from pgops.ops.actions import Action

    if stuck == dead:
        raise UsageError("say which jobs: --stuck or --dead", "for example: pgops queue requeue email --dead")
    action = Action("requeue_stuck" if stuck else "requeue_dead", queue, ids=tuple(ids or ()))
    await acts.act(cli, action, yes=yes, dry_run=dry_run)


@command(app, "pause", example="pgops queue pause email --json")
async def pause(cli: Cli, queue: Name, dry_run: DryRun = False) -> None:
    """Let no worker claim from a queue; jobs that run go on."""
    from pgops.ops.actions import Action

    await acts.act(cli, Action("pause", queue), yes=True, dry_run=dry_run)


@command(app, "resume", example="pgops queue resume email --json")
async def resume(cli: Cli, queue: Name, dry_run: DryRun = False) -> None:
    """Let workers claim from a queue again."""
    from pgops.ops.actions import Action

    await acts.act(cli, Action("resume", queue), yes=True, dry_run=dry_run)


def _as_queue(one: PgmqQueue) -> dict[str, object]:
    """A queue of pgmq with all that a queue of ours says too; what pgmq does not know is null."""
    unknown = dict.fromkeys(("stuck", "completed_total", "failed_total"))
    known = {"paused": False, "oldest_age_s": one.ready_age_s, "enqueued_total": one.total}
    return {**output.plain(one), **unknown, **known, "oldest_message_age_s": one.oldest_age_s}


def _attempt(job: JobRow) -> str:
    return str(job.attempt) if job.max_attempts is None else f"{job.attempt}/{job.max_attempts}"

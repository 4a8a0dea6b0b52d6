"""`pgops queue show`: one job, and where it runs the session that works on it and whoever that waits for."""

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli.context import Cli

if TYPE_CHECKING:
    from pgops.ops.observe.snapshot_jobs import JobChain
    from pgops.services.models import JobRow

Fact = tuple[str, object]


async def show(
    cli: Cli,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)],
    job: Annotated[int, typer.Argument(metavar="JOB", show_default=False)],
) -> None:
    """One job: where it stands, its payload, and the error of every failed attempt. Of one that runs also its worker,
    the session that works on it, and whoever that waits for, each with what can be done about it."""
    async with cli.connect() as pg:
        found, chain = await pg.queue.job(queue, job), None
        if found.state == "running":
            from pgops.ops.observe.job_chain import chain_of

            chain = await chain_of(pg.db, queue, job)
    attempt = str(found.attempt) if found.max_attempts is None else f"{found.attempt}/{found.max_attempts}"
    facts: list[Fact] = [
        ("queue", found.queue), ("id", str(found.id)), ("state", found.state), ("kind", found.kind),
        ("priority", found.priority), ("attempt", attempt), ("created", found.created_at),
        ("run at", found.run_at), ("started", found.started_at), ("lease until", found.lease_until),
        ("group", found.group_key), ("unique key", found.unique_key), ("progress", found.progress),
        ("worker", None if found.owner is None else str(found.owner)), ("payload", found.payload),
        *(_chain(found, chain) if chain is not None else ()),
        *((f"error {number}", error) for number, error in enumerate(found.errors, 1)),
    ]  # fmt: skip
    cli.facts({"job": found, "chain": chain}, facts)


def _chain(job: "JobRow", chain: "JobChain") -> list[Fact]:
    """The chain as facts, from the worker to the root, each with its act."""
    from pgops.ops.observe.chain_words import chain_words, xmin_words

    living = "alive" if chain.alive else "gone"
    requeue = f"pgops queue requeue {quote(job.queue)} {job.id} --stuck"
    facts: list[Fact] = [("runs on", f"{chain.host}, pid {chain.pid}, {living}; take it back: {requeue}")]
    backend = chain.backend
    if backend is None:
        return [*facts, ("session", chain.note)]
    facts += [
        ("session", f"{chain_words(backend)}; end it: pgops sessions terminate {backend.pid}"),
        ("statement", backend.query),
        ("vacuum", xmin_words(backend) or None),
    ]
    for one in backend.chain:
        state = f"waits for {one.waits_for}" if one.blocked_by else f"{one.state or 'at work'}, waits for nobody"
        act = f"pgops sessions terminate {one.pid}" if one.pid else "rollback prepared"
        said = f"pid {one.pid} ({one.application or one.user or 'unknown'}): {state}; end it: {act}"
        facts += [("behind", said), ("", one.query)]
    return [fact for fact in facts if fact[1] is not None]

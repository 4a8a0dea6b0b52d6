"""`pgops queue jobs`: the jobs of a queue page by page, all of them or those that match."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output, tables
from pgops.cli.context import Cli
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
from pgops.services.models import JobState

if TYPE_CHECKING:
    from pgops.services.models import JobRow

HEADS = ("id", "state", "kind", "priority", "attempt", "created", "run at", "payload")
After = Annotated[str | None, typer.Option("--after", metavar="CURSOR", help="The `next` of the page before.")]
Before = Annotated[
    str | None, typer.Option("--before", metavar="CURSOR", help="The `previous` of the page after; end: the last page.")
]
Scan = Annotated[
    int, typer.Option("--scan", min=1, max=1_000_000, help="A search looks at so many jobs of a state, at most.")
]


async def jobs(
    cli: Cli,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", show_default=False)],
    state: Annotated[JobState | None, typer.Option("--state", help="Only these.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000)] = 50,
    after: After = None,
    before: Before = None,
    kind: OfKind = None,
    error: WithError = None,
    words: WithWords = None,
    payload: WithPayload = None,
    not_kinds: NotOfKind = None,
    not_words: WithoutWords = None,
    older_than: OlderThan = None,
    younger_than: YoungerThan = None,
    scan: Scan = 100_000,
) -> None:
    """A page of a queue's jobs, by state, in the order that matters there; of those that match, if that is said. What
    a search has not looked at by --scan comes with the next page."""
    match = match_of(kind, error, words, payload, not_kinds, not_words, older_than, younger_than)
    async with cli.connect() as pg:
        page = await pg.queue.page(queue, state=state, after=after, before=before, limit=limit, match=match, scan=scan)
    if cli.json:
        cli.document(
            {
                "items": page.jobs,
                "next": page.next,
                "previous": page.previous,
                "searched": page.searched,
                "cut": page.cut,
            }
        )
        return
    tables.table(HEADS, [_cells(job) for job in page.jobs])
    if page.cut:
        output.talk(f"searched {page.searched:,} jobs, and there are more")
    for name, cursor, found in (("before", page.previous, before is not None), ("after", page.next, before is None)):
        if cursor is not None and found:
            output.talk(f"more: the same with --{name} {cursor}")


def _cells(job: "JobRow") -> tuple[object, ...]:
    attempt = str(job.attempt) if job.max_attempts is None else f"{job.attempt}/{job.max_attempts}"
    return (job.id, job.state, job.kind, job.priority, attempt, job.created_at, job.run_at, job.payload)

"""Acts from the command line: preview, confirmation, run; the same Action as in the dashboard.

The rule: without a person at a terminal nothing happens unless --yes says so, and --dry-run never changes anything.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output
from pgops.cli.context import Cli, at_terminal, confirm
from pgops.errors import PgopsError, RefusedError

if TYPE_CHECKING:
    from pgops.ops.act.actions import Action, Preview, Result

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would hit.")]


async def act(cli: Cli, action: "Action", *, yes: bool, dry_run: bool) -> None:
    """Preview `action`, have it confirmed, run it and print what it did; on a terminal, how far it is. Interrupted, it
    says what is left of it."""
    from pgops.ops.act import actions, danger, progress

    async with cli.database(looks=dry_run) as db:
        look = await actions.preview(db, action)
        if dry_run:
            report_preview(cli, look)
            return
        cli.guard.require()
        if not (cli.json and yes):
            show(look)
        ask(look.title, yes=yes, typed=danger.danger(look))
        try:
            async with watched(cli, lambda: progress.how_far(db, look.action)):
                done = await actions.run(db, look.action)
        except asyncio.CancelledError:
            with suppress(PgopsError):
                output.talk(f"stopped: {await progress.left_of(db, look.action)}")
            raise
        report(cli, done, missed=danger.meanwhile(look, done.changed))


@asynccontextmanager
async def watched(cli: Cli, progress: Callable[[], Awaitable[str]] | None) -> AsyncIterator[None]:
    """Show on stderr how far something is, once a second, if a person is there to see it."""
    if progress is None or cli.json or not at_terminal(sys.stderr):
        yield
        return
    task = asyncio.create_task(_tell(progress))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        sys.stderr.write("\r\x1b[K")


async def _tell(progress: Callable[[], Awaitable[str]]) -> None:
    with suppress(PgopsError):
        while True:
            await asyncio.sleep(1.0)
            sys.stderr.write(f"\r\x1b[K{output.harmless(await progress())}")
            sys.stderr.flush()


def ask(title: str, *, yes: bool, typed: str = "") -> None:
    """Return if this was confirmed: by a y, or by typing what is to be `typed`. Raises RefusedError otherwise."""
    if yes:
        return
    if not at_terminal(sys.stdin, sys.stderr):
        raise RefusedError(f"not confirmed: {title}", "add --yes to do it, or --dry-run to only look")
    if not confirm("Do it?", typed):
        hint = f"type {typed}, or add --yes" if typed else "answer y, or add --yes"
        raise RefusedError("not confirmed, nothing was changed", hint)


def report(cli: Cli, result: "Result", more: Mapping[str, object] | None = None, *, missed: str = "") -> None:
    """Print what an act did, and what of it had changed before."""
    trail = f"; {missed}" if missed else ""
    trail += "" if result.audit_id is None else f" (audit {result.audit_id})"
    trail += f"; undo it with: pgops audit undo {result.audit_id}" if result.undoable else ""
    cli.done(
        result.action.name, result.message + trail, matched=result.matched, changed=result.changed,
        audit_id=result.audit_id, dry_run=result.dry_run,
        more={"message": result.message, "undoable": result.undoable, **result.more, **(more or {})},
    )  # fmt: skip


def report_preview(cli: Cli, look: "Preview") -> None:
    """Print what an act would do."""
    if not cli.json:
        show(look)
    cli.done(
        look.action.name, f"would change {count(look)}; nothing was changed", matched=look.matched, changed=0,
        dry_run=True, more=details(look),
    )  # fmt: skip


def show(look: "Preview") -> None:
    """The preview, on stderr: it is talk, the result is data."""
    output.talk(look.title)
    output.talk(f"  matches {count(look)}")
    for sample in look.samples:
        output.talk(f"  · {sample}")
    for line in look.sql.strip().splitlines():
        output.talk(f"  | {line}")
    if look.warning:
        output.talk(f"warning: {look.warning}")
    if look.undo:
        output.talk(look.undo)


def count(look: "Preview") -> str:
    return f"{'' if look.exact else 'at least '}{look.matched:,}"


def details(look: "Preview") -> dict[str, object]:
    """What a script learns of a preview beyond the numbers."""
    body: dict[str, object] = {
        "title": look.title, "samples": look.samples, "sql": look.sql, "warning": look.warning, "undo": look.undo,
    }  # fmt: skip
    return body if look.exact else {**body, "exact": {"matched": False}}

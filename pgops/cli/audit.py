"""`pgops audit …`: who did what, what it hit, and undoing it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import acts, output
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli

if TYPE_CHECKING:
    from pgops.ops.act.audit import AuditRow

app = group("audit", "Who did what through pgops, and undoing it.")
HEADS = ("id", "started", "actor", "client", "action", "target", "status", "matched", "changed", "undo")
Id = Annotated[str, typer.Argument(help="Its number: pgops audit list.", metavar="ID", show_default=False)]


async def list_(cli: Cli, limit: Annotated[int, typer.Option("--limit", help="How many, at most.")] = 50) -> None:
    """The last acts, newest first; one whose owner is gone shows as interrupted."""
    from pgops.ops.act import audit

    async with cli.database() as db:
        found = await audit.list(db, limit)
    rows = [
        (
            str(act.id), act.started_at, act.actor, act.client, act.action, _of(act), act.status, act.matched,
            act.changed, _undo(act),
        )
        for act in found
    ]  # fmt: skip
    cli.items(found, HEADS, rows)


command(app, "list", example="pgops audit list --limit 20 --json")(list_)
command(app, "ls", example="pgops audit ls --json")(list_)


@command(app, "show", example="pgops audit show 1 --json")
async def show(cli: Cli, id: Id) -> None:
    """One act: what it hit, some of what it has kept, whether it can be undone and until when."""
    from pgops.ops.act import undoing

    async with cli.database() as db:
        found = await undoing.show(db, id)
    act = found.act
    undo = f"{found.refused}: {found.hint}" if found.refused else f"pgops audit undo {act.id}"
    body = {"act": act, "kept": found.kept, "undoable": not found.refused, "undo": undo, "undo_sql": found.sql or None}
    pairs = [(name, value) for name, value in asdict(act).items() if name != "detail"]
    pairs += [("undo", undo), ("undo as SQL", found.sql)]
    pairs += [(name, value) for name, value in act.detail.items()] if isinstance(act.detail, dict) else []
    pairs += [(f"kept of {one.stood_in}", output.plain(one.before)) for one in found.kept]
    cli.facts(body, pairs)


@command(app, "undo", example="pgops audit undo 1 --yes --json")
async def undo(cli: Cli, id: Id, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Bring back what an act has changed, but for what was touched since, which is left alone and counted."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("undo", id), yes=yes, dry_run=dry_run)


def _of(act: "AuditRow") -> str:
    """What it was about, and why, where a reason was given."""
    return f"{act.target}: {act.reason}" if act.reason else act.target


def _undo(act: "AuditRow") -> str | None:
    return f"by {act.undone_by}" if act.undone_by is not None else "can be" if act.undoable else None

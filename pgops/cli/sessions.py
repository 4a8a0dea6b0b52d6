"""`pgops sessions …` and `pgops locks …`: who is connected, who waits for whom, and ending one of them."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from pgops.cli import acts, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import RefusedError

if TYPE_CHECKING:
    from pgops.ops.observe.snapshot import LockBackend, SessionRow, Snapshot, Unavailable

app = group("sessions", "Connections: who does what, and ending one.")
locks_app = group("locks", "Who waits for whom.")

T = TypeVar("T")
Pid = Annotated[str, typer.Argument(help="Its process id: pgops sessions list.", metavar="PID", show_default=False)]
HEADS = ("pid", "user", "database", "application", "client", "state", "transaction", "query age", "wait", "query")
LOCK_HEADS = ("pid", "user", "application", "state", "waits for", "root", "waited", "on", "mode", "query")


def register(root: typer.Typer) -> None:
    root.add_typer(app)
    root.add_typer(locks_app)


@command(app, "list", example="pgops sessions list --json")
async def list_(cli: Cli) -> None:
    """Client connections, the longest transaction first, 200 at most."""
    sessions = _known((await _observed(cli)).session_list)
    cli.items(sessions, HEADS, [_row(one) for one in sessions])


@command(app, "cancel", example="pgops sessions cancel 4711 --yes")
async def cancel(cli: Cli, pid: Pid, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Cancel the statement that a session runs; the session goes on."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("cancel_backend", pid), yes=yes, dry_run=dry_run)


@command(app, "terminate", example="pgops sessions terminate 4711 --yes")
async def terminate(cli: Cli, pid: Pid, yes: Yes = False, dry_run: DryRun = False) -> None:
    """End a session; its transaction is rolled back."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("terminate_backend", pid), yes=yes, dry_run=dry_run)


@command(locks_app, "list", example="pgops locks list --json")
async def locks(cli: Cli) -> None:
    """Every backend that waits for a lock, and those that it waits for."""
    backends = _known((await _observed(cli)).locks)
    cli.items(backends, LOCK_HEADS, [_lock_row(one) for one in backends])


async def _observed(cli: Cli) -> "Snapshot":
    from pgops.ops.collector import collect

    async with cli.database(schema=False) as db:
        return await collect(db, cli.target.display)


def _known(part: "tuple[T, ...] | Unavailable") -> tuple[T, ...]:
    """What a part holds. Raises RefusedError where this role may not see it."""
    if isinstance(part, tuple):
        return part
    raise RefusedError(part.reason, part.remedy)


def _row(one: "SessionRow") -> tuple[object, ...]:
    return (
        str(one.pid), one.user, one.database, one.application, one.client, one.state,
        tables.duration(one.transaction_s), tables.duration(one.query_s), one.wait, one.query,
    )  # fmt: skip


def _lock_row(one: "LockBackend") -> tuple[object, ...]:
    return (
        str(one.pid), one.user, one.application, one.state or one.backend_type, ", ".join(map(str, one.blocked_by)),
        None if one.root is None else str(one.root), tables.duration(one.waited_s), one.relation or one.lock_type,
        one.lock_mode, one.query,
    )  # fmt: skip

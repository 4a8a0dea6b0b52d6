"""`pgops check`: one line for a monitoring system, in the form of the monitoring plugins.

The rule: exit 0 is ok, 1 warning, 2 critical, 3 unknown; any error at all is unknown, and what a person would read on
stderr stands in the line, because a monitoring system reads nothing else. It never starts the server it looks at.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import endings, output
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.config import Target, redact
from pgops.errors import PgopsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from pgops.ops.snapshot import Snapshot

STATES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
UNKNOWN = 3


def register(app: typer.Typer) -> None:
    command(app, "check", example="pgops check", ending=_ending)(check)


def _ending(error: BaseException, cli: Cli) -> int:
    return failed(error, as_json=cli.json, target=cli.target)


async def check(
    cli: Cli,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Then it is unknown.")] = 10.0,
) -> None:
    """One line for a monitoring system: exit 0 ok, 1 warning, 2 critical, 3 unknown and any error."""
    if not 0.1 <= timeout <= 600:
        raise UsageError(f"a timeout is 0.1 to 600 seconds, not {timeout:g}", "leave it out for 10")
    try:
        async with asyncio.timeout(timeout):
            snapshot = await _observed(cli)
    except TimeoutError:
        raise UnreachableError(f"no answer within {timeout:g} s") from None
    code, message = verdict(snapshot)
    data = perfdata(snapshot)
    if cli.json:
        cli.document(
            {"status": STATES[code], "exit_code": code, "message": message, "perfdata": data,
             "findings": snapshot.findings}
        )  # fmt: skip
    else:
        output.say(line(code, message, data))
    raise typer.Exit(code)


async def _observed(cli: Cli) -> "Snapshot":
    from pgops.ops.collector import collect

    cli.require_running()
    async with cli.database(schema=False, quiet=True) as db:
        return await collect(db, cli.target.display)


def meant(argv: Sequence[str]) -> bool:
    """Whether a command line is one of `check`, also where the rest of it is wrong."""
    words = iter(argv)
    for word in words:
        if word == "--dsn":
            next(words, None)
        elif not word.startswith("-"):
            return word == "check"
    return False


def failed(error: BaseException, *, as_json: bool, target: Target | None) -> int:
    """Say that nothing is known, and why; the exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = str(error) or type(error).__name__
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        said = "interrupted"
    elif isinstance(error, PgopsError) and error.hint:
        said = f"{said} ({error.hint})"
    elif isinstance(error, typer.TyperException):
        said = error.format_message()
    elif not isinstance(error, PgopsError):
        said = f"{type(error).__name__}: {said}"
    said = redact(said)
    try:
        if as_json:
            body = {"status": STATES[UNKNOWN], "exit_code": UNKNOWN, "message": said, "perfdata": {}, "findings": []}
            output.write_json(output.envelope(target, body))
        else:
            output.say(line(UNKNOWN, said, {}))
    except OSError:
        endings.forget_stdout()
    return UNKNOWN


def verdict(snapshot: "Snapshot") -> tuple[int, str]:
    """The exit code and what to say: the worst finding; unknown where nothing is wrong but not all could be seen."""
    for code, severity in ((2, "critical"), (1, "warning")):
        worst = [one for one in snapshot.findings if one.severity == severity]
        if worst:
            others = len([one for one in snapshot.findings if one.severity != "info"]) - 1
            more = f"; {others} more" if others else ""
            return code, f"{worst[0].title} ({worst[0].evidence}){more}"
    if unseen := _unseen(snapshot):
        return UNKNOWN, unseen
    return 0, "nothing needs a human"


def _unseen(snapshot: "Snapshot") -> str:
    """The first part that could not be had. A standby never has the cache: its tables are not logged; a database
    without pgvector has no vectors, and nobody misses them."""
    from pgops.ops.snapshot import Unavailable

    server = snapshot.server
    never = set[str]()
    if not isinstance(server, Unavailable):
        never = {name for name, is_so in (("cache", server.in_recovery), ("vectors", not server.pgvector)) if is_so}
    for name in ("server", "sessions", "locks", "queues", "workers", "outbox", "cache", "vectors"):
        part = getattr(snapshot, name)
        if isinstance(part, Unavailable) and name not in never:
            return f"{name}: {part.reason} ({part.remedy})"
    return ""


def perfdata(snapshot: "Snapshot") -> dict[str, str]:
    """Label -> value;warning;critical;min;max. What is unknown is left out."""
    from pgops.ops.findings import Thresholds
    from pgops.ops.snapshot import Unavailable, items

    lines = Thresholds()
    found: dict[str, str] = {}
    sessions = snapshot.sessions
    if not isinstance(sessions, Unavailable):
        warning, critical = (
            int(sessions.max * share) for share in (lines.connections_warning, lines.connections_critical)
        )
        found["connections"] = f"{sessions.total};{warning};{critical};0;{sessions.max}"
    if not isinstance(snapshot.locks, Unavailable):
        waited = max((one.waited_s or 0.0 for one in snapshot.locks), default=0.0)
        found["blocked"] = f"{len([one for one in snapshot.locks if one.blocked_by])};;;0"
        found["blocked_longest"] = f"{waited:.3f}s;{lines.blocked_warning_s:g};{lines.blocked_critical_s:g};0"
    if not isinstance(snapshot.queues, Unavailable):
        queues = items(snapshot.queues)
        for name in ("available", "running", "stuck", "dead"):
            found[f"jobs_{name}"] = f"{sum(getattr(one, name) for one in queues)};;;0"
        oldest = max((one.oldest_age_s or 0.0 for one in queues), default=0.0)
        found["jobs_oldest"] = f"{oldest:.3f}s;{lines.ready_age_warning_s:g};{lines.ready_age_critical_s:g};0"
    if not isinstance(snapshot.outbox, Unavailable):
        lag = max((one.lag_s or 0.0 for one in snapshot.outbox), default=0.0)
        found["outbox_lag"] = f"{lag:.3f}s;{lines.lag_warning_s:g};{lines.lag_critical_s:g};0"
    found["observed_in"] = f"{snapshot.cost.duration_ms:.3f}ms;;;0"
    return found


def line(code: int, message: str, data: Mapping[str, str]) -> str:
    """The plugin's one line; a bar would begin the figures."""
    said = " ".join(output.harmless(message).replace("|", "/").split())
    figures = " ".join(f"{label}={value}" for label, value in data.items())
    return f"PGOPS {STATES[code]} - {said}" + (f"|{figures}" if figures else "")

"""`pgops check`: how it is, for a monitoring system, in the form of the monitoring plugins (checking.py).

The rule: exit 0 is ok, 1 warning, 2 critical, 3 unknown; any error at all is unknown, and what a person would read on
stderr stands in the line, because a monitoring system reads nothing else. It never starts the server it looks at.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import endings, output
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.config import Target, redact
from pgops.errors import PgopsError, UnreachableError, UsageError

if TYPE_CHECKING:
    from pgops.ops.observe.snapshot import Snapshot
    from pgops.ops.thresholds import Thresholds


def register(app: typer.Typer) -> None:
    command(app, "check", example="pgops check", ending=_ending)(check)


def _ending(error: BaseException, cli: Cli) -> int:
    return failed(error, as_json=cli.json, target=cli.target)


async def check(
    cli: Cli,
    timeout: Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="Then it is unknown.")] = 10.0,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="LIST", help="Of these alone: subsystems or codes, as in queue,outbox.lag."),
    ] = None,
    ignore: Annotated[str | None, typer.Option("--ignore", metavar="LIST", help="And of none of these.")] = None,
) -> None:
    """For a monitoring system, the worst in a line: exit 0 ok, 1 warning, 2 critical, 3 unknown and any error."""
    from pgops.cli import checking

    of = checking.choice(only, ignore)
    if not 0.1 <= timeout <= 600:
        raise UsageError(f"a timeout is 0.1 to 600 seconds, not {timeout:g}", "leave it out for 10")
    try:
        lines = cli.thresholds()
        async with asyncio.timeout(timeout):
            snapshot = await _observed(cli, lines)
    except TimeoutError:
        raise UnreachableError(f"no answer within {timeout:g} s") from None
    code, message = checking.verdict(snapshot, of)
    data, findings = checking.perfdata(snapshot, lines), checking.counted(snapshot, of)
    gone = checking.unseen(snapshot, of)
    if cli.json:
        left_out = len(snapshot.findings) - len(findings)
        cli.document(
            {"status": checking.STATES[code], "exit_code": code, "message": message, "perfdata": data,
             "findings": findings, "unseen": gone, "left_out": left_out}
        )  # fmt: skip
    else:
        below = checking.more(findings, gone[1:] if code == checking.UNKNOWN else gone)
        output.say("\n".join([checking.line(code, message, data), *below]))
    raise typer.Exit(code)


async def _observed(cli: Cli, lines: "Thresholds") -> "Snapshot":
    from pgops.ops.collector import collect

    cli.require_running()
    async with cli.database(schema=False, quiet=True) as db:
        return await collect(db, cli.target.display, thresholds=lines)


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
    from pgops.cli.checking import STATES, UNKNOWN, line

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

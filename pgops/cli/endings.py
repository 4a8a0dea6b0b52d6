"""How a call ends badly: with an exit code and one line, or one JSON object, on stderr.

The rule: nobody ever sees a traceback or a secret, unless PGOPS_DEBUG=1 asks for the former.
"""

import asyncio
import json
import os
import sys

import typer

from pgops.cli import output
from pgops.config import Target, redact
from pgops.errors import ExitCode, PgopsError

_DEBUG_HINT = "PGOPS_DEBUG=1 shows where"


def tell(error: BaseException, *, as_json: bool, target: Target | None) -> int:
    """Say what went wrong; the exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokenPipeError):
        forget_stdout()
        return int(ExitCode.OK)
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return _write("Interrupted", "interrupted", "", ExitCode.INTERRUPTED, as_json, target)
    if os.environ.get("PGOPS_DEBUG") == "1":
        raise error
    if isinstance(error, PgopsError):
        return _write(type(error).__name__, str(error), error.hint, error.exit_code, as_json, target)
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f"see: {context.command_path if context else 'pgops'} --help"
        return _write("UsageError", error.format_message(), hint, ExitCode.USAGE, as_json, target)
    if isinstance(error, OSError):
        forget_stdout()
    name = type(error).__name__
    return _write(name, f"{name}: {error}", _DEBUG_HINT, ExitCode.FAILED, as_json, target)


def _write(kind: str, message: str, hint: str, code: ExitCode, as_json: bool, target: Target | None) -> int:
    message, hint = (" ".join(redact(text).split()) for text in (message, hint))
    if as_json:
        body = {"message": message, "hint": hint, "exit_code": int(code), "kind": kind}
        sys.stderr.write(json.dumps(output.envelope(target, {"error": body})) + "\n")
    else:
        output.talk(message if code is ExitCode.INTERRUPTED else f"error: {message}")
        if hint:
            output.talk(f"hint: {hint}")
    return int(code)


def forget_stdout() -> None:
    """Nobody reads our stdout, or it cannot be written: what is still buffered goes nowhere, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""Every error that pgops raises on purpose: a message, a hint, an exit code.

Floor 0. The rule: a person sees one line and what to do about it, a script sees a stable exit code,
and neither ever sees a secret. Errors of the driver are translated in database.py alone.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command except `pgops check`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NO = 5
    INTERRUPTED = 130


class PgopsError(Exception):
    """The base of all: `str(error)` is the message, `hint` says what to do, `exit_code` what to exit with."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(PgopsError):
    """The call itself is wrong: a bad argument, an invalid DSN, a value out of bounds."""

    exit_code = ExitCode.USAGE


class UnreachableError(PgopsError):
    """The database cannot be reached now; trying again may help."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(PgopsError):
    """Not allowed here: read-only, missing privilege, or not confirmed."""

    exit_code = ExitCode.REFUSED


class PoolerError(RefusedError):
    """A pooler that lends sessions for one transaction stands between, and that cannot be done through it."""


class NotFoundError(PgopsError):
    """A well-formed no: the named thing does not exist."""

    exit_code = ExitCode.NO


class ConflictError(PgopsError):
    """A well-formed no: somebody else was first, and what was to be changed has another version by now."""

    exit_code = ExitCode.NO


class SchemaError(PgopsError):
    """The schema is missing, older or newer than the program, or was changed."""


class UnavailableError(PgopsError):
    """A part of the server is missing (an extension, a version); the rest works."""


class EmbedderError(PgopsError):
    """An embedder did not give what was asked of it: no answer, a refusal, or vectors that do not fit."""

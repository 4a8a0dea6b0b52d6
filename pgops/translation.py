"""The driver's errors as ours. Only database.py and listener.py call it, and both with `from`.

Floor 1.
"""

import psycopg
import psycopg_pool

from pgops.config import redact
from pgops.errors import (
    NotFoundError,
    PgopsError,
    RefusedError,
    SchemaError,
    UnavailableError,
    UnreachableError,
    UsageError,
)

_UNREACHABLE = ("08", "57P01", "57P02", "57P03", "53300", "28")


def translate(error: Exception) -> PgopsError:
    """The driver's error as ours: one line, without secrets, with a hint and an exit code."""
    state = getattr(error, "sqlstate", None) or ""
    diag = getattr(error, "diag", None)
    primary = (diag.message_primary if diag is not None else None) or str(error)
    message = _last_line(redact(primary))
    lowered = message.lower()
    if isinstance(error, psycopg_pool.PoolTimeout):
        return UnreachableError("no connection to the database became free in time", "is the server up?")
    if state in ("3F000", "42703") or (state in ("42P01", "42883") and "pgops" in lowered):
        return SchemaError(f"the pgops schema is missing or older here: {message}", "run: pgops migrate")
    if state == "3D000" or ("database" in lowered and "does not exist" in lowered):
        return UnreachableError(message, "create it first, for example with createdb, or name another one")
    if "password" in lowered or state.startswith("28"):
        return UnreachableError(message, "check user and password of the DSN, PGPASSWORD or ~/.pgpass")
    gone = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not state
    if gone or state.startswith(_UNREACHABLE):
        return UnreachableError(message, "check host, port and that the server is up; `pgops server status`")
    if state == "42501":
        return RefusedError(message, _privilege(lowered))
    if state == "25006":
        if "recovery" in lowered:
            return RefusedError(message, "this is a standby: use the primary")
        return RefusedError("this session is read-only", "leave out --read-only to change data")
    if state == "57014":
        return PgopsError(message, "it took longer than the statement timeout allows, or was cancelled")
    if state == "55P03":
        return PgopsError(message, "somebody holds a lock on it: pgops locks tells who, and who waits; try again")
    if state == "54000" and "NOTIFY" in message:
        return PgopsError(message, "a session keeps it from being emptied; pgops pubsub probe names it")
    if state == "0A000":
        return UnavailableError(message, "this is a standby: use the primary" if "recovery" in lowered else "")
    if state == "P0002":
        return NotFoundError(message)
    if state.startswith("22") or state in ("23514", "23502"):
        return UsageError(message)
    return PgopsError(message, (diag.message_hint if diag is not None else None) or "")


def _privilege(message: str) -> str:
    """What gives the missing privilege."""
    if "must be owner" in message:
        return "only its owner may do that: connect as that role, or have it granted to this one"
    if "for database" in message:
        return "connect as the owner of the database, or have CREATE on it granted to this role"
    if message.startswith("permission denied for"):
        return "pgops grants prints the SQL that gives this role what it needs"
    return "the role lacks a privilege for this"


_QUESTIONS = ("Is the server running", "This probably means the server terminated", "before or while processing")


def _last_line(text: str) -> str:
    """libpq tells a line an address it tried, each with a question under it; the last telling line is the cause."""
    lines = [line.strip() for line in text.strip().splitlines()]
    told = [line for line in lines if line and not line.startswith(_QUESTIONS)]
    return told[-1] if told else "the database gave no reason"

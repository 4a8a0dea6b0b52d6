"""The schema: which migrations a database has, which it needs, and how they get there.

Floor 2. Up only. Each file of schema/ runs in one transaction, its statements one at a time, and is recorded in
`pgops.migrations` with its checksum. Every transaction takes the same advisory lock and looks again, so two
at once are safe, also through a pooler. A file that needs an extension waits, and does not fail, until the
extension can be had. A changed file or a newer database is refused.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from time import monotonic
from typing import Literal

from pgops.database import AsyncBound, AsyncPool
from pgops.errors import PgopsError, RefusedError, SchemaError, UnavailableError
from pgops.queries import load
from pgops.version import __version__

Q = load("pgops", "migrate.sql")
State = Literal["applied", "pending", "waiting", "changed", "newer"]
_NEEDS = re.compile(r"^-- needs extension: (\w+)\s*$", re.MULTILINE)
_PIECE = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|;", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of schema/: its name without ending, its text, and the extension that it needs."""

    name: str
    text: str
    extension: str | None

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self) -> Iterator[bytes]:
        """The statements one by one; `;` in strings, comments and $$ bodies does not end one."""
        start = 0
        for piece in _PIECE.finditer(self.text):
            if piece[0] == ";":
                yield self.text[start : piece.start()].strip().encode()
                start = piece.end()


@dataclass(frozen=True, slots=True)
class Step:
    """A migration's state in one database. `reason` tells why it waits, or what is wrong."""

    name: str
    state: State
    reason: str = ""
    duration_s: float | None = None


def schema_dir() -> Traversable:
    """The folder of the migrations: schema/ of a checkout, pgops/schema in an installed wheel."""
    checkout = Path(__file__).resolve().parent.parent / "schema"
    if (checkout / "0001_base.sql").is_file():
        return checkout
    return files("pgops").joinpath("schema")


def migrations() -> list[Migration]:
    """All migrations of this version of pgops, in order."""
    found = []
    for entry in sorted(schema_dir().iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            text = entry.read_text(encoding="utf-8")
            needs = _NEEDS.search(text)
            found.append(Migration(entry.name.removesuffix(".sql"), text, needs[1] if needs else None))
    return found


async def plan(db: AsyncPool, wanted: Sequence[Migration] | None = None) -> list[Step]:
    """The state of every migration in the database; nothing is changed."""
    wanted = migrations() if wanted is None else wanted
    recorded = await _recorded(db)
    steps = [await _state(db, migration, recorded) for migration in wanted]
    names = {migration.name for migration in wanted}
    steps += [Step(name, "newer", "made by a newer pgops") for name in sorted(recorded) if name not in names]
    return steps


async def apply(db: AsyncPool, wanted: Sequence[Migration] | None = None) -> list[Step]:
    """Bring the database up to date; the steps as they are after it, with the time each new one took. Where nothing is
    pending nothing is written, so that a role without any right to do so may ask.

    Raises SchemaError for a changed file or a newer database, before anything is done. Any other error names the
    file that failed: those before it are applied, it and those behind it are not, and another run goes on there.
    """
    wanted = migrations() if wanted is None else wanted
    steps = await plan(db, wanted)
    refuse(steps)
    to_do = zip(wanted, steps, strict=True)
    return [await _attempt(db, migration) if step.state == "pending" else step for migration, step in to_do]


def refuse(steps: Sequence[Step]) -> None:
    """Raise SchemaError where the database is not an older state of this very schema."""
    for step in steps:
        if step.state == "newer":
            raise SchemaError(
                f"the database has migration {step.name}, which this pgops {__version__} does not know",
                "upgrade pgops, or point it at another database",
            )
        if step.state == "changed":
            raise SchemaError(
                f"migration {step.name} was changed after it had been applied",
                "restore the file; changes belong in a new migration",
            )


async def require(db: AsyncPool) -> None:
    """Raise SchemaError unless every migration is applied, or waits for its extension."""
    steps = await plan(db)
    refuse(steps)
    missing = [step.name for step in steps if step.state == "pending"]
    if missing:
        older = any(step.state == "applied" for step in steps)
        message = f"the schema is older: {missing[0]} is missing" if older else "the database has no pgops schema"
        raise SchemaError(message, "run: pgops migrate")


async def _attempt(db: AsyncPool, migration: Migration) -> Step:
    try:
        return await _apply_one(db, migration)
    except PgopsError as error:
        raise type(error)(f"{migration.name}: {error}", error.hint) from error


async def _apply_one(db: AsyncPool, migration: Migration) -> Step:
    started = monotonic()
    async with db.transaction() as tx:
        await tx.execute(Q["lock_migrations"])
        await tx.execute(Q["create_schema"])
        await tx.execute(Q["create_ledger"])
        step = await _state(tx, migration, await _recorded(tx))
        if step.state != "pending":
            return step
        if migration.extension and (blocked := await _create_extension(tx, migration)):
            return blocked
        for statement in migration.statements():
            await tx.execute(statement)
        duration = monotonic() - started
        await tx.execute(
            Q["record_migration"],
            {
                "name": migration.name,
                "checksum": migration.checksum,
                "duration_s": duration,
                "by": __version__,
            },
        )
    return Step(migration.name, "applied", duration_s=round(duration, 3))


async def _create_extension(tx: AsyncBound, migration: Migration) -> Step | None:
    try:
        async with tx.transaction() as savepoint:
            await savepoint.execute(b"create extension if not exists " + (migration.extension or "").encode())
    except (RefusedError, UnavailableError) as error:
        return Step(migration.name, "waiting", f"{error}; a superuser can run: create extension {migration.extension}")
    return None


async def _recorded(db: AsyncPool | AsyncBound) -> dict[str, str]:
    row = await db.one(Q["ledger_exists"])
    if row is None or not row[0]:
        return {}
    return dict(await db.all(Q["list_migrations"]))


async def _state(db: AsyncPool | AsyncBound, migration: Migration, recorded: dict[str, str]) -> Step:
    checksum = recorded.get(migration.name)
    if checksum is not None:
        return Step(migration.name, "applied" if checksum == migration.checksum else "changed")
    if migration.extension is not None:
        row = await db.one(Q["extension_available"], {"extension": migration.extension})
        if row is None or not row[0]:
            reason = f"the server has no extension {migration.extension}; install it, then run pgops migrate again"
            return Step(migration.name, "waiting", reason)
    return Step(migration.name, "pending")

"""What a command is given: which database is meant, and how its one answer leaves.

The rule: a command makes one answer and says it here, as a table for a person or as a document for a script;
the choice is never its own. The target is told once, on stderr; a script's errors are told on stderr alone, so
with --json the target's line waits for the first document.
"""

import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TextIO

from pgops.cli import output, tables
from pgops.cli.guard import Guard
from pgops.config import Target, resolve_target
from pgops.errors import UnavailableError

if TYPE_CHECKING:
    from pgops.database import AsyncPool
    from pgops.ops.thresholds import Thresholds
    from pgops.services.client import AsyncPgops


class Cli:
    """One call of the program. `read_only` is what the call itself said, `target.read_only` may come from a profile;
    `unlock` is why a guarded one is to be changed."""

    def __init__(
        self,
        dsn: str | None,
        json: bool,
        *,
        profile: str | None = None,
        read_only: bool = False,
        unlock: str | None = None,
    ) -> None:
        self.json = json
        self.read_only = read_only
        self.target = resolve_target(dsn, profile=profile, read_only=read_only)
        self.guard = Guard(self.target, unlock)
        self._told = False

    @asynccontextmanager
    async def database(
        self, *, schema: bool = True, max_size: int = 4, quiet: bool = False, looks: bool = False
    ) -> AsyncIterator["AsyncPool"]:
        """The target's database; `quiet` leaves stderr alone, and who only `looks` unlocks nothing. Raises SchemaError
        first where its schema is not this program's."""
        from pgops import migrate
        from pgops.database import AsyncPool

        if not self.json and not quiet:
            self._tell_target()
        with ExitStack() as held:
            dsn = self.target.dsn if self.target.dsn is not None else held.enter_context(_embedded_server())
            read_only = self.target.read_only if looks else self.guard.read_only
            opened = AsyncPool.open(dsn, application_name="pgops cli", max_size=max_size, read_only=read_only)
            async with self.guard.explained(), opened as db:
                if schema:
                    await migrate.require(db)
                if not looks:
                    await self.guard.note(db, schema=schema)
                yield db

    def turn_to(self, target: Target) -> None:
        """Another database is meant than the call's."""
        self.target, self.guard = target, Guard(target, None)

    def require_running(self) -> None:
        """For who only looks, and starts nothing. Raises UnavailableError where the target is the embedded server and
        it does not run."""
        if self.target.embedded:
            from pgops.server import Server

            if not Server().status().running:
                raise UnavailableError("the embedded server does not run", "pgops server start, or name a database")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["AsyncPgops"]:
        """The services on the target's database."""
        from pgops.services.client import AsyncPgops

        async with self.database() as db:
            pg = AsyncPgops(db, self.target)
            yield pg
            await pg.flush()

    def thresholds(self) -> "Thresholds":
        """Where findings begin, as config.toml says. Raises UsageError for one that is wrong."""
        from pgops.ops.threshold_settings import thresholds_of

        return thresholds_of(self.target)

    def document(self, body: Mapping[str, object], *, one_line: bool = False) -> None:
        """Print `body` in its envelope."""
        self._tell_target()
        output.write_json(output.envelope(self.guard.target, body), one_line=one_line)

    def items(self, items: Sequence[object], heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Answer with a list: `items` for a script, `rows` under `heads` for a person."""
        if self.json:
            self.document({"items": items, "next": None})
        else:
            tables.table(heads, rows)

    def facts(self, body: Mapping[str, object], pairs: Sequence[tuple[str, object]] | None = None) -> None:
        """Answer with one thing: `body` for a script, `pairs` (or the same) for a person."""
        if self.json:
            self.document(body)
        else:
            tables.facts(list(body.items()) if pairs is None else pairs)

    def done(
        self,
        action: str,
        message: str,
        *,
        matched: int = 1,
        changed: int = 1,
        audit_id: int | None = None,
        dry_run: bool = False,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Answer with what was changed."""
        if self.json:
            act = {"action": action, "matched": matched, "changed": changed, "audit_id": audit_id, "dry_run": dry_run}
            self.document({**act, **(more or {})})
        else:
            output.say(message)

    def _tell_target(self) -> None:
        if not self._told:
            self._told = True
            notes = [] if self.target.embedded else [f"from {self.target.source}"]
            notes += self.guard.words
            output.talk(f"target: {self.target.display}" + (f" ({', '.join(notes)})" if notes else ""))


@contextmanager
def _embedded_server() -> Iterator[str]:
    """Its URL; it is started if it does not run."""
    from pgops.server import Server

    with ExitStack() as held:
        with interruptible():
            url = held.enter_context(Server().use())
        yield url


@contextmanager
def interruptible() -> Iterator[None]:
    """Let ctrl-c end a blocking call at once, also inside an event loop."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def at_terminal(*streams: TextIO) -> bool:
    """Whether all of them are a terminal: stdin and stderr to be asked, stdin and stdout for the dashboard."""
    return all(stream.isatty() for stream in streams)


def confirm(question: str, typed: str = "") -> bool:
    """Ask on stderr; only y and yes are a yes, or what is to be `typed`."""
    with interruptible():
        sys.stderr.write(output.harmless(f"{question} Type {typed} to do it: " if typed else f"{question} [y/N] "))
        sys.stderr.flush()
        said = sys.stdin.readline().strip()
        return said == typed if typed else said.lower() in ("y", "yes")

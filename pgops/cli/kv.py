"""`pgops kv …`: values by key that stay, with versions, counters and an end if wanted."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import ConflictError, NotFoundError, UsageError

if TYPE_CHECKING:
    from pgops.services.client import AsyncPgops
    from pgops.services.kv import AsyncKv
    from pgops.services.models import KvEntry

app = group("kv", "Values by key that stay; with --ephemeral, those that a crash may take.")
Key = Annotated[str, typer.Argument(show_default=False)]
Value = Annotated[str, typer.Argument(help="The text, or - for stdin.", show_default=False)]
Ttl = Annotated[float | None, typer.Option("--ttl", metavar="SECONDS", help="Otherwise without an end.")]
Ephemeral = Annotated[
    bool, typer.Option("--ephemeral", help="The store that is not logged: faster, empty after a crash.")
]
_SHOWN = 60


@command(app, "get", example="pgops kv get user:1 --json")
async def get(cli: Cli, key: Key, ephemeral: Ephemeral = False) -> None:
    """Print a value; with --json also its version. Exit code 5 where there is none."""
    async with cli.connect() as pg:
        entry = await _store(pg, ephemeral).get_entry(key)
    if entry is None:
        raise _missing(key)
    if cli.json:
        cli.document(_body(entry))
    else:
        output.write_value(entry.value)


@command(app, "set", example="pgops kv set user:1 Ann --ttl 3600 --json")
async def set_(cli: Cli, key: Key, value: Value, ttl: Ttl = None, ephemeral: Ephemeral = False) -> None:
    """Keep a value, whatever was there."""
    data = _data(value)
    async with cli.connect() as pg:
        version = await _store(pg, ephemeral).set(key, data, ttl_s=ttl)
    cli.done("set", f"set {key} ({tables.size(len(data))})", more={"key": key, "version": version})


@command(app, "add", example="pgops kv add lock:report host-1 --ttl 30 --json")
async def add(cli: Cli, key: Key, value: Value, ttl: Ttl = None, ephemeral: Ephemeral = False) -> None:
    """Keep a value if the key is not there; exit code 5 where it is."""
    data = _data(value)
    async with cli.connect() as pg:
        version = await _store(pg, ephemeral).add(key, data, ttl_s=ttl)
    if version is None:
        raise ConflictError(f"{key[:60]!r} is there already", "pgops kv set overwrites it")
    cli.done("add", f"added {key} ({tables.size(len(data))})", more={"key": key, "version": version})


@command(app, "delete", example="pgops kv delete user:1 --json")
async def delete(
    cli: Cli,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", show_default=False)],
    ephemeral: Ephemeral = False,
) -> None:
    """Forget keys; how many were there."""
    async with cli.connect() as pg:
        gone = await _store(pg, ephemeral).delete(*keys)
    cli.done("delete", f"deleted {gone:,} of {len(keys):,} keys", matched=len(keys), changed=gone)


@command(app, "ttl", example="pgops kv ttl user:1 --json")
async def ttl(
    cli: Cli,
    key: Key,
    expire: Annotated[
        float | None, typer.Option("--set", metavar="SECONDS", help="Let it end in so many seconds.")
    ] = None,
    persist: Annotated[bool, typer.Option("--persist", help="Take its end away.")] = False,
    ephemeral: Ephemeral = False,
) -> None:
    """Seconds that a key has left, -1 without an end; exit code 5 where it is not there."""
    async with cli.connect() as pg:
        store = _store(pg, ephemeral)
        if expire is not None and persist:
            raise UsageError("--set gives the key an end and --persist takes it away", "use one of them")
        if expire is not None:
            await store.expire(key, expire)
        elif persist:
            await store.persist(key)
        left_s = await store.ttl(key)
    if left_s == -2:
        raise _missing(key)
    cli.facts({"key": key, "ttl_s": left_s}, [("key", key), ("ttl", "no end" if left_s < 0 else f"{left_s:.3f} s")])


@command(app, "incr", example="pgops kv incr visits --by 1 --json")
async def incr(
    cli: Cli,
    key: Key,
    by: Annotated[int, typer.Option("--by", help="How much; may be negative.")] = 1,
    ttl: Annotated[float | None, typer.Option("--ttl", metavar="SECONDS", help="For a key that is new.")] = None,
    ephemeral: Ephemeral = False,
) -> None:
    """Add to a number, which starts at 0; the sum."""
    async with cli.connect() as pg:
        total = await _store(pg, ephemeral).incr(key, by, ttl_s=ttl)
    cli.done("incr", str(total), more={"key": key, "value": total})


@command(app, "cas", example="pgops kv cas leader 0 host-1 --ttl 30 --json")
async def cas(
    cli: Cli,
    key: Key,
    expected: Annotated[
        int, typer.Argument(metavar="VERSION", help="As `get --json` told it; 0: not there.", show_default=False)
    ],
    value: Value,
    ttl: Ttl = None,
    ephemeral: Ephemeral = False,
) -> None:
    """Keep a value if the key still has that version; exit code 5 where somebody else was first."""
    data = _data(value)
    async with cli.connect() as pg:
        version = await _store(pg, ephemeral).compare_and_set(key, expected, data, ttl_s=ttl)
    cli.done("cas", f"set {key}, version {version}", more={"key": key, "version": version})


@command(app, "scan", example="pgops kv scan --prefix user: --json")
async def scan(
    cli: Cli,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Meant literally.")] = None,
    glob: Annotated[str | None, typer.Option("--glob", help=r"With * ? and [a-z]; \* is a star.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="How many at most, up to 10,000.")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", help="Go on above this key: `next` of the page before.")
    ] = None,
    ephemeral: Ephemeral = False,
) -> None:
    """Entries in order of their keys, page by page."""
    async with cli.connect() as pg:
        page = await _store(pg, ephemeral).scan(prefix=prefix, glob=glob, limit=limit, after=after)
    if cli.json:
        cli.document({"items": [_body(entry) for entry in page.entries], "next": page.next})
        return
    rows = [
        (entry.key, _cut(entry.value), tables.size(len(entry.value)), str(entry.version), tables.duration(entry.ttl_s))
        for entry in page.entries
    ]
    tables.table(("key", "value", "size", "version", "ends in"), rows)
    if page.next is not None:
        output.talk(f"there may be more: --after {page.next}")


@command(app, "purge", example="pgops kv purge --yes --json")
async def purge(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove what has expired from both stores; what lives is never touched."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("purge_kv", ""), yes=yes, dry_run=dry_run)


def _store(pg: "AsyncPgops", ephemeral: bool) -> "AsyncKv":
    return pg.kv.ephemeral if ephemeral else pg.kv


def _data(value: str) -> bytes:
    return inputs.stdin_bytes() if value == "-" else value.encode(errors="surrogateescape")


def _missing(key: str) -> NotFoundError:
    return NotFoundError(f"no value for {key[:60]!r}", "it was never set, or has expired")


def _body(entry: "KvEntry") -> dict[str, object]:
    return {
        "key": entry.key, "bytes": len(entry.value), **output.value(entry.value), "version": entry.version,
        "ttl_s": entry.ttl_s, "updated_at": entry.updated_at,
    }  # fmt: skip


def _cut(value: bytes) -> str:
    text = value[: 4 * _SHOWN].decode(errors="backslashreplace")
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"

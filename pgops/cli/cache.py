"""`pgops cache …`: values by key, what the cache does for you, and removing what has expired."""

from typing import Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import NotFoundError

app = group("cache", "Values that may be lost, by key, until they expire.")
Key = Annotated[str, typer.Argument(show_default=False)]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Keys of different namespaces never meet.")]


@command(app, "get", example="pgops cache get greeting --json")
async def get(cli: Cli, key: Key, namespace: Namespace = "default") -> None:
    """Print a value; exit code 5 where there is none."""
    async with cli.connect() as pg:
        value = await pg.cache.get(key, namespace=namespace)
    if value is None:
        raise NotFoundError(f"no value for {key[:60]!r} in {namespace!r}", "it was never set, or has expired")
    if cli.json:
        cli.document({"key": key, "namespace": namespace, "bytes": len(value), **output.value(value)})
    else:
        output.write_value(value)


@command(app, "set", example="pgops cache set greeting hello --ttl 60 --json")
async def set_(
    cli: Cli,
    key: Key,
    value: Annotated[str, typer.Argument(help="The text, or - for stdin.", show_default=False)],
    ttl: Annotated[float | None, typer.Option("--ttl", metavar="SECONDS", help="Otherwise without an end.")] = None,
    namespace: Namespace = "default",
) -> None:
    """Keep a value."""
    data = inputs.stdin_bytes() if value == "-" else value.encode(errors="surrogateescape")
    async with cli.connect() as pg:
        await pg.cache.set(key, data, ttl_s=ttl, namespace=namespace)
    cli.done("set", f"set {key} ({tables.size(len(data))})", more={"key": key, "namespace": namespace})


@command(app, "delete", example="pgops cache delete greeting --json")
async def delete(
    cli: Cli,
    keys: Annotated[list[str], typer.Argument(metavar="KEY", show_default=False)],
    namespace: Namespace = "default",
) -> None:
    """Forget keys; how many were there."""
    async with cli.connect() as pg:
        gone = await pg.cache.delete(*keys, namespace=namespace)
    cli.done("delete", f"deleted {gone:,} of {len(keys):,} keys", matched=len(keys), changed=gone)


@command(app, "purge", example="pgops cache purge --yes --json")
async def purge(cli: Cli, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove what has expired; live values are never touched."""
    from pgops.ops.actions import Action

    await acts.act(cli, Action("purge_expired", ""), yes=yes, dry_run=dry_run)


@command(app, "stats", example="pgops cache stats --json")
async def stats(cli: Cli) -> None:
    """Hits, misses, entries and size."""
    async with cli.connect() as pg:
        found = await pg.cache.stats()
        waiting = await pg.cache.count_expired()
    body: dict[str, object] = {**output.plain(found), "expired_backlog": waiting.count}
    rough = {"entries": found.entries_exact, "expired_backlog": waiting.exact}
    if not all(rough.values()):
        body["exact"] = {name: False for name, known in rough.items() if not known}
    facts = [
        ("hits", found.hits), ("misses", found.misses), ("hit ratio", found.hit_ratio), ("sets", found.sets),
        ("entries", found.entries if found.entries_exact else f"about {found.entries:,}"),
        ("expired backlog", waiting.count if waiting.exact else f"at least {waiting.count:,}"),
        ("expired", found.expired), ("evicted", found.evicted), ("size", tables.size(found.bytes)),
        ("state", found.state), ("since", found.since),
    ]  # fmt: skip
    cli.facts(body, facts)

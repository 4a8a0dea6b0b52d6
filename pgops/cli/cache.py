"""`pgops cache …`: values by key, what the cache does for you, its bounds, and removing what is over."""

from typing import Annotated

import typer

from pgops.cli import acts, inputs, output, tables
from pgops.cli.acts import DryRun, Yes
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.errors import NotFoundError, UsageError
from pgops.services.models import CacheNamespace

app = group("cache", "Values that may be lost, by key, until they expire.")
Key = Annotated[str, typer.Argument(show_default=False)]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Keys of different namespaces never meet.")]


@command(app, "get", example="pgops cache get greeting --json")
async def get(cli: Cli, key: Key, namespace: Namespace = "default") -> None:
    """Print a value; exit code 5 where there is none."""
    async with cli.connect() as pg:
        value = await pg.cache.get(key, namespace=namespace)
    if value is None:
        raise missing(key, namespace)
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
    sliding: Annotated[bool, typer.Option("--sliding", help="So long after it was last read.")] = False,
    jitter: Annotated[
        float, typer.Option("--jitter", metavar="SHARE", help="Shorter by up to this share of the time, at random.")
    ] = 0.0,
    namespace: Namespace = "default",
) -> None:
    """Keep a value."""
    data = inputs.stdin_bytes() if value == "-" else value.encode(errors="surrogateescape")
    async with cli.connect() as pg:
        await pg.cache.set(key, data, ttl_s=ttl, sliding=sliding, jitter=jitter, namespace=namespace)
    cli.done("set", f"set {key} ({tables.size(len(data))})", more={"key": key, "namespace": namespace})


@command(app, "touch", example="pgops cache touch greeting --ttl 60 --json")
async def touch(
    cli: Cli,
    key: Key,
    ttl: Annotated[
        float | None, typer.Option("--ttl", metavar="SECONDS", help="Otherwise its own, if it slides.")
    ] = None,
    namespace: Namespace = "default",
) -> None:
    """Let a value last from now on, without reading it; exit code 5 where there is none."""
    async with cli.connect() as pg:
        if not await pg.cache.touch(key, ttl_s=ttl, namespace=namespace):
            raise missing(key, namespace)
    cli.done("touch", f"touched {key}", more={"key": key, "namespace": namespace})


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
    """Remove what has expired or was invalidated, and what is above a cap; nothing else that lives is touched."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("purge_expired", ""), yes=yes, dry_run=dry_run)


@command(app, "invalidate", example="pgops cache invalidate default --yes --json")
async def invalidate(
    cli: Cli,
    namespace: Annotated[str, typer.Argument(show_default=False)],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Forget all of a namespace at once, however much it is."""
    from pgops.ops.act.actions import Action

    await acts.act(cli, Action("invalidate", namespace), yes=yes, dry_run=dry_run)


@command(app, "cap", example="pgops cache cap default --entries 100000 --json")
async def cap(
    cli: Cli,
    namespace: Annotated[str, typer.Argument(show_default=False)],
    entries: Annotated[int | None, typer.Option("--entries", metavar="N", help="At most so many.")] = None,
    size: Annotated[
        int | None, typer.Option("--bytes", metavar="N", help="At most so many of keys and values.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Let it grow.")] = False,
) -> None:
    """Hold a namespace to a size: what is above is evicted as its writers flush, and by a purge."""
    if none == (entries is not None or size is not None):
        raise UsageError("say what the cap is", "--entries N, --bytes N, or both; or --none")
    async with cli.connect() as pg:
        await pg.cache.set_cap(namespace, entries=entries, bytes=size)
    said = " and ".join(f"{number:,} {unit}" for number, unit in ((entries, "entries"), (size, "bytes")) if number)
    more = {"namespace": namespace, "max_entries": entries, "max_bytes": size}
    cli.done("cap", f"{namespace} is held to {said}" if said else f"{namespace} may grow", more=more)


@command(app, "stats", example="pgops cache stats --json")
async def stats(cli: Cli) -> None:
    """Hits, misses, entries and size, of all and by namespace."""
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
    if found.namespaces and not cli.json:
        heads = ("namespace", "hits", "misses", "hit ratio", "entries", "size", "evicted", "cap")
        tables.table(heads, [_namespace(one) for one in found.namespaces])


def _namespace(one: CacheNamespace) -> tuple[object, ...]:
    about = "" if one.exact.get("entries", True) else "about "
    caps = (
        f"{one.max_entries:,} entries" if one.max_entries else "",
        tables.size(one.max_bytes) if one.max_bytes else "",
    )
    return (
        one.name, one.hits, one.misses, one.hit_ratio, f"{about}{one.entries:,}", f"{about}{tables.size(one.bytes)}",
        one.evicted, ", ".join(filter(None, caps)),
    )  # fmt: skip


def missing(key: str, namespace: str) -> NotFoundError:
    return NotFoundError(f"no value for {key[:60]!r} in {namespace!r}", "it was never set, or has expired")

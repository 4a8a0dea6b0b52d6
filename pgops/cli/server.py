"""`pgops server …`: the embedded PostgreSQL. Only `reset` connects to it, to see what it is about to remove."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output, tables
from pgops.cli.acts import DryRun, Yes, ask
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.config import Target
from pgops.errors import PgopsError, RefusedError, UsageError

if TYPE_CHECKING:
    from pgops.ops.act.embedded import Holdings
    from pgops.ops.observe.snapshot import Unavailable
    from pgops.server import ServerStatus

app = group("server", "The embedded PostgreSQL server.")
Force = Annotated[bool, typer.Option("--force", help="Also while programs use it.")]


@command(app, "start", example="pgops server start --pin")
def start(
    cli: Cli,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it until `pgops server stop`.")] = False,
) -> None:
    """Start it; unused it stops after a minute, pinned only by `stop`."""
    from pgops.server import Server

    _show(cli, Server().start(pin=pin))


@command(app, "stop", example="pgops server stop --json")
def stop(cli: Cli, force: Force = False) -> None:
    """Stop it, unless someone uses it."""
    from pgops.server import Server

    _show(cli, Server().stop(force=force))


@command(app, "status", example="pgops server status --json")
def status(cli: Cli) -> None:
    """Whether it runs, where its data is, and who uses it."""
    from pgops.server import Server

    _show(cli, Server().status())


@command(app, "url", example="pgops server url")
def url(cli: Cli) -> None:
    """Its connection URL, for psql and applications."""
    from pgops.server import Server

    if cli.json:
        _document(cli, {"url": Server().url})
    else:
        output.say(Server().url)


@command(app, "psql", example="pgops server psql -- -c 'select version()'")
def psql(
    cli: Cli,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT]", help="psql's own.", show_default=False)
    ] = None,
) -> None:
    """Open its psql on it. Until psql ends the server is in use; the exit code is psql's."""
    from pgops.server import Server

    if cli.json:
        raise UsageError("psql writes no JSON document", "for example: pgops server psql -- --csv -c 'select 1'")
    Server().become_psql(arguments or [], read_only=_read_only(cli))


@command(app, "reset", example="pgops server reset --dry-run --json")
async def reset(cli: Cli, force: Force = False, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Remove all its data, so that the next start makes a new one. It shows first what is there."""
    from pgops.server import Server

    cli.turn_to(Target(None, "embedded", _read_only(cli)))
    server = Server()
    before, size = server.status(), server.data_bytes()
    if size == 0:
        cli.done("reset", "there is nothing to remove", matched=0, changed=0, dry_run=dry_run)
        return
    found = await _holdings(cli)
    more = {
        "data_dir": before.data_dir, "bytes": size, "running": before.running, "users": before.users, "holds": found,
    }  # fmt: skip
    title = f"remove the embedded server's data, {tables.size(size)} in {before.data_dir}"
    if not (cli.json and (yes or dry_run)):
        _tell(title, found, before.users)
    if dry_run:
        cli.done("reset", "nothing was changed", changed=0, dry_run=True, more=more)
        return
    if cli.target.read_only:
        raise RefusedError("this would remove the data, and read-only was asked for", "leave out --read-only")
    if not force:
        server.refuse_if_used()
    ask(title, yes=yes)
    server.destroy(force=force)
    cli.done("reset", f"removed {tables.size(size)}; the next start makes a new server", more=more)


async def _holdings(cli: Cli) -> "Holdings | Unavailable":
    """What is there. The server is started for it; where it does not start, why not."""
    from pgops.ops.act.embedded import holdings
    from pgops.ops.observe.snapshot import Unavailable

    try:
        async with cli.database(schema=False, max_size=1) as db:
            return await holdings(db)
    except PgopsError as error:
        return Unavailable(str(error), error.hint)


def _tell(title: str, found: "Holdings | Unavailable", users: int | None) -> None:
    """What a person reads before he is asked."""
    from pgops.ops.act.embedded import Holdings

    output.talk(title)
    if isinstance(found, Holdings):
        for one in found.databases:
            output.talk(f"  · database {one.name}, {tables.size(one.bytes)}")
        for each in found.applications:
            output.talk(f"  · {each.application or 'no name'} in {each.database}, {each.sessions} connected")
    else:
        output.talk(f"  · its databases cannot be listed: {found.reason}")
    if users != 0:
        output.talk(f"  · used by {'an unknown number of' if users is None else users} programs")


def _read_only(cli: Cli) -> bool:
    """As the call says, or a profile that is about the embedded server; another server's profile does not count."""
    return cli.read_only or (cli.target.embedded and cli.target.read_only)


def _show(cli: Cli, status: "ServerStatus") -> None:
    body = output.plain(status)
    if cli.json:
        _document(cli, body)
    else:
        tables.facts(list(body.items()))


def _document(cli: Cli, body: dict[str, object]) -> None:
    output.write_json(output.envelope(Target(None, "embedded"), body))

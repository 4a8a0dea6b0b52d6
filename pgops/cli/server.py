"""`pgops server …`: the embedded PostgreSQL. These commands do not connect to it."""

from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output, tables
from pgops.cli.command import command, group
from pgops.cli.context import Cli
from pgops.config import Target

if TYPE_CHECKING:
    from pgops.server import ServerStatus

app = group("server", "The embedded PostgreSQL server.")


@command(app, "start", example="pgops server start --pin")
def start(
    cli: Cli,
    pin: Annotated[bool, typer.Option("--pin", help="Keep it until `pgops server stop`.")] = False,
) -> None:
    """Start it; unused it stops after a minute, pinned only by `stop`."""
    from pgops.server import Server

    _show(cli, Server().start(pin=pin))


@command(app, "stop", example="pgops server stop --json")
def stop(
    cli: Cli,
    force: Annotated[bool, typer.Option("--force", help="Also while programs use it.")] = False,
) -> None:
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


def _show(cli: Cli, status: "ServerStatus") -> None:
    body = output.plain(status)
    if cli.json:
        _document(cli, body)
    else:
        tables.facts(list(body.items()))


def _document(cli: Cli, body: dict[str, object]) -> None:
    output.write_json(output.envelope(Target(None, "embedded"), body))

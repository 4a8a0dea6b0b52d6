"""`pgops grants`: the SQL that gives a role what pgops needs, and no more."""

from typing import Annotated

import typer

from pgops.cli import output
from pgops.cli.command import command
from pgops.cli.context import Cli


def register(app: typer.Typer) -> None:
    command(app, "grants", example="pgops grants --role watcher --read-only")(grants)


async def grants(
    cli: Cli,
    role: Annotated[
        str | None, typer.Option("--role", help="Who is to get it; otherwise the role that is connected.")
    ] = None,
) -> None:
    """Print the SQL that lets a role look and act; with --read-only, look. Nothing is granted: pipe it to psql."""
    from pgops.ops import grants as ops

    act = not cli.target.read_only
    async with cli.database(schema=False) as db:
        needed = await ops.grants(db, role, act=act)
    if cli.json:
        cli.document({"role": needed.role, "owner": needed.owner, "items": needed.statements, "next": None})
    else:
        output.talk(f"run it as {needed.owner} or a superuser:")
        output.say("\n".join(f"{statement};" for statement in needed.statements))

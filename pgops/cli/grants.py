"""`pgops grants`: the SQL that gives a role what it needs of pgops, and no more."""

from enum import StrEnum
from typing import Annotated

import typer

from pgops.cli import output
from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.cli.inputs import chosen
from pgops.errors import UsageError


class Kind(StrEnum):
    READER = "reader"
    OPERATOR = "operator"
    APPLICATION = "application"


def register(app: typer.Typer) -> None:
    command(app, "grants", example="pgops grants application --role web --only queue,outbox")(grants)


async def grants(
    cli: Cli,
    kind: Annotated[
        Kind | None,
        typer.Argument(
            metavar="reader|operator|application",
            help="Looks; looks and acts; works.  [operator; --read-only: reader]",
        ),
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="Who is to get it; otherwise the role that is connected.")
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="LIST", help="Of an application: queue,outbox,pubsub,cache,limit,kv,doc,vector."
        ),
    ] = None,
) -> None:
    """Print the SQL that lets a role look, act too, or work. Nothing is granted: pipe it to psql."""
    from pgops.ops.tell import grants as ops

    meant = kind or (Kind.READER if cli.target.unlocked.read_only else Kind.OPERATOR)
    if only is not None and meant is not Kind.APPLICATION:
        raise UsageError(f"--only is for an application, not for {meant.value}s", "pgops grants application --only …")
    subsystems = ops.SUBSYSTEMS if only is None else chosen(only, ops.SUBSYSTEMS, "subsystem")
    async with cli.database(schema=False) as db:
        needed = await ops.grants(db, role, kind=meant.value, only=subsystems)
    if cli.json:
        body = {"role": needed.role, "owner": needed.owner, "kind": needed.kind, "items": needed.statements}
        cli.document({**body, "next": None})
    else:
        output.talk(f"run it as {needed.owner} or a superuser:")
        output.say("\n".join(f"{statement};" for statement in needed.statements))

"""`pgops migrate`: what the schema is, and bringing it up to date."""

from typing import Annotated

import typer

from pgops.cli.command import command
from pgops.cli.context import Cli
from pgops.errors import SchemaError, UsageError


def register(app: typer.Typer) -> None:
    command(app, "migrate", example="pgops migrate --plan --json")(migrate)


async def migrate(
    cli: Cli,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be done.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Fail unless the schema is this version's.")] = False,
) -> None:
    """Bring the database's schema up to date; two at once are safe."""
    from pgops import migrate as schema

    if plan and verify:
        raise UsageError("--plan and --verify exclude each other", "--verify also fails where --plan only tells")
    async with cli.database(schema=False, looks=plan or verify) as db:
        before = await schema.plan(db)
        try:
            steps = before if plan or verify else await schema.apply(db)
        finally:
            if not (plan or verify):
                await cli.guard.note(db, schema=False)
    pending = sum(step.state == "pending" for step in before)
    done = {step.name for step in steps if step.state == "applied"} - {
        step.name for step in before if step.state == "applied"
    }
    if cli.json:
        act = {"action": "migrate", "matched": pending, "changed": len(done), "audit_id": None}
        cli.document({**act, "dry_run": plan or verify, "items": steps, "next": None})
    else:
        rows = [(step.name, "new" if step.name in done else step.state, step.duration_s, step.reason) for step in steps]
        cli.items(steps, ("migration", "state", "seconds", "reason"), rows)
    if verify:
        schema.refuse(steps)
        if pending:
            raise SchemaError(f"{pending} migrations are not applied", "run: pgops migrate")

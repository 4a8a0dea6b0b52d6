"""How a function becomes a command: `@command(group, "list", example="pgops queue list --json")`.

The function takes a `Cli` first and then its own arguments; --dsn, --profile, --read-only, --unlock and --json are
added here, the same for all; all but the last may also stand before the command.
A coroutine function runs in an event loop of its own.
"""

import asyncio
import inspect
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Annotated, TypeVar

import typer

from pgops.cli import endings
from pgops.cli.context import Cli, interruptible
from pgops.cli.lean import Command, Group
from pgops.errors import ExitCode

Body = TypeVar("Body", bound=Callable[..., Coroutine[object, object, None] | None])
Ending = Callable[[BaseException, Cli], int]
Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn", metavar="DSN", help="The database; otherwise --profile, PGOPS_DSN, DATABASE_URL, PG…, or our own."
    ),
]
Profile = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="The database of a profile in config.toml.")
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Have the server refuse to change data.")]
Unlock = Annotated[
    str | None,
    typer.Option("--unlock", metavar="REASON", help="Why a guarded profile's data is changed; it is written down."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def _ending(error: BaseException, cli: Cli) -> int:
    return endings.tell(error, as_json=cli.json, target=cli.target)


def group(name: str, help: str) -> typer.Typer:
    """An empty group of commands."""
    app = typer.Typer(name=name, cls=Group, help=help, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def overview(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            typer.echo(context.get_help(), err=True)
            raise typer.Exit(ExitCode.USAGE)

    return app


def command(app: typer.Typer, name: str, *, example: str, ending: Ending = _ending) -> Callable[[Body], Body]:
    """Make the function below the command `name` of `app`; `ending` says how it ends badly, and with what code."""

    def register(function: Body) -> Body:
        signature = inspect.signature(function, eval_str=True)

        def call(
            context: typer.Context,
            dsn: Dsn,
            profile: Profile,
            read_only: ReadOnly,
            unlock: Unlock,
            json: Json,
            **values: object,
        ) -> None:
            root = context.find_root().params
            cli = Cli(
                dsn if dsn is not None else root.get("dsn"), json,
                profile=profile if profile is not None else root.get("profile"),
                read_only=read_only or bool(root.get("read_only")),
                unlock=unlock if unlock is not None else root.get("unlock"),
            )  # fmt: skip
            perform(cli, function, ending, **values)

        own = list(signature.parameters.values())[1:]
        call.__dict__["__signature__"] = signature.replace(parameters=[*own, *_common()], return_annotation=None)
        call.__annotations__ = {each.name: each.annotation for each in (*own, *_common())}
        app.command(name, cls=Command, help=inspect.getdoc(function), epilog=f"Example: {example}")(call)
        return function

    return register


def perform(
    cli: Cli,
    function: Callable[..., Coroutine[object, object, None] | None],
    ending: Ending = _ending,
    /,
    **values: object,
) -> None:
    """Run a command's function. Raises typer.Exit where it does not end well."""
    try:
        if inspect.iscoroutinefunction(function):
            asyncio.run(_cancellable(function(cli, **values)))
        else:
            with interruptible():
                function(cli, **values)
    except typer.Exit:
        raise
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
        raise typer.Exit(ending(error, cli)) from None


async def _cancellable(answer: Coroutine[object, object, None]) -> None:
    """Await `answer`; ctrl-c cancels it, so that what it holds is let go in order."""
    task = asyncio.current_task()
    with suppress(ValueError, NotImplementedError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: task and task.cancel())
    await answer


def _common() -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("context", kind, annotation=typer.Context),
        inspect.Parameter("dsn", kind, annotation=Dsn, default=None),
        inspect.Parameter("profile", kind, annotation=Profile, default=None),
        inspect.Parameter("read_only", kind, annotation=ReadOnly, default=False),
        inspect.Parameter("unlock", kind, annotation=Unlock, default=None),
        inspect.Parameter("json", kind, annotation=Json, default=False),
    ]

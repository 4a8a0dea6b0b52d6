"""Which jobs a command is about: the options that say what they have to match."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import inputs
from pgops.errors import UsageError

if TYPE_CHECKING:
    from pgops.services.models import JobMatch

OfKind = Annotated[str | None, typer.Option("--kind", help="Only jobs of this kind.")]
NotOfKind = Annotated[list[str] | None, typer.Option("--not-kind", metavar="KIND", help="None of this kind.")]
WithError = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Only those whose last error contains it.")
]
WithWords = Annotated[
    list[str] | None, typer.Option("--word", metavar="TEXT", help="Only those with it in kind, payload or last error.")
]
WithoutWords = Annotated[list[str] | None, typer.Option("--not-word", metavar="TEXT", help="Only those without it.")]
WithPayload = Annotated[
    str | None, typer.Option("--payload", metavar="JSON", help="Only those whose payload contains it.")
]
OlderThan = Annotated[
    str | None, typer.Option("--older-than", metavar="AGE", help="Added so long ago: 90s, 5m, 2h, 7d.")
]
YoungerThan = Annotated[str | None, typer.Option("--younger-than", metavar="AGE", help="Added since then.")]


def match_of(
    kind: str | None,
    error: str | None,
    words: Sequence[str] | None,
    payload: str | None,
    not_kinds: Sequence[str] | None,
    not_words: Sequence[str] | None,
    older_than: str | None,
    younger_than: str | None,
    ids: Sequence[int] | None = None,
) -> "JobMatch | None":
    """What the options ask for, None where they ask for nothing. Raises UsageError where jobs are named as well."""
    from pgops.services.models import JobMatch

    match = JobMatch(
        kind, error, None if payload is None else inputs.payload(payload), tuple(words or ()), tuple(not_kinds or ()),
        tuple(not_words or ()), inputs.age_s(older_than), inputs.age_s(younger_than),
    )  # fmt: skip
    if match == JobMatch():
        return None
    if ids:
        raise UsageError("name the jobs, or say what they have to match", "not both")
    return match

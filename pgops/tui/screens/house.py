"""What the palette opens that belongs to no screen: the schema, the profiles, the settings."""

from collections.abc import Callable
from functools import partial

from textual.app import App

from pgops.tui.screens.base import Helm
from pgops.tui.screens.migrations import MigrationsNote


def house_entries(app: App[object], helm: Helm) -> list[tuple[str, str, Callable[[], object]]]:
    """Name, what is told of it, and what opens it."""
    return [
        (
            "Migrations",
            "What of the schema is applied and pending",
            partial(_open, app, lambda: MigrationsNote(helm.source)),
        ),
    ]


def _open(app: App[object], note: Callable[[], MigrationsNote]) -> None:
    app.push_screen(note())

"""What the palette opens that belongs to no screen: the schema, the profiles, the settings."""

import os
from collections.abc import Callable
from functools import partial

from textual.app import App

from pgops.profiles import config_path
from pgops.tui.screens.base import Helm
from pgops.tui.screens.migrations import MigrationsNote
from pgops.tui.screens.profiles import ProfilesNote
from pgops.tui.screens.settings import InForce, SettingsNote

MIGRATIONS = "What of the schema is applied, what is pending"
PROFILES = "Which databases there are by name; open another one"
SETTINGS = "Theme, keys, and where findings begin"


def house_entries(app: App[object], helm: Helm) -> list[tuple[str, str, Callable[[], object]]]:
    """Name, what is told of it, and what opens it."""
    return [
        ("Migrations", MIGRATIONS, lambda: app.push_screen(MigrationsNote(helm.source))),
        ("Profiles", PROFILES, partial(_profiles, app, helm)),
        ("Settings", SETTINGS, lambda: app.push_screen(SettingsNote(_in_force(app, helm)))),
    ]


def _profiles(app: App[object], helm: Helm) -> None:
    here = helm.source.standing.profile

    def chosen(name: str | None) -> None:
        if name is not None and name != here:
            helm.turn_to(name)

    app.push_screen(ProfilesNote(here), chosen)


def _in_force(app: App[object], helm: Helm) -> InForce:
    theme = app.theme.removeprefix("pgops-")
    path = str(config_path(os.environ))
    return InForce(path, theme, helm.given, helm.now_view.every_s, helm.source.thresholds)

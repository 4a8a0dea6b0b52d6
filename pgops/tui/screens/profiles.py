"""The profiles of config.toml: which there are, what each may do, and opening another one."""

import os
from collections.abc import Mapping

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from pgops.config import Target, resolve_target
from pgops.errors import PgopsError
from pgops.profiles import Config, config_path, load_config
from pgops.tui import formats
from pgops.tui.screens.ask import failure
from pgops.tui.screens.modal import Note
from pgops.tui.theme import ACCENT, COLORS, INK, QUIET

NONE = 'No profile stands in {path}.\n\nwrite for example\n  [profiles.prod]\n  dsn = "service=prod"\n  guard = true'


def line(target: Target, *, here: bool, default: bool) -> Text:
    """A profile in one line; the open one has a mark."""
    text = Text("▸ " if here else "  ", ACCENT, no_wrap=True, overflow="ellipsis")
    text.append(f"{formats.clean(target.profile or '', 24):<14}", f"bold {COLORS[target.color]}")
    may = "guarded" if target.guard else "read only" if target.read_only else "may be changed"
    text.append(f" {may:<15}", INK)
    text.append(f"{'default  ' if default else ''}{formats.clean(target.display, 90)}", QUIET)
    return text


class ProfilesNote(Note[str]):
    """Answers with the name of the one to open."""

    def __init__(self, here: str | None, env: Mapping[str, str] = os.environ) -> None:
        super().__init__("profiles · enter opens one")
        self._here = here
        self._env = env
        self._names: tuple[str, ...] = ()

    def inside(self) -> ComposeResult:
        try:
            config = load_config(config_path(self._env))
            lines = [self._line(config, name) for name in config.profiles]
        except PgopsError as error:
            yield from _said(failure(error))
            return
        if not lines:
            yield from _said(Text(NONE.format(path=formats.clean(str(config.path))), INK))
            return
        self._names = tuple(config.profiles)
        yield OptionList(*(Option(each) for each in lines), id="profiles", markup=False, compact=True)

    def _line(self, config: Config, name: str) -> Text:
        target = resolve_target(None, self._env, profile=name)
        return line(target, here=name == self._here, default=name == config.default)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])


def _said(words: Text) -> ComposeResult:
    with VerticalScroll(classes="words"):
        yield Static(words, markup=False)

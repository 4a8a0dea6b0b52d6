"""Profiles and settings, opened from the palette; and turning to another profile, whose database is opened anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard_story import SMALL, Story, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource

import pgops.tui.app
from pgops.config import Target
from pgops.ops.thresholds import Thresholds
from pgops.tui import run_dashboard
from pgops.tui.app import PgopsApp
from pgops.tui.screens.profiles import ProfilesNote
from pgops.tui.screens.settings import InForce, told
from pgops.tui.standing import Standing

CONFIG = """
default_profile = "local"
[profiles.local]
dsn = "host=local password=s3cret"
[profiles.prod]
dsn = "service=prod"
guard = true
[profiles.report]
dsn = "host=replica"
read_only = true
"""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], object]:
    """Writes config.toml."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pgops").mkdir()
    return (tmp_path / "pgops" / "config.toml").write_text


async def from_palette(pilot: Story, name: str, told: str) -> None:
    await pilot.press("colon", *name)
    await until(pilot, lambda: told in screen(pilot))
    await pilot.pause(0.3)
    await pilot.press("enter")


async def test_the_profiles_tell_what_each_may_do_and_one_is_opened(config: Callable[[str], object]) -> None:
    config(CONFIG)
    source = LiteralSource(BUSY)
    source.stands = Standing("open", "local")
    async with dashboard(source) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        await from_palette(pilot, "profiles", "open another one")
        await until(pilot, lambda: isinstance(app.screen, ProfilesNote) and "▸ local" in screen(pilot))
        seen = screen(pilot)
        for words in ("may be changed default", "prod           guarded", "report         read only", "service=prod"):
            assert words in seen, words
        assert "s3cret" not in seen
        await pilot.press("enter")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        assert app.wanted is None, "it is open already"
        await from_palette(pilot, "profiles", "open another one")
        await until(pilot, lambda: isinstance(app.screen, ProfilesNote))
        await pilot.press("down", "enter")
        await pilot.pause()
    assert app.wanted == "prod"
    assert app.return_value == 0


@pytest.mark.parametrize(
    ("text", "words"), [("", "No profile stands in"), ("[profiles.prod]\ndns = 'x'", "no setting dns")]
)
async def test_without_profiles_or_with_a_wrong_file_it_says_so(
    config: Callable[[str], object], text: str, words: str
) -> None:
    config(text)
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.app.push_screen(ProfilesNote(None))
        await until(pilot, lambda: words in screen(pilot))
        await pilot.press("escape")


def test_turning_to_a_profile_opens_its_target_anew(
    config: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config(CONFIG)
    opened: list[str] = []

    class Briefly(PgopsApp):
        def run(self, *_: object, **__: object) -> None:  # type: ignore[override]
            opened.append(self.source.target)
            self.wanted = "prod" if len(opened) == 1 else None

    monkeypatch.setattr(pgops.tui.app, "PgopsApp", Briefly)
    monkeypatch.setattr("pgops.tui.memory.collect_seldom", lambda: None)
    assert run_dashboard(Target("host=local", "test")) == 0
    assert opened == ["host=local", "service=prod"]


def test_what_was_opened_read_only_stays_so_on_another_profile(
    config: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config(CONFIG)
    seen: list[str] = []

    class Briefly(PgopsApp):
        def run(self, *_: object, **__: object) -> None:  # type: ignore[override]
            seen.append(self.source.standing.mode)
            self.wanted = ("prod", "local", None)[len(seen) - 1]

    monkeypatch.setattr(pgops.tui.app, "PgopsApp", Briefly)
    monkeypatch.setattr("pgops.tui.memory.collect_seldom", lambda: None)
    assert run_dashboard(Target("host=local", "--dsn", True), read_only=True) == 0
    assert seen == ["read only"] * 3, "a guard too is not unlocked where --read-only was said"


def test_what_is_not_as_usual_has_a_mark() -> None:
    lines = replace(Thresholds(), connections_warning=0.5)
    seen = told(InForce("/x/config.toml", "day", {"requeue": "ctrl+y"}, 1.0, lines)).plain
    for words in ("● theme", "day  usually night", "  look every", "ctrl+y  usually R", "0.5  usually 0.8"):
        assert words in seen, words
    assert seen.count("●") == 3
    usual = told(InForce("/x", "night", {}, 1.0, Thresholds())).plain
    assert "●" not in usual
    assert "  edit_queue " in usual, "how [dashboard.keys] calls a key is found here"


async def test_the_settings_are_opened_from_the_palette() -> None:
    async with dashboard(LiteralSource(BUSY), SMALL) as pilot:
        await from_palette(pilot, "settings", "where findings begin")
        await until(pilot, lambda: "config.toml" in screen(pilot) and "theme" in screen(pilot))

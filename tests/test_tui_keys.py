"""Keys and the theme of one's own: what config.toml may say, what it may not, and that the dashboard heeds it."""

import re
from pathlib import Path

import pytest
from dashboard_story import dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource
from textual.color import Color

from pgops.errors import UsageError
from pgops.tui import theme, themes
from pgops.tui.app import PgopsApp
from pgops.tui.dressing import scopes
from pgops.tui.keymap import KEYS
from pgops.tui.rebinding import Settings, parse_settings, settings_of
from pgops.tui.screens.help import Help, all_keys

PATH = Path("config.toml")


def of(keys: dict[str, object], **more: object) -> Settings:
    return parse_settings(PATH, {"keys": keys, **more}, scopes())


def test_nothing_said_is_the_night_and_the_usual_keys() -> None:
    assert parse_settings(PATH, {}, scopes()) == Settings("night", {})


@pytest.mark.parametrize(
    ("id", "written", "key"),
    [
        ("requeue", "ctrl+y", "ctrl+y"), ("requeue", "Q", "Q"), ("requeue", "f5,ctrl+y", "f5,ctrl+y"),
        ("filter", "f", "f"), ("help", "!", "exclamation_mark"), ("help", "ctrl+underscore", "ctrl+underscore"),
        ("pause", ",", "comma"), ("sort", "alt+s", "alt+s"), ("confirm", "j", "j"), ("cancel", "C", "C"),
    ],
)  # fmt: skip
def test_a_key_is_written_as_it_is_called(id: str, written: str, key: str) -> None:
    if id in ("filter", "confirm"):
        with pytest.raises(UsageError, match="is the key of"):
            of({id: written})
    else:
        assert of({id: written}).keys == {id: key}


def test_keys_may_change_places() -> None:
    assert of({"sort": "r", "reverse": "s"}).keys == {"sort": "r", "reverse": "s"}
    assert of({"requeue": "ctrl+y", "redrive": "ctrl+y"}).keys["redrive"] == "ctrl+y", "they shared R too"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"requeu": "Q"}, "no key is called requeu.*did you mean.*requeue"),
        ({"requeue": 5}, "requeue in .* is a key in quotes"),
        ({"requeue": ""}, "is a key in quotes"),
        ({"requeue": "ctrl+nothing"}, "'ctrl.nothing' is no key"),
        ({"requeue": "ctrl+"}, "is no key"),
        ({"requeue": "hello"}, "'hello' is no key"),
        ({"requeue": "Q,"}, "is no key"),
        ({"requeue": "x"}, "x is no key for an act"),
        ({"requeue": "5"}, "5 is no key for an act"),
        ({"discard": "ctrl+d"}, "ctrl.d is no key for an act"),
        ({"discard": "ctrl+a"}, "is no key for an act"),
        ({"discard": "ctrl+b"}, "is no key for an act"),
        ({"discard": "delete"}, "is no key for an act"),
        ({"discard": "backspace"}, "is no key for an act"),
        ({"confirm": "enter"}, "enter is no key for an act"),
        ({"confirm": "n"}, "n is no key for an act"),
        ({"confirm": "home"}, "home is no key for an act"),
        ({"confirm": "pagedown"}, "pagedown is no key for an act"),
        ({"requeue": ";"}, "; is no key for an act"),
        ({"requeue": "semicolon"}, "semicolon is no key for an act"),
        ({"requeue": "ctrl+j"}, "ctrl.j is no key for an act"),
        ({"confirm": "q"}, "q of confirm .* is the key of quit"),
        ({"confirm": "z", "quit": "z"}, "z of .* is the key of"),
        ({"copy": "z", "quit": "y"}, "y of quit .* is the key of confirm"),
        ({"sort": "p"}, "p of sort .* is the key of pause too.*give pause another"),
        ({"sort": "x", "reverse": "x"}, "x of .* is the key of .* too"),
        ({"sort": "up"}, "up of sort .* is the key of Cursor up too"),
        ({"requeue": "D"}, "D of requeue .* is the key of discard"),
    ],
)
def test_what_cannot_be_a_key_is_named(keys: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        of(keys)
    assert str(PATH) in str(error.value)
    assert re.search(said, f"{error.value} {error.value.hint}", re.DOTALL), f"{error.value} {error.value.hint}"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"theme": "dusk"}, "there is no theme dusk"), ({"theme": 1}, "there is no theme 1"),
        ({"colour": 1}, "there is no setting colour"), ({"keys": 1}, "are a table"),
    ],
)  # fmt: skip
def test_what_is_no_setting_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_settings(PATH, values, scopes())


def test_every_key_of_the_house_can_be_given_and_none_clashes_from_the_beginning() -> None:
    assert of({id: key.key for id, key in KEYS.items() if id not in ("confirm",)}).keys["requeue"] == "R"


# Which of the two it is, what is under the cursor says.
SHARED = {frozenset(pair) for pair in (("cancel_jobs", "cancel"), ("requeue", "redrive"))}


def test_no_two_keys_of_one_place_are_the_same() -> None:
    for scope in scopes():
        by_key: dict[str, set[str]] = {}
        for one in scope:
            if one.id is not None:
                by_key.setdefault(one.key, set()).add(one.id)
        assert [ids for ids in by_key.values() if len(ids) > 1 and frozenset(ids) not in SHARED] == []


def test_the_file_is_read_when_the_dashboard_starts(tmp_path: Path) -> None:
    (tmp_path / "pgops").mkdir()
    file = tmp_path / "pgops" / "config.toml"
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert settings_of(scopes(), env) == Settings()
    file.write_text('[dashboard]\ntheme = "day"\n[dashboard.keys]\nrequeue = "ctrl+y"\n')
    assert settings_of(scopes(), env) == Settings("day", {"requeue": "ctrl+y"})
    file.write_text('dashboard = "day"\n')
    with pytest.raises(UsageError, match="dashboard is a table"):
        settings_of(scopes(), env)


async def test_the_dashboard_heeds_keys_and_theme_and_tells_them() -> None:
    source = LiteralSource(BUSY)
    settings = of({"requeue": "ctrl+y", "queues": "f2", "help": "f1"}, theme="day")
    async with dashboard(source, settings=settings) as pilot:
        assert pilot.app.theme == "pgops-day"
        assert "1 Overview f2 3 4" in screen(pilot)
        assert "ctrl+y Requeue" in screen(pilot)
        await pilot.press("R", "f2")
        await until(pilot, lambda: "workers" in screen(pilot))
        assert source.previewed == []
        await pilot.press("ctrl+y")
        await until(pilot, lambda: "Requeue billing" in screen(pilot) or "Nothing is stuck" in screen(pilot))
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(pilot.app.screen, Help))
        told = all_keys(settings.keys).plain
        assert "  ctrl+y  Make stuck" in told
        assert "  f2 " in told


# --- themes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", themes.THEMES)
def test_every_ink_is_read_on_every_ground(name: str) -> None:
    of_it = themes.THEMES[name]
    grounds = [of_it.background, of_it.surface, of_it.panel, of_it.variables["block-cursor-background"]]
    for ink in (theme.INK, theme.ACCENT, theme.GOOD, theme.WARN, theme.BAD, theme.QUIET):
        for ground in grounds:
            assert ground is not None
            ratio = contrast(themes.ink_of(of_it.name, ink), ground)
            assert ratio >= (3.0 if ink == theme.QUIET or ground == grounds[3] else 4.5), (ink, ground, ratio)


def contrast(ink: str, ground: str) -> float:
    """Of WCAG 2: 4.5 is what text needs."""

    def light(colour: str) -> float:
        shares = (part / 255 for part in Color.parse(colour).rgb)
        red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(ink), light(ground)), reverse=True)
    return (high + 0.05) / (low + 0.05)


async def test_a_theme_is_chosen_while_it_runs_and_no_ink_of_the_night_is_left() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        assert isinstance(pilot.app, PgopsApp)
        assert inks(pilot.app) & set(theme.STYLES.values())
        pilot.app.theme = "pgops-day"
        await until(pilot, lambda: not inks(pilot.app) & set(theme.STYLES.values()))
        assert {"#27313b", "#1d5f9c", "#b4302f"} <= inks(pilot.app)


def inks(app: object) -> set[str]:
    """The colours of what is written on screen."""
    assert isinstance(app, PgopsApp)
    strips = app.screen._compositor.render_strips()
    styles = [segment.style for strip in strips for segment in strip if segment.style and segment.text.strip()]
    return {style.color.get_truecolor().hex for style in styles if style.color is not None}

"""[dashboard] of config.toml: the theme, and keys of one's own by the id of what they do. It is checked as a whole.

    [dashboard]
    theme = "day"               # night, day or mono

    [dashboard.keys]
    requeue = "ctrl+y"          # several: "ctrl+y,f5"

An act keeps away from keys that are hit by accident, and two keys that are pressed in one place never meet.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from textual.binding import Binding, BindingsMap
from textual.keys import KEY_NAME_REPLACEMENTS, Keys, _character_to_key

from pgops.errors import UsageError
from pgops.profiles import config_path, load_config
from pgops.tui.keymap import ACTS, KEYS
from pgops.tui.themes import THEMES

# Of those with ctrl: where a terminal's own keys begin, a copied line ends, and what it calls enter, tab, backspace.
NEVER_FOR_ACTS = {f"ctrl+{letter}" for letter in "abdhijm"} | {"n"}
_NAMES = {key.value for key in Keys} | set(KEY_NAME_REPLACEMENTS.values())
_FUNCTION = re.compile(r"^f[0-9]+$")
_MODIFIERS = re.compile(r"^(?:(?:ctrl|alt|shift|super|meta)\+)*(?=.)", re.DOTALL)
# Who leaves a note as he leaves a room must not have answered a question.
OUT_AND_YES = [KEYS[id] for id in ("quit", "back", "confirm")]
Scopes = Sequence[Sequence[Binding]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The theme by its short name, and keys, several with commas between, by id."""

    theme: str = "night"
    keys: Mapping[str, str] = field(default_factory=dict)


def settings_of(scopes: Scopes, env: Mapping[str, str] = os.environ) -> Settings:
    """What the file says. `scopes` are the bindings that can be pressed in one place. Raises UsageError."""
    config = load_config(config_path(env))
    return parse_settings(config.path, config.dashboard, scopes)


def parse_settings(path: Path, values: Mapping[str, object], scopes: Scopes) -> Settings:
    """Raises UsageError, with the place, for what is wrong."""
    for name in values:
        if name not in ("theme", "keys"):
            raise UsageError(f"{path}: there is no setting {name[:60]} in [dashboard]", "it has theme and keys")
    theme = values.get("theme", "night")
    if not isinstance(theme, str) or theme not in THEMES:
        raise UsageError(f"{path}: there is no theme {str(theme)[:60]}", f"it is {', '.join(THEMES)}")
    given = values.get("keys", {})
    if not isinstance(given, dict):
        raise UsageError(f"{path}: keys in [dashboard] are a table", 'write [dashboard.keys], below it requeue = "f5"')
    keys = {id: ",".join(_keys(path, id, written)) for id, written in given.items()}
    _apart(path, keys, [*scopes, OUT_AND_YES])
    return Settings(theme, keys)


def _keys(path: Path, id: str, written: object) -> Iterator[str]:
    """The keys that are written for `id`, by their long names."""
    where = f"{path}: {id[:60]} in [dashboard.keys]"
    if id not in KEYS:
        near = get_close_matches(id, KEYS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"for example {', '.join([*KEYS][:5])}"
        raise UsageError(f"{path}: no key is called {id[:60]} in [dashboard.keys]", hint)
    if not isinstance(written, str) or not written:
        raise UsageError(f"{where} is a key in quotes", f'usually it is "{KEYS[id].key}"')
    for each in ["comma"] if written == "," else written.split(","):
        key = each.strip() if len(each) > 1 else each
        modifiers = _MODIFIERS.match(key)
        base = key[modifiers.end() if modifiers else 0 :]
        long = key[: len(key) - len(base)] + (_character_to_key(base) if len(base) == 1 else base)
        if len(base) != 1 and not _is_key(base):
            raise UsageError(f"{where}: {each[:60]!r} is no key", 'a key is like "x", "X", "f5", "ctrl+y" or "slash"')
        if id in ACTS and _easily_hit(id, long, bare=base == key):
            raise UsageError(
                f"{where}: {key} is no key for an act, it is hit too easily",
                "an act has an upper case letter, a function key, or one with ctrl that is none of a, b, d, h, i, j, m",
            )
        yield long


def _easily_hit(id: str, key: str, *, bare: bool) -> bool:
    """Only the question itself is answered by a letter of lower case, but not by the one that stands for no."""
    if key in NEVER_FOR_ACTS or not bare:
        return key in NEVER_FOR_ACTS
    letter = len(key) == 1 and (key.isupper() or id == "confirm")
    return not letter and not _FUNCTION.match(key)


def _is_key(base: str) -> bool:
    if base in _NAMES:
        return True
    try:
        unicodedata.lookup(base.replace("_", " "))
    except KeyError:
        return False
    return True


def _apart(path: Path, keys: Mapping[str, str], scopes: Scopes) -> None:
    """No key that was given means two things in one place. What shares a key from the beginning may go on to."""
    for scope in scopes:
        default: dict[str, set[str]] = {}
        for one in scope:
            default.setdefault(one.id or one.description, set()).add(one.key)
        now = {id: set(keys[id].split(",")) if id in keys else usual for id, usual in default.items()}
        for id in keys.keys() & now.keys():
            for other, theirs in now.items():
                both = now[id] & theirs
                if other != id and both and not default[id] & default[other]:
                    raise UsageError(
                        f"{path}: {min(both)} of {id} in [dashboard.keys] is the key of {other} too",
                        f"give {other} another one" if other in KEYS else "give it another one",
                    )


def bindings_of(*classes: type) -> list[Binding]:
    """All bindings of these widgets, with what they inherit: what can be pressed where they are together."""
    found: list[Binding] = []
    for one in dict.fromkeys(base for each in classes for base in each.__mro__):
        own = BindingsMap(one.__dict__.get("BINDINGS", ()))
        found += [binding for bindings in own.key_to_bindings.values() for binding in bindings]
    return found

"""config.toml: databases by name, for `--profile`, embedders by name, for collections of vectors, and thresholds.

Floor 0. The file is in the platform's folder for configuration (on Linux ~/.config/pgops/config.toml):

    default_profile = "local"

    [profiles.local]
    dsn = "postgresql://localhost/app"

    [profiles.prod]
    dsn = "service=prod"
    guard = true                # opens read-only; what changes data gives its reason first
    color = "red"               # or amber, green, blue

    [profiles.report]
    dsn = "service=replica"
    read_only = true            # and never anything else

    [thresholds]                # where findings begin: ops/threshold_settings.py
    connections_warning = 0.7

    [profiles.prod.thresholds]  # the same for one profile, over those of all
    lag_warning_s = 30

    [dashboard]                 # theme, and [dashboard.keys]: tui/rebinding.py
    theme = "day"

    [embedders.openai]          # embedder_settings.py
    url = "https://api.openai.com/v1"
    model = "text-embedding-3-small"
    api_key_env = "OPENAI_API_KEY"

Nothing in it is guessed: a key that is not known is an error, so that a typo never opens the wrong database. What
reads the file is imported when there is one, so that a command starts fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, get_args

from pgops.embedder_settings import HASHING, EmbedderSettings, parse_embedder
from pgops.errors import UsageError

Color = Literal["red", "amber", "green", "blue"]
_KEYS = {"dsn": str, "read_only": bool, "guard": bool, "color": str}


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile. Without a `dsn` it is about the database that is meant without it. A `guard` opens it read-only
    until a reason is given, for a while."""

    name: str
    dsn: str | None = field(default=None, repr=False)
    read_only: bool = False
    guard: bool = False
    color: Color | None = None
    thresholds: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says; a file that is not there says nothing. What it
    means for thresholds and keys is checked by who uses them."""

    path: Path
    profiles: Mapping[str, Profile]
    default: str | None
    embedders: Mapping[str, EmbedderSettings] = field(default_factory=dict)
    thresholds: Mapping[str, object] = field(default_factory=dict)
    dashboard: Mapping[str, object] = field(default_factory=dict)


def config_path(env: Mapping[str, str]) -> Path:
    """Where the file is. XDG_CONFIG_HOME moves it, on every platform."""
    moved = env.get("XDG_CONFIG_HOME")
    if moved:
        return Path(moved) / "pgops" / "config.toml"
    import platformdirs

    return platformdirs.user_config_path("pgops") / "config.toml"


def find_profile(name: str, env: Mapping[str, str]) -> Profile:
    """The profile `name`. Raises UsageError with near names, and for a file that is wrong."""
    return _named(load_config(config_path(env)), name)


def default_profile(env: Mapping[str, str]) -> Profile | None:
    """The one that `default_profile` names, if there is a file and it names one. Raises UsageError."""
    config = load_config(config_path(env))
    return None if config.default is None else _named(config, config.default)


def find_embedder(name: str, env: Mapping[str, str]) -> EmbedderSettings:
    """The embedder `name`. Raises UsageError with near names, and for a file that is wrong."""
    config = load_config(config_path(env))
    found = config.embedders.get(name)
    if found is not None:
        return found
    near = get_close_matches(name, [*config.embedders, HASHING])
    hint = f"did you mean {' or '.join(near)}?" if near else f"[embedders.NAME] would stand in {config.path}"
    raise UsageError(f"there is no embedder {name[:60]!r}", hint)


def load_config(path: Path) -> Config:
    """The file at `path`. Raises UsageError, with the place, for one that cannot be read or is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Config(path, {}, None)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path} cannot be read: {reason}", "mend it, or move it away") from error
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}", 'for example: [profiles.prod], below it dsn = "…"') from error
    default = data.pop("default_profile", None)
    if not isinstance(default, str | None):
        raise UsageError(f"{path}: default_profile is a name in quotes", 'for example default_profile = "local"')
    profiles = data.pop("profiles", {})
    if not isinstance(profiles, dict):
        raise UsageError(f"{path}: profiles are tables", 'for example: [profiles.prod], below it dsn = "…"')
    embedders = data.pop("embedders", {})
    if not isinstance(embedders, dict):
        raise UsageError(f"{path}: embedders are tables", 'for example: [embedders.openai], below it url = "…"')
    thresholds = data.pop("thresholds", {})
    if not isinstance(thresholds, dict):
        raise UsageError(f"{path}: thresholds are a table", "write [thresholds], below it connections_warning = 0.7")
    dashboard = data.pop("dashboard", {})
    if not isinstance(dashboard, dict):
        raise UsageError(f"{path}: dashboard is a table", 'write [dashboard], below it theme = "day"')
    for unknown in data:
        raise UsageError(
            f"{path}: there is no setting {unknown}",
            "it has default_profile, [profiles.NAME], [embedders.NAME], [thresholds] and [dashboard]",
        )
    return Config(
        path,
        {name: _profile(path, name, values) for name, values in profiles.items()},
        default,
        {name: parse_embedder(path, name, values) for name, values in embedders.items()},
        thresholds,
        dashboard,
    )


def _profile(path: Path, name: str, values: object) -> Profile:
    if not isinstance(values, dict):
        raise UsageError(f"{path}: profile {name} is a table", f'write [profiles.{name}], below it dsn = "…"')
    thresholds = values.pop("thresholds", {})
    if not isinstance(thresholds, dict):
        raise UsageError(f"{path}: thresholds of profile {name} are a table", f"write [profiles.{name}.thresholds]")
    for key, value in values.items():
        wanted = _KEYS.get(key)
        if wanted is None:
            raise UsageError(
                f"{path}: profile {name} has no setting {key}",
                "a profile has dsn, read_only, guard, color and thresholds",
            )
        if type(value) is not wanted:
            kind = "a text in quotes" if wanted is str else "true or false"
            raise UsageError(f"{path}: {key} of profile {name} is {kind}", f"found {type(value).__name__}")
    color = values.get("color")
    if color is not None and color not in get_args(Color):
        raise UsageError(
            f"{path}: color of profile {name} is not {color[:40]!r}", f"one of {', '.join(get_args(Color))}"
        )
    return Profile(
        name, values.get("dsn"), values.get("read_only", False), values.get("guard", False), color, thresholds
    )


def _named(config: Config, name: str) -> Profile:
    found = config.profiles.get(name)
    if found is not None:
        return found
    near = get_close_matches(name, config.profiles)
    hint = f"did you mean {' or '.join(near)}?" if near else f"[profiles.{name}] would stand in {config.path}"
    raise UsageError(f"there is no profile {name}", hint)

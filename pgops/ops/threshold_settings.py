"""[thresholds] of config.toml: where findings begin on this machine, for all databases or for one profile's.

Floor 3, over thresholds.py. A name that is not known is an error with those that are near, so that a typo never leaves
a line where it was. What ends in _s is in seconds, a share is 0 to 1, and what warns stands before what is critical.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pgops.config import Target
from pgops.errors import UsageError
from pgops.ops.thresholds import Thresholds
from pgops.profiles import config_path, load_config

MOST_S = 10 * 366 * 86_400.0
DEFAULTS: Mapping[str, int | float] = asdict(Thresholds())
_OF_A_PAIR = "_warning"


def thresholds_of(target: Target, env: Mapping[str, str] = os.environ) -> Thresholds:
    """The lines for this database. Raises UsageError, with the place, for a file that is wrong."""
    config = load_config(config_path(env))
    lines = parse_thresholds(config.path, "[thresholds]", config.thresholds)
    if target.profile is None or target.profile not in config.profiles:
        return lines
    own = config.profiles[target.profile].thresholds
    return parse_thresholds(config.path, f"[profiles.{target.profile}.thresholds]", own, lines)


def parse_thresholds(
    path: Path, table: str, values: Mapping[str, object], lines: Thresholds | None = None
) -> Thresholds:
    """`lines`, or the defaults, with these moved. Raises UsageError."""
    given: dict[str, Any] = {name: _number(path, table, name, value) for name, value in values.items()}
    found = replace(lines or Thresholds(), **given)
    _in_order(path, table, found)
    return found


def _number(path: Path, table: str, name: str, value: object) -> int | float:
    usual = DEFAULTS.get(name)
    where = f"{path}: {name[:60]} in {table}"
    if usual is None:
        near = get_close_matches(name, DEFAULTS)
        hint = f"did you mean {' or '.join(near)}?" if near else f"for example {next(iter(DEFAULTS))}"
        raise UsageError(f"{path}: there is no threshold {name[:60]} in {table}", hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{where} is a number, not {type(value).__name__}", f"usually it is {usual:g}")
    if isinstance(usual, int) and not isinstance(value, int):
        raise UsageError(f"{where} is a whole number, not {value:g}", f"usually it is {usual}")
    least, most, what = _bounds(name, usual)
    if not least <= value <= most:
        raise UsageError(f"{where} is {what}, not {value:g}", f"usually it is {usual:g}")
    return value if isinstance(usual, int) else float(value)


def _bounds(name: str, usual: int | float) -> tuple[float, float, str]:
    if name.endswith("_s") and not name.endswith("_per_s"):
        return 0, MOST_S, "0 seconds to 10 years"
    if isinstance(usual, float) and usual <= 1 and not name.endswith("_per_s"):
        return 0, 1, "a share, 0 to 1"
    return 0, 2**53, "0 or more"


def _in_order(path: Path, table: str, lines: Thresholds) -> None:
    """Of a pair the one that warns comes first: below the critical one, or above it where little is what is bad."""
    values: Mapping[str, int | float] = asdict(lines)
    for name in (name for name in values if _OF_A_PAIR in name):
        worse = name.replace(_OF_A_PAIR, "_critical")
        if worse not in values:
            continue
        rising = DEFAULTS[name] <= DEFAULTS[worse]
        if values[name] > values[worse] if rising else values[name] < values[worse]:
            raise UsageError(
                f"{path}: {table} has {name} {'above' if rising else 'below'} {worse}",
                f"they are {values[name]:g} and {values[worse]:g} now; move the other one too",
            )

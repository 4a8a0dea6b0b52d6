"""What may be changed here: by which profile, in what colour, and for how long it is unlocked. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

from pgops.config import Target
from pgops.profiles import Color

Mode = Literal["open", "read only", "locked", "unlocked"]


@dataclass(frozen=True, slots=True)
class Standing:
    """`read only` stays so; `locked` can be unlocked for a while, of which `left_s` whole seconds are left."""

    mode: Mode = "open"
    profile: str | None = None
    color: Color | None = None
    left_s: int = 0


OPEN = Standing()


def standing_of(target: Target, left_s: float | None = None) -> Standing:
    """Where it is unlocked for `left_s` more. What is guarded and has no colour is red."""
    color: Color | None = target.color or ("red" if target.guard else None)
    if target.guard and left_s is not None:
        return Standing("unlocked", target.profile, color, math.ceil(left_s))
    mode: Mode = "locked" if target.guard else "read only" if target.read_only else "open"
    return Standing(mode, target.profile, color)

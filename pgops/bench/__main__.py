"""A process that hits limits: limit.py starts it, and tells it on stdin where, and then line by line what to hit.

It ends when stdin does, so a kill -9 of its starter leaves it no longer than the order it works on.
"""

import json
import sys
from itertools import cycle
from time import perf_counter

from pgops.sync.database import Pool
from pgops.sync.services.limits import Limits


def hit(limits: Limits, key: str, keys: int, limit: int, burst: int, seconds: float) -> tuple[int, int, float]:
    """Hit them in turns for so long: the decisions, those that allowed, and the time it took."""
    decisions = allowed = 0
    turns = cycle([f"{key}:{number}" for number in range(keys)])
    began = perf_counter()
    while (now := perf_counter()) - began < seconds or not decisions:
        decisions += 1
        allowed += limits.hit(next(turns), limit, 1.0, burst=burst).allowed
    return decisions, allowed, now - began


def main() -> None:
    if not (line := sys.stdin.readline()):
        sys.exit("this is a part of the bench; run: pgops bench limit")
    with Pool.open(json.loads(line), application_name="pgops bench", max_size=1) as db:
        limits = Limits(db)
        _say("ready")
        for order in sys.stdin:
            _say(json.dumps(hit(limits, *json.loads(order))))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""How a requeue ladder is judged: what went, how it ended, and why it stops.

Floor 3, under ladder.py and the previews. Pure.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pgops.errors import UsageError
from pgops.ops.act.acting import Action
from pgops.ops.wording import many
from pgops.services.error_rules import fingerprint
from pgops.services.models import JsonValue

RATE_PER_S = 10.0
LEAST_RATE = 0.001
MOST_RATE = 10_000.0
ALL_WENT = "all went"


@dataclass(slots=True)
class Climb:
    """A ladder that is climbed. `out` are the jobs that went and have not ended, each with what its last attempt had
    said before; `known` the errors that those had died of; `why` is set where it stops."""

    queue: str
    left: list[int]
    of: int
    went: int = 0
    ended: int = 0
    back: int = 0
    rung: int = 0
    why: str = ""
    out: dict[int, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    def took(self, batch: Sequence[tuple[int, str]]) -> None:
        """These have gone."""
        self.went += len(batch)
        self.out.update(batch)
        self.known |= {fingerprint(error_of(last)) for _, last in batch}

    def saw(self, rows: Sequence[tuple[str, int, str]]) -> bool:
        """What has become of those that are out; whether anything has."""
        before, there = (len(self.out), self.back), {id for _, id, _ in rows}
        self.ended += len(self.out.keys() - there)
        self.out = {id: last for id, last in self.out.items() if id in there}
        for state, id, last in rows:
            if last != self.out[id] and fingerprint(error_of(last)) in self.known:
                self.why = f"the same error came back: {fingerprint(error_of(last))}"
            if state == "dead" or (last != self.out[id] and self.why):
                self.back += 1
                del self.out[id]
        return before != (len(self.out), self.back)

    def judge(self) -> None:
        """After a rung: where all of it died there is no sense in the next."""
        if not self.why and self.back and not self.ended:
            self.why = f"{many(self.back, 'job')} went, and none ended well"

    @property
    def detail(self) -> dict[str, JsonValue]:
        told: dict[str, JsonValue] = {"went": self.went, "ended": self.ended, "came_back": self.back, "rung": self.rung}
        return {**told, "why": self.why} if self.why else told


def check_rate(action: Action) -> float:
    """How many a second. Raises UsageError."""
    rate = RATE_PER_S if action.rate is None else action.rate
    if not LEAST_RATE <= rate <= MOST_RATE:
        raise UsageError(f"a rate is {LEAST_RATE:g} to {MOST_RATE:,.0f} jobs a second, not {rate:g}", "10 is usual")
    return rate


def said(climb: Climb) -> str:
    """How it went, in a line."""
    still = f", {len(climb.out):,} not yet" if climb.out else ""
    return (
        f"{climb.went:,} of {many(climb.of, 'dead letter')} of {climb.queue} went: {climb.ended:,} ended,"
        f" {climb.back:,} came back{still}; {'' if climb.why == ALL_WENT else 'stopped: '}{climb.why}"
    )


def error_of(last: str) -> str:
    """What an attempt's entry says."""
    entry = json.loads(last) if last else None
    return str(entry.get("error", "")) if isinstance(entry, dict) else str(entry or "")

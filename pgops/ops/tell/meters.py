"""A Snapshot as Prometheus counts: families of samples, in base units, counters as totals, and never a rate.

Floor 3, pure. Names and labels are a contract, as the document's keys are. What is unknown has no sample; a part that
is unavailable has none at all, and `pgops_part_available` says so (not of pgmq where there is none). A label holds a
name, never an address or a text; what would steer a terminal in it is made visible here, before it is escaped.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.wording import harmless
from pgops.version import __version__

Number = float | int | bool | None
NOT_A_PART = ("taken_at", "target", "findings", "cost")


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its samples; a counter's name has no `_total` here."""

    name: str
    kind: Literal["gauge", "counter"]
    help: str
    labels: tuple[str, ...]
    samples: list[tuple[tuple[str, ...], float]] = field(default_factory=list)


class Families:
    """Collects samples; a family begins with its first one."""

    def __init__(self) -> None:
        self._found: dict[str, Family] = {}

    def all(self) -> tuple[Family, ...]:
        return tuple(self._found.values())

    def gauge(self, name: str, help: str, value: Number, **labels: str) -> None:
        """What goes up and down; nothing where it is None."""
        self._add(Family(name, "gauge", help, tuple(labels)), value, labels)

    def total(self, name: str, help: str, value: Number, **labels: str) -> None:
        """What only rises."""
        self._add(Family(name, "counter", help, tuple(labels)), value, labels)

    def _add(self, family: Family, value: Number, labels: Mapping[str, str]) -> None:
        if value is not None:
            known = self._found.setdefault(family.name, family)
            known.samples.append((tuple(map(harmless, labels.values())), float(value)))


Meter = Callable[[Families, Any], None]


def families(snapshot: Snapshot | None, meters: Mapping[str, Meter]) -> tuple[Family, ...]:
    """All of it, each part by the meter of its name; None is a database that could not be observed."""
    told = Families()
    told.gauge("pgops_up", "Whether the database could be observed.", snapshot is not None)
    told.gauge("pgops_build_info", "The version of pgops that observes.", 1, version=__version__)
    if snapshot is None:
        return told.all()
    for name in [one.name for one in fields(snapshot) if one.name not in NOT_A_PART]:
        part = getattr(snapshot, name)
        if part == ABSENT:
            continue
        seen = not isinstance(part, Unavailable)
        told.gauge("pgops_part_available", "Whether a part of the observation could be had.", seen, part=name)
        if seen and name in meters:
            meters[name](told, part)
    _findings(told, snapshot)
    _cost(told, snapshot)
    return told.all()


def _findings(told: Families, snapshot: Snapshot) -> None:
    counted = Counter((one.code, one.severity) for one in snapshot.findings)
    for (code, severity), number in counted.items():
        told.gauge("pgops_findings", "What needs a human, by finding.", number, code=code, severity=severity)
    by = Counter(one.severity for one in snapshot.findings)
    for severity in ("critical", "warning", "info"):
        told.gauge("pgops_findings_by_severity", "What needs a human.", by[severity], severity=severity)


def _cost(told: Families, snapshot: Snapshot) -> None:
    cost, at = snapshot.cost, snapshot.taken_at.timestamp()
    told.gauge("pgops_observation_timestamp_seconds", "When it was observed, by the database's clock.", at)
    told.gauge("pgops_observation_duration_seconds", "What the observation took.", cost.duration_ms / 1000)
    told.gauge("pgops_observation_statements", "How many statements it took.", cost.statements)
    for part, spent_ms in cost.parts_ms.items():
        help = "What a part took, of those that were taken anew."
        told.gauge("pgops_observation_part_duration_seconds", help, spent_ms / 1000, part=part)

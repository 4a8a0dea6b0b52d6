"""What a scenario is given, what it notes, and what comes out. No I/O here."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median

from pgops.services.models import JsonValue

Progress = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Params:
    """How much work. `jobs` are what is written (jobs, events, entries, rows), `batch` how many of them go together (0:
    all), `seconds` how long each thing that is repeated goes on, `runs` how often all is done anew."""

    jobs: int
    batch: int
    payload_bytes: int
    concurrency: int
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over all runs."""

    name: str
    median: float
    low: float
    high: float


class Note:
    """What a run tells: what it does now, and its figures."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self._progress = progress
        self._steps = steps
        self._step = 0
        self._found: dict[str, list[float]] = {}

    def doing(self, what: str) -> None:
        """The next step has begun."""
        self._progress(min(self._step / self._steps, 1.0), what)
        self._step += 1

    def figure(self, name: str, value: float) -> None:
        """This run's value of a figure."""
        self._found.setdefault(name, []).append(value)

    def figures(self) -> tuple[Figure, ...]:
        """All of them, in the order in which they were first noted."""
        return tuple(
            Figure(name, _rounded(median(values)), _rounded(min(values)), _rounded(max(values)))
            for name, values in self._found.items()
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure. `run` does it once, in a database of its own with the whole schema, in `steps` steps."""

    name: str
    what: str
    defaults: Params
    steps: int
    run: Callable[[str, Params, Note], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Environment:
    """Where it was measured. `revision` is the checkout's commit, None for an installed pgops; `load_1m` what the
    machine had to do before."""

    versions: Mapping[str, str | None]
    settings: Mapping[str, str]
    cpus: int
    machine: str
    load_1m: float | None
    revision: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a scenario."""

    scenario: str
    params: Params
    environment: Environment
    figures: tuple[Figure, ...]

    def document(self) -> dict[str, object]:
        """The contract of --json: each figure with its `_min` and `_max` beside it."""
        flat: dict[str, JsonValue] = {}
        for one in self.figures:
            flat |= {one.name: one.median, f"{one.name}_min": one.low, f"{one.name}_max": one.high}
        return {
            "scenario": self.scenario, "params": self.params, "environment": self.environment, "figures": flat,
        }  # fmt: skip


def _rounded(value: float) -> float:
    """Four digits that count, and whole numbers from a thousand on."""
    return round(value) if abs(value) >= 1_000 else float(f"{value:.4g}")

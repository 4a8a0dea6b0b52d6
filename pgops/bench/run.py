"""The scenarios by name, all runs of one of them, and the machine they ran on."""

import asyncio
import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path

import psycopg

from pgops.bench import cache, kv, limit, outbox, queue, snapshot, vector
from pgops.bench.contract import Environment, Note, Params, Progress, Report, Scenario
from pgops.bench.site import Q, open_server, scratch
from pgops.config import Target
from pgops.errors import UsageError
from pgops.sync.database import Pool
from pgops.version import __version__

SCENARIOS: tuple[Scenario, ...] = (
    queue.SCENARIO,
    outbox.SCENARIO,
    cache.SCENARIO,
    kv.SCENARIO,
    limit.SCENARIO,
    vector.SCENARIO,
    snapshot.SCENARIO,
)
SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size", "wal_level", "jit",
    "autovacuum", "work_mem", "maintenance_work_mem",
)  # fmt: skip


def find(name: str) -> Scenario:
    """The scenario of that name. Raises UsageError with near ones."""
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    if name not in by_name:
        near = get_close_matches(name, by_name, n=2) or list(by_name)
        raise UsageError(f"there is no scenario {name!r}", f"there is {', '.join(near)}")
    return by_name[name]


def run_bench(scenario: Scenario, params: Params, target: Target, progress: Progress) -> Report:
    """All runs, each in a fresh scratch database on the server of `target`. Blocks; an interrupt ends it at once and
    the database is dropped.

    Raises UsageError for a size below what can be measured, UnreachableError, RefusedError where no database may be
    made.
    """
    _check(params)
    load_1m = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    note = Note(progress, scenario.steps * params.runs)
    where = None
    with open_server(target) as server:
        for _ in range(params.runs):
            with scratch(server) as dsn:
                where = where or environment(dsn, load_1m)
                asyncio.run(_run(scenario, dsn, params, note))
    assert where is not None
    progress(1.0, "done")
    return Report(scenario.name, params, where, note.figures())


async def _run(scenario: Scenario, dsn: str, params: Params, note: Note) -> None:
    await scenario.run(dsn, params, note)


def _check(params: Params) -> None:
    least = {"jobs": 1, "batch": 0, "payload_bytes": 0, "concurrency": 1, "runs": 1, "seconds": 0.01}
    for field in fields(params):
        value = getattr(params, field.name)
        if not value >= least[field.name]:
            raise UsageError(
                f"{field.name} is at least {least[field.name]}, not {value}", "leave it out for the usual one"
            )


def environment(dsn: str, load_1m: float | None) -> Environment:
    """Where a bench runs, as the database and the system tell."""
    with Pool.open(dsn, application_name="pgops bench", max_size=1) as db:
        row = db.one(Q["read_versions"])
        assert row is not None
        settings = {str(name): str(value) for name, value in db.all(Q["read_settings"], {"names": list(SETTINGS)})}
    versions: dict[str, str | None] = {
        "pgops": __version__, "postgresql": row[0], "pgvector": row[1], "python": platform.python_version(),
        "psycopg": psycopg.__version__,
    }  # fmt: skip
    return Environment(versions, settings, os.cpu_count() or 1, _machine(), load_1m, _revision())


def _machine() -> str:
    """The processor's name where the system tells it, else its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _revision() -> str | None:
    """The commit of the checkout that this is run from."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    with suppress(OSError, subprocess.SubprocessError):
        called = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        return subprocess.run(called, capture_output=True, text=True, check=True, timeout=5).stdout.strip() or None
    return None

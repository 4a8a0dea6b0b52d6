"""The dashboard as a person has it, in a terminal of 120x40: `python tests/bench/dashboard.py start|keys|memory`.

start    from nothing (initdb included) until `pgops demo` shows its first figures
keys     from a key to the paint that answers it, over a database with many jobs, also while a worker drains them
memory   what `pgops demo` holds after so many minutes in which every room was visited again and again

The server runs on this machine, from a folder of its own that is removed. A paint is what stands on the screen: what
the terminal is sent goes through a terminal emulator, whose time counts too.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter

from terminal import Terminal, pgops, terminal

from pgops.bench.measure import quantile
from pgops.bench.site import scratch
from pgops.bench.snapshot import fill
from pgops.server import Server
from pgops.services.client import AsyncPgops

CURSOR = "26384c"
ROOMS = "123456789"
MARKS = {
    "1": "─ pgops itself ─",
    "2": "╭─ queues ─",
    "4": "╭─ sessions ·",
    "6": "╭─ cache · reads ─",
    "8": "╭─ tables ·",
}
ASIDE = "aside"
WORKER = ("queue", "work", "pgops.bench.idle_jobs:registry", "-q", "bench")
LIVE = "● live"
LEAVES_S = 60
Report = dict[str, object]


def shows(words: str) -> Callable[[Terminal], bool]:
    return lambda it: any(words in line for line in it.lines)


def job_at_cursor(it: Terminal) -> int | None:
    """The id of the job in the row that is lit."""
    row = next((row for row in range(len(it.lines)) if it.lit(row, CURSOR)), None)
    words = [] if row is None else it.lines[row].strip("│ ").split()
    return int(words[0]) if words and words[0].isdecimal() else None


def start(runs: int) -> Report:
    """Seconds from the command to figures on the screen, on a machine that has never seen pgops."""
    took = []
    for _ in range(runs):
        with home() as env:
            began = perf_counter()
            with terminal(pgops("demo"), env=env) as it:
                it.until(shows(LIVE))
                took.append(perf_counter() - began)
                leave(it)
    return {"start_s": quantile(took, 50), "start_s_min": min(took), "start_s_max": max(took), "runs": runs}


def keys(jobs: int, presses: int) -> Report:
    """Milliseconds from a key to its paint: beside many jobs, and while a worker drains them as fast as it can."""
    with home() as env, Server(Path(env["PGOPS_HOME"])).use() as server, scratch(server) as dsn:
        asyncio.run(fill_up(dsn, jobs))
        env |= {"PGOPS_DSN": dsn}
        with terminal(pgops(), env=env) as it:
            it.until(shows(LIVE))
            for key, mark in MARKS.items():  # a room is built when it is first opened
                it.press(key)
                it.until(shows(mark))
            found = pressed(it, presses, "")
            with worker(env):
                found |= pressed(it, presses, "draining_")
            leave(it)
    return {**found, "presses": presses, "jobs": jobs}


def pressed(it: Terminal, presses: int, called: str) -> Report:
    """So many keys, one after another: quantiles of all, and of each kind."""
    took: dict[str, list[float]] = {}
    for _ in range(presses):
        rest(it, random.uniform(0.05, 0.4))
        kind, ms = press(it)
        took.setdefault(kind, []).append(ms)
    every = [ms for found in took.values() for ms in found]
    kinds = {kind: {"p50": quantile(found, 50), "p95": quantile(found, 95)} for kind, found in sorted(took.items())}
    name = f"{called}key_to_paint"
    return {f"{name}_p50_ms": quantile(every, 50), f"{name}_p95_ms": quantile(every, 95), f"{called}kinds": kinds}


@contextmanager
def worker(env: dict[str, str]) -> Iterator[None]:
    """A worker in a process of its own, as long as the block lasts."""
    process = subprocess.Popen(
        pgops(*WORKER), env=os.environ | env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def press(it: Terminal) -> tuple[str, float]:
    """One key, and milliseconds until its answer is painted."""
    kind = random.choice(["room", "room", "help", "cursor", "cursor"])
    if kind == "room":
        key, mark = random.choice([one for one in MARKS.items() if not shows(one[1])(it)])
        return kind, it.until(shows(mark), it.press(key)) * 1000
    if kind == "help":
        took = it.until(shows("─ keys ─"), it.press("?"))
        it.press("\x1b")
        it.until(lambda one: not shows("─ keys ─")(one))
        return kind, took * 1000
    it.press("2")
    it.until(shows(MARKS["2"]))
    it.press("\r")
    it.until(lambda one: shows(f"› {ASIDE}")(one) and job_at_cursor(one) is not None)
    rest(it, 0.5)
    job = job_at_cursor(it) or 0
    took = it.until(lambda one: job_at_cursor(one) == job + 1, it.press("\x1b[B"))
    it.press("\x1b")
    it.until(shows(MARKS["2"]))
    return kind, took * 1000


async def fill_up(dsn: str, jobs: int) -> None:
    """Many jobs that a worker drains, and beside them, first by name, a queue that stands still."""
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue_many(ASIDE, [{"n": n} for n in range(1_000)])
        await fill(pg, jobs, payload_bytes=64)


def memory(minutes: float, warm_up: float) -> Report:
    """MB of the dashboard's process, from the end of the warming up to the end."""
    seen = []
    with home() as env, terminal(pgops("demo"), env=env) as it:
        it.until(shows(LIVE))
        end, next_look = monotonic() + minutes * 60, monotonic() + warm_up * 60
        while monotonic() < end:
            it.press(random.choice(ROOMS))
            rest(it, 2)
            it.press("?")
            rest(it, 1)
            it.press("\x1b")
            rest(it, 2)
            if monotonic() >= next_look:
                seen.append(held_mb(it.pid))
                next_look = monotonic() + min(60.0, minutes * 6)
        leave(it)
    fifth = max(len(seen) // 5, 1)
    first, last = quantile(seen[:fifth], 50), quantile(seen[-fifth:], 50)
    return {"first_mb": first, "last_mb": last, "grown_mb": last - first, "most_mb": max(seen), "minutes": minutes}


def held_mb(pid: int) -> float:
    """The resident memory of a process."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
    return int(found["VmRSS"].split()[0]) / 1024


def rest(it: Terminal, seconds: float) -> None:
    """Let it paint for so long."""
    end = monotonic() + seconds
    while (left := end - monotonic()) > 0:
        it.read(left)


def leave(it: Terminal) -> None:
    """Quit, from wherever one is."""
    try:
        for _ in range(LEAVES_S):
            it.press("q")
            rest(it, 1)
    except (EOFError, OSError):
        return
    raise TimeoutError("it does not end:\n" + "\n".join(it.lines))


@contextmanager
def home() -> Iterator[dict[str, str]]:
    """The environment of somebody who has never used pgops, with an embedded server of his own."""
    with tempfile.TemporaryDirectory(prefix="pgops-bench-", dir="/var/tmp") as folder:
        root = Path(folder) / "home"
        root.mkdir()
        try:
            yield {"PGOPS_HOME": str(root), "XDG_CONFIG_HOME": folder, "COLORTERM": "truecolor"}
        finally:
            Server(root).destroy(force=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("what", choices=("start", "keys", "memory"))
    asked.add_argument("--runs", type=int, default=5, help="of start")
    asked.add_argument("--jobs", type=int, default=10_000_000, help="of keys")
    asked.add_argument("--presses", type=int, default=300, help="of keys")
    asked.add_argument("--minutes", type=float, default=30.0, help="of memory")
    asked.add_argument("--warm-up", type=float, default=3.0, help="minutes of memory that do not count")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    random.seed(given.seed)
    measures: dict[str, Callable[[], Report]] = {
        "start": lambda: start(given.runs),
        "keys": lambda: keys(given.jobs, given.presses),
        "memory": lambda: memory(given.minutes, given.warm_up),
    }
    print(json.dumps({**measures[given.what](), "processors": os.cpu_count(), "python": sys.version.split()[0]}))  # noqa: T201


if __name__ == "__main__":
    main()

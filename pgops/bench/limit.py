"""Rate limits: decisions a second on one hot key and on many, by one process and by several together.

The processes are hitters of their own (`python -m pgops.bench`), as an application's would be. What they were allowed
is held against what the limit allows: too much or too little ends the bench with an error, for then its speed says
nothing.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from pgops.bench.contract import Note, Params, Scenario
from pgops.errors import PgopsError

SOURCE = str(Path(__file__).resolve().parents[2])
Process = asyncio.subprocess.Process


@dataclass(frozen=True, slots=True)
class Load:
    """What is hit: so many keys, each of `limit` a second with `burst` at once. `plenty` says that nobody can use that
    up, so that nothing may be denied."""

    name: str
    keys: int
    limit: int
    burst: int
    plenty: bool


@dataclass(frozen=True, slots=True)
class Told:
    """What the processes did: their rates together, and how much of it was allowed in how long."""

    per_s: float
    decisions: int
    allowed: int
    seconds: float


def loads(spread: int) -> tuple[Load, ...]:
    """One hot key that allows all, one that denies nearly all, and many keys."""
    return (
        Load("hot_allowed", 1, 10_000, 1_000_000_000, True),
        Load("hot_denied", 1, 100, 20, False),
        Load("spread", spread, 10_000, 1_000_000_000, True),
    )


async def run(dsn: str, params: Params, note: Note) -> None:
    note.doing("start")
    async with hitters(dsn, params.concurrency) as processes:
        for load in loads(params.jobs):
            note.doing(load.name.replace("_", " "))
            for what, those in ((load.name, processes[:1]), (f"{load.name}_together", processes)):
                told = await hit(those, what, load, params.seconds)
                check(load, told)
                note.figure(f"{what}_per_s", told.per_s)
                if not load.plenty:
                    note.figure(f"{what}_bound_used_ratio", told.allowed / bound(load, told.seconds))


def bound(load: Load, seconds: float) -> float:
    """What the limit allows in that time, at most."""
    return load.keys * (load.burst + load.limit * seconds)


def check(load: Load, told: Told) -> None:
    """Raises PgopsError where more was allowed than the limit allows, or less."""
    if told.allowed > bound(load, told.seconds):
        raise PgopsError(
            f"the limit was broken: {told.allowed:,} were allowed in {told.seconds:.2f} s, and "
            f"{bound(load, told.seconds):,.0f} is the most", "please report this, with the output of pgops --version",
        )  # fmt: skip
    if load.plenty and told.allowed < told.decisions:
        wrongly = told.decisions - told.allowed
        raise PgopsError(
            f"{wrongly:,} of {told.decisions:,} decisions were denied, and there was plenty for all of them",
            "please report this, with the output of pgops --version",
        )


async def hit(processes: Sequence[Process], key: str, load: Load, seconds: float) -> Told:
    """Have all of them hit the same keys for `seconds`."""
    order = json.dumps([key, load.keys, load.limit, load.burst, seconds])
    began = perf_counter()
    for each in processes:
        await _say(each, order)
    found = [json.loads(await _hear(each)) for each in processes]
    return Told(
        sum(decisions / spent for decisions, _, spent in found), sum(one[0] for one in found),
        sum(one[1] for one in found), perf_counter() - began,
    )  # fmt: skip


@asynccontextmanager
async def hitters(dsn: str, number: int) -> AsyncIterator[list[Process]]:
    """So many processes, connected; gone after the block whatever happens."""
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(_hitter()) for _ in range(number)]
        for each in found:
            await _say(each, json.dumps(dsn))
        for each in found:
            await _hear(each)
        yield found


@asynccontextmanager
async def _hitter() -> AsyncIterator[Process]:
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "pgops.bench", env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
        stdin=pipe, stdout=pipe, stderr=pipe,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")
    await process.stdin.drain()


async def _hear(process: Process) -> str:
    """Its next line. Raises PgopsError where it has ended instead."""
    assert process.stdout is not None and process.stderr is not None
    if line := await process.stdout.readline():
        return line.decode()
    last = (await process.stderr.read()).decode(errors="replace").strip().rpartition("\n")[2]
    raise PgopsError(f"a process of the bench has ended: {last}", "is there room for its connection?")


SCENARIO = Scenario(
    "limit",
    "decisions on one hot key, allowed and denied, and on many keys; one process and several; the bound is checked",
    Params(jobs=10_000, batch=0, payload_bytes=0, concurrency=4, runs=3, seconds=1.0),
    4,
    run,
)

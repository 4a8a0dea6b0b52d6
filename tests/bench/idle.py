"""What a worker costs that has nothing to do: `python tests/bench/idle.py`.

A backlog is run to its end by a real `pgops queue work` while somebody holds a transaction open, so each of its jobs
has left dead entries that no vacuum may take. Then nothing comes, and what is measured is the CPU time of the worker's
process and of its sessions on the server, as a share of one core: of the worker that drained, and of a new one, which
remembers nothing. The server must be on this machine; its processes are looked up in /proc.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psycopg
from contest import HOLDERS, PAYLOAD, QUEUE

from pgops import AsyncPgops, Registry
from pgops.bench.run import environment
from pgops.bench.site import Q, open_server, scratch
from pgops.config import Target
from pgops.services.models import Job

NAME = "pgops idle worker"
CHUNK = 100_000
LOOK_S = 1.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SESSIONS = "select pid from pg_stat_activity where datname = current_database() and application_name = %s"
ENTERED = "select count(*) from pgops.workers where pid = %s"
COMPLETED = "select coalesce(sum(completed), 0)::bigint from pgops.queue_total where queue = %s"

registry = Registry()


@registry.job()
async def default(job: Job) -> None:
    """A handler that does nothing."""


@dataclass(frozen=True, slots=True)
class Share:
    """CPU time over time gone by: 1 is one core."""

    worker: float
    sessions: float


async def measure(dsn: str, jobs: int, seconds: float, settle_s: float, holder: str) -> dict[str, Share]:
    """The share of the worker that has drained `jobs` jobs, and of one that came afterwards."""
    async with AsyncPgops.open(dsn) as pg:
        for start in range(0, jobs, CHUNK):
            await pg.queue.enqueue_many(QUEUE, [PAYLOAD] * min(CHUNK, jobs - start))
        await pg.db.execute(Q["vacuum"])
    found = {}
    async with HOLDERS[holder](dsn), await psycopg.AsyncConnection.connect(dsn, autocommit=True) as conn:
        async with worker(dsn) as pid:
            while (done := await number(conn, COMPLETED, QUEUE)) < jobs:
                sys.stderr.write(f"{done:,} of {jobs:,} jobs are drained\n")
                await look_again(pid)
            found["that drained them"] = await share(conn, pid, seconds, settle_s)
        async with worker(dsn) as pid:
            while not await number(conn, ENTERED, pid):
                await look_again(pid)
            found["that came later"] = await share(conn, pid, seconds, settle_s)
    return found


@asynccontextmanager
async def worker(dsn: str) -> AsyncIterator[int]:
    """A worker's process; its sessions are known by their name. It is told to stop when the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pgops", "queue", "work", "idle:registry", "-q", QUEUE, "--log-format", "json",
        cwd=Path(__file__).parent, env={**os.environ, "PGOPS_DSN": dsn, "PGAPPNAME": NAME}, start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 30)
        except (TimeoutError, asyncio.CancelledError):
            process.kill()
            raise


async def number(conn: psycopg.AsyncConnection, query: str, of: object) -> int:
    row = await (await conn.execute(query, [of])).fetchone()
    return 0 if row is None else row[0]


async def look_again(pid: int) -> None:
    """After a while. Raises RuntimeError where the worker has ended instead."""
    await asyncio.sleep(LOOK_S)
    if not alive(pid):
        raise RuntimeError("the worker has ended; it says why above")


async def share(conn: psycopg.AsyncConnection, pid: int, seconds: float, settle_s: float) -> Share:
    """What it takes in `seconds`, once it has settled."""
    await asyncio.sleep(settle_s)
    before, worker_before, began = await sessions(conn), cpu_s([pid]), perf_counter()
    await asyncio.sleep(seconds)
    after, worker_after, gone_by = await sessions(conn), cpu_s([pid]), perf_counter() - began
    if not after:
        raise RuntimeError("the worker has no session on a server of this machine")
    spent = sum(after[one] - before.get(one, 0.0) for one in after)
    return Share((worker_after - worker_before) / gone_by, spent / gone_by)


async def sessions(conn: psycopg.AsyncConnection) -> dict[int, float]:
    """The CPU time of each of the worker's sessions."""
    rows = await (await conn.execute(SESSIONS, [NAME])).fetchall()
    return {pid: cpu_s([pid]) for (pid,) in rows}


def cpu_s(pids: Iterable[int]) -> float:
    """The CPU time that these processes have had, in user and kernel mode. Raises OSError where one is not here."""
    return sum(ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids) / TICKS_A_SECOND


def ticks(stat: str) -> int:
    """utime and stime of a line of /proc/PID/stat (proc(5)); the name before them may hold blanks and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def alive(pid: int) -> bool:
    """Whether the process runs: one that has ended and was not waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def table(found: dict[str, Share], jobs: int) -> str:
    """In Markdown: what each takes of a core."""
    lines = [f"| an idle worker over {jobs:,} dead entries | of one core | its process | its sessions |",
             "| --- | --- | --- | --- |"]  # fmt: skip
    for which, its in found.items():
        lines.append(f"| {which} | {its.worker + its.sessions:.1%} | {its.worker:.1%} | {its.sessions:.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="a server of this machine; default: the embedded one")
    parser.add_argument("--jobs", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each worker is looked at")
    parser.add_argument("--settle", type=float, default=5.0, help="how long after its work or its start")
    parser.add_argument("--holder", choices=HOLDERS, default="writer", help="who leaves a transaction open")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures go")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    try:
        with open_server(Target(given.dsn, "--dsn")) as server, scratch(server) as dsn:
            where = environment(dsn, os.getloadavg()[0])
            found = asyncio.run(measure(dsn, given.jobs, given.seconds, given.settle, given.holder))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.write(
        f"{table(found, given.jobs)}\n\nover {given.seconds:g} s, a {given.holder}'s transaction open; PostgreSQL "
        f"{where.versions['postgresql']}; {where.cpus} CPUs ({where.machine}); pgops {where.revision}\n"
    )
    if given.json:
        document = {which: {"worker": its.worker, "sessions": its.sessions} for which, its in found.items()}
        given.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""The queue under stress: `python tests/stress/run.py --seconds 600 --every 2`.

Real producers and workers on a server of their own, and every few seconds one of these: a worker or producer is killed
(kill -9), a worker is stopped past its lease and woken (SIGSTOP), a worker is asked to leave (SIGTERM), sessions are
terminated, the server is restarted or crashes. Once a second the whole queue is looked at; afterwards it is worked
off, and every job that was sent is accounted for. The report is JSON; the exit code is 1 if any is out of place.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psycopg
from account import SCHEMA, Account, Incident, settle, watch
from producer import QUEUE
from psycopg.conninfo import make_conninfo

from pgops import Pgops, migrate
from pgops.database import AsyncPool
from pgops.server import Server

HERE = Path(__file__).parent
LEASE_S = 3.0
STOPPED_S = 8.0
STILL_S = 3.0
DRAIN_S = 120.0
LOST = (psycopg.OperationalError, psycopg.InterfaceError)
Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Stress:
    """One run: its processes, and what has been done to them."""

    server: Server
    dsn: str
    log: Path
    producing: bool = True
    workers: list[Process] = field(default_factory=list)
    producers: list[Process] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    seen: dict[str, list[str]] = field(default_factory=dict)
    looks: int = 0
    waking: list[threading.Timer] = field(default_factory=list)
    stopped_s: float = STOPPED_S

    # --- processes -------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        command = ["-m", "pgops", "queue", "work", "jobs:registry", "-q", QUEUE, "--concurrency", "12", "--grace", "5"]
        self.workers.append(self._start(command))

    def start_producer(self) -> None:
        self.producers.append(self._start(["producer.py", self.dsn, "150"]))

    def _start(self, arguments: list[str]) -> Process:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments], env=os.environ | {"PGOPS_DSN": self.dsn}, cwd=HERE,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def replace_the_fallen(self) -> None:
        """Start anew what has ended. A worker that could not find its server at its start may leave, by its exit code;
        whoever else leaves unasked is out of place."""
        for processes, start in ((self.workers, self.start_worker), (self.producers, self.start_producer)):
            for process in [each for each in processes if each.poll() is not None]:
                processes.remove(process)
                asked = any(incident.pid == process.pid for incident in self.incidents)
                if not asked and process.returncode != 3:
                    self.out_of_place("a process left unasked", f"{process.args} with {process.returncode}")
                if processes is self.workers or self.producing:
                    start()

    # --- incidents -------------------------------------------------------------------------------------------------

    def note(self, what: str, for_s: float, process: Process | None = None) -> None:
        """Write down what is done now, and for how long it may be felt."""
        now = time.time()
        self.incidents.append(Incident(what, now, now + for_s, process.pid if process else None))

    def kill_worker(self) -> None:
        self._signal(random.choice(self.workers), signal.SIGKILL, "killed", 0)

    def kill_producer(self) -> None:
        self._signal(random.choice(self.producers), signal.SIGKILL, "killed", 0)

    def retire_worker(self) -> None:
        self._signal(random.choice(self.workers), signal.SIGTERM, "asked to leave", 10)

    def stop_worker(self) -> None:
        now = time.time()
        stopped = {incident.pid for incident in self.incidents if incident.ended > now}
        victim = random.choice([worker for worker in self.workers if worker.pid not in stopped] or self.workers)
        self._signal(victim, signal.SIGSTOP, "stopped past its lease", self.stopped_s + 1)
        waking = threading.Timer(self.stopped_s, victim.send_signal, [signal.SIGCONT])
        waking.start()
        self.waking.append(waking)

    def _signal(self, process: Process, number: signal.Signals, what: str, for_s: float) -> None:
        process.send_signal(number)
        self.note(what, for_s, process)
        if number == signal.SIGKILL:
            process.wait()

    def terminate_sessions(self) -> None:
        began = time.time()
        with suppress(*LOST), psycopg.connect(self.dsn, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() order by random() limit %s",
                [random.choice([1, 2, 5, 100])],
            )
        self.incidents.append(Incident("sessions terminated", began, time.time() + 2))

    def restart_server(self) -> None:
        self._end_server("restarted", signal.SIGINT)

    def crash_server(self) -> None:
        self._end_server("crashed", signal.SIGQUIT)

    def _end_server(self, what: str, number: signal.Signals) -> None:
        pid, began = self.server.status().pid, time.time()
        if pid is not None:
            os.kill(pid, number)
            while self.server.status().pid == pid:
                time.sleep(0.05)
        self.server.start()
        self.incidents.append(Incident(what, began, time.time() + 2))

    def out_of_place(self, what: str, which: str) -> None:
        self.seen.setdefault(what, []).append(which)

    # --- the run ---------------------------------------------------------------------------------------------------

    def look(self, until: threading.Event) -> None:
        """Look at the whole queue once a second; and write down what the machine itself has done meanwhile."""
        looked_at, waited = time.time(), dict[int, float]()
        while not until.wait(1.0):
            self.look_at_all()
            waited = self.starved(waited, time.time() - looked_at)
            if time.time() - looked_at > STILL_S:
                self.incidents.append(Incident("the machine stood still", looked_at, time.time()))
            looked_at = time.time()

    def look_at_all(self) -> None:
        with suppress(*LOST), psycopg.connect(self.dsn, autocommit=True) as conn:
            for what, which in watch(conn).items():
                self.out_of_place(what, ", ".join(which[:5]))
            self.looks += 1

    def starved(self, before: dict[int, float], seconds: float) -> dict[int, float]:
        """Write down which worker has waited for a processor for most of the time; how long each has in all."""
        now = {}
        for process in list(self.workers):
            with suppress(OSError):
                waited = int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[1]) / 1e9
                now[process.pid] = waited
                if waited - before.get(process.pid, waited) > 0.5 * seconds:
                    self.note("waited for a processor", LEASE_S, process)
        return now

    def worked_off(self) -> bool:
        with suppress(*LOST), psycopg.connect(self.dsn, autocommit=True) as conn:
            row = conn.execute("select not exists (select from pgops.job_queue where status <> 'dead')").fetchone()
            return bool(row and row[0])
        return False

    def end(self) -> None:
        """Kill what is left."""
        for waking in self.waking:
            waking.cancel()
        for process in [*self.workers, *self.producers]:
            process.kill()
            process.wait()


INCIDENTS: tuple[tuple[Callable[[Stress], None], int], ...] = (
    (Stress.kill_worker, 8), (Stress.stop_worker, 3), (Stress.terminate_sessions, 4), (Stress.retire_worker, 2),
    (Stress.kill_producer, 2), (Stress.restart_server, 1), (Stress.crash_server, 2),
)  # fmt: skip


@contextmanager
def fresh(root: Path, seed: int) -> Iterator[tuple[Server, str]]:
    """A server of one's own under `root`, with a migrated database, until the block ends; chance begins at `seed`."""
    random.seed(seed)
    server = Server(root, settings={"fsync": "off", "max_connections": "200"}, linger=10)
    with ExitStack() as stack:
        stack.callback(server.destroy, force=True)
        url = stack.enter_context(server.use())
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute("create database stress")
        dsn = make_conninfo(url, dbname="stress")
        asyncio.run(migrated(dsn))
        yield server, dsn


def run(seconds: float, every: float, seed: int, root: Path) -> dict[str, object]:
    """One run in a server under `root`; its report."""
    with fresh(root, seed) as (server, dsn), ExitStack() as stack:
        with psycopg.connect(dsn, autocommit=True) as conn, Pgops.open(dsn) as pg:
            conn.execute(SCHEMA)
            pg.queue.configure(QUEUE, lease_s=LEASE_S, backoff_s=0.2, history="all", max_attempts=1000)
        stress = Stress(server, dsn, root / "processes.log")
        stack.callback(stress.end)
        return _go(stress, seconds, every) | {"seed": seed, "seconds": seconds, "every": every}


async def migrated(dsn: str) -> None:
    async with AsyncPool.open(dsn) as db:
        await migrate.apply(db)


def _go(stress: Stress, seconds: float, every: float) -> dict[str, object]:
    for _ in range(3):
        stress.start_worker()
    for _ in range(2):
        stress.start_producer()
    done = threading.Event()
    looking = threading.Thread(target=stress.look, args=[done])
    looking.start()
    try:
        ways, weights = zip(*INCIDENTS, strict=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(every)
            random.choices(ways, weights)[0](stress)
            stress.replace_the_fallen()
        stress.producing = False
        for waking in stress.waking:
            waking.join()
        for process in stress.producers:
            process.kill()
            process.wait()
        stress.producers.clear()
        began = time.monotonic()
        while not stress.worked_off() and time.monotonic() < began + DRAIN_S:
            stress.replace_the_fallen()
            time.sleep(0.2)
        drained = time.monotonic() - began
        stress.replace_the_fallen()
        for process in stress.workers:
            process.terminate()
        for process in stress.workers:
            if process.wait(30) != 0:
                stress.out_of_place("a worker did not stop well", str(process.returncode))
    finally:
        done.set()
        looking.join()
    with psycopg.connect(stress.dsn, autocommit=True) as conn:
        account = settle(conn, stress.incidents)
    return _report(stress, account, drained)


def _report(stress: Stress, account: Account, drained: float) -> dict[str, object]:
    violations = account.violations | stress.seen
    return asdict(account) | {
        "incidents": dict(Counter(incident.what for incident in stress.incidents).most_common()),
        "log": [asdict(i) for i in stress.incidents],
        "again": dict(account.again.most_common()),
        "worked_off_s": round(drained, 1),
        "looks": stress.looks,
        "violations": {what: {"count": len(which), "first": which[:5]} for what, which in violations.items()},
    }


def command(description: str | None, run: Callable[[float, float, int, Path], dict[str, object]]) -> int:
    """A stress as a command: its report to stdout; the exit code says whether all is in place."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--every", type=float, default=2, help="seconds between incidents")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--keep-log", type=Path, help="copy what the processes said there")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="pgops-stress-", dir=memory if memory.is_dir() else None) as folder:
        root = Path(folder)
        root.chmod(0o755)
        try:
            report = run(options.seconds, options.every, options.seed, root)
        finally:
            if options.keep_log:
                options.keep_log.write_bytes((root / "processes.log").read_bytes())
    print(json.dumps(report, indent=2))  # noqa: T201
    return 1 if report["violations"] else 0


if __name__ == "__main__":
    sys.exit(command(__doc__, run))

"""The event log under stress: `python tests/stress/events.py --seconds 600 --every 2`.

Real writers and relays on a server of their own, with one writing transaction held open all the time, and every few
seconds one of these: a relay or writer is killed (kill -9), a relay is stopped past its lease and woken (SIGSTOP),
asked to leave (SIGTERM) or joined by another, sessions are terminated, the server is restarted or crashes, a
subscription is paused for a moment or set back. Afterwards, still beside the held transaction, all is worked off and
accounted for. The report is JSON; the exit code is 1 if anything is out of place.

Delivery is at least once, and order is this: an event is delivered for the first time only after all earlier ones of
its key have been. So with every repetition struck out, a key's events stand in their order. A repetition needs a cause:
what was done to the relay that delivered it before or delivers it now, or to all of them. Through the inbox each event
has its effect once.
"""

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from account import Incident
from run import LOST, Process, Stress, command, fresh

from pgops import Pgops
from pgops.errors import PgopsError

SUBSCRIPTIONS = ("heard", "once")
LEASE_S, STOPPED_S = 2.0, 4.0
DRAIN_S = 90.0
SILENT_S = 15.0
FELT_S = 5.0
NO_CAUSE = ("asked to leave", "joined", "paused", "resumed")
Conn = psycopg.Connection[Any]

SCHEMA = """
create schema stress;
create table stress.aggregate (key text primary key, n bigint not null default 1);
create table stress.told (key text not null, n bigint not null, event_id uuid primary key);
create table stress.effect (id bigserial primary key, key text not null, n bigint not null, event_id uuid not null);
"""


class Heard(NamedTuple):
    """One delivery: when, by which process, of what."""

    at: float
    pid: int
    key: str
    n: int
    event_id: str
    replayed: bool


@dataclass(slots=True)
class EventStress(Stress):
    """Its workers are relays, and its producers write events."""

    heard: Path = Path()
    held: Conn | None = None
    holds: int = 0

    def start_worker(self) -> None:
        self.workers.append(self._start(["event_relay.py", self.dsn, str(self.heard), str(LEASE_S)]))

    def start_producer(self) -> None:
        self.producers.append(self._start(["event_writer.py", self.dsn, "80", str(random.randrange(10**9))]))

    def hold(self) -> None:
        """A transaction that has appended, and ends with the run; another one where it was lost."""
        with suppress(*LOST):
            if self.held is not None:
                self.held.execute("select 1")
                return
        if self.held is not None:
            self.held.close()
            self.held = None
        with suppress(*LOST):
            conn = psycopg.connect(self.dsn)
            self.holds += 1
            key = f"held{self.holds}"
            row = conn.execute(
                "insert into pgops.outbox (aggregate_id, payload) values (%s, '{\"n\": 1}') returning event_id", [key]
            ).fetchone()
            conn.execute("insert into stress.told (key, n, event_id) select %s, 1, %s", [key, row and row[0]])
            self.held = conn

    # --- incidents -------------------------------------------------------------------------------------------------

    def another_relay(self) -> None:
        if len(self.workers) < 5:
            self.start_worker()
            self.note("joined", 0, self.workers[-1])

    def set_back(self) -> None:
        since = datetime.now(UTC) - timedelta(seconds=random.uniform(0.5, 3))
        self._operate("set back", lambda pg: [pg.events.replay(name, since) for name in SUBSCRIPTIONS])

    def pause(self) -> None:
        self._operate("paused", lambda pg: [pg.events.pause(name) for name in SUBSCRIPTIONS])
        time.sleep(0.5)
        while not self._operate("resumed", lambda pg: [pg.events.resume(name) for name in SUBSCRIPTIONS]):
            time.sleep(0.2)

    def _operate(self, what: str, act: Callable[[Pgops], object]) -> bool:
        began = time.time()
        with suppress(PgopsError), Pgops.open(self.dsn) as pg:
            act(pg)
            self.incidents.append(Incident(what, began, time.time()))
            return True
        return False

    def look_at_all(self) -> None:
        """Nothing of the log is wrong at a moment that would not be wrong afterwards."""

    # --- the end ---------------------------------------------------------------------------------------------------

    def worked_off(self) -> bool:
        with suppress(PgopsError), Pgops.open(self.dsn) as pg:
            lags = [pg.events.lag(name) for name in SUBSCRIPTIONS]
            return all(lag.exact and lag.events == 0 for lag in lags)
        return False

    def end(self) -> None:
        if self.held is not None:
            self.held.close()
        Stress.end(self)


INCIDENTS: tuple[tuple[Callable[[EventStress], None], int], ...] = (
    (EventStress.kill_worker, 6), (EventStress.stop_worker, 4), (EventStress.terminate_sessions, 3),
    (EventStress.retire_worker, 4), (EventStress.another_relay, 3), (EventStress.kill_producer, 2),
    (EventStress.set_back, 2), (EventStress.pause, 1), (EventStress.restart_server, 1), (EventStress.crash_server, 2),
)  # fmt: skip


def run(seconds: float, every: float, seed: int, root: Path) -> dict[str, object]:
    """One run in a server under `root`; its report."""
    with fresh(root, seed) as (server, dsn), ExitStack() as stack:
        with psycopg.connect(dsn, autocommit=True) as conn, Pgops.open(dsn) as pg:
            conn.execute(SCHEMA)
            for name in SUBSCRIPTIONS:
                pg.events.subscribe(name, attempts=1000)
        stress = EventStress(server, dsn, root / "processes.log", stopped_s=STOPPED_S, heard=root / "heard")
        stack.callback(stress.end)
        return _go(stress, seconds, every) | {"seed": seed, "seconds": seconds, "every": every}


def _go(stress: EventStress, seconds: float, every: float) -> dict[str, object]:
    done = threading.Event()
    looking = threading.Thread(target=stress.look, args=[done])
    looking.start()
    try:
        drained = _stressed(stress, seconds, every)
    finally:
        done.set()
        looking.join()
    with psycopg.connect(stress.dsn, autocommit=True) as conn:
        return _report(stress, conn, drained)


def _stressed(stress: EventStress, seconds: float, every: float) -> float:
    """The run itself; how long it took to work off what was left."""
    stress.hold()
    for _ in range(3):
        stress.start_worker()
        stress.start_producer()
    ways, weights = zip(*INCIDENTS, strict=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(every)
        random.choices(ways, weights)[0](stress)
        stress.replace_the_fallen()
        stress.hold()
    stress.producing = False
    for process in stress.producers:
        process.kill()
        process.wait()
    stress.producers.clear()
    for waking in stress.waking:
        waking.join()
    stress.hold()
    began = time.monotonic()
    _work_off(stress, "beside the held transaction")
    if stress.held is not None:
        stress.held.commit()
    _work_off(stress, "after the held transaction")
    drained = time.monotonic() - began
    for process in stress.workers:
        process.terminate()
    for process in stress.workers:
        if (how := _left(process)) not in ("0", str(-signal.SIGTERM)):  # the latter of one that had not begun yet
            stress.out_of_place("a relay did not stop well", f"{how}; {stress.log.read_text()[-4000:]}")
    return drained


def _left(process: Process) -> str:
    """How a relay left that was asked to; one that does not has written down what it is about."""
    try:
        return str(process.wait(30))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return f"{process.pid} has not left"


def _work_off(stress: EventStress, when: str) -> None:
    until = time.monotonic() + DRAIN_S
    while not stress.worked_off():
        if time.monotonic() > until:
            stress.out_of_place("not worked off", when)
            return
        stress.replace_the_fallen()
        time.sleep(0.1)


# --- the account -----------------------------------------------------------------------------------------------------

EFFECTS = {
    "told and without an effect": "select key, n from stress.told t"
    " where not exists (select from stress.effect e where e.event_id = t.event_id)",
    "an effect that was not told": "select key, n from stress.effect e"
    " where not exists (select from stress.told t where t.event_id = e.event_id)",
    "an effect twice": "select event_id from stress.effect group by event_id having count(*) > 1",
    "an effect out of its key's order": "select key, n from (select key, n, lag(n, 1, 0::bigint) over"
    " (partition by key order by id) as before from stress.effect) o where n <> before + 1",
}


def _report(stress: EventStress, conn: Conn, drained: float) -> dict[str, object]:
    told = {str(id): (key, n) for id, key, n in conn.execute("select event_id, key, n from stress.told").fetchall()}
    lines = [line.split() for line in stress.heard.read_text().splitlines()]
    heard = [Heard(float(at), int(pid), key, int(n), id, again == "1") for at, pid, key, n, id, again in lines]
    violations = {what: list(which) for what, which in stress.seen.items()}
    for what, query in EFFECTS.items():
        if rows := conn.execute(query.encode()).fetchall():
            violations[what] = [" ".join(map(str, row)) for row in rows]
    again, found = account(told, heard, stress.incidents)
    violations |= found
    silence = max((b.at - a.at for a, b in pairwise(heard)), default=0.0)
    if silence > SILENT_S:
        violations["nothing was delivered for long"] = [f"{silence:.1f} s"]
    row = conn.execute("select count(*) from stress.effect").fetchone()
    return {
        "told": len(told), "deliveries": len(heard), "effects": row and row[0], "again": dict(again.most_common()),
        "relays": len({one.pid for one in heard}), "held": stress.holds, "silence_s": round(silence, 1),
        "worked_off_s": round(drained, 1),
        "incidents": dict(Counter(incident.what for incident in stress.incidents).most_common()),
        "log": [asdict(incident) for incident in stress.incidents],
        "violations": {what: {"count": len(which), "first": which[:5]} for what, which in violations.items()},
    }  # fmt: skip


def account(
    told: dict[str, tuple[str, int]], heard: Sequence[Heard], incidents: Sequence[Incident]
) -> tuple[Counter[str], dict[str, list[str]]]:
    """The causes of repetitions, and what is out of place. `heard` is in the order of delivery."""
    again: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    last: dict[str, Heard] = {}
    reached: Counter[str] = Counter()
    for one in heard:
        line = f"{one.key} {one.n} by {one.pid} at {one.at:.3f}"
        before = last.get(one.event_id)
        if told.get(one.event_id) != (one.key, one.n):
            wrong.setdefault("delivered, and never committed", []).append(line)
        elif before is None and one.n != reached[one.key] + 1:
            wrong.setdefault("out of its key's order", []).append(f"{line}, after {reached[one.key]}")
        elif before is None and one.replayed:
            wrong.setdefault("told as a repetition the first time", []).append(line)
        elif before is not None:
            cause = _cause(before, one, incidents)
            again[cause or "nothing"] += 1
            if cause is None:
                wrong.setdefault("again without a cause", []).append(
                    f"{line}, before by {before.pid} at {before.at:.3f}"
                )
        reached[one.key] = max(reached[one.key], one.n)
        last[one.event_id] = one
    if missing := [f"{key} {n}" for id, (key, n) in told.items() if id not in last]:
        wrong["told and never delivered"] = missing
    return again, wrong


def _cause(before: Heard, one: Heard, incidents: Sequence[Incident]) -> str | None:
    """Why an event came again: what was done to a relay that delivered it, or to all of them, in between. A relay that
    was asked to leave, and one that joins, are no cause."""
    causes = [i for i in incidents if i.what not in NO_CAUSE]
    between = [i for i in causes if before.at <= i.ended + FELT_S and i.began <= one.at]
    if one.replayed:
        return "set back" if any(i.what == "set back" for i in incidents if i.began <= one.at) else None
    for incident in between:
        if incident.pid in (before.pid, one.pid):
            return f"its relay: {incident.what}"
    for incident in between:
        if incident.pid is None:
            return f"all: {incident.what}"
    return None


if __name__ == "__main__":
    sys.exit(command(__doc__, run))

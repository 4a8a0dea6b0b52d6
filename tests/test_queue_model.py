"""One queue against a model of it: whatever producers, workers, operators and accidents do in whatever order, no job is
lost or doubled, a stale token changes nothing, keys and groups hold, and the counts are what stands in the tables.

    pytest tests/test_queue_model.py                          40 histories of up to 40 steps, the same each time
    PGOPS_MODEL=2000 pytest tests/test_queue_model.py -n 0    2,000 of up to 80 steps, other ones each time

A step that would have to wait fails, by a lock timeout: workers and their maintenance wait for nobody. Producers may
wait for each other, so the model leaves alone what an open transaction holds.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from pgops.errors import NotFoundError
from pgops.runtime.floors import Floor, Sweep
from pgops.services.leases import NO_FLOORS, Floors
from pgops.services.models import Claim, FailedJob, KeyState, NewJob, Verdict
from pgops.sync.database import Bound
from pgops.sync.services.client import Pgops
from pgops.sync.services.queue import Queue

LONG = int(os.environ.get("PGOPS_MODEL", "0"))
PROFILE: dict[str, Any] = {
    "max_examples": LONG or 40, "stateful_step_count": 80 if LONG else 40, "derandomize": not LONG, "deadline": None,
    "database": None, "suppress_health_check": list(HealthCheck), "print_blob": bool(LONG),
}  # fmt: skip
STATES: tuple[tuple[KeyState, ...], ...] = (
    ("available", "scheduled", "running"),
    ("available", "scheduled"),
    ("scheduled",),
    ("available", "running", "dead"),
    ("running", "completed"),
)
PLACES = ("available", "scheduled", "running", "dead")
COUNTED = (*PLACES, "waiting", "enqueued", "completed", "failed")
DELTAS = " union all ".join(
    f"select queue, {', '.join(COUNTED)} from pgops.{table}"  # noqa: S608
    for table in ("queue_delta", "queue_total")
)
MAX_ATTEMPTS = 3


@dataclass
class Kept:
    """What the model knows of one job. A job that waits for the head of its group counts as available."""

    id: int
    state: str
    payload: object
    group: str | None = None
    key: str | None = None
    priority: int = 2
    attempt: int = 0
    token: int = 0
    due: bool = False
    expired: bool = False
    unwanted: bool = False


@dataclass
class Holder:
    """Who holds a unique key, and in which states."""

    id: int
    states: frozenset[str]


@dataclass
class Client:
    """A producer's or handler's own connection, and what its open transaction has done."""

    conn: "psycopg.Connection[Any]"
    jobs: list[Kept] = field(default_factory=list)
    keys: dict[str, Holder] = field(default_factory=dict)
    ending: list[Kept] = field(default_factory=list)

    @property
    def queue(self) -> Queue:
        return Queue(Bound(self.conn, foreign=True))

    @property
    def groups(self) -> set[str | None]:
        return {job.group for job in self.jobs + self.ending} - {None}

    @property
    def is_open(self) -> bool:
        return bool(self.jobs or self.ending)

    def forget(self) -> None:
        self.jobs, self.keys, self.ending = [], {}, []


@dataclass
class World:
    """The connections that all histories share; each has a queue of its own."""

    pg: Pgops
    watcher: "psycopg.Connection[Any]"
    clients: tuple[Client, Client]
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


def ids_of(jobs: list[Kept]) -> list[int]:
    return sorted(job.id for job in jobs)


some_keys = st.none() | st.sampled_from(["k1", "k2"])
some_groups = st.none() | st.sampled_from(["g1", "g2"])
some_clients = st.none() | st.sampled_from([0, 1])


class QueueModel(RuleBasedStateMachine):
    """The machine: rules do the same to queue and model, the invariant compares them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.queue = world.pg.queue
        self.name = f"q{next(world.numbers)}"
        self.queue.configure(self.name, max_attempts=MAX_ATTEMPTS, history="all", aging_s=0)
        self.jobs: dict[int, Kept] = {}
        self.holders: dict[str, Holder] = {}
        self.tokens = count(1)
        self.old_tokens: list[int] = []
        self.paused = False
        self.max_running: int | None = None
        self.totals: Counter[str] = Counter()
        self.floors = {owner: Floor() for owner in (1, 2)}
        self.sweep = Sweep()
        self.clock = 0.0
        self.waiting: list[tuple[Any, ...]] = []

    # --- what the model knows -----------------------------------------------------------------------------------

    def alive(self, *states: str) -> list[Kept]:
        """Jobs in one of the states that no open transaction has locked, also by way of their group."""
        found = [job for job in self.jobs.values() if job.state in states and not self.ending(job)]
        groups = {job.group for client in self.world.clients for job in client.ending} - {None}
        return sorted((job for job in found if job.group not in groups), key=lambda job: job.id)

    def ending(self, job: Kept) -> bool:
        return any(job in client.ending for client in self.world.clients)

    def moved(self, job: Kept, state: str) -> None:
        """It is in another state now, and gives its key up if that is none of the key's."""
        job.state, job.expired, job.due = state, False, False
        if state != "running":
            job.token = 0
        holder = self.holders.get(job.key or "")
        if holder is not None and holder.id == job.id and state not in holder.states:
            del self.holders[job.key or ""]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        return self.world.watcher.execute(query, [self.name, *values]).fetchall()

    def change(self, query: str, *values: object) -> None:
        self.world.watcher.execute(query, [self.name, *values])

    def pick(self, data: st.DataObject, jobs: list[Kept]) -> Kept:
        return data.draw(st.sampled_from(jobs))

    # --- producers ----------------------------------------------------------------------------------------------

    @rule(
        how=st.sampled_from(["enqueue", "enqueue_jobs", "enqueue_many", "function", "view"]),
        client=some_clients, key=some_keys, group=some_groups, states=st.sampled_from(STATES),
        priority=st.integers(1, 4), later=st.booleans(),
    )  # fmt: skip
    def enqueue(
        self, how: str, client: int | None, key: str | None, group: str | None, states: tuple[KeyState, ...],
        priority: int, later: bool,
    ) -> None:  # fmt: skip
        mine = None if client is None else self.world.clients[client]
        others = [other for other in self.world.clients if other is not mine]
        born = self.rows("select key from pgops.job_group where queue = %s and head is not null")
        for other in others:
            freeing = {job.key for job in other.ending} - {None, *self.holders}
            if key in {*other.keys, *freeing} or (group in other.groups and ((group,) not in born or other.ending)):
                return
        if mine is not None and key is not None and any(job.key == key for job in mine.ending):
            return
        if how == "view":
            states = STATES[0]
        if how == "enqueue_many":
            key, group, later = None, None, False
        holder = (mine.keys.get(key or "") if mine else None) or self.holders.get(key or "")
        payload = {"n": next(self.world.numbers)}
        id = self.added(how, mine, payload, key, group, states, priority, later)
        if holder is not None:
            assert id == holder.id, "the key is held"
            return
        assert id not in self.jobs
        job = Kept(id, "scheduled" if later else "available", payload, group, key, priority)
        if mine is None:
            self.arrived(job)
        else:
            mine.jobs.append(job)
        if key is not None:
            (self.holders if mine is None else mine.keys)[key] = Holder(id, frozenset(states))

    def added(
        self, how: str, mine: Client | None, payload: object, key: str | None, group: str | None,
        states: tuple[KeyState, ...], priority: int, later: bool,
    ) -> int:  # fmt: skip
        queue = self.queue if mine is None else mine.queue
        conn = self.world.watcher if mine is None else mine.conn
        for_s = 3600.0 if "completed" in states else None
        delay = "1 hour" if later else "0"
        if how == "enqueue":
            return queue.enqueue(
                self.name, payload, priority=priority, delay_s=3600 if later else None, group_key=group, unique_key=key,
                unique_states=states, unique_for_s=for_s,
            )  # fmt: skip
        if how == "enqueue_many":
            assert queue.enqueue_many(self.name, [payload], priority=priority) == 1
            cursor = conn.execute(
                "select id from pgops.job_queue where queue = %s and payload = %s", [self.name, Jsonb(payload)]
            )
            (id,) = cursor.fetchone() or (0,)
            return int(id)
        if how == "enqueue_jobs":
            run_at = datetime.now(UTC) + timedelta(hours=1) if later else None
            job = NewJob(payload, priority=priority, run_at=run_at, group_key=group, unique_key=key)
            return queue.enqueue_jobs(self.name, [job], unique_states=states, unique_for_s=for_s)[0].id
        if how == "function":
            cursor = conn.execute(
                """select pgops.enqueue(%s, %s, priority => %s, run_at => statement_timestamp() + %s::interval,
                                        group_key => %s, unique_key => %s, unique_states => %s,
                                        unique_for => make_interval(secs => %s::float8))""",
                [self.name, Jsonb(payload), priority, delay, group, key, list(states), for_s],
            )
        else:
            cursor = conn.execute(
                """insert into pgops.job_queue (queue, payload, priority, run_at, group_key, unique_key)
                   values (%s, %s, %s, statement_timestamp() + %s::interval, %s, %s) returning id""",
                [self.name, Jsonb(payload), priority, delay, group, key],
            )
        row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def arrived(self, job: Kept) -> None:
        self.jobs[job.id] = job
        self.totals["enqueued"] += 1

    @precondition(lambda self: any(client.is_open for client in self.world.clients))
    @rule(client=st.sampled_from([0, 1]), commits=st.booleans())
    def end_transaction(self, client: int, commits: bool) -> None:
        """Late, so that what it brings may stand below what was claimed long since."""
        its = self.world.clients[client]
        ending, its.ending = its.ending, []
        if commits:
            its.conn.commit()
            for job in its.jobs:
                self.arrived(job)
            self.holders |= its.keys
            for job in ending:
                self.totals["completed"] += 1
                self.moved(job, "completed")
        else:
            its.conn.rollback()
        its.forget()

    # --- workers ------------------------------------------------------------------------------------------------

    @rule(owner=st.integers(1, 3), limit=st.integers(1, 4))
    def claim(self, owner: int, limit: int) -> None:
        """Workers 1 and 2 have floors, 3 looks at everything."""
        floor = self.floors.get(owner)
        if floor is not None:
            floor.marked(self.clock, self.queue.note())
        claim = self.claimed(owner, limit, NO_FLOORS if floor is None else floor.scan())
        if floor is not None:
            floor.after_claim(claim, limit, self.clock)

    @rule(limit=st.integers(1, 4))
    def sweep_below(self, limit: int) -> None:
        """Worker 1 is the sweeper."""
        held_back = self.sweep.held_back
        start = self.sweep.start if held_back else self.sweep.begin(self.queue.draw_line(), self.clock)
        claim = self.claimed(1, limit, start)
        self.sweep.after_claim(claim, limit, self.clock, 0.0, self.floors[1].claimed)

    def claimed(self, owner: int, limit: int, floors: Floors) -> Claim:
        query = "select priority, seq, coalesce(id, seq) from pgops.job_available where queue = %s order by 1, 2"
        room = 0 if self.paused else limit
        if self.max_running is not None:
            room = max(0, min(room, self.max_running - sum(job.state == "running" for job in self.jobs.values())))
        wanted = [id for priority, seq, id in self.rows(query) if seq > floors[priority - 1]][:room]
        token = next(self.tokens)
        claim = self.queue.claim(self.name, owner=owner, token=token, limit=limit, floors=floors)
        assert [job.id for job in claim.jobs] == wanted
        assert claim.cut == (room < limit)
        for given in claim.jobs:
            job = self.jobs[given.id]
            assert job.state == "available"
            job.attempt += 1
            assert (given.attempt, given.payload) == (job.attempt, job.payload)
            self.moved(job, "running")
            job.token = token
        if claim.jobs:
            self.old_tokens.append(token)
        return claim

    def batch(self, data: st.DataObject) -> tuple[int, list[Kept]]:
        """Some running jobs of one token."""
        token = self.pick(data, self.alive("running")).token
        jobs = [job for job in self.alive("running") if job.token == token]
        return token, data.draw(st.lists(st.sampled_from(jobs), min_size=1, unique_by=lambda job: job.id))

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data(), others_too=st.booleans())
    def complete(self, data: st.DataObject, others_too: bool) -> None:
        """Also ids that are not this token's, which are left out."""
        token, jobs = self.batch(data)
        others = [10**12, *(job.id for job in self.jobs.values() if job.token != token)] if others_too else []
        done = self.queue.complete(self.name, ids_of(jobs) + others, token, results={jobs[0].id: {"ok": 1}})
        assert sorted(done) == ids_of(jobs)
        for job in jobs:
            self.totals["completed"] += 1
            self.moved(job, "completed")

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data(), client=st.sampled_from([0, 1]))
    def complete_in_a_transaction(self, data: st.DataObject, client: int) -> None:
        mine, other = self.world.clients[client], self.world.clients[1 - client]
        token, jobs = self.batch(data)
        groups = {job.group for job in jobs} - {None}
        if groups & (mine.groups | other.groups) or {job.key for job in jobs} & set(other.keys):
            return
        assert sorted(mine.queue.complete(self.name, ids_of(jobs), token)) == ids_of(jobs)
        mine.ending += jobs

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data(), verdict=st.sampled_from(["retry", "dead", "snooze", "cancelled"]))
    def fail(self, data: st.DataObject, verdict: Verdict) -> None:
        token, jobs = self.batch(data)
        failed = [FailedJob(job.id, "boom", retry_in_s=3600, verdict=verdict) for job in jobs]
        ended = self.queue.fail(self.name, token, failed)
        answer = {"retry": ended.retried, "dead": ended.dead, "snooze": ended.snoozed, "cancelled": ended.cancelled}
        for job in jobs:
            its: str = verdict
            if job.unwanted and its in ("retry", "snooze"):
                its = "cancelled"
            elif its == "retry" and job.attempt >= MAX_ATTEMPTS:
                its = "dead"
            assert [name for name, ids in answer.items() if job.id in ids] == [its]
            self.totals["failed"] += its in ("retry", "dead")
            job.attempt -= its == "snooze"
            self.moved(job, its if its in ("dead", "cancelled") else "scheduled")
        assert ended.stale == ()

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        token, jobs = self.batch(data)
        assert sorted(self.queue.release(self.name, ids_of(jobs), token)) == ids_of(jobs)
        for job in jobs:
            job.attempt -= 1
            self.moved(job, "available")

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data())
    def heartbeat(self, data: st.DataObject) -> None:
        token, jobs = self.batch(data)
        assert sorted(self.queue.heartbeat(self.name, ids_of(jobs), token)) == ids_of(jobs)
        for job in jobs:
            job.expired = False

    @precondition(lambda self: self.old_tokens)
    @rule(data=st.data())
    def act_with_a_stale_token(self, data: st.DataObject) -> None:
        token = data.draw(st.sampled_from(self.old_tokens))
        ids = [job.id for job in self.jobs.values() if job.token != token]
        assert self.queue.complete(self.name, ids, token) == []
        assert self.queue.release(self.name, ids, token) == []
        assert self.queue.heartbeat(self.name, ids, token) == []
        ended = self.queue.fail(self.name, token, [FailedJob(id, "late") for id in ids])
        assert sorted(ended.stale) == sorted(ids)

    # --- accidents, and what looks after them ---------------------------------------------------------------------

    @precondition(lambda self: self.alive("running"))
    @rule(data=st.data())
    def a_lease_runs_out(self, data: st.DataObject) -> None:
        job = self.pick(data, self.alive("running"))
        self.change("update pgops.job_running set lease_until = '-infinity' where queue = %s and id = %s", job.id)
        job.expired = True

    @rule()
    def reap(self) -> None:
        lost = [job for job in self.jobs.values() if job.expired and not self.ending(job)]
        reaped = self.queue.reap(self.name, everyone=True)
        assert reaped.requeued + reaped.dead == len(lost)
        for job in lost:
            self.totals["failed"] += 1
            self.moved(job, "dead" if job.attempt >= MAX_ATTEMPTS else "available")

    @precondition(lambda self: self.alive("scheduled"))
    @rule(data=st.data())
    def time_passes(self, data: st.DataObject) -> None:
        job = self.pick(data, self.alive("scheduled"))
        self.change("update pgops.job_scheduled set run_at = now() where queue = %s and id = %s", job.id)
        job.due = True

    @rule()
    def promote(self) -> None:
        """What is due is ready; only one whose group an open transaction holds may have to wait for it."""
        due = [job for job in self.jobs.values() if job.due]
        promoted = self.queue.promote(self.name)
        scheduled = {id for (id,) in self.rows("select id from pgops.job_scheduled where queue = %s")}
        stay = [job for job in due if job.id in scheduled]
        assert promoted == len(due) - len(stay)
        assert all(any(job.group in client.groups for client in self.world.clients) for job in stay)
        for job in due:
            if job not in stay:
                self.moved(job, "available")

    @rule(full=st.booleans())
    def maintain(self, full: bool) -> None:
        self.queue.behead(self.name)
        assert self.queue.mend_groups(self.name) == 0, "no group has lost its head"
        self.queue.forget_keys(self.name)
        self.queue.fold(self.name, full=full)
        for job in self.jobs.values():
            job.unwanted = job.unwanted and job.state != "dead"

    @precondition(lambda self: self.holders)
    @rule(data=st.data())
    def a_key_s_time_is_over(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.holders)))
        if any(job.key == key for client in self.world.clients for job in client.ending):
            return
        self.change("update pgops.job_unique set until = '-infinity' where queue = %s and key = %s", key)
        del self.holders[key]

    # --- operators --------------------------------------------------------------------------------------------------

    @rule(on=st.booleans())
    def pause(self, on: bool) -> None:
        (self.queue.pause if on else self.queue.resume)(self.name)
        self.paused = on

    @rule(max_running=st.none() | st.integers(1, 3))
    def limit(self, max_running: int | None) -> None:
        self.queue.limit(self.name, max_running=max_running)
        self.max_running = max_running

    @precondition(lambda self: not any(client.ending for client in self.world.clients))
    @rule()
    def requeue_stuck(self) -> None:
        stuck = [job for job in self.jobs.values() if job.expired]
        assert self.queue.requeue_stuck(self.name) == len(stuck)
        for job in stuck:
            self.moved(job, "available")

    @precondition(lambda self: self.alive("dead") and not any(client.is_open for client in self.world.clients))
    @rule(data=st.data(), every=st.booleans())
    def requeue_dead(self, data: st.DataObject, every: bool) -> None:
        dead = self.alive("dead") if every else [self.pick(data, self.alive("dead"))]
        requeued = self.queue.requeue_dead(self.name, () if every else ids_of(dead))
        still = {id for (id,) in self.rows("select id from pgops.job_dead where queue = %s")}
        back = [job for job in dead if job.id not in still]
        assert requeued == len(back)
        for job in back:
            if job.key is not None:
                assert self.holders.setdefault(job.key, Holder(job.id, frozenset(STATES[0]))).id == job.id
            job.attempt, job.unwanted = 0, False
            self.moved(job, "available")
        for job in dead:
            assert job in back or self.holders[job.key or ""].id != job.id, "only for its key it stays"

    @precondition(lambda self: self.alive("dead"))
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        job = self.pick(data, self.alive("dead"))
        assert self.queue.discard_dead(self.name, [job.id]) == 1
        self.moved(job, "discarded")

    @precondition(lambda self: self.alive(*PLACES))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        alive = self.alive(*PLACES)
        jobs = data.draw(st.lists(st.sampled_from(alive), min_size=1, max_size=3, unique_by=lambda job: job.id))
        cancelled = self.queue.cancel(self.name, [*ids_of(jobs), 10**12])
        assert cancelled.cancelled == sum(job.state in ("available", "scheduled") for job in jobs)
        assert cancelled.requested == sum(job.state == "running" for job in jobs)
        for job in jobs:
            if job.state == "running":
                job.unwanted = True
            elif job.state != "dead":
                self.moved(job, "cancelled")

    @precondition(lambda self: self.alive(*PLACES))
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        job = self.pick(data, self.alive(*PLACES))
        payload = {"edited": next(self.world.numbers)}
        if job.state == "running":
            with pytest.raises(NotFoundError):
                self.queue.edit(self.name, job.id, payload)
            return
        state = self.queue.edit(self.name, job.id, payload)
        assert state == job.state or (state, job.state) == ("waiting", "available")
        job.payload = payload

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        self.clock += 0.4
        self.nothing_is_lost_or_doubled()
        self.a_group_s_jobs_come_in_order()
        self.leases_and_outcomes_are_as_told()
        self.keys_are_held_by_whom_they_should()
        self.the_deltas_say_what_stands_there()
        self.no_ready_job_stands_below_the_bottom_of_the_sweeps()

    def nothing_is_lost_or_doubled(self) -> None:
        found = self.rows("select id, status, group_key from pgops.job_queue where queue = %s")
        assert len(found) == len({id for id, _, _ in found}), "one job, one place"
        alive = {job.id: job.state for job in self.jobs.values() if job.state in PLACES}
        assert {id: "available" if state == "waiting" else state for id, state, _ in found} == alive
        heads = Counter(group for _, state, group in found if group and state in ("available", "running"))
        assert set(heads.values()) <= {1}, "two of one group at a time"

    def a_group_s_jobs_come_in_order(self) -> None:
        """Whoever has become its head since the last step was the first of those that waited then."""
        waited = self.waiting
        self.waiting = self.rows(
            "select group_key, seq, id from pgops.job_waiting where queue = %s order by group_key, seq"
        )
        there = {id for _, _, id in self.waiting}
        for group in {group for group, _, _ in waited}:
            before = [id for its, _, id in waited if its == group]
            went = [id for id in before if id not in there and self.jobs[id].state in ("available", "running")]
            passed_by = [id for id in before if id in there and went and before.index(id) < before.index(went[-1])]
            assert passed_by == []

    def leases_and_outcomes_are_as_told(self) -> None:
        running = dict(self.rows("select id, token from pgops.job_running where queue = %s"))
        assert running == {job.id: job.token for job in self.jobs.values() if job.state == "running"}
        outcomes = dict(self.rows("select id, outcome from pgops.job_history where queue = %s order by finished_at"))
        ended = {job.id: job.state for job in self.jobs.values() if job.state not in PLACES}
        assert {id: outcome for id, outcome in outcomes.items() if id in ended} == ended

    def keys_are_held_by_whom_they_should(self) -> None:
        held = self.rows("select key, id from pgops.job_unique where queue = %s and coalesce(until > now(), true)")
        assert dict(held) == {key: holder.id for key, holder in self.holders.items()}

    def the_deltas_say_what_stands_there(self) -> None:
        sums = ", ".join(f"coalesce(sum({name}), 0)::int" for name in COUNTED)
        (said,) = self.rows(f"select {sums} from ({DELTAS}) d where queue = %s")  # noqa: S608
        found = Counter(state for (state,) in self.rows("select status from pgops.job_queue where queue = %s"))
        assert dict(zip(COUNTED, said, strict=True)) == {name: (found + self.totals)[name] for name in COUNTED}

    def no_ready_job_stands_below_the_bottom_of_the_sweeps(self) -> None:
        rows = self.rows("select seq from pgops.job_available where queue = %s and seq <= %s", self.sweep.bottom)
        assert rows == [], "only the sweep of the minute would find it"

    # --- the end ----------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Whatever has happened, everything comes out."""
        for number, client in enumerate(self.world.clients):
            if client.is_open:
                self.end_transaction(client=number, commits=True)
        self.pause(on=False)
        self.limit(max_running=None)
        self.drain()
        assert self.queue.requeue_dead(self.name) == len(self.alive("dead"))
        for job in self.alive("dead"):
            job.attempt = 0
            self.moved(job, "available")
        self.drain()
        assert self.alive(*PLACES) == []
        self.all_is_well()
        assert self.rows("select * from pgops.job_group where queue = %s") == []
        self.queue.fold(self.name, full=True)
        assert self.rows("select from pgops.queue_delta where queue = %s") == []

    def drain(self) -> None:
        """All but the dead."""
        for _ in range(2 * len(self.jobs) + 2):
            self.change("update pgops.job_scheduled set run_at = now() where queue = %s")
            for job in self.alive("scheduled"):
                job.due = True
            self.promote()
            self.maintain(full=False)
            self.claimed(9, 50, NO_FLOORS)
            running = self.alive("running")
            if not running:
                break
            for job in running:
                assert self.queue.complete(self.name, [job.id], job.token) == [job.id]
                self.totals["completed"] += 1
                self.moved(job, "completed")
        assert self.alive("available", "scheduled", "running") == [], "stuck"


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    impatient = make_conninfo(dsn, options="-c lock_timeout=3s")
    with (
        Pgops.open(impatient, max_size=2) as pg,
        psycopg.connect(impatient, autocommit=True) as watcher,
        psycopg.connect(impatient) as one,
        psycopg.connect(impatient) as two,
    ):
        yield World(pg, watcher, (Client(one), Client(two)))


@pytest.mark.slow
@pytest.mark.timeout(36_000 if LONG else 120)
def test_a_queue_does_what_its_model_does(world: World) -> None:
    def machine() -> QueueModel:
        for client in world.clients:
            client.conn.rollback()
            client.forget()
        return QueueModel(world)

    run_state_machine_as_test(machine, settings=settings(**PROFILE))  # type: ignore[no-untyped-call]

"""One subscription against a model of it: whatever writers, relays, operators and accidents do in whatever order, every
committed event is delivered, none that was rolled back is, a key's events are first delivered in their order, and what
a cursor has passed comes again only where it was set back.

    pytest tests/test_event_model.py                          40 histories of up to 60 steps, the same each time
    PGOPS_MODEL=2000 pytest tests/test_event_model.py -n 0    2,000 of up to 80 steps, other ones each time

The model serialises a key's writers, as an application must: an open transaction that has appended to a key holds it.
A relay does what runtime/relay.py does, one step at a time, and may lose its lease between any two.
"""

import inspect
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg.conninfo import make_conninfo

from pgops.services.batches import behind, done_so_far, within
from pgops.services.models import Batch, Event, Rejected
from pgops.sync.database import Bound
from pgops.sync.services.client import Pgops
from pgops.sync.services.events import Events

LONG = int(os.environ.get("PGOPS_MODEL", "0"))
PROFILE: dict[str, Any] = {
    "max_examples": LONG or 40, "stateful_step_count": 80 if LONG else 60, "derandomize": not LONG, "deadline": None,
    "database": None, "suppress_health_check": list(HealthCheck), "print_blob": bool(LONG),
}  # fmt: skip
KEYS = ("a", "b", "c")
PART = "select coalesce(hashtext(%s), uuid_hash(%s)) & 63"


@dataclass
class Made:
    """What the model knows of one event; `at` is its place in time. `passed`: the cursor is beyond it; `was_passed`: it
    has been, by delivery or by its start. `shown`: it is older than the replay or start under way, and counts only if
    it was made since the moment of that. `due`: it must be delivered."""

    number: int
    key: str | None
    part: int
    wanted: bool
    at: int
    due: bool = True
    passed: bool = False
    was_passed: bool = False
    shown: bool = False
    delivered: bool = False
    before_start: bool = False


@dataclass
class Writer:
    """A connection, and what its open transaction has appended; `marks` are how much that was at its savepoints."""

    conn: "psycopg.Connection[Any]"
    made: list[Made] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    is_open: bool = False

    @property
    def keys(self) -> set[str | None]:
        return {event.key for event in self.made} - {None}

    def forget(self) -> None:
        self.made, self.marks, self.is_open = [], [], False


@dataclass
class Reader:
    """A relay: its token, and the batch under way with what of it is still pending or put aside."""

    token: int
    batch: Batch | None = None
    parked: bool = False
    pending: list[Event] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def forget(self) -> None:
        self.batch, self.pending, self.rejected, self.parked = None, [], [], False


@dataclass
class World:
    """The connections that all histories share; each has a subscription and a topic of its own."""

    pg: Pgops
    watcher: "psycopg.Connection[Any]"
    writers: tuple[Writer, ...]
    numbers: Iterator[int] = field(default_factory=lambda: count(1))


def number_of(event: Event) -> int:
    return int(str(event.payload))


ACTS = [
    name for name, weight in {
        "append_some": 6, "append_for_others": 1, "transact": 4, "go_round": 6, "go_smoothly": 2, "take_over": 3,
        "leave": 1, "renew": 1, "operate": 3, "replay": 1, "look": 1,
    }.items() for _ in range(weight)
]  # fmt: skip
GIVEN: dict[str, st.SearchStrategy[Any]] = {
    "writer": st.integers(0, 2), "or_none": st.booleans(), "key": st.sampled_from([*KEYS, None]),
    "events": st.integers(1, 3), "does": st.sampled_from(["savepoint", "back", "commit", "commit", "rollback"]),
    "reader": st.integers(0, 2), "other": st.integers(0, 2), "max_parts": st.sampled_from([64, 64, 20]),
    "parked": st.sampled_from([False, False, True]), "limit": st.integers(1, 4), "delivers": st.integers(0, 5),
    "refuses": st.booleans(), "moment": st.integers(0, 9),
    "ends": st.sampled_from(["is through", "is through", "is idle", "goes on", "goes on", "is killed"]),
    "orders": st.sampled_from(["pause", "resume", "resume", "retry", "hold", "hold", "let go"]),
    "its_key": st.sampled_from(KEYS),
}  # fmt: skip


class EventModel(RuleBasedStateMachine):
    """The machine: rules do the same to the log and to the model."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.events = world.pg.events
        self.name = f"s{next(world.numbers)}"
        self.readers = [Reader(self.new_token()) for _ in range(3)]
        self.committed: dict[int, Made] = {}
        self.order: dict[str, list[int]] = {key: [] for key in KEYS}
        self.out_of_order: set[str] = set()
        self.open: dict[int, list[Made]] = {}
        self.starting: set[int] = set()
        self.replaying: set[int] = set()
        self.start_at = 0
        self.held: set[str] = set()
        self.aside: dict[int, int] = {}
        self.moments: list[tuple[int, datetime]] = []
        self.clock = count(1)
        self.paused = False
        self.poison = "park"

    @initialize(start=st.sampled_from(["now", "beginning", "moment"]), poison=st.sampled_from(["park", "park", "skip"]))
    def subscribe(self, start: str, poison: str) -> None:
        """With something committed before, something between, and something under way."""
        self.poison = poison
        self.append(None, "a", True)
        self.append(0, "c", True)
        self.note_the_time()
        since = self.moments[0] if start == "moment" else None
        self.append(None, "b", True)
        self.append(0, "c", True)
        self.events.subscribe(
            self.name, topics=[self.name], types=["event"], poison=self.poison,  # type: ignore[arg-type]
            start=since[1] if since else start,  # type: ignore[arg-type]
        )  # fmt: skip
        for event in self.committed.values():
            event.shown = since is not None
            event.passed = event.was_passed = start == "now" or (since is not None and event.at < since[0])
            event.before_start, event.due = event.passed, not event.passed
        if since is not None:
            self.starting, self.start_at = set(range(64)), since[0]

    @rule(data=st.data(), act=st.sampled_from(ACTS))
    def step(self, data: st.DataObject, act: str) -> None:
        """One rule, so that the weights of what happens are those of ACTS."""
        given = {name: data.draw(GIVEN[name]) for name in inspect.signature(getattr(self, act)).parameters}
        getattr(self, act)(**given)

    # --- writers ------------------------------------------------------------------------------------------------

    def append_some(self, writer: int, or_none: bool, key: str | None, events: int) -> None:
        if events == 2:
            self.note_the_time()
        for _ in range(events):
            self.append(None if or_none else writer, key, True)

    def append_for_others(self, writer: int, key: str | None) -> None:
        self.append(writer, key, False)

    def append(self, writer: int | None, key: str | None, wanted: bool) -> None:
        mine = None if writer is None else self.world.writers[writer]
        if key is not None and any(key in other.keys for other in self.world.writers if other is not mine):
            return
        events = self.events if mine is None else Events(Bound(mine.conn, foreign=True))
        number = next(self.world.numbers)
        topic = self.name if wanted or number % 2 else "other"
        type = "event" if wanted or not number % 2 else "other"
        event_id = events.append(topic, number, key=key, type=type)
        row = self.world.watcher.execute(PART, [key, event_id]).fetchone()
        assert row is not None
        made = Made(number, key, row[0], wanted, next(self.clock))
        if mine is None:
            self.arrived(made)
        else:
            mine.made.append(made)
            mine.is_open = True

    def arrived(self, made: Made) -> None:
        if made.wanted:
            self.committed[made.number] = made
            if made.key is not None:
                self.order[made.key].append(made.number)

    def transact(self, writer: int, does: str) -> None:
        """Goes on with an open transaction, or begins one."""
        if not self.world.writers[writer].is_open:
            self.begin(writer)
        elif does in ("savepoint", "back"):
            self.savepoint(writer, back=does == "back")
        else:
            self.end_transaction(writer, commits=does == "commit")

    def begin(self, writer: int) -> None:
        """With an id from the start, so that its events may stand far above it."""
        mine = self.world.writers[writer]
        mine.conn.execute("select pg_current_xact_id()")
        mine.is_open = True

    def savepoint(self, writer: int, back: bool) -> None:
        mine = self.world.writers[writer]
        if not mine.marks or not back:
            mine.conn.execute(f"savepoint s{len(mine.marks)}".encode())
            mine.marks.append(len(mine.made))
        else:
            mark = mine.marks.pop()
            mine.conn.execute(f"rollback to savepoint s{len(mine.marks)}".encode())
            del mine.made[mark:]

    def end_transaction(self, writer: int, commits: bool) -> None:
        mine = self.world.writers[writer]
        if commits:
            mine.conn.commit()
            for made in mine.made:
                self.arrived(made)
        else:
            mine.conn.rollback()
        mine.forget()

    # --- relays -------------------------------------------------------------------------------------------------

    def new_token(self) -> int:
        return 1_000_000 + next(self.world.numbers)

    def go_round(
        self, reader: int, max_parts: int, parked: bool, limit: int, delivers: int, refuses: bool, ends: str
    ) -> None:
        """A batch, or what a relay still has of one: some of it delivered, and then it goes on, is through with it, or
        is killed."""
        if self.readers[reader].batch is None:
            self.lease(reader, max_parts)
            if parked:
                self.fetch_parked(reader)
            else:
                self.fetch(reader, limit)
        self.deliver(reader, 1_000 if delivers == 5 else delivers)
        if refuses:
            self.refuse(reader)
        if ends == "is killed":
            self.end_relay(reader, leaves=False)
        elif ends != "goes on":
            self.advance(reader, idle=ends == "is idle")

    def go_smoothly(self, reader: int, limit: int) -> None:
        self.go_round(reader, 64, False, limit, 5, False, "is idle")

    def lease(self, reader: int, max_parts: int) -> None:
        mine = self.readers[reader]
        if mine.batch is None:
            self.events.lease_parts(self.name, owner=str(reader), token=mine.token, lease_s=600, max_parts=max_parts)

    def expire(self, reader: int) -> None:
        """Its lease has run out; it does not know."""
        token, long_ago = self.readers[reader].token, "statement_timestamp() - interval '1 second'"
        self.world.watcher.execute(
            f"update pgops.subscription_parts set lease_until = {long_ago} where subscription = %s and token = %s",  # noqa: S608
            [self.name, token],
        )
        self.world.watcher.execute(
            f"update pgops.relays set alive_until = {long_ago} where subscription = %s and owner = %s",  # noqa: S608
            [self.name, str(reader)],
        )

    def end_relay(self, reader: int, leaves: bool) -> None:
        """It leaves and hands its parts back, or it is killed; another one takes its place."""
        mine = self.readers[reader]
        if leaves and mine.batch is None:
            self.events.release(self.name, owner=str(reader), token=mine.token)
        elif not leaves:
            self.expire(reader)
        else:
            return
        self.readers[reader] = Reader(self.new_token())

    def leave(self, reader: int) -> None:
        self.end_relay(reader, leaves=True)

    def renew(self, reader: int) -> None:
        """It may get back what nobody has taken meanwhile, and nothing else."""
        self.events.renew(self.name, token=self.readers[reader].token, lease_s=600)

    def take_over(self, reader: int, other: int, limit: int) -> None:
        """Whatever the one has under way, the other goes on where the cursor stands."""
        self.expire(reader=reader)
        self.lease(reader=other, max_parts=64)
        self.fetch(reader=other, limit=limit)

    def fetch(self, reader: int, limit: int) -> None:
        mine = self.readers[reader]
        if mine.batch is not None:
            return
        mine.batch = self.events.fetch(self.name, mine.token, limit)
        assert not (self.paused and mine.batch.cursors)
        for event in mine.batch.events:
            made = self.committed[number_of(event)]
            assert not made.passed, "a cursor's past comes back unasked"
            assert made.was_passed or not event.replayed, "told as a repetition"
            assert (event.id in mine.batch.waiting) == self.waits(made.key), "a key's events wait for its parked ones"
            if event.id in mine.batch.waiting:
                mine.rejected.append(behind(event))
            else:
                mine.pending.append(event)

    def waits(self, key: str | None) -> bool:
        """Whether it is held by hand, or has events put aside: refused ones count where they park their key."""
        its = [attempts for number, attempts in self.aside.items() if self.committed[number].key == key]
        return key is not None and (key in self.held or any(self.poison == "park" or n == 0 for n in its))

    def fetch_parked(self, reader: int) -> None:
        mine = self.readers[reader]
        if mine.batch is None:
            mine.batch, mine.parked = self.events.fetch_parked(self.name, mine.token), True
            mine.pending = list(mine.batch.events)

    def deliver(self, reader: int, events: int) -> None:
        """In its order; also after the lease has gone, which it cannot know."""
        mine = self.readers[reader]
        for event in mine.pending[:events]:
            self.delivered(event)
        del mine.pending[:events]

    def refuse(self, reader: int) -> None:
        """The sink will not take it; the later ones of its key wait behind it, or go on."""
        mine = self.readers[reader]
        if mine.pending:
            bad = mine.pending.pop(0)
            mine.rejected.append(Rejected(bad, 1, "no"))
            if bad.key is not None and self.poison == "park":
                mine.rejected += [behind(event) for event in mine.pending if event.key == bad.key]
                mine.pending = [event for event in mine.pending if event.key != bad.key]
            elif bad.key is not None:
                self.out_of_order.add(bad.key)

    def delivered(self, event: Event) -> None:
        made = self.committed[number_of(event)]
        if made.key is not None and made.key not in self.out_of_order and not made.delivered:
            before = [self.committed[n] for n in self.order[made.key][: self.order[made.key].index(made.number)]]
            assert all(e.delivered or e.before_start for e in before), "out of order"
        made.delivered = True

    def advance(self, reader: int, idle: bool) -> None:
        """Past what is done; what is left of a batch comes again."""
        mine = self.readers[reader]
        if mine.batch is None:
            return
        left = {event.id for event in mine.pending}
        living = self.living(mine.token)
        refused = {number_of(one.event): one.attempts for one in mine.rejected if one.event.part in living}
        if mine.parked:
            put_aside = {one.event.id for one in mine.rejected}
            done = [event.id for event in mine.batch.events if event.id not in left | put_aside]
            self.events.settle(mine.batch, done, mine.rejected)
            for event in mine.batch.events:
                if event.id in done and event.part in living:
                    self.aside.pop(number_of(event), None)
            self.aside |= {number: self.aside[number] + n for number, n in refused.items() if number in self.aside}
        else:
            batch = done_so_far(mine.batch, left)
            rejected = within(batch, mine.rejected)
            advanced = self.events.advance(batch, rejected=rejected, idle=idle)
            assert set(advanced.parts) <= living, "a cursor is moved by who has lost it"
            assert not set(advanced.stale) & living
            for number in (number_of(one.event) for one in rejected):
                if number in refused:
                    self.aside.setdefault(number, refused[number])
            self.passed(batch, set(advanced.parts))
        mine.forget()

    def living(self, token: int) -> set[int]:
        query = "select part from pgops.subscription_parts where subscription = %s and token = %s"
        return {part for (part,) in self.world.watcher.execute(query, [self.name, token]).fetchall()}

    def passed(self, batch: Batch, parts: set[int]) -> None:
        for cursor in batch.cursors:
            if cursor.part not in parts:
                continue
            events = [event for event in batch.events if event.part == cursor.part][: cursor.events]
            made = [self.committed[number_of(event)] for event in events]
            for each in made:
                each.passed = each.was_passed = True
            self.open.setdefault(cursor.part, []).extend(made)
            if cursor.through:
                del self.open[cursor.part]
                self.starting.discard(cursor.part)
                self.replaying.discard(cursor.part)

    # --- operators ----------------------------------------------------------------------------------------------

    def operate(self, orders: str, its_key: str) -> None:
        if orders in ("pause", "resume"):
            self.pause(on=orders == "pause")
        elif orders == "retry":
            self.retry(its_key)
        else:
            self.hold(its_key, on=orders == "hold")

    def pause(self, on: bool) -> None:
        (self.events.pause if on else self.events.resume)(self.name)
        self.paused = on

    def note_the_time(self) -> None:
        row = self.world.watcher.execute("select clock_timestamp()").fetchone()
        assert row is not None
        self.moments.append((next(self.clock), row[0]))

    def replay(self, moment: int) -> None:
        """Again comes what was made since then, and what an open window had delivered. A second replay takes the place
        of one under way, but not of a start that is."""
        at, since = self.moments[moment % len(self.moments)]
        self.events.replay(self.name, since)
        for event in self.committed.values():
            if event.part not in self.starting | self.replaying:
                event.shown = event.passed and event not in self.open.get(event.part, ())
            from_at = min(at, self.start_at) if event.part in self.starting else at
            event.passed = event.shown and event.at < from_at
            event.due = event.delivered or not event.passed or (event.due and event.part not in self.replaying)
        self.replaying = set(range(64)) - self.starting
        self.open.clear()

    def hold(self, key: str, on: bool) -> None:
        (self.events.park_key if on else self.events.unpark_key)(self.name, key)
        (self.held.add if on else self.held.discard)(key)

    def retry(self, key: str | None) -> None:
        self.events.retry_parked(self.name, key=key)

    def look(self) -> None:
        """What is still to come, where no window is open."""
        lag = self.events.lag(self.name)
        assert lag.exact != bool(self.open)
        if lag.exact:
            assert lag.events == sum(not event.passed for event in self.committed.values())

    # --- the end ------------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Whatever has happened, everything comes out, once the last relay has it all."""
        if not self.moments:
            return
        for number, writer in enumerate(self.world.writers):
            if writer.is_open:
                self.end_transaction(writer=number, commits=True)
        self.pause(on=False)
        for key in KEYS:
            self.hold(key=key, on=False)
        for number in (0, 1, 2):
            self.deliver(reader=number, events=1_000)
            self.advance(reader=number, idle=False)
            self.expire(reader=number)
        self.readers[0] = Reader(self.new_token())
        self.lease(reader=0, max_parts=64)
        self.drain()
        missing = [event for event in self.committed.values() if event.due and not event.delivered]
        assert missing == []
        assert [event for event in self.committed.values() if not event.passed] == [], "not what was asked for again"
        found = self.events.subscription(self.name)
        assert (found.parked, found.replaying, found.held_keys) == (0, False, 0)
        lag = self.events.lag(self.name)
        assert (lag.events, lag.seconds, lag.exact) == (0, 0, True)
        self.events.unsubscribe(self.name)

    def drain(self) -> None:
        more = True
        while more:
            self.retry(key=None)
            self.fetch_parked(reader=0)
            more = bool(self.readers[0].pending)
            self.deliver(reader=0, events=1_000)
            self.advance(reader=0, idle=True)
            self.fetch(reader=0, limit=3)
            assert self.readers[0].batch is not None
            more |= bool(self.readers[0].batch.events or self.open)
            self.deliver(reader=0, events=1_000)
            self.advance(reader=0, idle=True)


@pytest.fixture
def world(dsn: str) -> Iterator[World]:
    impatient = make_conninfo(dsn, options="-c lock_timeout=3s")
    with (
        Pgops.open(impatient, max_size=2) as pg,
        psycopg.connect(impatient, autocommit=True) as watcher,
        psycopg.connect(impatient) as one,
        psycopg.connect(impatient) as two,
        psycopg.connect(impatient) as three,
    ):
        yield World(pg, watcher, (Writer(one), Writer(two), Writer(three)))


@pytest.mark.slow
@pytest.mark.timeout(36_000 if LONG else 120)
def test_a_subscription_does_what_its_model_does(world: World) -> None:
    def machine() -> EventModel:
        for writer in world.writers:
            writer.conn.rollback()
            writer.forget()
        world.watcher.execute("delete from pgops.event_log")
        return EventModel(world)

    run_state_machine_as_test(machine, settings=settings(**PROFILE))  # type: ignore[no-untyped-call]

"""One act, two ways: by its key in the dashboard and by its command. Both look alike before, and leave the same trail.

Each way of each act has a database of its own with the same in it. Who did it and when may differ, nothing else. What
is dear is to open a dashboard: all acts that begin in one room share it, and it is led from one database to the next.
"""

import asyncio
import json
import os
import re
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, get_args

import psycopg
import pytest
from cli_call import Run, caller
from dashboard_story import SMALL, Story, say_yes, screen, until
from pgmq import get_embedded_install_sql
from psycopg.conninfo import make_conninfo
from test_cli import HALF_BUILT
from textual.widgets import OptionList

from pgops.config import Target
from pgops.ops.act.actions import Action, ActionName, Preview, Result, run
from pgops.ops.observe.snapshot import Snapshot
from pgops.services.client import AsyncPgops
from pgops.services.document_query import index_name
from pgops.services.embedders import HashingEmbedder
from pgops.services.models import FailedJob, NewEvent, Rejected, VectorRow
from pgops.tui.app import PgopsApp
from pgops.tui.commands import act_command
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Choose, Question

Seed = Callable[[AsyncPgops], Awaitable[object]]
Databases = Callable[[], str]
# What differs though the same was done: ages, sizes of indexes, how long it took, a session's process and its database,
# how much of the disk is free, and what the counters have been told so far.
PASSING = re.compile(
    r"\b\d+(\.\d+)? (s|min|h)\b|\b[\d,]+ bytes|\d{4}-\d\d-\d\d[ T][\d:.+]+|(?<=pid )\d+|(?<=session )\d+"
    r"|\bpid = \d+|pgops_parity_\d+_\d+|[\d.]+ \w?B are free|[\d,]+ (dead )?(row|one)s?\b|(?<=\"dead_before\": )\d+"
)


@dataclass(frozen=True, slots=True)
class Way:
    """How an act is done: what must be there, the keys up to its question, which of several it is asked about, and the
    command line. PID stands for the process of a session that waits to be hit. What has no key of its own is asked
    about as a finding's remedy is: as an `action`."""

    seed: Seed
    keys: str
    command: str
    choice: str = ""
    action: Action | None = None


async def stuck(pg: AsyncPgops) -> None:
    for number in range(3):
        await pg.queue.enqueue("email", {"to": number}, kind="send")
    await pg.queue.claim("email", owner=3, token=6, limit=2)
    await pg.db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '20 s'")


async def dead(pg: AsyncPgops) -> None:
    for number in range(3):
        await pg.queue.enqueue("email", {"to": number}, kind="send", max_attempts=1)
    jobs = (await pg.queue.claim("email", owner=1, token=5, limit=2)).jobs
    await pg.queue.fail("email", 5, [FailedJob(job.id, "no such host\nand more") for job in jobs])


async def paused(pg: AsyncPgops) -> None:
    await dead(pg)
    await pg.queue.pause("email")


async def expired(pg: AsyncPgops) -> None:
    for store in (pg.kv, pg.kv.ephemeral):
        await store.set("short", b"1", ttl_s=0.01)
        await store.set("long", b"1")
    await pg.limits.hit("short", 1, 0.01)
    await pg.cache.set_many({f"short:{n}": b"1" for n in range(3)}, ttl_s=0.01)
    await pg.cache.set("long", b"1")
    await asyncio.sleep(0.05)


async def subscription(pg: AsyncPgops) -> None:
    await pg.events.subscribe("billing", start="beginning", sink="stdout")
    await pg.events.append("orders", {"id": 7})


async def paused_subscription(pg: AsyncPgops) -> None:
    await subscription(pg)
    await pg.events.pause("billing")


async def refused(pg: AsyncPgops) -> None:
    """An event that its sink would not take, and one behind it; their ids are the first."""
    await pg.events.subscribe("billing", start="beginning", sink="stdout")
    await pg.events.append_many(NewEvent("orders", {"id": n}, key="k") for n in (1, 2))
    await pg.events.lease_parts("billing", owner="a", token=1, lease_s=30)
    batch = await pg.events.fetch("billing", 1)
    first, second = batch.events
    await pg.events.advance(batch, rejected=[Rejected(first, 5, "no such customer"), Rejected(second, 0, "waits")])
    await pg.events.release("billing", owner="a", token=1)


async def delivered(pg: AsyncPgops) -> None:
    await refused(pg)
    await pg.events.discard_parked("billing", [1, 2])


async def old(pg: AsyncPgops) -> None:
    """Events of twenty days ago that everybody has."""
    await pg.db.execute(
        b"insert into pgops.event_log (slot, payload, created_at) select (extract(epoch from at)::bigint / 86400"
        b" %% 32)::smallint, '{}', at from (select statement_timestamp() - interval '20 days' as at) then_",
        {},
    )


async def restored(pg: AsyncPgops) -> None:
    await subscription(pg)
    await pg.db.execute(b"update pgops.event_home set system_identifier = 1")


async def unindexed(pg: AsyncPgops) -> None:
    await pg.vectors.create("docs", 16, embedder="hashing")
    texts = [f"text number {number}" for number in range(120)]
    embedded = HashingEmbedder(16).embed(texts)
    await pg.vectors.add_many("docs", [VectorRow(text, one) for text, one in zip(texts, embedded, strict=True)])


async def vectors(pg: AsyncPgops) -> None:
    await unindexed(pg)
    await pg.vectors.build_index("docs", lists=2)


async def documents(pg: AsyncPgops) -> None:
    await pg.documents.create("orders")
    for number in range(3):
        await pg.documents.put("orders", {"customer": {"name": "Ann"}}, f"o{number}")
    await pg.documents.create_index("orders", "customer.name")


async def nightly(pg: AsyncPgops) -> None:
    await pg.queue.cron.add("nightly", "0 3 * * *", "email", timezone="Europe/Berlin")


async def paused_nightly(pg: AsyncPgops) -> None:
    await nightly(pg)
    await pg.queue.cron.pause("nightly")


async def half_built(pg: AsyncPgops) -> None:
    for statement in HALF_BUILT:
        await pg.db.execute(statement)


async def untuned(pg: AsyncPgops) -> None:
    await pg.db.execute(b"alter table pgops.queues set (fillfactor = 90)")


async def discarded(pg: AsyncPgops) -> None:
    await dead(pg)
    await run(pg.db, Action("discard_dead", "email"))


async def messages(pg: AsyncPgops) -> None:
    """In pgmq: three that wait, of which two were read too often, and one that died of it."""
    async with pg.db.lend() as conn:
        await conn.execute(get_embedded_install_sql().encode())
    await pg.pgmq.create("orders")
    await pg.pgmq.send_many("orders", [{"order": number} for number in range(4)])
    (first,) = await pg.pgmq.read("orders")
    await pg.pgmq.dead_letter("orders", first.msg_id, first.read_ct, reason="no such item")
    await pg.db.execute(b"update pgmq.q_orders set read_ct = 6 where msg_id < 4")


async def nothing(pg: AsyncPgops) -> None:
    """A session is there in any case."""


INDEX = index_name("orders", "btree", "json", ("customer", "name"))
WAYS: dict[ActionName, Way] = {
    "requeue_stuck": Way(stuck, "2 R", "pgops queue requeue email --stuck"),
    "requeue_dead": Way(dead, "2 R", "pgops queue requeue email --dead", "email: let"),
    "requeue_ladder": Way(paused, "2 R", "pgops queue requeue email --ladder", "email: ladder"),
    "cancel_jobs": Way(stuck, "2 enter C", "pgops queue cancel email 1"),
    "discard_dead": Way(dead, "2 D", "pgops queue discard email"),
    "edit_job": Way(dead, "2 enter enter E f7 7 ctrl+s", "pgops queue edit email 3 7"),
    "set_queue": Way(dead, '2 E f7 { " l e a s e _ s " : 6 0 } ctrl+s', "pgops queue set email '{\"lease_s\": 60}'"),
    "purge_expired": Way(expired, "1 P", "pgops cache purge"),
    "invalidate": Way(expired, "6 D", "pgops cache invalidate default"),
    "purge_kv": Way(expired, "6 P", "pgops kv purge", "key-value stores"),
    "purge_limits": Way(expired, "6 P", "pgops limit purge", "rate limits"),
    "build_index": Way(unindexed, "3 B", "pgops vector build docs --lists 1", "ivfflat, 1 list"),
    "rebuild_index": Way(vectors, "3 B", "pgops vector rebuild docs --lists 1", "ivfflat, 1 list"),
    "search": Way(vectors, "3 slash n u m b e r enter", "pgops vector search docs number --limit 20"),
    "pause": Way(dead, "2 P", "pgops queue pause email"),
    "resume": Way(paused, "2 P", "pgops queue resume email"),
    "unsubscribe": Way(subscription, "5 D", "pgops outbox unsubscribe billing"),
    "drop_collection": Way(vectors, "3 D", "pgops vector drop docs"),
    "drop_documents": Way(documents, "7 D", "pgops doc drop orders"),
    "drop_index": Way(documents, "7 enter D", f"pgops doc index orders --drop {INDEX}", f"index {INDEX}"),
    "cancel_backend": Way(nothing, "4 slash p i d colon PID enter C", "pgops sessions cancel PID"),
    "terminate_backend": Way(nothing, "4 slash p i d colon PID enter K", "pgops sessions terminate PID"),
    "cron_remove": Way(nightly, "2 t D", "pgops queue cron remove nightly"),
    "cron_pause": Way(nightly, "2 t P", "pgops queue cron pause nightly"),
    "cron_resume": Way(paused_nightly, "2 t P", "pgops queue cron resume nightly"),
    "cron_run": Way(nightly, "2 t N", "pgops queue cron run nightly"),
    "pgmq_purge": Way(messages, "2 X", "pgops queue pgmq purge orders"),
    "pgmq_dead": Way(messages, "2 R", "pgops queue pgmq dead orders --more-than 5", "orders: set aside"),
    "pgmq_redrive": Way(messages, "2 R", "pgops queue pgmq redrive orders", "orders: let"),
    "outbox_pause": Way(subscription, "5 P", "pgops outbox pause billing"),
    "outbox_resume": Way(paused_subscription, "5 P", "pgops outbox resume billing"),
    "outbox_replay": Way(
        delivered, "5 B", "pgops outbox replay billing --since 1h", "billing: again what was made in the last hour"
    ),
    "outbox_unpark": Way(refused, "5 enter R", "pgops outbox unpark billing", "all that"),
    "outbox_discard": Way(refused, "5 enter D", "pgops outbox discard billing 1"),
    "outbox_park": Way(refused, "5 enter K", "pgops outbox park billing k"),
    "outbox_keep": Way(
        nothing, '5 E f7 { " k e e p _ s " : 8 6 4 0 0 } ctrl+s', "pgops outbox keep '{\"keep_s\":86400}'"
    ),
    "outbox_purge": Way(old, "5 X", "pgops outbox purge", "let old"),
    "outbox_rebase": Way(restored, "5 X", "pgops outbox rebase", "after a restore"),
    "vacuum_table": Way(dead, "2 V", "pgops table vacuum pgops.job_dead", "vacuum pgops.job_dead"),
    "reindex_index": Way(dead, "2 I", "pgops index reindex pgops.job_dead_died_at", "build pgops.job_dead_died_at"),
    "drop_invalid_index": Way(
        half_built, "", "pgops index drop-invalid half_built", action=Action("drop_invalid_index", "half_built")
    ),
    "tune_queue_tables": Way(untuned, "2 V", "pgops table tune", "tune"),
    "reset_stats": Way(dead, "2 V", "pgops table reset-stats", "reset"),
    "undo": Way(discarded, "2 u U", "pgops audit undo 1"),
}
# What is new has to be typed: by its command alone.
TYPED = {"cron_add"}


def test_every_act_has_its_two_ways() -> None:
    assert list(WAYS) == [name for name in get_args(ActionName) if name not in TYPED]


AT_ONCE = 8


def shares() -> Iterator[list[ActionName]]:
    """Acts that begin in one room, as many as one dashboard is led through."""
    for room in sorted({way.keys[:1] for way in WAYS.values()}):
        names = [name for name, way in WAYS.items() if way.keys[:1] == room]
        yield from (names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE))


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("names", shares(), ids="-".join)
def test_an_act_is_the_same_by_key_and_by_command(names: list[ActionName], databases: Databases, pgops: Run) -> None:
    pairs = {name: (databases(), databases()) for name in names}
    sources = asyncio.run(by_keys(pairs))
    for name in names:
        with about(name):
            check_command(name, pairs[name], sources[name], pgops)


def check_command(name: ActionName, pair: tuple[str, str], watched: "Watch", pgops: Run) -> None:
    """The command sees before what the dashboard saw, and leaves the same trail."""
    way, (first, second) = WAYS[name], pair
    (ran,) = watched.ran
    with victim(second) as pid:
        shown = re.sub(r" \d+$", f" {pid}", act_command(ran)) if "PID" in way.command else act_command(ran)
        for line in {way.command.replace("PID", str(pid)), shown}:
            look = pgops(*shlex.split(line)[1:], "--dry-run", "--json", "--dsn", second)
            assert look.code == 0, look.err
            assert look.document["undo"], "a preview says whether there is a way back"
            if watched.previewed:
                assert alike(look.document) == alike(asdict(watched.previewed[-1])), line
        done = pgops(*shlex.split(way.command.replace("PID", str(pid)))[1:], "--yes", "--json", "--dsn", second)
        assert done.code == 0, done.err
    before, after = trail(first), trail(second)
    assert after == before
    assert before[-1][0] == name == done.document["action"]
    assert done.document["changed"] == before[-1][4]


@contextmanager
def about(name: str) -> Iterator[None]:
    """Tell of which act an error speaks."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"of the act {name}")
        raise


async def seed(dsn: str, way: Way) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await way.seed(pg)


async def by_keys(pairs: dict[ActionName, tuple[str, str]]) -> dict[ActionName, "Watch"]:
    """Do every act by its keys in its first database, with one dashboard; what it asked for and was told, by act."""
    found: dict[ActionName, Watch] = {}
    source = Watched(Target(next(iter(pairs.values()))[0], "test"))
    app = PgopsApp(source)
    for _ in range(5):
        app.feed.slower()  # it looks again after each act in any case
    async with app.run_test(size=SMALL, notifications=True) as pilot:
        for name, (first, second) in pairs.items():
            with about(name), victim(first) as pid:
                for dsn in (first, second):
                    await seed(dsn, WAYS[name])
                await lead(pilot, source, first)
                await by_key(pilot, source, WAYS[name], pid)
                found[name] = source.watch
    return found


async def lead(pilot: Story, source: "Watched", dsn: str) -> None:
    """Go back to the first room, and on to another database."""
    app = pilot.app
    assert isinstance(app, PgopsApp)
    while len(app.screen_stack) > 1:
        app.pop_screen()
    app.clear_notifications()
    await pilot.press("escape", "1")
    await source.lead_to(dsn)
    app.action_now()
    await until(pilot, lambda: source.seen == dsn and not app.feed.looking and "● live" in screen(pilot))


def strokes(keys: str) -> Iterator[list[str]]:
    """Key by key, but a text that is typed at once."""
    for one in re.findall(r"(?:f7|slash)(?: (?!ctrl|enter)\S+)*|\S+", keys):
        yield one.split()


async def by_key(pilot: Story, source: "Watched", way: Way, pid: int) -> None:
    """Press the keys, choose, read, confirm, and wait until it is done."""
    app = pilot.app
    assert isinstance(app, PgopsApp)
    for stroke in strokes(way.keys.replace("PID", " ".join(str(pid)))):
        await pilot.press(*stroke)
        await pilot.pause(0.02)
        await until(pilot, lambda: not any(one.is_running for one in app.workers if one.group != "observe"))
    if way.action is not None:
        app.act(way.action)
    if way.choice:
        await until(pilot, lambda: isinstance(app.screen, Choose))
        await choose(pilot, way.choice)
    if "slash n" not in way.keys:
        await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
        await say_yes(pilot)
    await until(pilot, lambda: source.watch.done and not app.feed.busy)


async def choose(pilot: Story, words: str) -> None:
    """The line that begins with the words."""
    options = pilot.app.screen.query_one(OptionList)
    for at in range(options.option_count):
        if str(options.get_option_at_index(at).prompt).startswith(words):
            await pilot.press(*["down"] * at, "enter")


@dataclass(slots=True)
class Watch:
    """What a Source was asked for in one database."""

    previewed: list[Preview] = field(default_factory=list)
    ran: list[Action] = field(default_factory=list)
    done: bool = False


class Watched(LiveSource):
    """A LiveSource that notes what it was asked for, and can be led to another database between two looks."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.watch = Watch()
        self.seen: str | None = None
        self._looking = asyncio.Lock()

    async def lead_to(self, dsn: str) -> None:
        async with self._looking:
            self._target = Target(dsn, "test")
            await self.close()
            self.watch, self.seen = Watch(), None

    async def snapshot(self) -> Snapshot:
        async with self._looking:
            found = await super().snapshot()
            self.seen = self._target.dsn
            return found

    async def preview(self, action: Action) -> Preview:
        self.watch.previewed.append(await super().preview(action))
        return self.watch.previewed[-1]

    async def run(self, action: Action) -> Result:
        self.watch.ran.append(action)
        result = await super().run(action)
        self.watch.done = True
        return result


def alike(look: dict[str, Any]) -> list[object]:
    """What a preview says, but for what passes."""
    said = [look["title"], *look["samples"], look["sql"], look["warning"], look["undo"]]
    exact = look.get("exact", True) is True
    return [look["matched"], exact, *(PASSING.sub("#", str(words)) for words in said)]


def trail(dsn: str) -> list[tuple[object, ...]]:
    """What was written of the acts, but for who and when; a session's process is its target."""
    with psycopg.connect(dsn) as conn:
        rows = conn.execute(
            b"select action, case when target ~ '^\\d+$' then 'PID' else target end, status, matched, "
            b"changed, detail - 'seconds', finished_at is not null from pgops.audit order by id"
        )
        return [(*row[:5], PASSING.sub("#", json.dumps(row[5])), row[6]) for row in rows]


@contextmanager
def victim(dsn: str) -> Iterator[int]:
    """The process of a session that waits for its end."""
    with psycopg.connect(dsn, autocommit=True, application_name="victim") as conn:
        conn.execute("select 'at work'")
        yield conn.info.backend_pid


_numbers = count()


@pytest.fixture
def databases(server_dsn: str, template: str) -> Iterator[Databases]:
    """Fresh databases with the schema, as many as are asked for."""
    names = []

    def fresh() -> str:
        names.append(f"pgops_parity_{os.getpid()}_{next(_numbers)}")
        conn.execute(f'create database "{names[-1]}" template "{template}" strategy file_copy')
        return make_conninfo(server_dsn, dbname=names[-1])

    with psycopg.connect(server_dsn, autocommit=True) as conn:
        yield fresh
        for name in names:
            conn.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def pgops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)

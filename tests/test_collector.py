"""One observation of a real database: what it sees, what it may not see, what it costs, and what it leaves alone."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgops.database import AsyncPool, Params
from pgops.errors import UnreachableError
from pgops.ops.collector import SLOW_EVERY_S, Collector, collect
from pgops.ops.observe import parts, rates
from pgops.ops.observe.part import LONGEST_S, SHARE, rest_s
from pgops.ops.observe.parts import Q, Session
from pgops.ops.observe.snapshot import DocumentsPart, Snapshot, Unavailable, VectorIndexPart, items
from pgops.ops.observe.snapshot_jobs import Queue, StuckJob
from pgops.services.cache import AsyncCache
from pgops.services.documents import AsyncDocuments
from pgops.services.embedders import HashingEmbedder
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.models import FailedJob, NewEvent, VectorRow, WorkerState
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors


def queue_of(snapshot: Snapshot, name: str) -> Queue:
    return {one.name: one for one in items(snapshot.queues)}[name]


def worker(queues: tuple[str, ...] = ("email",), *, running: int = 0, floors: int = 0) -> WorkerState:
    return WorkerState(
        host="here", pid=7, queues=queues, concurrency=4, lease_s=30.0, running=running, stopping=False,
        floors=dict.fromkeys(queues, (floors,) * 4),
    )  # fmt: skip


@contextmanager
def role_dsn(dsn: str, *grants: str) -> Iterator[str]:
    """The DSN of a fresh role that has only these grants."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = f"pgops_ops_{conn.info.backend_pid}"
        role = sql.Identifier(name)
        conn.execute(sql.SQL("create role {} login").format(role))
        try:
            for grant in grants:
                conn.execute(sql.SQL(f"{grant} to {{}}").format(role))
            yield make_conninfo(dsn, user=name)
        finally:
            conn.execute(sql.SQL("drop owned by {}").format(role))
            conn.execute(sql.SQL("drop role {}").format(role))


async def test_depth_and_totals_follow_a_job_through_its_life(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    for _ in range(3):
        await queue.enqueue("email", {})
    await queue.enqueue("email", {}, delay_s=600)
    claim = await queue.claim("email", owner=1, token=5, limit=2)
    await queue.complete("email", [claim.jobs[0].id], 5)
    await queue.fail("email", 5, [FailedJob(claim.jobs[1].id, "no", retry_in_s=600)])
    seen = queue_of(await collect(db), "email")
    assert (seen.available, seen.scheduled, seen.running, seen.dead) == (1, 2, 0, 0)
    assert (seen.enqueued_total, seen.completed_total, seen.failed_total) == (4, 1, 1)
    await queue.fold("email")
    folded = queue_of(await collect(db), "email")
    assert (folded.available, folded.scheduled, folded.enqueued_total) == (1, 2, 4)


async def test_depth_is_never_counted_from_jobs(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue("email", {})
    await db.execute(b"insert into pgops.queue_delta (queue, available, enqueued) values ('email', 41, 41)")
    assert queue_of(await collect(db), "email").available == 42


async def test_the_oldest_age_is_that_of_the_oldest_head_of_any_priority(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("email", {}, priority=1)
    await queue.enqueue("email", {}, priority=4)
    await db.execute(
        b"update pgops.job_available set ready_at = statement_timestamp() - interval '50 s' where priority = 4"
    )
    age = queue_of(await collect(db), "email").oldest_age_s
    assert age is not None
    assert 49 < age < 60


async def test_the_head_is_probed_above_the_floors_of_living_workers(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    first = await queue.enqueue("email", {})
    await queue.enqueue("email", {})
    await db.execute(
        b"update pgops.job_available set ready_at = statement_timestamp() - interval '50 s' where seq = %s", [first]
    )
    id = await queue.register_worker(worker())
    await queue.beat_worker(id, worker(floors=first))
    assert (queue_of(await collect(db), "email").oldest_age_s or 0) < 10
    await db.execute(b"update pgops.workers set heartbeat_at = statement_timestamp() - interval '1 h'")
    assert (queue_of(await collect(db), "email").oldest_age_s or 0) > 40


async def test_an_expired_lease_and_a_job_that_runs_too_long_are_stuck(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    for _ in range(3):
        await queue.enqueue("email", {}, kind="send")
    jobs = (await queue.claim("email", owner=3, token=5, limit=3)).jobs
    await db.execute(
        b"update pgops.job_running set lease_until = statement_timestamp() - interval '20 s' where id = %s",
        [jobs[0].id],
    )
    await db.execute(
        b"update pgops.job_running set started_at = statement_timestamp() - interval '11 min' where id = %s",
        [jobs[1].id],
    )
    snapshot = await collect(db)
    found = {job.id: job for job in items(snapshot.stuck_jobs)}
    assert {id: (job.reason, job.kind, job.worker) for id, job in found.items()} == {
        jobs[0].id: ("lease expired", "send", 3),
        jobs[1].id: ("running too long", "send", 3),
    }
    assert 19 < found[jobs[0].id].age_s < 30
    assert 659 < found[jobs[1].id].age_s < 680
    assert queue_of(snapshot, "email").stuck == 2


async def _old_ready_job(db: AsyncPool, seconds: int = 90) -> int:
    id = await AsyncQueue(db).enqueue("email", {})
    await db.execute(
        b"update pgops.job_available set ready_at = statement_timestamp() - make_interval(secs => %s)", [seconds]
    )
    return id


def unclaimed(snapshot: Snapshot) -> list[StuckJob]:
    return [job for job in items(snapshot.stuck_jobs) if job.reason == "not claimed"]


async def test_a_job_that_nobody_claims_for_a_minute_is_stuck(db: AsyncPool) -> None:
    id = await _old_ready_job(db)
    snapshot = await collect(db)
    assert [job.id for job in unclaimed(snapshot)] == [id]
    assert queue_of(snapshot, "email").stuck == 1


async def test_a_young_head_is_not_stuck(db: AsyncPool) -> None:
    await _old_ready_job(db, 50)
    assert not unclaimed(await collect(db))


async def test_a_paused_queue_is_not_stuck(db: AsyncPool) -> None:
    await _old_ready_job(db)
    await AsyncQueue(db).pause("email")
    assert not unclaimed(await collect(db))


async def test_a_long_backlog_that_is_being_claimed_is_not_stuck(db: AsyncPool) -> None:
    await _old_ready_job(db)
    queue = AsyncQueue(db)
    id = await queue.register_worker(worker())
    assert not unclaimed(await collect(db)), "a living worker with room claims it in a moment"
    await queue.beat_worker(id, worker(running=4))
    assert unclaimed(await collect(db)), "a worker without room claims nothing"
    await queue.enqueue("email", {}, priority=1)
    await queue.claim("email", owner=id, token=5, limit=1)
    assert not unclaimed(await collect(db)), "something was started a moment ago"


async def test_stuck_jobs_are_capped_and_say_so(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue_many("email", ({} for _ in range(1_200)))
    await AsyncQueue(db).enqueue("mail", {})
    await db.execute(b"update pgops.job_available set ready_at = statement_timestamp() - interval '2 min'")
    snapshot = await collect(db)
    assert (queue_of(snapshot, "mail").stuck, queue_of(snapshot, "mail").exact) == (1, {})
    assert queue_of(snapshot, "email").stuck == 1_000
    assert queue_of(snapshot, "email").exact == {"stuck": False}
    assert len(items(snapshot.stuck_jobs)) == 101


async def test_more_running_jobs_are_stuck_than_are_counted(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue_many("email", ({} for _ in range(1_100)))
    await AsyncQueue(db).enqueue("mail", {})
    for name in ("email", "mail"):
        await AsyncQueue(db).claim(name, owner=1, token=5, limit=2_000)
    await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '1 s'")
    snapshot = await collect(db)
    assert queue_of(snapshot, "email").stuck >= 999
    assert {one.name: dict(one.exact) for one in items(snapshot.queues)} == {
        "email": {"stuck": False}, "mail": {"stuck": False},
    }  # fmt: skip


async def test_a_worker_lives_while_its_heartbeat_is_within_its_lease(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    living = await queue.register_worker(worker())
    gone = await queue.register_worker(worker())
    await db.execute(
        b"update pgops.workers set heartbeat_at = statement_timestamp() - interval '40 s' where id = %s", [gone]
    )
    found = {one.id: one for one in items((await collect(db)).workers)}
    assert found[living].alive
    assert not found[gone].alive
    assert 39 < found[gone].heartbeat_age_s < 50


async def test_lag_is_what_a_subscription_has_still_to_deliver(db: AsyncPool) -> None:
    events = AsyncEvents(db)
    await events.subscribe("all")
    await events.subscribe("orders", topics=["order"])
    await events.append_many([NewEvent("order" if n % 3 == 0 else "mail", {}, key=str(n)) for n in range(30)])
    found = {one.name: one for one in items((await collect(db)).outbox)}
    assert (found["all"].lag_events, found["orders"].lag_events) == (30, 10)
    assert found["all"].exact == {}
    assert found["all"].relays == 0
    await events.lease_parts("all", owner="me", token=9, lease_s=30)
    batch = await events.fetch("all", 9)
    await events.advance(batch)
    after = {one.name: one for one in items((await collect(db)).outbox)}["all"]
    assert (after.lag_events, after.lag_s, after.relayed_total, after.relays) == (0, 0.0, 30, 1)


async def test_a_lag_is_told_while_a_long_window_is_worked_off(db: AsyncPool) -> None:
    """The first events that a look at the lag comes upon are delivered already."""
    events = AsyncEvents(db)
    await events.subscribe("all")
    for amount in (4_000, 4_000):
        await events.append_many(NewEvent("orders", n, key=f"k{n}") for n in range(amount))
    await events.lease_parts("all", owner="relay", token=1, lease_s=60)
    batch = await events.fetch("all", 1, 70)
    await events.advance(batch)
    left = 8_000 - len(batch.events)
    seen = await collect(db)
    (one,) = items(seen.outbox)
    assert one.exact == {"lag_events": False}
    assert 0.8 * left <= one.lag_events <= 1.2 * left
    assert one.lag_s is not None and one.lag_s > 0
    lag = await events.lag("all")
    assert (0 < lag.events <= left, lag.seconds > 0, lag.exact) == (True, True, False)


async def test_a_long_lag_is_estimated_within_a_tenth(db: AsyncPool) -> None:
    events = AsyncEvents(db)
    await events.subscribe("all")
    for _ in range(10):
        await events.append_many([NewEvent("order", {}, key=str(n)) for n in range(2_000)])
    one = items((await collect(db)).outbox)[0]
    assert one.exact == {"lag_events": False}
    assert 18_000 <= one.lag_events <= 22_000


async def test_the_cache_counts_itself_and_what_has_expired(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set("a", b"1")
    await cache.set("b", b"1", ttl_s=0.01)
    await cache.get("a")
    await cache.get("missing")
    await cache.flush()
    await asyncio.sleep(0.03)
    part = (await collect(db)).cache
    assert not isinstance(part, Unavailable)
    assert (part.hits, part.misses, part.hit_ratio) == (1, 1, 0.5)
    assert (part.entries, part.expired_backlog, part.exact) == (2, 1, {})
    assert part.buffer_hit_ratio is not None
    assert not part.emptied_by_crash


async def fill_cache(db: AsyncPool, rows: int) -> None:
    """So many entries, a quarter of them expired."""
    await db.execute(
        b"insert into pgops.cache_store (key, value, expires_at) select i::text, '\\x00', "
        b"statement_timestamp() + case when i %% 4 = 0 then -1 else 1 end * interval '1 h' "
        b"from generate_series(1, %s::bigint) as i",
        [rows],
    )
    await db.execute(b"analyze pgops.cache_store")


async def test_a_large_cache_is_estimated(db: AsyncPool) -> None:
    await fill_cache(db, 60_000)
    part = (await collect(db)).cache
    assert not isinstance(part, Unavailable)
    assert part.exact == {"entries": False, "expired_backlog": False}
    assert 55_000 <= part.entries <= 65_000
    assert 12_000 <= part.expired_backlog <= 18_000


async def test_what_was_invalidated_waits_for_the_purge_and_what_is_stale_does_not(db: AsyncPool) -> None:
    cache = AsyncCache(db)

    async def compute() -> bytes:
        return b"1"

    await cache.set_many({"a": b"1", "b": b"1"}, namespace="gone")
    await cache.get_or_compute("stale", compute, ttl_s=0.01, stale_s=60)
    await cache.invalidate("gone")
    await asyncio.sleep(0.03)
    part = (await collect(db)).cache
    assert not isinstance(part, Unavailable)
    assert (part.entries, part.expired_backlog) == (3, 2)
    await fill_cache(db, 60_000)
    await cache.invalidate("default")
    part = (await collect(db)).cache
    assert not isinstance(part, Unavailable)
    assert 50_000 <= part.expired_backlog <= 65_000


async def test_the_namespaces_of_the_cache(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set_cap("pages", entries=10)
    await cache.set_many({"a": b"1", "b": b"1"}, namespace="pages")
    await cache.get("a", namespace="pages")
    await cache.flush()
    found = (await collect(db)).cache_namespaces
    assert not isinstance(found, Unavailable)
    (pages,) = found
    assert (pages.name, pages.hits, pages.entries, pages.max_entries, pages.exact) == ("pages", 1, 2, 10, {})


async def test_a_cache_that_a_crash_emptied_is_told_from_a_new_one(db: AsyncPool) -> None:
    await AsyncCache(db).set("a", b"1")
    await db.execute(b"insert into pgops.cache_marker default values")
    part = (await collect(db)).cache
    assert not isinstance(part, Unavailable)
    assert part.emptied_by_crash


async def test_keys_and_limits_are_counted_with_what_has_expired(db: AsyncPool) -> None:
    kv, limits = AsyncKv(db), AsyncLimits(db)
    await kv.set_many({"a": b"1", "b": b"2"})
    await kv.set("c", b"3", ttl_s=0.01)
    await kv.ephemeral.set("d", b"4", ttl_s=0.01)
    await limits.hit("slow", 1, 3600)
    await limits.hit("fast", 1, 0.01)
    await limits.hit("fast", 1, 0.01, algorithm="fixed_window")
    await asyncio.sleep(0.03)
    snapshot = await collect(db)
    assert not isinstance(snapshot.kv, Unavailable)
    assert not isinstance(snapshot.limits, Unavailable)
    stores = (snapshot.kv.keys, snapshot.kv.expired_backlog, snapshot.kv.ephemeral_keys)
    assert (*stores, snapshot.kv.ephemeral_expired_backlog, snapshot.kv.exact) == (3, 1, 1, 1, {})
    assert (snapshot.limits.keys, snapshot.limits.expired_backlog, snapshot.limits.exact) == (3, 2, {})
    assert min(snapshot.kv.bytes, snapshot.kv.ephemeral_bytes, snapshot.limits.bytes) > 0


async def test_a_large_key_value_store_is_estimated(db: AsyncPool) -> None:
    await db.execute(
        b"insert into pgops.kv_store (key, value, expires_at) select i::text, '\\x00', "
        b"statement_timestamp() + case when i %% 4 = 0 then -1 else 1 end * interval '1 h' "
        b"from generate_series(1, 60000) as i",
        [],
    )
    await db.execute(b"analyze pgops.kv_store")
    part = (await collect(db)).kv
    assert not isinstance(part, Unavailable)
    assert part.exact == {"keys": False, "expired_backlog": False}, "the ephemeral one is small"
    assert 55_000 <= part.keys <= 65_000
    assert 12_000 <= part.expired_backlog <= 18_000


async def _collection(db: AsyncPool, rows: int = 200) -> AsyncVectors:
    vectors = AsyncVectors(db)
    await vectors.create("docs", 8)
    texts = [f"text {n}" for n in range(rows)]
    embedded = HashingEmbedder(8).embed(texts)
    await vectors.add_many("docs", [VectorRow(t, e) for t, e in zip(texts, embedded, strict=True)])
    return vectors


@pytest.mark.vectors
async def test_the_rows_of_a_small_collection_are_counted(db: AsyncPool) -> None:
    vectors = await _collection(db)
    await vectors.build_index("docs", lists=2)
    rows = (await vectors.get("docs")).rows
    await db.execute(b"update pg_class set reltuples = 7777 where relname = 'vec_docs'")
    one = items((await collect(db)).vectors)[0]
    assert (one.rows, one.exact) == (rows, {})
    await db.execute(b"update pg_class set reltuples = 70000 where relname = 'vec_docs'")
    one = items((await collect(db)).vectors)[0]
    assert (one.rows, one.exact) == (70_000, {"rows": False}), "a large one is estimated, and says so"


@pytest.mark.vectors
async def test_every_vector_index_of_the_database_is_seen(db: AsyncPool) -> None:
    vectors = await _collection(db)
    await vectors.build_index("docs", lists=3)
    await db.execute(b"create table theirs (v vector(3))")
    await db.execute(b"create index theirs_h on theirs using hnsw (v vector_l2_ops)")
    found = {one.index: one for one in items((await collect(db)).vectors)}
    assert set(found) == {"vec_docs_ivf", "theirs_h"}
    ours, theirs = found["vec_docs_ivf"], found["theirs_h"]
    assert (ours.table, ours.collection, ours.lists_set, ours.lists_built) == ("pgops.vec_docs", "docs", 3, 3)
    assert ours.valid
    assert ours.probes == 2
    assert (theirs.table, theirs.method, theirs.collection, theirs.lists_set) == ("public.theirs", "hnsw", None, None)


@pytest.mark.vectors
async def test_lists_as_set_and_as_built_are_told_apart(db: AsyncPool) -> None:
    vectors = await _collection(db)
    await vectors.build_index("docs", lists=2)
    await db.execute(b"alter index pgops.vec_docs_ivf set (lists = 4)")
    one = items((await collect(db)).vectors)[0]
    assert (one.lists_built, one.lists_set) == (2, 4)


async def test_every_document_collection_is_seen_with_what_it_costs(db: AsyncPool) -> None:
    documents = AsyncDocuments(db)
    await documents.create("empty")
    await documents.create("users")
    await documents.put_many("users", [{"n": n, "tags": ["a"]} for n in range(500)])
    await documents.create_index("users", "n")
    await documents.create_index("users", kind="gin")
    await db.execute(b"select pg_stat_force_next_flush()")
    await documents.delete("users", (await documents.find("users", {"n": 7})).documents[0].id)
    empty, users = items((await collect(db)).documents)
    assert (empty.name, empty.documents, empty.index_count, empty.unused_indexes) == ("empty", 0, 2, 0)
    assert (users.table, users.index_count, users.invalid_indexes) == ("pgops.doc_users", 4, 0)
    assert 499 <= users.documents <= 500
    assert users.exact == {"documents": False}
    assert users.unused_indexes >= 1
    assert users.bytes > 8192
    assert users.index_bytes > 4 * 8192


async def test_writes_to_documents_are_told_by_the_second(db: AsyncPool) -> None:
    def part(writes: int) -> DocumentsPart:
        return DocumentsPart("users", "pgops.doc_users", 1, 0, 1, 1, 1, 0, 0, writes, 0, 0, 0)

    assert rates.documents((part(30),), (part(10),), 2.0)[0].writes_per_s == 10.0
    assert rates.documents((part(30),), (), 2.0)[0].writes_per_s is None


async def test_a_collection_whose_table_is_gone_is_left_out_and_a_missing_register_is_unavailable(
    db: AsyncPool,
) -> None:
    await AsyncDocuments(db).create("users")
    await db.execute(b"drop table pgops.doc_users")
    assert (await collect(db)).documents == ()
    await db.execute(b"drop table pgops.collections")
    snapshot = await collect(db)
    assert isinstance(snapshot.documents, Unavailable)
    assert snapshot.documents.remedy == "run: pgops migrate"
    assert items(snapshot.vectors) == ()


async def test_sessions_are_counted_by_state(db: AsyncPool, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("select 1")
        part = (await collect(db)).sessions
        assert not isinstance(part, Unavailable)
        assert part.idle_in_transaction >= 1
        assert part.oldest_idle_in_transaction_s is not None
        assert part.total >= 2
        assert part.max > part.total


async def test_without_the_schema_server_and_sessions_still_work(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        snapshot = await collect(db)
    assert snapshot.queues == Unavailable("the database has no pgops schema", "run: pgops migrate")
    assert isinstance(snapshot.cache, Unavailable)
    assert isinstance(snapshot.documents, Unavailable)
    assert not isinstance(snapshot.server, Unavailable)
    assert not isinstance(snapshot.sessions, Unavailable)
    assert isinstance(snapshot.vectors, Unavailable)
    assert "extension vector" in snapshot.vectors.reason
    assert snapshot.vectors.remedy.endswith("run: pgops migrate")


@pytest.mark.vectors
async def test_vector_indexes_are_seen_without_the_schema(empty_dsn: str) -> None:
    async with AsyncPool.open(empty_dsn) as db:
        await db.execute(b"create extension vector")
        await db.execute(b"create table theirs (v vector(3))")
        await db.execute(b"create index theirs_i on theirs using ivfflat (v vector_l2_ops)")
        one = items((await collect(db)).vectors)[0]
    assert (one.index, one.lists_set, one.collection) == ("theirs_i", 100, None)


async def test_one_part_that_fails_leaves_the_others(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue("email", {})
    await db.execute(b"drop table pgops.cache_stats")
    await db.execute(b"drop table pgops.workers cascade")
    snapshot = await collect(db)
    assert isinstance(snapshot.cache, Unavailable)
    assert "cache_stats" in snapshot.cache.reason
    assert isinstance(snapshot.queues, Unavailable)
    assert isinstance(snapshot.stuck_jobs, Unavailable)
    assert snapshot.outbox == ()
    assert not isinstance(snapshot.server, Unavailable)


async def test_a_part_behind_a_lock_is_given_up_soon(db: AsyncPool, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("lock table pgops.cache_store in access exclusive mode")
        snapshot = await asyncio.wait_for(collect(db), 5)
    assert isinstance(snapshot.cache, Unavailable)
    assert "lock" in snapshot.cache.reason
    assert "holds a lock" in snapshot.cache.remedy
    assert snapshot.queues == ()


async def test_a_role_without_any_right_sees_what_to_grant(dsn: str) -> None:
    with role_dsn(dsn) as plain:
        async with AsyncPool.open(plain) as db:
            snapshot = await collect(db)
    assert isinstance(snapshot.queues, Unavailable)
    assert snapshot.queues.remedy.startswith("grant usage on schema pgops to pgops_ops_")
    assert isinstance(snapshot.sessions, Unavailable)
    assert snapshot.sessions.remedy.startswith("grant pg_monitor to")
    assert not isinstance(snapshot.server, Unavailable)
    assert items(snapshot.vectors) == ()


async def test_a_monitor_that_may_use_the_schema_but_not_read_it_sees_what_to_grant(dsn: str) -> None:
    with role_dsn(dsn, "grant pg_monitor", "grant usage on schema pgops") as plain:
        async with AsyncPool.open(plain) as db:
            snapshot = await collect(db)
    assert isinstance(snapshot.outbox, Unavailable)
    assert "grant select on all tables in schema pgops to" in snapshot.outbox.remedy
    assert not isinstance(snapshot.sessions, Unavailable)


@pytest.mark.vectors
async def test_a_monitor_with_select_sees_everything_but_the_built_lists(db: AsyncPool, dsn: str) -> None:
    vectors = await _collection(db)
    await vectors.build_index("docs", lists=2)
    await AsyncQueue(db).enqueue("email", {})
    grants = ("grant pg_monitor", "grant usage on schema pgops", "grant select on all tables in schema pgops")
    with role_dsn(dsn, *grants) as plain:
        async with AsyncPool.open(plain) as mine:
            snapshot = await collect(mine)
    assert queue_of(snapshot, "email").available == 1
    missing = [name for name in Snapshot.__slots__ if isinstance(getattr(snapshot, name), Unavailable)]
    assert missing == ["pgmq"], "which is not installed here"
    one = items(snapshot.vectors)[0]
    assert (one.lists_set, one.lists_built, one.collection) == (2, None, "docs")


async def test_an_observation_writes_nothing_and_sets_nothing(db: AsyncPool, dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as one:
        await collect(one)
        row = await one.one(
            b"select current_setting('transaction_read_only'), current_setting('statement_timeout'), "
            b"current_setting('enable_sort'), current_setting('jit'), pg_current_xact_id_if_assigned() is null"
        )
        assert row is not None
        assert row[:3] == ("off", "0", "on")
        assert row[4]
    before = await db.one(b"select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables")
    await collect(db)
    assert await db.one(b"select sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint from pg_stat_user_tables") == before


async def test_a_lost_database_is_raised_and_no_part(dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as db:
        collector = Collector(db)
        await collector.collect()
        row = await db.one(b"select pg_backend_pid()")
        assert row is not None
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("select pg_terminate_backend(%s)", [row[0]])
        with pytest.raises(UnreachableError):
            await collector.collect()
        assert (await collector.collect()).queues == ()


async def test_rates_come_from_the_snapshot_before(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("email", {})
    first = await collect(db)
    assert queue_of(first, "email").in_per_s is None
    await asyncio.sleep(0.2)
    await queue.enqueue_many("email", [{}] * 100)
    claim = await queue.claim("email", owner=1, token=5, limit=50)
    await queue.complete("email", [job.id for job in claim.jobs], 5)
    second = await collect(db, previous=first)
    seconds = (second.taken_at - first.taken_at).total_seconds()
    assert queue_of(second, "email").in_per_s == pytest.approx(100 / seconds)
    assert queue_of(second, "email").out_per_s == pytest.approx(50 / seconds)


async def test_two_looks_in_a_row_keep_the_rate(db: AsyncPool) -> None:
    collector = Collector(db)
    queue = AsyncQueue(db)
    await queue.enqueue("email", {})
    await collector.collect()
    await queue.enqueue_many("email", [{}] * 100)
    await asyncio.sleep(0.6)
    first = queue_of(await collector.collect(fresh=True), "email").in_per_s
    again = queue_of(await collector.collect(fresh=True), "email").in_per_s
    assert first is not None
    assert again is not None
    assert first > 50
    assert again == pytest.approx(first, rel=0.5)


async def test_the_collector_takes_what_changes_slowly_less_often(db: AsyncPool) -> None:
    collector = Collector(db, "here")
    first = await collector.collect()
    second = await collector.collect()
    assert set(first.cost.parts_ms) >= {"server", "vectors", "queues"}
    assert not {"server", "vectors"} & set(second.cost.parts_ms)
    assert second.server is first.server
    assert second.cost.statements < first.cost.statements
    assert second.target == "here"
    third = await collector.collect(fresh=True)
    assert set(third.cost.parts_ms) == set(first.cost.parts_ms)
    assert (datetime.now(UTC) - second.taken_at).total_seconds() < 60


async def test_dead_letters_that_rise_since_the_baseline_are_critical(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    for _ in range(10):
        await queue.enqueue("email", {}, max_attempts=1)
    collector = Collector(db)
    await collector.collect()
    claim = await queue.claim("email", owner=1, token=5, limit=10)
    await queue.fail("email", 5, [FailedJob(job.id, "no") for job in claim.jobs])
    found = [one for one in (await collector.collect()).findings if one.code == "queue.dead"]
    assert [one.severity for one in found] == ["critical"]


def test_an_expensive_part_is_taken_less_often() -> None:
    assert rest_s(0.0025, 0.0) == 0.0
    assert rest_s(0.1, 0.0) == pytest.approx(0.1 / SHARE)
    assert rest_s(5.0, 0.0) == LONGEST_S
    assert rest_s(5.0, 0.0, 10.0) == 10.0
    assert rest_s(0.001, SLOW_EVERY_S) == SLOW_EVERY_S


def literal_queue(enqueued: int, completed: int) -> Queue:
    return Queue("email", False, 0, 0, 0, 0, 0, None, enqueued, completed, 0)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "expected"),
    [
        (100, 300, 2.0, 100.0),
        (100, 100, 2.0, 0.0),
        (100, 99, 2.0, None),
        (100, 300, 0.0, None),
        (100, 300, -1.0, None),
        (None, 300, 1.0, None),
    ],
)
def test_a_rate_is_never_negative_or_absurd(
    before: int | None, now: int, seconds: float, expected: float | None
) -> None:
    assert rates.per_second(now, before, seconds) == expected


def test_a_queue_keeps_its_rates_unknown_where_its_counters_went_back() -> None:
    now = rates.queues((literal_queue(5, 5),), (literal_queue(9, 3),), 1.0)[0]
    assert (now.in_per_s, now.out_per_s) == (None, 2.0)
    assert rates.queues((literal_queue(5, 5),), (), 1.0)[0].in_per_s is None


def test_searches_are_told_apart_by_table_and_index() -> None:
    def index(table: str, searches: int) -> VectorIndexPart:
        return VectorIndexPart(table, "i", "ivfflat", 1, None, 1, 1, 1, True, searches)

    now = rates.vectors((index("a.t", 30), index("b.t", 30)), (index("a.t", 10), index("b.t", 30)), 2.0)
    assert [one.searches_per_s for one in now] == [10.0, 0.0]


async def _plan(db: AsyncPool, name: str, params: Params) -> str:
    """The statement's plan as the collector gets it, in a database that was never analyzed."""
    async with db.transaction() as tx:
        await parts.begin(Session(tx), statement_ms=1_000, lock_ms=1_000)
        return "\n".join(row[0] for row in await tx.all(b"explain (costs off) " + Q[name], params))


async def test_a_look_at_a_long_lag_stops_at_its_cap(db: AsyncPool) -> None:
    await AsyncEvents(db).subscribe("all")
    await AsyncEvents(db).append_many([NewEvent("order", {}, key=str(n)) for n in range(3_000)])
    plan = await _plan(db, "outbox", {"cap": 1_000})
    fresh = plan[plan.index("CTE fresh") : plan.index("CTE late")]
    assert "Merge Append" in fresh
    assert "->  Sort" not in fresh
    assert "Seq Scan" not in fresh


async def test_heads_and_deltas_are_found_by_index(db: AsyncPool) -> None:
    await AsyncQueue(db).enqueue_many("email", ({} for _ in range(3_000)))
    plan = await _plan(db, "queues", None)
    assert "using job_available_pkey" in plan
    assert "queue_delta_pkey" in plan
    assert "Seq Scan on job_available" not in plan


@pytest.mark.slow
async def test_depth_of_a_million_jobs_is_right_within_one_percent_under_a_held_snapshot(
    db: AsyncPool, dsn: str
) -> None:
    queue = AsyncQueue(db)
    for _ in range(10):
        await queue.enqueue_many("email", ({"n": n} for n in range(100_000)))
    with psycopg.connect(dsn) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select pg_current_xact_id()")
        owner = await queue.register_worker(worker())
        floors = (0, 0, 0, 0)
        for token in range(1, 31):
            claim = await queue.claim("email", owner=owner, token=token, limit=1_000, floors=floors)
            floors = claim.floors
            await queue.complete("email", [job.id for job in claim.jobs], token)
        await queue.beat_worker(owner, worker(floors=floors[1]))
        await queue.fold("email")
        await queue.enqueue_many("email", [{}] * 500)
        collector = Collector(db)
        await collector.collect()
        snapshot = await collector.collect()
        seen = queue_of(snapshot, "email")
        row = await db.one(b"select count(*) from pgops.job_available")
        assert row is not None
        assert abs(seen.available - row[0]) <= row[0] / 100
        assert seen.available == 970_500
        assert (seen.enqueued_total, seen.completed_total) == (1_000_500, 30_000)
        assert seen.oldest_age_s is not None
        assert snapshot.cost.duration_ms < 200

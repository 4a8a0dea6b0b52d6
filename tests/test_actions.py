"""Acts: what a preview shows, what a run does, and the trail that both leave or do not leave."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, PgopsError, RefusedError, UsageError
from pgops.ops.act import audit, previews, previews_jobs
from pgops.ops.act.actions import Action, ActionName, preview, run
from pgops.services.cache import AsyncCache
from pgops.services.documents import AsyncDocuments
from pgops.services.embedders import HashingEmbedder
from pgops.services.events import AsyncEvents
from pgops.services.kv import AsyncKv
from pgops.services.limits import AsyncLimits
from pgops.services.models import DeadMatch, FailedJob, VectorRow
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors

EVERYTHING = b"""
select (select count(*) from pgops.audit), (select count(*) from pgops.job_available),
       (select count(*) from pgops.job_dead), (select count(*) from pgops.job_running),
       (select count(*) from pgops.queue_delta), (select count(*) from pgops.cache_store),
       (select max(oid) from pg_class where relname = 'vec_docs_ivf')
"""


async def dead_jobs(db: AsyncPool, number: int = 3) -> list[int]:
    queue = AsyncQueue(db)
    for _ in range(number):
        await queue.enqueue("email", {}, kind="send", max_attempts=1)
    jobs = (await queue.claim("email", owner=1, token=5, limit=number)).jobs
    await queue.fail("email", 5, [FailedJob(job.id, "no such host\nand more") for job in jobs])
    return [job.id for job in jobs]


async def stuck_jobs(db: AsyncPool, number: int = 2) -> list[int]:
    queue = AsyncQueue(db)
    for _ in range(number):
        await queue.enqueue("email", {}, kind="send")
    jobs = (await queue.claim("email", owner=3, token=6, limit=number)).jobs
    await db.execute(b"update pgops.job_running set lease_until = statement_timestamp() - interval '20 s'")
    return [job.id for job in jobs]


async def expired_entries(db: AsyncPool, number: int = 3) -> None:
    cache = AsyncCache(db)
    await cache.set("lives", b"1")
    await cache.set_many({f"dead:{n}": b"1" for n in range(number)}, ttl_s=0.01)
    await asyncio.sleep(0.03)


async def collection(db: AsyncPool, rows: int = 200, lists: int | None = 2) -> AsyncVectors:
    vectors = AsyncVectors(db)
    await vectors.create("docs", 16, embedder="hashing")
    texts = [f"text number {n}" for n in range(rows)]
    embedded = HashingEmbedder(16).embed(texts)
    await vectors.add_many("docs", [VectorRow(t, e) for t, e in zip(texts, embedded, strict=True)])
    if lists is not None:
        await vectors.build_index("docs", lists=lists)
    return vectors


async def states(db: AsyncPool) -> dict[str, int]:
    rows = await db.all(b"select status, count(*) from pgops.job_queue group by status")
    return dict(rows)


# --- requeue -----------------------------------------------------------------------------------------------------


async def test_dead_letters_start_over_and_the_trail_says_so(db: AsyncPool) -> None:
    await dead_jobs(db)
    result = await run(db, Action("requeue_dead", "email"))
    assert (result.matched, result.changed, result.dry_run) == (3, 3, False)
    assert result.message == "3 dead letters of email start over"
    assert await states(db) == {"available": 3}
    row = (await audit.list(db))[0]
    assert (row.id, row.action, row.target, row.status) == (result.audit_id, "requeue_dead", "email", "done")
    assert (row.matched, row.changed, row.client) == (3, 3, "pgops")
    assert row.finished_at is not None


async def test_only_the_named_jobs_are_hit(db: AsyncPool) -> None:
    ids = await dead_jobs(db)
    action = Action("requeue_dead", "email", ids=(ids[1], 999))
    assert (await preview(db, action)).matched == 1
    assert (await run(db, action)).changed == 1
    assert await states(db) == {"available": 1, "dead": 2}
    assert (await audit.list(db))[0].detail == {"ids": [ids[1], 999]}


async def kinds_of_dead(db: AsyncPool) -> dict[str, int]:
    """Dead letters that differ in kind, error and payload."""
    queue, ids = AsyncQueue(db), {}
    await queue.configure("email", max_attempts=1)
    jobs = (("a", "report", "Timeout: no answer"), ("b", "report", "refused"), ("c", "mail", "TIMEOUT"))
    for name, kind, error in jobs:
        ids[name] = await queue.enqueue("email", {"user": name, "n": 1}, kind=kind)
        claim = await queue.claim("email", owner=1, token=1, limit=1)
        await queue.fail("email", 1, [FailedJob(claim.jobs[0].id, error)])
    return ids


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        (DeadMatch(error="timeout"), "ac"), (DeadMatch(kind="report"), "ab"), (DeadMatch("report", "timeout"), "a"),
        (DeadMatch(payload={"user": "b"}), "b"), (DeadMatch(payload={"n": 1}), "abc"), (DeadMatch(), "abc"),
        (DeadMatch(words=("mail",)), "c"), (DeadMatch(words=("report", "REF")), "b"),
        (DeadMatch(error="%"), ""), (DeadMatch(kind="rep"), ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["requeue_dead", "discard_dead"])
async def test_of_dead_letters_those_are_hit_that_match_and_were_shown(
    db: AsyncPool, name: ActionName, match: DeadMatch, hit: str
) -> None:
    ids = await kinds_of_dead(db)
    wanted = tuple(ids[one] for one in hit)
    look = await preview(db, Action(name, "email", match=match))
    assert (look.matched, look.exact, look.action.ids, len(look.samples)) == (len(hit), True, wanted, len(hit))
    late = await kinds_of_dead(db)
    result = await run(db, look.action if hit else Action(name, "email", match=match))
    assert result.changed == len(hit)
    left = {row[0] for row in await db.all(b"select id from pgops.job_dead")}
    assert left == (set(ids.values()) | set(late.values())) - set(wanted)
    detail = (await audit.list(db))[0].detail
    assert detail.get("ids", []) == [*wanted]
    assert set(detail.get("match", {})) == {one.name for one in fields(match) if getattr(match, one.name)}


async def test_stuck_jobs_are_taken_from_their_worker(db: AsyncPool) -> None:
    ids = await stuck_jobs(db)
    look = await preview(db, Action("requeue_stuck", "email"))
    assert (look.matched, look.exact) == (2, True)
    assert "its lease expired (worker 3)" in look.samples[0]
    result = await run(db, Action("requeue_stuck", "email"))
    assert result.changed == 2
    assert await states(db) == {"available": 2}
    assert await AsyncQueue(db).complete("email", ids, 6) == [], "the old worker's completion is refused"


async def test_a_job_that_runs_well_is_not_stuck(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("email", {})
    await queue.claim("email", owner=1, token=5, limit=1)
    action = Action("requeue_stuck", "email")
    assert (await preview(db, action)).matched == 0
    assert (await run(db, action)).changed == 0
    assert await states(db) == {"running": 1}


@pytest.mark.parametrize("name", ["requeue_dead", "requeue_stuck"])
async def test_run_twice_is_harmless(db: AsyncPool, name: ActionName) -> None:
    await (dead_jobs(db) if name == "requeue_dead" else stuck_jobs(db))
    first = await run(db, Action(name, "email"))
    second = await run(db, Action(name, "email"))
    assert first.changed > 0
    assert second.changed == 0
    assert await states(db) == {"available": first.changed}


async def test_two_at_once_share_the_jobs_and_take_none_twice(db: AsyncPool) -> None:
    await dead_jobs(db, 50)
    results = await asyncio.gather(*(run(db, Action("requeue_dead", "email")) for _ in range(4)))
    assert sum(result.changed for result in results) == 50
    assert await states(db) == {"available": 50}


@pytest.mark.parametrize("name", ["requeue_dead", "requeue_stuck"])
async def test_without_its_audit_row_nothing_is_changed(db: AsyncPool, name: ActionName) -> None:
    await (dead_jobs(db) if name == "requeue_dead" else stuck_jobs(db))
    before = await states(db)
    await db.execute(b"alter table pgops.audit add constraint nothing_may_be_written check (false) not valid")
    with pytest.raises(PgopsError):
        await run(db, Action(name, "email"))
    assert await states(db) == before
    assert await audit.list(db) == ()


# --- previews ----------------------------------------------------------------------------------------------------


async def test_a_preview_shows_why_jobs_died_and_sql_that_runs(db: AsyncPool, dsn: str) -> None:
    ids = await dead_jobs(db)
    look = await preview(db, Action("requeue_dead", "email", ids=(ids[0],)))
    assert look.title == "let dead letters of queue email start over"
    assert look.samples == (f"job {ids[0]} send: died 0 s ago after 1 attempt: no such host",)
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert conn.execute(look.sql.encode()).fetchall() == [(1, 0)]
    assert await states(db) == {"available": 1, "dead": 2}


async def test_a_count_beyond_the_cap_is_at_least(db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews_jobs, "COUNT_CAP", 2)
    await dead_jobs(db)
    look = await preview(db, Action("requeue_dead", "email"))
    assert (look.matched, look.exact) == (2, False)
    monkeypatch.setattr(previews_jobs, "COUNT_CAP", 3)
    look = await preview(db, Action("requeue_dead", "email"))
    assert (look.matched, look.exact) == (3, True)


VECTOR_ACTS = (Action("rebuild_index", "docs", lists=4), Action("search", "docs", query="text"))
OTHER_ACTS = (Action("requeue_dead", "email"), Action("requeue_stuck", "email"), Action("purge_expired", ""))


@pytest.mark.parametrize("acts", [OTHER_ACTS, pytest.param(VECTOR_ACTS, marks=pytest.mark.vectors)])
async def test_previews_change_nothing(db: AsyncPool, acts: tuple[Action, ...]) -> None:
    await dead_jobs(db)
    await stuck_jobs(db)
    await expired_entries(db)
    if acts == VECTOR_ACTS:
        await collection(db)
    before = await db.one(EVERYTHING)
    for action in acts:
        look = await preview(db, action)
        assert look.action == action
        assert look.matched > 0
        assert look.sql
    assert await db.one(EVERYTHING) == before


@pytest.mark.parametrize(
    ("action", "near"),
    [
        (Action("requeue_dead", "emial"), "email"),
        (Action("requeue_stuck", "emial"), "email"),
        pytest.param(Action("rebuild_index", "dosc"), "docs", marks=pytest.mark.vectors),
        pytest.param(Action("search", "dosc", query="text"), "docs", marks=pytest.mark.vectors),
    ],
)
async def test_an_unknown_target_is_not_found_and_near_names_are_offered(
    db: AsyncPool, action: Action, near: str
) -> None:
    await AsyncQueue(db).enqueue("email", {})
    if near == "docs":
        await collection(db, rows=1, lists=None)
    for attempt in (preview, run):
        with pytest.raises(NotFoundError) as raised:
            await attempt(db, action)
        assert near in raised.value.hint
    assert await audit.list(db) == ()


# --- purge -------------------------------------------------------------------------------------------------------


async def test_a_purge_removes_what_has_expired_and_only_that(db: AsyncPool) -> None:
    await expired_entries(db, 2_500)
    look = await preview(db, Action("purge_expired", ""))
    assert (look.matched, look.exact) == (2_500, True)
    assert "dead:" in look.samples[0]
    result = await run(db, Action("purge_expired", ""))
    assert (result.matched, result.changed) == (2_500, 2_500)
    assert await AsyncCache(db).get("lives") == b"1"
    assert (await run(db, Action("purge_expired", ""))).changed == 0
    assert [(row.status, row.changed) for row in await audit.list(db)] == [("done", 0), ("done", 2_500)]
    assert (await AsyncCache(db).stats()).expired == 2_500


@pytest.mark.parametrize("name", ["purge_kv", "purge_limits"])
async def test_expired_keys_and_idle_limits_are_purged_with_a_trail(db: AsyncPool, name: ActionName) -> None:
    kv, limits = AsyncKv(db), AsyncLimits(db)
    for store in (kv, kv.ephemeral):
        await store.set("lives", b"1")
        await store.set_many({f"dead:{n}": b"1" for n in range(3)}, ttl_s=0.01)
    await limits.hit("lives", 1, 3600)
    for number in range(6):
        await limits.hit(f"dead:{number}", 1, 0.01)
    await asyncio.sleep(0.03)
    look = await preview(db, Action(name, ""))
    assert (look.matched, look.exact) == (6, True)
    assert "delete from" in look.sql
    result = await run(db, Action(name, ""))
    assert (result.matched, result.changed) == (6, 6)
    row = (await audit.list(db))[0]
    assert (row.id, row.action, row.status, row.changed) == (result.audit_id, name, "done", 6)
    assert (await run(db, Action(name, ""))).changed == 0
    assert await kv.get("lives") == await kv.ephemeral.get("lives") == b"1"
    assert not (await limits.peek("lives", 1, 3600)).allowed
    for attempt in (preview, run):
        with pytest.raises(UsageError):
            await attempt(db, Action(name, "some"))


async def test_a_purge_of_one_namespace_is_refused_and_not_widened(db: AsyncPool) -> None:
    await expired_entries(db)
    for attempt in (preview, run):
        with pytest.raises(UsageError):
            await attempt(db, Action("purge_expired", "sessions"))
    assert (await AsyncCache(db).count_expired()).count == 3


async def test_a_purge_also_evicts_what_is_above_a_cap_and_says_so(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set_many({f"k{n}": b"1" for n in range(50)}, namespace="n")
    await expired_entries(db, 3)
    await cache.set_cap("n", entries=20)
    result = await run(db, Action("purge_expired", ""))
    assert result.changed == 33
    assert result.message == "removed 3 expired entries from the cache, and 30 that were above a cap"
    assert (await audit.list(db))[0].detail == {"evicted": 30}


async def test_a_namespace_is_invalidated_with_a_trail(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set_many({f"k{n}": b"1" for n in range(7)}, namespace="pages")
    await cache.set("gone", b"1", namespace="pages", ttl_s=0.01)
    await cache.set("k1", b"1")
    await asyncio.sleep(0.03)
    look = await preview(db, Action("invalidate", "pages"))
    assert (look.matched, look.exact) == (7, True)
    assert "pages" in look.title and "k0: set" in look.samples[0] and "'pages'" in look.sql and look.warning
    assert await cache.get("k1", namespace="pages") == b"1", "a look changes nothing"
    result = await run(db, Action("invalidate", "pages"))
    assert (result.matched, result.changed, result.message) == (7, 7, "forgot 7 entries of pages")
    row = (await audit.list(db))[0]
    assert (row.id, row.action, row.target, row.status) == (result.audit_id, "invalidate", "pages", "done")
    assert row.detail == {"generation": 1}
    assert await cache.get("k1", namespace="pages") is None
    assert await cache.get("k1") == b"1"
    purge = await preview(db, Action("purge_expired", ""))
    assert purge.matched == 8 and any("in pages: invalidated" in sample for sample in purge.samples)
    assert (await run(db, Action("invalidate", "pages"))).changed == 0, "it is known, though it holds nothing"


async def test_an_unknown_namespace_is_not_invalidated(db: AsyncPool) -> None:
    cache = AsyncCache(db)
    await cache.set("k", b"1", namespace="sessions")
    await cache.flush()
    for attempt in (preview, run):
        with pytest.raises(NotFoundError) as raised:
            await attempt(db, Action("invalidate", "sesions"))
        assert "did you mean sessions?" in raised.value.hint
        with pytest.raises(UsageError):
            await attempt(db, Action("invalidate", ""))
    assert await audit.list(db) == ()


async def test_of_a_large_cache_the_preview_says_at_least(db: AsyncPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "COUNT_PAGES", 4)
    await AsyncCache(db).set_many({f"k{n}": b"x" * 100 for n in range(1_000)})
    look = await preview(db, Action("invalidate", "default"))
    assert 50 < look.matched < 1_000 and not look.exact
    result = await run(db, Action("invalidate", "default"))
    assert result.message.startswith("forgot at least ")
    assert (await audit.list(db))[0].detail == {"exact": False, "generation": 1}


# --- rebuild -----------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_a_rebuild_changes_the_lists_and_closes_its_row(db: AsyncPool) -> None:
    vectors = await collection(db)
    look = await preview(db, Action("rebuild_index", "docs", lists=4))
    assert look.title == "rebuild index vec_docs_ivf with 4 lists"
    assert "lists: built with 2, set to 2, will be 4" in look.samples
    assert "reindex index concurrently" in look.sql
    result = await run(db, Action("rebuild_index", "docs", lists=4))
    assert result.message == "rebuilt vec_docs_ivf with 4 lists"
    assert (await vectors.stats("docs")).lists_built == 4
    row = (await audit.list(db))[0]
    assert (row.id, row.status, row.changed) == (result.audit_id, "done", 1)
    assert row.detail["lists_before"] == 2
    assert row.detail["lists_after"] == 4


@pytest.mark.vectors
async def test_an_index_that_never_became_valid_is_built(db: AsyncPool) -> None:
    vectors = await collection(db)
    await db.execute(b"update pg_index set indisvalid = false where indexrelid = 'pgops.vec_docs_ivf'::regclass")
    assert "it is invalid now: no search uses it" in (await preview(db, Action("rebuild_index", "docs"))).samples
    await run(db, Action("rebuild_index", "docs", lists=3))
    index = await vectors.stats("docs")
    assert (index.valid, index.lists_set) == (True, 3)


@pytest.mark.vectors
async def test_a_rebuild_that_cannot_be_leaves_no_row(db: AsyncPool) -> None:
    await collection(db)
    with pytest.raises(UsageError):
        await run(db, Action("rebuild_index", "docs", lists=5_000))
    assert await audit.list(db) == ()


@pytest.mark.vectors
async def test_a_rebuild_that_fails_leaves_its_row_as_failed(db: AsyncPool, dsn: str) -> None:
    await collection(db)
    with psycopg.connect(dsn) as conn:
        conn.execute("select pg_try_advisory_lock(7063767, 'pgops.vec_docs'::regclass::oid::integer)")
        with pytest.raises(RefusedError, match="being built"):
            await run(db, Action("rebuild_index", "docs", lists=4))
    row = (await audit.list(db))[0]
    assert (row.status, row.changed) == ("failed", 0)
    assert "being built" in row.detail["error"]


@pytest.mark.vectors
async def test_no_index_is_no_rebuild(db: AsyncPool) -> None:
    await collection(db, lists=None)
    with pytest.raises(NotFoundError, match="no index"):
        await run(db, Action("rebuild_index", "docs"))


# --- search ------------------------------------------------------------------------------------------------------


@pytest.mark.vectors
async def test_a_search_finds_a_text_and_is_noted_as_a_read(db: AsyncPool) -> None:
    await collection(db)
    result = await run(db, Action("search", "docs", query="text number 7", limit=3, exact=True))
    assert result.rows[0][2] == "text number 7"
    assert result.rows[0][1] == pytest.approx(1.0, abs=1e-5)
    assert (result.matched, result.changed) == (3, 0)
    row = (await audit.list(db))[0]
    assert (row.id, row.action, row.changed) == (result.audit_id, "search", 0)


@pytest.mark.vectors
async def test_a_search_takes_a_vector_and_refuses_one_that_does_not_fit(db: AsyncPool) -> None:
    await collection(db)
    vector = HashingEmbedder(16).embed(["text number 9"])[0]
    result = await run(db, Action("search", "docs", query=str(vector), limit=1))
    assert result.rows[0][2] == "text number 9"
    assert "hashing" not in result.message
    with pytest.raises(UsageError, match="dimensions"):
        await run(db, Action("search", "docs", query="[1, 2]"))
    with pytest.raises(UsageError, match="JSON array of numbers"):
        await run(db, Action("search", "docs", query='["a"]'))
    with pytest.raises(UsageError, match="needs a query"):
        await run(db, Action("search", "docs", query="  "))


@pytest.mark.vectors
async def test_a_text_that_only_begins_like_a_vector_is_a_text(db: AsyncPool) -> None:
    await collection(db)
    assert (await run(db, Action("search", "docs", query="[draft] text number 3"))).matched == 10


@pytest.mark.vectors
async def test_the_sql_of_a_search_is_shown_with_its_values(db: AsyncPool) -> None:
    await collection(db)
    look = await preview(db, Action("search", "docs", query="text", limit=7))
    assert (look.matched, look.exact) == (200, True)
    assert "limit 7" in look.sql
    assert "%(" not in look.sql
    assert "hashing" in look.warning


# --- who may -----------------------------------------------------------------------------------------------------


async def test_a_read_only_session_is_refused_and_still_may_preview(db: AsyncPool, dsn: str) -> None:
    await dead_jobs(db)
    await stuck_jobs(db)
    await expired_entries(db)
    async with AsyncPool.open(make_conninfo(dsn, options="-c default_transaction_read_only=on")) as mine:
        for action in OTHER_ACTS:
            assert (await preview(mine, action)).matched > 0
            with pytest.raises(RefusedError):
                await run(mine, action)
    assert await audit.list(db) == ()


@pytest.mark.vectors
async def test_a_read_only_session_may_search_and_not_rebuild(db: AsyncPool, dsn: str) -> None:
    await collection(db)
    async with AsyncPool.open(make_conninfo(dsn, options="-c default_transaction_read_only=on")) as mine:
        assert (await preview(mine, Action("rebuild_index", "docs"))).matched > 0
        with pytest.raises(RefusedError):
            await run(mine, Action("rebuild_index", "docs"))
        found = await run(mine, Action("search", "docs", query="text"))
    assert found.rows
    assert found.audit_id is None
    assert await audit.list(db) == ()


@contextmanager
def role_dsn(dsn: str, *grants: str) -> Iterator[str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = f"pgops_acts_{conn.info.backend_pid}"
        role = sql.Identifier(name)
        conn.execute(sql.SQL("create role {} login").format(role))
        try:
            for grant in grants:
                conn.execute(sql.SQL(f"{grant} to {{}}").format(role))
            yield make_conninfo(dsn, user=name)
        finally:
            conn.execute(sql.SQL("drop owned by {}").format(role))
            conn.execute(sql.SQL("drop role {}").format(role))


async def test_a_role_that_may_only_read_is_refused(db: AsyncPool, dsn: str) -> None:
    await dead_jobs(db)
    with role_dsn(dsn, "grant usage on schema pgops", "grant select on all tables in schema pgops") as plain:
        async with AsyncPool.open(plain) as mine:
            assert (await preview(mine, Action("requeue_dead", "email"))).matched == 3
            with pytest.raises(RefusedError):
                await run(mine, Action("requeue_dead", "email"))
    assert await states(db) == {"dead": 3}


async def test_a_role_with_the_rights_of_an_operator_acts_under_its_own_name(db: AsyncPool, dsn: str) -> None:
    await dead_jobs(db)
    grants = (
        "grant usage on schema pgops", "grant select on all tables in schema pgops",
        "grant insert on pgops.audit, pgops.job_available, pgops.queue_delta", "grant delete on pgops.job_dead",
        "grant usage on all sequences in schema pgops",
    )  # fmt: skip
    with role_dsn(dsn, *grants) as plain:
        async with AsyncPool.open(plain) as mine:
            assert (await run(mine, Action("requeue_dead", "email"))).changed == 3
    assert (await audit.list(db))[0].actor.startswith("pgops_acts_")


# --- the trail ---------------------------------------------------------------------------------------------------


async def test_a_long_act_whose_backend_is_gone_was_interrupted(db: AsyncPool, dsn: str) -> None:
    async with AsyncPool.open(dsn, max_size=1) as gone:
        await audit.start(gone, "rebuild_index", "docs", matched=1)
        assert (await audit.list(db))[0].status == "started"
    for _ in range(100):
        if (await audit.list(db))[0].status != "started":
            break
        await asyncio.sleep(0.05)
    assert (await audit.list(db))[0].status == "interrupted"


async def test_another_backend_with_the_same_number_does_not_keep_it_alive(db: AsyncPool) -> None:
    await audit.start(db, "rebuild_index", "docs", matched=1)
    await db.execute(b"update pgops.audit set started_at = pg_postmaster_start_time() - interval '1 day'")
    assert (await audit.list(db))[0].status == "interrupted"


async def test_a_long_act_ends_as_it_went(db: AsyncPool) -> None:
    async with audit.long_act(db, "a", "x", matched=1) as act:
        act.changed = 5
        assert (await audit.list(db))[0].status == "started"
    with pytest.raises(UsageError):
        async with audit.long_act(db, "b", "x", matched=1):
            raise UsageError("no", "hint")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2), audit.long_act(db, "c", "x", matched=1):
            await asyncio.sleep(60)
    found = {row.action: (row.status, row.changed) for row in await audit.list(db)}
    assert found == {"a": ("done", 5), "b": ("failed", 0), "c": ("interrupted", 0)}


async def test_the_trail_is_newest_first_and_bounded(db: AsyncPool) -> None:
    for target in ("one", "two", "three"):
        await audit.record(db, "search", target, matched=0, changed=0)
    assert [row.target for row in await audit.list(db, 2)] == ["three", "two"]
    with pytest.raises(UsageError):
        await audit.list(db, 0)


# --- what has no undo, and pausing ---------------------------------------------------------------------------


async def test_pausing_and_resuming_leave_their_rows(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue("email", {})
    assert (await run(db, Action("pause", "email"))).changed == 1
    assert [q.paused for q in await queue.queues()] == [True]
    await run(db, Action("resume", "email"))
    assert [q.paused for q in await queue.queues()] == [False]
    assert [row.action for row in await audit.list(db)] == ["resume", "pause"]


@pytest.mark.vectors
async def test_dropping_a_collection_shows_its_rows_first_and_leaves_its_row(db: AsyncPool) -> None:
    vectors = await collection(db)
    look = await preview(db, Action("drop_collection", "docs"))
    assert look.matched == 200
    assert look.sql.split(";\n") == [
        "delete from pgops.vector_collections where name = 'docs'", 'drop table "pgops"."vec_docs"',
    ]  # fmt: skip
    done = await run(db, Action("drop_collection", "docs"))
    assert done.changed == 200
    with pytest.raises(NotFoundError):
        await vectors.get("docs")
    assert [(row.action, row.target, row.status) for row in await audit.list(db)] == [
        ("drop_collection", "docs", "done")
    ]


async def test_dropping_a_subscription_leaves_its_row(db: AsyncPool) -> None:
    events = AsyncEvents(db)
    await events.subscribe("billing")
    assert "billing" in (await preview(db, Action("unsubscribe", "billing"))).sql
    await run(db, Action("unsubscribe", "billing"))
    assert await events.subscriptions() == []
    assert [row.action for row in await audit.list(db)] == ["unsubscribe"]
    with pytest.raises(NotFoundError):
        await run(db, Action("unsubscribe", "billing"))
    assert len(await audit.list(db)) == 1


async def test_dropping_documents_and_its_row_are_one_or_neither(db: AsyncPool) -> None:
    documents = AsyncDocuments(db)
    await documents.create("users")
    await documents.put_many("users", [{"n": n} for n in range(30)])
    drop = Action("drop_documents", "users")
    look = await preview(db, drop)
    assert (look.matched, look.exact) == (30, True)
    assert "doc_users" in look.sql
    assert len(look.samples) == 6
    await db.execute(b"alter table pgops.audit rename to hidden")
    with pytest.raises(PgopsError):
        await run(db, drop)
    await db.execute(b"alter table pgops.hidden rename to audit")
    assert (await documents.describe("users")).documents == 30
    result = await run(db, drop)
    assert (result.matched, result.changed) == (30, 30)
    (row,) = await audit.list(db)
    assert (row.id, row.action, row.target, row.status, row.changed) == (
        result.audit_id, "drop_documents", "users", "done", 30,
    )  # fmt: skip
    with pytest.raises(NotFoundError):
        await preview(db, drop)
    with pytest.raises(NotFoundError):
        await run(db, drop)

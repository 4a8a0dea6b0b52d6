"""Undo: what an act has changed is as before, but for what was touched since, which is left alone and counted."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from test_roles import role

from pgops.database import AsyncPool
from pgops.errors import NotFoundError, PgopsError, RefusedError, UsageError
from pgops.ops.act import audit, keeping, undoing
from pgops.ops.act.actions import Action, Result, preview, run
from pgops.ops.act.acts_tuning import TUNED
from pgops.runtime.tidying import Tidying
from pgops.services.models import DeadMatch, FailedJob
from pgops.services.queue import AsyncQueue

# All that is known of jobs and queues. What comes back has a new seq and is ready anew: who it is stands in its id.
STATE = b"""
select stood_in, who::text from (
  select 'available' as stood_in,
         to_jsonb(a) - '{seq,ready_at}'::text[] || jsonb_build_object('id', coalesce(id, seq)) as who
  from pgops.job_available a
  union all select 'scheduled', to_jsonb(s) from pgops.job_scheduled s
  union all select 'waiting', to_jsonb(w) - 'seq' from pgops.job_waiting w
  union all select 'running', to_jsonb(r) from pgops.job_running r
  union all select 'dead', to_jsonb(d) from pgops.job_dead d
  union all select 'history', to_jsonb(h) from pgops.job_history h
  union all select 'unique', to_jsonb(u) from pgops.job_unique u
  union all select 'group', to_jsonb(g) from pgops.job_group g
  union all select 'queue', to_jsonb(q) from pgops.queues q
  union all select 'limit', to_jsonb(l) from pgops.queue_limit l
  union all select 'stored', jsonb_build_object(
              'table', relname, 'options', (select jsonb_agg(o order by o) from unnest(reloptions) o))
            from pg_class where relnamespace = 'pgops'::regnamespace and relkind = 'r'
) as everything order by 1, 2
"""
# What the books say of each state, and what is there.
BOOKS = b"""
with noted as (
  select coalesce(sum(available), 0) as available, coalesce(sum(scheduled), 0) as scheduled,
         coalesce(sum(waiting), 0) as waiting, coalesce(sum(running), 0) as running, coalesce(sum(dead), 0) as dead
  from (select available, scheduled, waiting, running, dead from pgops.queue_delta
        union all select available, scheduled, waiting, running, dead from pgops.queue_total) as both_
)
select array[available, scheduled, waiting, running, dead]::bigint[],
       array[(select count(*) from pgops.job_available), (select count(*) from pgops.job_scheduled),
             (select count(*) from pgops.job_waiting), (select count(*) from pgops.job_running),
             (select count(*) from pgops.job_dead)]::bigint[]
from noted
"""


async def state(db: AsyncPool) -> list[tuple[str, str]]:
    noted, there = await db.one(BOOKS) or ([], [])
    assert noted == there, "the books are exact"
    return [(row[0], row[1]) for row in await db.all(STATE)]


async def everything(db: AsyncPool) -> dict[str, int]:
    """Jobs in every state, with groups, unique keys, errors, and payloads that are easily spoilt; their ids by name."""
    queue, ids = AsyncQueue(db), {}
    await queue.configure("email", history="all", max_attempts=1)
    dying = (
        ("plain", {}), ("null", {}), ("grouped", {"group_key": "g"}), ("unique", {"unique_key": "u"}),
        ("held", {"unique_key": "h", "unique_states": ("available", "scheduled", "running", "dead")}),
        ("both", {"group_key": "gg", "unique_key": "uu"}),
    )  # fmt: skip
    for name, more in dying:
        payload = None if name == "null" else {"n": name, "é": [1.10, 1e30, "\\u2028"]}
        ids[name] = await queue.enqueue("email", payload, kind="send", headers={"trace": name}, **more)  # type: ignore[arg-type]
    claim = await queue.claim("email", owner=1, token=5, limit=10)
    await queue.fail("email", 5, [FailedJob(job.id, f"no such host {job.id}") for job in claim.jobs])
    ids["first"] = await queue.enqueue("email", {"a": 1})
    ids["later"] = await queue.enqueue("email", {"a": 2}, delay_s=3600, unique_key="l")
    ids["alone"] = await queue.enqueue("email", {"a": 3}, group_key="one", unique_key="o", unique_for_s=600)
    ids["back"] = await queue.enqueue("email", {"a": 4}, priority=1, max_attempts=3)
    (again,) = (await queue.claim("email", owner=1, token=6, limit=1)).jobs
    assert again.id == ids["back"]
    await queue.release("email", [again.id], 6)
    return ids


@pytest.fixture
async def ids(db: AsyncPool) -> dict[str, int]:
    return await everything(db)


async def undo(db: AsyncPool, act: Result | int) -> Result:
    return await run(db, Action("undo", str(act if isinstance(act, int) else act.audit_id)))


def acts(ids: dict[str, int]) -> Iterator[Action]:
    """Every act that can be undone, in its kinds."""
    dead = ("plain", "null", "grouped", "unique", "held", "both")
    yield Action("requeue_dead", "email")
    yield Action("requeue_dead", "email", ids=tuple(ids[name] for name in dead[:3]))
    yield Action("requeue_dead", "email", match=DeadMatch(error=f"host {ids['unique']}"))
    yield Action("discard_dead", "email")
    yield Action("discard_dead", "email", ids=(ids["held"], ids["both"], 999))
    yield Action("cancel_jobs", "email", ids=tuple(ids[name] for name in ("first", "later", "alone", "back")))
    for name in ("plain", "first", "later", "back"):
        yield Action("edit_job", "email", ids=(ids[name],), given='{"other": [1, 2.50]}')
    yield Action("set_queue", "email", given='{"lease_s": 77, "max_running": 3, "aging_s": null, "history": "none"}')
    yield Action("set_queue", "email", given='{"rate_per_s": 5, "burst": 4}')
    yield Action("pause", "email")
    yield Action("resume", "email")


async def test_what_is_undone_is_as_it_was(db: AsyncPool, ids: dict[str, int]) -> None:
    names = {action.name for action in acts(ids)}
    assert names | {"tune_queue_tables"} == set(undoing.WAYS)
    for action in acts(ids):
        before = await state(db)
        look = await preview(db, action)
        assert look.undo == keeping.CAN, action
        done = await run(db, look.action)
        assert done.undoable
        assert done.changed == look.matched > 0, action
        changed = await state(db)
        assert changed != before or action.name == "resume"
        assert done.audit_id is not None
        look = await preview(db, Action("undo", str(done.audit_id)))
        assert await state(db) == changed, "a look changes nothing"
        undone = await undo(db, done)
        assert (look.matched, undone.matched) == (undone.changed, undone.changed)
        assert await state(db) == before, action
        shown = await undoing.show(db, str(done.audit_id))
        assert (shown.act.undone_by, bool(shown.refused)) == (undone.audit_id, True)


async def test_tables_are_stored_as_before(db: AsyncPool) -> None:
    options = await db.all(
        b"select relname, reloptions from pg_class where relnamespace = 'pgops'::regnamespace and relkind = 'r' "
        b"and reloptions is not null"
    )
    wanted = {name: {f"{one}={value}" for one, value in own.items() if value} for name, own in TUNED.items()}
    assert {name: set(own) for name, own in options} == wanted, "TUNED is what the schema sets"
    assert (await preview(db, Action("tune_queue_tables", ""))).matched == 0
    assert (await run(db, Action("tune_queue_tables", ""))).undoable is False
    tuned = await state(db)
    await db.execute(b"alter table pgops.job_available reset (autovacuum_vacuum_scale_factor)")
    await db.execute(b"alter table pgops.job_available set (autovacuum_enabled = off, toast_tuple_target = 4000)")
    await db.execute(b"alter table pgops.queues set (fillfactor = 90)")
    before = await state(db)
    look = await preview(db, Action("tune_queue_tables", ""))
    assert look.samples == (
        "job_available: autovacuum_enabled off → not set, autovacuum_vacuum_scale_factor not set → 0.01",
        "queues: fillfactor 90 → 50",
    )
    done = await run(db, look.action)
    after = [row for row in await state(db) if "toast_tuple_target" not in row[1]]
    assert after == [row for row in tuned if '"job_available"' not in row[1]]
    await db.execute(b"alter table pgops.queues set (fillfactor = 70)")
    undone = await undo(db, done)
    assert (undone.matched, undone.changed) == (2, 1), "what was set since is left alone"
    others = [[row for row in rows if '"queues"' not in row[1]] for rows in (await state(db), before)]
    assert others[0] == others[1]


async def test_what_is_no_id_of_an_act_is_said_to_be_none(db: AsyncPool) -> None:
    for odd in ("", "0", "-1", "1.5", "9" * 5_000, "0" * 19 + "1" + "9" * 5_000, "\u0663"):
        with pytest.raises(UsageError, match="whole number"):
            await undoing.show(db, odd)


async def test_what_was_kept_of_a_tables_storage_is_a_value_and_never_sql(db: AsyncPool) -> None:
    """Whoever may act may write what is kept; whoever undoes it owns the tables."""
    await db.execute(b"alter table pgops.queues set (fillfactor = 90)")
    done = await run(db, Action("tune_queue_tables", ""))
    await db.execute(
        b"update pgops.audit_undo set before = jsonb_set(before, '{options,fillfactor}', "
        b"'\"90), add column oops integer default 1, set (fillfactor = 90\"')"
    )
    with pytest.raises(PgopsError, match="invalid value for integer option"):
        await undo(db, done)
    assert await db.one(b"select count(*) from pg_attribute where attname = 'oops'") == (0,)


async def test_what_many_dead_letters_cost_grows_with_their_number_alone(db: AsyncPool) -> None:
    """The statistics know nothing of the queue yet."""
    queue, many = AsyncQueue(db), 300
    await queue.configure("many", max_attempts=1)
    await queue.enqueue_many("other", range(5_000))
    await db.execute(b"analyze pgops.job_available, pgops.job_dead")
    await queue.enqueue_many("many", range(many))
    claim = await queue.claim("many", owner=1, token=1, limit=many)
    await queue.fail("many", 1, [FailedJob(job.id, "no") for job in claim.jobs])
    await queue.enqueue_many("many", range(4_000))
    async with db.transaction() as tx:
        kept = await keeping.keep_dead(tx, Action("requeue_dead", "many"))
        assert await AsyncQueue(tx).requeue_dead("many", kept.ids) == many
        await keeping.mark_requeued(tx, kept, "many")
        read = await tx.one(
            b"select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_all_tables "
            b"where schemaname = 'pgops'"
        )
        marked = await tx.one(b"select count(after) from pgops.audit_undo")
    assert marked == (many,)
    assert read is not None
    assert read[0] < 40 * many, "some rows for each, and not all of them"


async def test_jobs_that_were_claimed_since_are_left_to_their_worker(db: AsyncPool, ids: dict[str, int]) -> None:
    queue = AsyncQueue(db)
    done = await run(db, Action("requeue_dead", "email"))
    await queue.configure("email", max_attempts=5)
    claim = await queue.claim("email", owner=2, token=9, limit=6)
    dead = {ids[name] for name in ("plain", "null", "grouped", "unique", "held", "both")}
    claimed = [job.id for job in claim.jobs if job.id in dead]
    assert len(claimed) == 3
    await queue.complete("email", claimed[:1], 9)
    await queue.fail("email", 9, [FailedJob(claimed[1], "again")])
    await queue.release("email", claimed[2:], 9)
    edited = (dead - set(claimed)).pop()
    await queue.edit("email", edited, {"now": "edited"})
    look = await preview(db, Action("undo", str(done.audit_id)))
    undone = await undo(db, done)
    assert (look.matched, undone.changed, undone.matched) == (3, 3, 6)
    assert look.samples == (
        "3 back among the dead letters", "3 claimed since, and left alone",
        "1 of them with the payload that was given since",
    )  # fmt: skip
    assert undone.message == f"undid act {done.audit_id}: {'; '.join(look.samples)}"
    assert (await queue.job("email", edited)).payload == {"now": "edited"}
    assert (await queue.job("email", edited)).state == "dead"
    await state(db)


async def test_what_stands_elsewhere_by_now_is_not_brought_back(db: AsyncPool, ids: dict[str, int]) -> None:
    queue = AsyncQueue(db)
    cancelled = await run(db, Action("cancel_jobs", "email", ids=(ids["later"], ids["first"])))
    other = await queue.enqueue("email", {}, unique_key="l")
    assert (await preview(db, Action("undo", str(cancelled.audit_id)))).matched == 1
    undone = await undo(db, cancelled)
    assert (undone.changed, undone.matched) == (1, 2)
    assert "another job holds the unique key" in undone.message
    assert await db.all(b"select id from pgops.job_unique where key = 'l'") == [(other,)]
    edited = await run(db, Action("edit_job", "email", ids=(ids["first"],), given="1"))
    await queue.edit("email", ids["first"], 2)
    undone = await undo(db, edited)
    assert (undone.changed, undone.matched) == (0, 1)
    assert (await queue.job("email", ids["first"])).payload == 2
    assert not (await undoing.show(db, str(edited.audit_id))).refused, "nothing was undone, so it can be tried again"
    paused = await run(db, Action("pause", "email"))
    await queue.resume("email")
    assert (await undo(db, paused)).changed == 0
    changed = await run(db, Action("set_queue", "email", given='{"lease_s": 70, "backoff_s": 9}'))
    await queue.configure("email", lease_s=71)
    assert (await undo(db, changed)).message.endswith("1 set back; 1 set anew since, and left alone")
    assert (await queue.queues())[0].lease_s == 71
    await state(db)


async def test_what_cannot_be_undone_says_why(db: AsyncPool, ids: dict[str, int]) -> None:
    async def why(id: int | None) -> str:
        with pytest.raises(RefusedError) as refused:
            await preview(db, Action("undo", str(id)))
        before = await state(db)
        with pytest.raises(RefusedError, match=re.escape(str(refused.value))):
            await run(db, Action("undo", str(id)))
        assert await state(db) == before
        return f"{refused.value}. {refused.value.hint}"

    done = await run(db, Action("requeue_dead", "email"))
    undone = await undo(db, done)
    assert f"was undone already. by act {undone.audit_id}" in await why(done.audit_id)
    assert "is an undo itself. do the act again: requeue_dead of email" in await why(undone.audit_id)
    purged = await run(db, Action("purge_expired", ""))
    assert "(purge_expired) cannot be undone. what can: requeue_dead" in await why(purged.audit_id)
    nothing = await run(db, Action("requeue_dead", "email", ids=(999,)))
    assert "changed nothing" in await why(nothing.audit_id)
    old = await run(db, Action("pause", "email"))
    await db.execute(b"update pgops.audit set undo_until = statement_timestamp() - interval '1 s'")
    assert "for 7 days. that is over" in await why(old.audit_id)
    with pytest.raises(NotFoundError):
        await undoing.show(db, "99999")
    for bad in ("", "x", "-1", "1 or 1"):
        with pytest.raises(UsageError):
            await preview(db, Action("undo", bad))


async def test_beyond_the_bound_the_preview_says_so_and_nothing_is_kept(
    db: AsyncPool, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = (Action("requeue_dead", "email"), Action("cancel_jobs", "email", ids=tuple(ids.values())))
    for name, bound, said in (("KEEP_ROWS", 3, "more than 3 rows"), ("KEEP_BYTES", 1000, "more than 1000 B")):
        with monkeypatch.context() as narrow:
            narrow.setattr(keeping, name, bound)
            assert {(await preview(db, act)).undo for act in acts} == {f"cannot be undone: {said}"}
    monkeypatch.setattr(keeping, "KEEP_ROWS", 3)
    for act in acts:
        done = await run(db, act)
        assert done.changed > 3
        assert not done.undoable
        shown = await undoing.show(db, str(done.audit_id))
        assert (shown.kept, "hit more than is kept" in shown.refused) == ((), True)
    assert await db.all(b"select from pgops.audit_undo") == []
    await state(db)


async def test_a_job_that_a_worker_is_claiming_is_left_to_it(db: AsyncPool, dsn: str, ids: dict[str, int]) -> None:
    done = await run(db, Action("requeue_dead", "email"))
    with psycopg.connect(dsn) as worker:
        worker.execute("delete from pgops.job_available where id = %s", [ids["plain"]])
        undone = await undo(db, done)
        worker.rollback()
    assert (undone.changed, undone.matched) == (5, 6)
    assert await db.all(b"select id from pgops.job_available where id = %s", [ids["plain"]]) == [(ids["plain"],)]
    await state(db)


async def test_workers_that_claim_meanwhile_lose_nothing_and_get_nothing_twice(db: AsyncPool) -> None:
    queue, number = AsyncQueue(db), 300
    await queue.configure("email", max_attempts=1)
    await queue.enqueue_many("email", [{"n": n} for n in range(number)])
    dead = await queue.claim("email", owner=1, token=5, limit=number)
    await queue.fail("email", 5, [FailedJob(job.id, "broke") for job in dead.jobs])
    done = await run(db, Action("requeue_dead", "email"))
    claimed: list[int] = []

    async def work(owner: int) -> None:
        while jobs := (await queue.claim("email", owner=owner, token=owner, limit=7)).jobs:
            claimed.extend(job.id for job in jobs)

    undone, *_ = await asyncio.gather(undo(db, done), work(20), work(21))
    assert len(claimed) == len(set(claimed)) == number - undone.changed
    back = [row[0] for row in await db.all(b"select id from pgops.job_dead")]
    assert sorted(claimed + back) == sorted(job.id for job in dead.jobs)
    assert undone.matched == number
    await state(db)


async def test_two_that_undo_the_same_do_it_once(db: AsyncPool, ids: dict[str, int]) -> None:
    before = await state(db)
    done = await run(db, Action("discard_dead", "email"))
    results = await asyncio.gather(*(undo(db, done) for _ in range(3)), return_exceptions=True)
    assert sum(isinstance(result, Result) for result in results) == 1
    assert all(isinstance(result, Result | RefusedError) for result in results)
    assert await state(db) == before


async def test_without_its_own_row_nothing_is_undone(db: AsyncPool, ids: dict[str, int]) -> None:
    done = await run(db, Action("discard_dead", "email"))
    before = await state(db)
    await db.execute(b"alter table pgops.audit add constraint no_undo check (action <> 'undo') not valid")
    with pytest.raises(PgopsError):
        await undo(db, done)
    assert await state(db) == before
    assert (await audit.list(db))[0].undoable


@asynccontextmanager
async def as_role(dsn: str, *granted: str) -> AsyncIterator[AsyncPool]:
    with role(dsn, granted) as mine:
        async with AsyncPool.open(mine) as db:
            yield db


async def test_who_may_not_keep_acts_all_the_same_and_is_told(db: AsyncPool, dsn: str, ids: dict[str, int]) -> None:
    may = (
        "grant usage on schema pgops to {}", "grant select, insert, update, delete on all tables in schema pgops to {}",
        "grant usage on all sequences in schema pgops to {}", "revoke insert on pgops.audit_undo from {}",
    )  # fmt: skip
    async with as_role(dsn, *may) as plain:
        for action in acts(ids):
            assert "may not keep" in (await preview(plain, action)).undo
            assert not (await run(plain, action)).undoable, action
            break
        assert (await run(plain, Action("pause", "email"))).changed == 1
    done = await run(db, Action("discard_dead", "email", ids=(1,)))
    assert done.changed == 0
    discarded = await run(db, Action("cancel_jobs", "email", ids=(ids["first"],)))
    async with as_role(dsn, *may[:1], "grant select on all tables in schema pgops to {}") as watcher:
        assert (await preview(watcher, Action("undo", str(discarded.audit_id)))).matched == 1
        with pytest.raises(RefusedError):
            await undo(watcher, discarded)
    async with AsyncPool.open(dsn, read_only=True) as only:
        assert (await undoing.show(only, str(discarded.audit_id))).sql
        with pytest.raises(RefusedError, match="read-only"):
            await undo(only, discarded)
    assert (await undo(db, discarded)).changed == 1


async def test_what_was_kept_goes_when_its_time_is_over(db: AsyncPool, ids: dict[str, int]) -> None:
    old = await run(db, Action("discard_dead", "email"))
    young = await run(db, Action("pause", "email"))
    await db.execute(
        b"update pgops.audit set undo_until = statement_timestamp() - interval '1 s', "
        b"started_at = started_at - interval '7 days' where id = %s", [old.audit_id],
    )  # fmt: skip
    await Tidying(db).tidy()
    assert await db.all(b"select distinct audit_id from pgops.audit_undo") == [(young.audit_id,)]
    assert "for 7 days" in (await undoing.show(db, str(old.audit_id))).refused
    assert (await undo(db, young)).changed == 1

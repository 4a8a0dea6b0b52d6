"""The two articles behind pgops, example by example, on real tables; and what ours does in their place.

Those of key-value, limits, documents, pub/sub and outbox stand beside the tests of their services: test_kv,
test_limits, test_documents_seed, test_pubsub, test_events.
"""

import asyncio
import json
from typing import Any

import psycopg
import pytest
from pgmq import PGMQueue, install_pgmq_from_sql
from psycopg_pool import ConnectionPool

from pgops.database import AsyncPool
from pgops.services.cache import AsyncCache
from pgops.services.models import VectorRow
from pgops.services.queue import AsyncQueue
from pgops.services.vectors import AsyncVectors

SEED_QUEUE = """
create table job_queue (
  id bigserial primary key, payload jsonb not null, status text not null default 'pending',
  created_at timestamptz not null default now());
create index job_queue_pending on job_queue (created_at) where status = 'pending';
insert into job_queue (payload) select jsonb_build_object('n', n) from generate_series(1, 4) n;
"""
SELECT_NEXT = "select id from job_queue where status = 'pending' order by created_at, id limit 1 for update skip locked"
TAKE = "update job_queue set status = 'processing' where id = %s"
AS_ONE = f"""
with next_job as ({SELECT_NEXT})
update job_queue set status = 'processing' from next_job where job_queue.id = next_job.id returning job_queue.id
"""  # noqa: S608


def test_the_seeds_dequeue_in_two_statements_gives_two_workers_two_jobs(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as one, psycopg.connect(empty_dsn) as two:
        one.execute(SEED_QUEUE)
        one.commit()
        taken = []
        for conn in (one, two):
            row = conn.execute(SELECT_NEXT).fetchone()
            assert row is not None
            conn.execute(TAKE, row)
            taken.append(row[0])
        assert taken == [1, 2], "the second stepped over what the first holds"


def test_the_seeds_dequeue_as_one_cte_uses_the_partial_index(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(SEED_QUEUE)
        assert [conn.execute(AS_ONE).fetchone() for _ in range(5)] == [(1,), (2,), (3,), (4,), None]
        conn.execute("insert into job_queue (payload) select '{}' from generate_series(1, 5000)")
        conn.execute("analyze job_queue")
        rows: list[Any] = conn.execute(f"explain {AS_ONE}").fetchall()
        assert any("job_queue_pending" in line for (line,) in rows)


async def test_ours_gives_two_workers_two_jobs_in_one_statement_each(db: AsyncPool) -> None:
    queue = AsyncQueue(db)
    await queue.enqueue_many("q", [{"n": n} for n in range(4)])
    async with db.transaction() as tx:
        first = await AsyncQueue(tx).claim("q", owner=1, token=1, limit=1)
        second = await asyncio.wait_for(queue.claim("q", owner=2, token=2, limit=1), 5)
    assert [job.payload["n"] for job in (*first.jobs, *second.jobs)] == [0, 1]


def test_pgmq_sends_and_reads_with_a_visibility_timeout_and_ours_beside_it(dsn: str) -> None:
    """Real pgmq in the same database: a message that was read is away until its time is over, then it is back, and
    a late delete of the first reader takes it from the second: what ours refuses by its token."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        install_pgmq_from_sql(conn=conn)
    with ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool:
        theirs = PGMQueue(init_extension=False, pool=pool)
        theirs.create_queue("seed")
        sent = theirs.send("seed", {"order": 7})
        first = theirs.read("seed", vt=1)
        assert first is not None and not isinstance(first, list)
        assert (first.msg_id, first.message) == (sent, {"order": 7})
        assert theirs.read("seed", vt=1) is None, "nobody else sees it meanwhile"
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("update pgmq.q_seed set vt = now() - interval '1 s'")
        again = theirs.read("seed", vt=30)
        assert again is not None and not isinstance(again, list)
        assert (again.msg_id, again.read_ct) == (sent, 2)
        assert theirs.delete("seed", first.msg_id), "the first reader, long out of time, takes it from the second"


async def test_the_seeds_cache_index_with_now_is_refused_and_ours_is_purged(db: AsyncPool) -> None:
    with pytest.raises(Exception, match="IMMUTABLE"):
        await db.execute(b"create index on pgops.cache_store (expires_at) where expires_at < now()")
    row = await db.one(b"select relpersistence from pg_class where oid = 'pgops.cache_store'::regclass")
    assert row == ("u",), "UNLOGGED, as the seed's"
    cache = AsyncCache(db)
    await cache.set("gone", b"1", ttl_s=0.01)
    await cache.set("stays", b"2", ttl_s=60)
    await asyncio.sleep(0.03)
    assert await cache.get("gone") is None
    assert (await cache.purge_expired()).rows == 1
    assert await cache.get("stays") == b"2"


@pytest.mark.slow
async def test_the_seeds_vectors_of_1536_with_100_lists_and_cosine(db: AsyncPool) -> None:
    """lists = 100 wants thousands of rows: below 50 a list ours refuses, for such an index finds too little."""
    vectors = AsyncVectors(db)
    await vectors.create("documents", 1536, metric="cosine")

    def embedding(n: int) -> list[float]:
        return [((n * 37 + i * 11) % 97) / 97 + 0.01 for i in range(1536)]

    await vectors.add_many(
        "documents", [VectorRow(f"text {n}", embedding(n), {"category": "ab"[n % 2]}) for n in range(300)]
    )
    exact = await vectors.search("documents", embedding(7), limit=5, exact=True)
    assert (exact[0].content, round(exact[0].score, 4)) == ("text 7", 1.0), "cosine similarity, without an index"
    with pytest.raises(Exception, match="lists"):
        await vectors.build_index("documents", lists=100)
    await db.execute(b"create index seed_ivf on pgops.vec_documents using ivfflat (embedding vector_cosine_ops) "
                     b"with (lists = 100)")  # fmt: skip
    one = await db.one(
        b"select 1 - (embedding <=> (select embedding from pgops.vec_documents where content = 'text 7')) "
        b"from pgops.vec_documents where content = 'text 7'"
    )
    assert one is not None
    assert one[0] == pytest.approx(1.0)
    within = await vectors.search("documents", embedding(7), limit=5, exact=True, filter={"category": "b"})
    assert {json.dumps(match.metadata) for match in within} == {'{"category": "b"}'}
    assert within[0].content == "text 7"

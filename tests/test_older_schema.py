"""A database whose schema is older than this pgops: what needs nothing new goes on, the rest says what to do."""

from collections.abc import AsyncIterator

import pytest

from pgops import migrate
from pgops.database import AsyncPool
from pgops.errors import SchemaError
from pgops.ops.act import audit
from pgops.ops.act.actions import Action, preview, run
from pgops.ops.collector import collect
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Unavailable
from pgops.runtime.tidying import Tidying
from pgops.services.limits import AsyncLimits
from pgops.services.queue import AsyncQueue


@pytest.fixture
async def older(empty_dsn: str) -> AsyncIterator[AsyncPool]:
    """Without the undo, the limits' counts and the ledger."""
    async with AsyncPool.open(empty_dsn) as db:
        known = [one for one in migrate.migrations() if one.name < "0009" and one.extension is None]
        await migrate.apply(db, known)
        yield db


async def test_what_is_there_is_seen_worked_and_tidied(older: AsyncPool) -> None:
    queue = AsyncQueue(older)
    await queue.enqueue("q", 1)
    limits = AsyncLimits(older)
    assert (await limits.hit("login:ann", 1, 3600)).allowed
    assert not await limits.flush()
    await Tidying(older).tidy()
    (job,) = (await queue.claim("q", owner=1, token=7, limit=1, floors=(0, 0, 0, 0))).jobs
    assert await queue.complete("q", [job.id], 7)
    snapshot = await collect(older)
    gone = {
        name: part
        for name in snapshot.__dataclass_fields__
        if isinstance(part := getattr(snapshot, name), Unavailable) and part != ABSENT and name != "vectors"
    }
    assert list(gone) == ["outgrow"]
    assert gone["outgrow"].remedy == "run: pgops migrate"


async def test_the_trail_and_every_act_say_what_to_do(older: AsyncPool) -> None:
    await AsyncQueue(older).enqueue("q", 1)
    with pytest.raises(SchemaError) as caught:
        await audit.list(older)
    assert caught.value.hint == "run: pgops migrate"
    for action in (Action("pause", "q"), Action("requeue_stuck", "q"), Action("undo", "1")):
        with pytest.raises(SchemaError, match="older"):
            await run(older, action)
    with pytest.raises(SchemaError):
        await preview(older, Action("pause", "q"))
    assert await older.one(b"select count(*) from pgops.audit") == (0,)
    assert await older.one(b"select paused from pgops.queues") == (False,)

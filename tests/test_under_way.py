"""Acts that take their time: how far they are is seen, the dashboard goes on, and what is stopped is not half done."""

import asyncio

import pytest
from dashboard_story import SMALL, USUAL, dashboard, say_yes, screen, until
from snapshots_literal import BUSY, LiteralSource

from pgops.config import Target
from pgops.database import AsyncPool
from pgops.ops.act.acting import Action
from pgops.ops.act.progress import DONE_STAYS, NOTHING_LEFT, ROLLED_BACK, how_far, left_of
from pgops.services.client import AsyncPgops
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.under_way import UnderWay
from pgops.tui.works import MOST, Work

VACUUM = Action("vacuum_table", "pgops.job_dead")


def test_an_act_under_way_in_words() -> None:
    work = Work(VACUUM, 100.0, None)
    assert work.words(100.2) == "vacuum table pgops.job_dead"
    work.said = "scanning heap, 43% of 12 pages"
    assert work.words(112.0) == "vacuum table pgops.job_dead · scanning heap, 43% of 12 pages · 12s"
    work.stopping = True
    assert work.words(112.0) == "vacuum table pgops.job_dead · stopping · 12s"


@pytest.mark.parametrize("size", [SMALL, USUAL])
async def test_several_are_listed_and_one_of_them_is_stopped(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    source.held = asyncio.Event()
    source.left = "public.orders_ccnew is INVALID: pgops index drop-invalid public.orders_ccnew"
    async with dashboard(source, size) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        for number, action in enumerate((VACUUM, Action("reindex_index", "public.orders")), 1):
            app.act(action)
            await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
            await say_yes(pilot)
            await until(pilot, lambda count=number: len(app.feed.busy) == count)
        await until(pilot, lambda: "43% of" in screen(pilot))
        assert "⟳ 2 under way (w): reindex index public.orders" in screen(pilot)
        await pilot.press("2")
        await until(pilot, lambda: "webhooks" in screen(pilot))
        await pilot.press("w")
        await until(pilot, lambda: "vacuum table pgops.job_dead · scanning heap" in screen(pilot))
        await pilot.press("down", "C")
        await until(pilot, lambda: [work.action for work in app.feed.busy] == [VACUUM])
        await until(pilot, lambda: "INVALID" in screen(pilot) and "■ Stopped" in screen(pilot))
        assert isinstance(app.screen, UnderWay)
        source.held.set()
        await until(pilot, lambda: "Nothing is done from here now." in screen(pilot))
        await pilot.press("C", "escape")
        await until(pilot, lambda: not isinstance(app.screen, UnderWay))


async def test_no_more_than_a_few_at_once() -> None:
    source = LiteralSource(BUSY)
    source.held = asyncio.Event()
    async with dashboard(source) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        for _ in range(MOST):
            app.act(VACUUM)
            await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
            await pilot.press("y")
        await until(pilot, lambda: len(app.feed.busy) == MOST)
        app.act(VACUUM)
        await until(pilot, lambda: f"{MOST} acts are under way" in screen(pilot))
        assert len(source.previewed) == MOST
        source.held.set()
        await until(pilot, lambda: not app.feed.busy)


async def test_live_a_build_that_waits_is_stopped_and_leaves_nothing_half_built(dsn: str) -> None:
    """A transaction that began before keeps the build waiting until it is stopped."""
    async with AsyncPgops.open(dsn) as pg, pg.db.lend() as other:
        await pg.db.execute(b"create table public.things as select generate_series(1, 100) as n")
        await pg.db.execute(b"create index things_n on public.things (n)")
        async with PgopsApp(LiveSource(Target(dsn, "test"))).run_test(size=USUAL, notifications=True) as pilot:
            app = pilot.app
            assert isinstance(app, PgopsApp)
            async with other.transaction():
                await other.execute(b"lock table public.things in row exclusive mode")
                app.act(Action("reindex_index", "public.things_n"))
                await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
                await pilot.press("y")
                await until(pilot, lambda: "waiting for" in screen(pilot))
                assert "waiting for" in await how_far(pg.db, Action("reindex_index", "public.things_n"))
                await pilot.press("w")
                await until(pilot, lambda: isinstance(app.screen, UnderWay))
                await pilot.press("C")
                await until(pilot, lambda: "■ Stopped" in screen(pilot))
                said = screen(pilot)
            await until(pilot, lambda: not app.feed.busy)
        statuses = await pg.db.all(b"select status from pgops.audit where action = 'reindex_index'")
        assert statuses == [("interrupted",)]
        left = await pg.db.all(
            b"select indexrelid::regclass::text from pg_index"
            b" where indrelid = 'public.things'::regclass and not indisvalid"
        )
        assert NOTHING_LEFT in said if not left else "INVALID" in said
        at_work = await pg.db.all(
            b"select query from pg_stat_activity where query ilike 'reindex%' and state = 'active'"
            b" and datname = current_database()"
        )
        assert at_work == []


async def test_what_is_left_of_an_act_that_was_stopped(db: AsyncPool) -> None:
    await db.execute(b"create table public.things as select 1 as n from generate_series(1, 2)")
    with pytest.raises(Exception, match="could not create unique index"):
        async with db.session() as session:
            await session.execute(b"create unique index concurrently things_n on public.things (n)")
    await db.execute(b"create index things_all on public.things (n)")
    left = await left_of(db, Action("reindex_index", "public.things_all"))
    assert left == "public.things_n is INVALID: pgops index drop-invalid public.things_n"
    await db.execute(b"drop index public.things_n")
    assert await left_of(db, Action("reindex_index", "public.things_all")) == NOTHING_LEFT
    assert await left_of(db, VACUUM) == DONE_STAYS
    assert await left_of(db, Action("discard_dead", "email")) == ROLLED_BACK


async def test_how_far_the_stepwise_acts_are(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.cache.set_many({f"short:{n}": b"1" for n in range(3)}, ttl_s=0.01)
        await pg.kv.set("short", b"1", ttl_s=0.01)
        await asyncio.sleep(0.05)
        for action, said in (
            (Action("purge_expired", ""), "3 still to go"), (Action("purge_kv", ""), "1 still to go"),
            (Action("purge_limits", ""), "0 still to go"), (Action("outbox_purge", ""), "0 days still to go"),
            (VACUUM, ""), (Action("pause", "email"), ""),
        ):  # fmt: skip
            assert await how_far(pg.db, action) == said, action

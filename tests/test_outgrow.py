"""The outgrow ledger: what is noted of the load, today against each line, the trend, and the day a line is crossed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from cli_call import Run, caller
from dashboard_story import SMALL, USUAL, dashboard, screen, until
from psycopg.conninfo import make_conninfo
from snapshots_literal import BUSY, LiteralSource

from pgops.database import AsyncPool, Row
from pgops.ops.collector import collect
from pgops.ops.judge.findings import judge
from pgops.ops.observe.outgrow import MEASURES, crossing, fit, ledger, reached, shares
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.observe.snapshot_outgrow import NO_LEDGER, OutgrowLine, OutgrowPart
from pgops.ops.thresholds import Thresholds
from pgops.runtime.growth import note_growth
from pgops.runtime.tidying import Tidying
from pgops.services.cache import AsyncCache
from pgops.services.events import AsyncEvents
from pgops.services.queue import AsyncQueue

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LINES = Thresholds()


@pytest.fixture
def queue(db: AsyncPool) -> AsyncQueue:
    return AsyncQueue(db)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def days_of(noted: str, *values: float) -> list[Row]:
    """History rows, the last one today's: sustained as given, the highest minute twice that."""
    return [(noted, ago, value, 2 * value, value, 24) for ago, value in enumerate(reversed(values))]


def line_of(part: OutgrowPart, name: str) -> OutgrowLine:
    return next(one for one in part.lines if one.name == name)


# --- the arithmetic ------------------------------------------------------------------------------------------


def test_a_straight_line_has_its_slope_and_no_error_and_noise_has_one() -> None:
    slope, error = fit([(day, 3.0 * day + 5) for day in range(-9, 1)]) or (0, 1)
    assert (slope, error) == (pytest.approx(3.0), pytest.approx(0.0, abs=1e-9))
    slope, error = fit([(day, 3.0 * day + (-1) ** day * 4) for day in range(-9, 1)]) or (0, 0)
    assert 2 < slope < 4 and 0.1 < error < 1
    assert fit([(day, 1.0) for day in range(6)]) is None, "six days are no trend"


def test_a_crossing_lies_between_its_two_bounds_and_is_never_where_nothing_grows() -> None:
    assert crossing((2.0, 0.5), 100.0, 150.0) == (50 / 3, 25.0, 50.0)
    assert crossing((2.0, 1.0), 100.0, 150.0) == (12.5, 25.0, None), "it may be never"
    assert crossing((0.0, 0.1), 100.0, 150.0) == crossing((-1.0, 0.1), 100.0, 150.0) == (None, None, None)
    assert crossing((0.001, 0.0), 100.0, 150.0) == (None, None, None), "not within ten years"
    assert crossing((2.0, 0.5), 150.0, 150.0) == (None, None, None), "it is crossed"


def test_today_the_trend_and_the_day_it_is_reached() -> None:
    part = ledger(days_of("jobs_per_s", *(range(40, 100, 5))), NOW, LINES)
    one = line_of(part, "jobs_per_s")
    assert (one.value, one.line, one.share, one.days) == (95, 150, pytest.approx(95 / 150), 12)
    assert one.growth_per_day == pytest.approx(5.0)
    assert one.crosses_at == NOW + timedelta(days=11)
    assert reached(one).startswith("2026-03-12")
    assert part.hours == 12 * 24


def test_what_counts_of_a_day_is_what_the_line_says() -> None:
    rows = days_of("wait_s", 0.03) + days_of("requests_per_s", 10.0) + days_of("connections", 30.0)
    part = ledger(rows, NOW, LINES)
    assert line_of(part, "wait_p99_ms").value == pytest.approx(60), "its worst minute, in milliseconds"
    assert line_of(part, "daily_users").value == pytest.approx(10 * 86_400 / 50), "50 requests a user"
    assert line_of(part, "daily_users").exact == {"value": False}
    assert line_of(part, "connections").value == 30
    assert reached(line_of(part, "connections")) == "1 of 7 days seen"
    assert reached(line_of(part, "vectors")) == "not measured"


def test_a_day_without_a_worker_is_no_value_of_today() -> None:
    rows = [(name, ago + 1, *rest) for name, ago, *rest in days_of("jobs_per_s", 200.0, 200.0)]
    one = line_of(ledger(rows, NOW, LINES), "jobs_per_s")
    assert (one.value, one.share, reached(one)) == (None, None, "not measured")


def test_every_line_has_its_threshold_and_a_line_of_zero_divides_nothing() -> None:
    assert {one.threshold for one in MEASURES} <= set(LINES.__dataclass_fields__)
    one = line_of(ledger(days_of("jobs_per_s", 5.0), NOW, replace(LINES, outgrow_jobs_per_s=0)), "jobs_per_s")
    assert (one.value, one.share) == (5.0, None)


def test_who_writes_is_told_in_shares() -> None:
    rows = (
        days_of("written_queue_per_s", 600.0) + days_of("written_outbox_per_s", 399.0) + days_of("written_kv_per_s", 1)
    )
    assert shares(ledger(rows, NOW, LINES)) == [("queue", 0.6), ("outbox", 0.399)]


# --- the findings --------------------------------------------------------------------------------------------


def told(part: OutgrowPart | Unavailable, lines: Thresholds = LINES) -> list[tuple[str, str]]:
    snapshot: Snapshot = replace(BUSY, taken_at=NOW, outgrow=part)
    return [(one.code, one.severity) for one in judge(snapshot, None, lines) if one.code.startswith("outgrow.")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((119.0,), []),
        ((120.0,), [("outgrow.jobs_per_s", "info")]),
        ((149.0,), [("outgrow.jobs_per_s", "info")]),
        ((150.0,), [("outgrow.jobs_per_s", "warning")]),
        (tuple(float(n) for n in range(10, 17)), []),
        (tuple(30.0 + 2 * n for n in range(7)), [("outgrow.jobs_per_s", "info")]),
    ],
)
def test_a_line_is_told_when_it_is_near_crossed_or_soon_reached(
    values: tuple[float, ...], expected: list[tuple[str, str]]
) -> None:
    assert told(ledger(days_of("jobs_per_s", *values), NOW, LINES)) == expected


def test_no_history_is_no_finding() -> None:
    assert told(NO_LEDGER) == told(Unavailable("no", "yes")) == told(ledger([], NOW, LINES)) == []


# --- the history, for real -----------------------------------------------------------------------------------


async def test_the_load_is_noted_once_a_minute_by_one_and_rates_are_told_from_two_looks(
    db: AsyncPool, queue: AsyncQueue
) -> None:
    await queue.enqueue_many("q", range(50))
    await AsyncEvents(db).subscribe("all")
    assert (await note_growth(db), await note_growth(db)) == (True, False)
    await a_minute_passes(db)
    claim = await queue.claim("q", owner=1, token=7, limit=50, floors=(0, 0, 0, 0))
    await queue.complete("q", [job.id for job in claim.jobs], 7)
    await queue.fold("q")
    async with db.session() as session:
        await AsyncQueue(session).enqueue_many("q", range(2_000))
        await session.execute(b"select pg_stat_force_next_flush()")
    assert await note_growth(db)
    seen = await noted(db)
    assert 0.5 < seen["jobs_per_s"] < 1.0, "50 in a minute"
    assert seen["subscribers"] == 1 and seen["connections"] >= 1
    assert seen["wal_bytes_per_s"] > 100 and seen["written_queue_per_s"] > 1 and seen["log_bytes"] > 0
    part = (await collect(db)).outgrow
    assert isinstance(part, OutgrowPart)
    assert line_of(part, "jobs_per_s").value is None, "a minute is nothing that was sustained"
    assert line_of(part, "subscribers").value == 1
    await db.execute(b"update pgops.growth set seconds = 7200")
    part = (await collect(db)).outgrow
    assert isinstance(part, OutgrowPart)
    assert line_of(part, "jobs_per_s").value == pytest.approx(seen["jobs_per_s"])
    assert part.hours >= 1 and part.written["queue"] > 0


async def test_an_hour_begins_for_all_of_them_at_once(dsn: str) -> None:
    """Whoever lives half an hour apart would begin a row of his own."""
    async with AsyncPool.open(make_conninfo(dsn, options="-c timezone=Asia/Kolkata")) as db:
        assert await note_growth(db)
        rows = await db.all(b"select distinct extract(minute from at at time zone 'utc')::integer from pgops.growth")
    assert rows == [(0,)]


async def test_what_is_sustained_weighs_hours_by_what_was_seen_of_them(db: AsyncPool) -> None:
    """A burst in the minute after a restart is not an hour like the others."""
    await db.execute(
        b"insert into pgops.growth select 'jobs_per_s', date_trunc('hour', now()) - make_interval(hours => 1 + ago), "
        b"mean, mean, seconds from (values (0, 6000, 60), (1, 100, 3600), (2, 100, 3600)) as h (ago, mean, seconds)"
    )
    part = (await collect(db)).outgrow
    assert isinstance(part, OutgrowPart)
    assert line_of(part, "jobs_per_s").value == pytest.approx((100 * 7200 + 6000 * 60) / 7260)


async def test_a_counter_that_goes_backwards_and_a_long_gap_tell_nothing(db: AsyncPool, queue: AsyncQueue) -> None:
    await queue.enqueue_many("q", range(5))
    await note_growth(db)
    await a_minute_passes(db)
    await db.execute(b"update pgops.growth_look set value = 1e15 where measure = 'jobs_per_s'")
    await db.execute(b"update pgops.growth_look set at = at - interval '1 hour' where measure = 'events_per_s'")
    assert await note_growth(db)
    seen = await noted(db)
    assert "jobs_per_s" not in seen and "events_per_s" not in seen
    assert seen["connections"] >= 1


async def test_what_is_learned_of_a_tables_rows_is_no_load(db: AsyncPool) -> None:
    async with db.session() as session:
        await session.execute(b"create table public.wide (word text) with (autovacuum_enabled = off)")
        await session.execute(b"alter table public.wide alter word set storage plain")
        await session.execute(b"insert into public.wide select repeat('x', 1900) from generate_series(1, 2000)")
        await session.execute(b"select pg_stat_force_next_flush()")
        await note_growth(db)
        await a_minute_passes(db)
        await session.execute(b"analyze public.wide")
        await session.execute(b"select pg_stat_force_next_flush()")
    assert await note_growth(db)
    assert (await noted(db))["written_others_per_s"] == 0, "nothing was written, only measured"
    await a_minute_passes(db)
    async with db.session() as session:
        await session.execute(b"insert into public.wide select repeat('x', 1900) from generate_series(1, 600)")
        await session.execute(b"select pg_stat_force_next_flush()")
    assert await note_growth(db)
    ((highest,),) = await db.all(b"select highest from pgops.growth where measure = 'written_others_per_s'")
    assert 15_000 < highest < 25_000, "600 rows of 2 kB in a minute"


async def test_where_it_cannot_be_noted_the_rest_is_tidied(db: AsyncPool, caplog: pytest.LogCaptureFixture) -> None:
    await AsyncCache(db).set("gone", b"x", ttl_s=0.01)
    await db.execute(b"drop table pgops.growth_look")
    await asyncio.sleep(0.05)
    with caplog.at_level("WARNING", "pgops.tidying"):
        await Tidying(db).tidy()
    assert "not tidied" in caplog.text
    assert await db.one(b"select count(*) from pgops.cache_store") == (0,)


async def a_minute_passes(db: AsyncPool) -> None:
    await db.execute(b"update pgops.growth_turn set taken_at = taken_at - interval '1 minute'")
    await db.execute(b"update pgops.growth_look set at = at - interval '1 minute'")


async def noted(db: AsyncPool) -> dict[str, float]:
    return {row[0]: row[1] for row in await db.all(b"select measure, mean from pgops.growth")}


# --- commands and dashboard ----------------------------------------------------------------------------------


def test_the_command_shows_the_ledger_and_what_to_do(command: Run, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute(
            "insert into pgops.growth select 'jobs_per_s', date_trunc('hour', now()) - make_interval(hours => n), 160, "
            "170, 3600 from generate_series(1, 30) n"
        )
    document = command("outgrow", "--dsn", dsn, "--json").document
    assert [one["name"] for one in document["lines"]] == [one.name for one in MEASURES]
    assert document["lines"][0] | {"remedy": ""} == document["lines"][0] | {
        "remedy": "", "value": 160, "line": 150, "growth_per_day": None, "crosses_at": None
    }  # fmt: skip
    shown = command("outgrow", "--dsn", dsn).out
    assert "crossed" in shown and "160/s" in shown and "jobs_per_s: measure what this machine does" in shown


@pytest.mark.parametrize("size", [SMALL, pytest.param(USUAL, marks=pytest.mark.slow)])
async def test_the_room_shows_each_line_and_says_what_to_do(size: tuple[int, int]) -> None:
    history = days_of("jobs_per_s", *(range(80, 140, 5))) + days_of("connections", 20.0)
    snapshot = replace(BUSY, outgrow=ledger(history + days_of("written_queue_per_s", 9.0), NOW, LINES))
    async with dashboard(LiteralSource(snapshot), size) as pilot:
        await pilot.press("9")
        await until(pilot, lambda: "jobs_per_s" in screen(pilot))
        seen = screen(pilot)
        for words in ("135/s", "150/s", "90.0%", "2026-03-04", "1 of 7 days seen", "queue 100%", "pgops bench queue"):
            assert words in seen, (words, seen)
    async with dashboard(LiteralSource(replace(BUSY, outgrow=Unavailable("no schema", "run: pgops migrate")))) as pilot:
        await pilot.press("9")
        await until(pilot, lambda: "run: pgops migrate" in screen(pilot))

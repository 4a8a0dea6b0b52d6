"""What rate limits decide is counted in the process, added in batches, and found where most of it is denied."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from cli_call import caller
from dashboard_story import LARGE, dashboard, screen, until
from snapshots_literal import BUSY, LiteralSource

from pgops import Pgops
from pgops.database import AsyncPool
from pgops.ops.collector import Collector
from pgops.ops.observe import rates
from pgops.ops.observe.snapshot import LimitsPart, Snapshot, Unavailable
from pgops.services import limit_counts
from pgops.services.client import AsyncPgops
from pgops.services.limit_counts import LimitCounts
from pgops.services.limits import AsyncLimits
from pgops.services.models import LimitStats


def test_names_are_what_stands_before_the_colon_and_never_fill_memory() -> None:
    counts = LimitCounts()
    for key, denied in (("login:ann", False), ("login:bob:x", True), ("plain", False), (":odd", True)):
        counts.add(key, denied)
    assert counts.take() == {"login": (2, 1), "(unnamed)": (2, 1)}
    for number in range(300):
        counts.add(f"k{number}:x", True)
    taken = counts.take()
    assert (len(taken), taken["(others)"]) == (201, (100, 100))
    counts.give_back({"k1": (2, 1)})
    counts.add("k1:y", True)
    assert counts.take() == {"k1": (3, 2)}
    assert not counts.due()


def test_names_do_not_fill_memory_where_no_flush_succeeds() -> None:
    counts = LimitCounts()
    for round in range(20):
        for number in range(100):
            counts.add(f"{round}-{number}:x", True)
        counts.give_back(counts.take())
    for number in range(150):
        counts.add(f"late-{number}:x", True)
    taken = counts.take()
    for number in range(150):
        counts.add(f"later-{number}:x", True)
    counts.give_back(taken)
    kept = counts.take()
    assert len(kept) <= 201
    assert sum(decisions for decisions, _ in kept.values()) == 20 * 100 + 300, "and every decision counts"


async def writes(db: AsyncPool) -> int:
    row = await db.one(b"select coalesce(sum(decisions), 0) from pgops.limit_stats")
    return int(row[0]) if row else 0


async def test_decisions_reach_the_database_in_batches_and_never_one_by_one(
    db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_counts, "FLUSH_SECONDS", 3_600.0)
    limits = AsyncLimits(db)
    for _ in range(5):
        await limits.hit("login:ann", 2, 3600)
    await limits.peek("login:ann", 2, 3600)
    assert await writes(db) == 0, "no decision has written"
    limits.counts._due_at = 0.0
    await limits.hit("api", 5, 3600)
    assert await writes(db) == 6
    (login, api) = await limits.stats()
    assert (login.name, login.decisions, login.denied) == ("login", 5, 3)
    assert (api.name, api.decisions, api.denied) == ("(unnamed)", 1, 0)


async def test_a_flush_that_fails_fails_no_decision_and_loses_nothing(db: AsyncPool) -> None:
    limits = AsyncLimits(db)
    await limits.hit("login:ann", 1, 3600)
    await db.execute(b"alter table pgops.limit_stats rename to gone")
    limits.counts._due_at = 0.0
    assert (await limits.hit("login:ann", 1, 3600)).allowed is False
    part = (await Collector(db).collect()).limits
    assert not isinstance(part, Unavailable), "an older schema is no missing part"
    assert (part.keys, part.decisions, part.names) == (1, None, ())
    await db.execute(b"alter table pgops.gone rename to limit_stats")
    assert await limits.flush()
    assert await writes(db) == 2


async def test_many_names_are_kept_together_beyond_the_cap(db: AsyncPool) -> None:
    await db.execute(b"insert into pgops.limit_stats (name) select 'n' || i from generate_series(1, 1000) as i")
    limits = AsyncLimits(db)
    for key in ("n1:a", "new:a", "newer:a"):
        await limits.hit(key, 5, 3600)
    await limits.flush()
    rows = await db.all(b"select name, decisions from pgops.limit_stats where decisions > 0 order by name")
    assert rows == [("(others)", 2), ("n1", 1)]


async def test_a_limit_that_denies_most_is_found_until_it_is_raised(db: AsyncPool) -> None:
    limits = AsyncLimits(db)

    async def look(before: Snapshot | None) -> Snapshot:
        await limits.flush()
        ago = None if before is None else replace(before, taken_at=before.taken_at - timedelta(seconds=10))
        return await Collector(db, previous=ago).collect()

    await limits.hit("api:x", 10, 3600)
    first = await look(None)
    for _ in range(30):
        await limits.hit("login:ann", 2, 3600)
    second = await look(first)
    (found,) = [one for one in second.findings if one.code == "limits.denials"]
    assert found.target == "login"
    assert "(93%)" in found.evidence
    for _ in range(30):
        await limits.hit("login:bob", 1_000, 3600)
    third = await look(second)
    assert "limits.denials" not in [one.code for one in third.findings]
    assert not isinstance(third.limits, Unavailable)
    assert (third.limits.decisions, third.limits.denied) == (61, 28)


def test_rates_are_by_name_and_never_backwards() -> None:
    at = BUSY.taken_at
    before = LimitsPart(
        1, 0, 1, decisions=110, denied=10, names=(LimitStats("a", 100, 10, at), LimitStats("b", 10, 0, at))
    )
    names = (LimitStats("a", 120, 20, at), LimitStats("b", 5, 0, at), LimitStats("c", 10, 5, at))
    now = rates.limits(LimitsPart(1, 0, 1, decisions=135, denied=25, names=names), before, 10.0)
    assert (now.decisions_per_s, now.denied_per_s) == (2.5, 1.5)
    assert [(one.decisions_per_s, one.denied_per_s) for one in now.names] == [(2.0, 1.0), (None, 0.0), (1.0, 0.5)]


def test_a_client_flushes_at_its_end_and_the_command_tells(
    dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Pgops.open(dsn) as pg:
        for _ in range(3):
            pg.limits.hit("login:ann", 1, 3600)

    async def again() -> None:
        async with AsyncPgops.open(dsn) as apg:
            await apg.limits.hit("login:bob", 1, 3600)

    asyncio.run(again())
    monkeypatch.setenv("PGOPS_DSN", dsn)
    command = caller(monkeypatch, capsys)
    (one,) = command("limit", "stats", "--json").document["items"]
    assert (one["name"], one["decisions"], one["denied"]) == ("login", 4, 2)
    assert "50.0%" in command("limit", "stats").out
    assert "2 of 4 decisions denied" in command("status").out


async def test_the_stores_show_what_is_denied() -> None:
    login = LimitStats("login", 100, 50, BUSY.taken_at, 50.0, 12.0)
    part = replace(BUSY.limits, decisions=100, denied=50, decisions_per_s=50.0, denied_per_s=12.0, names=(login,))  # type: ignore[type-var]
    async with dashboard(LiteralSource(replace(BUSY, limits=part)), LARGE) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "denied 12" in screen(pilot) and "login" in screen(pilot))

"""What the statements of the event log cost beside a long log: pages touched by the generic plan, which is what callers
run."""

import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql
from test_events import events, leased

from pgops.database import AsyncPool
from pgops.queries import load
from pgops.services.events import AsyncEvents

__all__ = ["events"]

SLOT_EVENTS = 3_000
FILES = ("event_cursors", "event_log", "events", "event_upkeep")
QUERIES = {name: query for file in FILES for name, query in load("pgops.services", f"{file}.sql").items()}
# A day a slot, as time would have filled them, and many transactions.
FILL = b"""
insert into pgops.event_log (slot, xid, topic, key, payload, created_at)
select (extract(epoch from at)::bigint / 86400 %% 32)::smallint, (3 + n %% 700)::text::xid8, 't', 'k' || n %% 5000,
       jsonb_build_object('n', n, 'text', repeat('x', 100)), at
from generate_series(1, %(count)s) n, (select statement_timestamp() - make_interval(days => %(days)s) as at) then_
"""


async def pages(dsn: str, statement: str, **values: object) -> int:
    """The pages that one run of the statement touches; what it changes is undone."""
    names = list(dict.fromkeys(re.findall(rb"%\((\w+)\)s", QUERIES[statement])))
    query = QUERIES[statement].replace(b"%%", b"%")
    for number, each in enumerate(names, start=1):
        query = query.replace(b"%%(%s)s" % each, b"$%d" % number)
    given = sql.SQL(", ").join(sql.Literal(values[each.decode()]) for each in names)
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        await conn.execute("set plan_cache_mode = force_generic_plan")
        await conn.execute(b"prepare look as " + query)
        run = sql.SQL("explain (analyze, buffers, timing off, format json) execute look ({})").format(given)
        row = await (await conn.execute(run)).fetchone()
        await conn.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.slow
async def test_statements_cost_what_they_give_and_not_what_the_log_holds(
    events: AsyncEvents, db: AsyncPool, dsn: str
) -> None:
    """31 days of events: subscription `s` is beyond them all, and `behind` has still to get each."""
    since = datetime.now(UTC) - timedelta(hours=1)

    async def costs() -> dict[str, int]:
        return {
            "fetch": await pages(dsn, "fetch", subscription="s", token=1, limit=100),
            "lag": await pages(dsn, "lag", name="s", cap=10_000),
            "lag of who is far behind": await pages(dsn, "lag", name="behind", cap=100),
            "replay": await pages(dsn, "replay", name="s", since=since),
            "behind_slot": await pages(dsn, "behind_slot", slot=0, older_than_s=86_400.0, cap=100),
            "newest_events": await pages(dsn, "newest_events", topic=None, type=None, limit=100),
            "newest_of_key": await pages(dsn, "newest_of_key", topic=None, type=None, key="k1", limit=100),
        }

    await events.subscribe("behind", start="beginning")
    await leased(events)
    few = await costs()
    for days in range(31):
        await db.execute(FILL, {"count": SLOT_EVENTS, "days": days})
    await db.execute(b"vacuum analyze pgops.event_log")
    await events.advance(await events.fetch("s", 1), idle=True)
    many = await costs()
    grown = {name: many[name] - few[name] for name in few}
    slot, part = SLOT_EVENTS, 31 * SLOT_EVENTS // 64
    # A transaction that runs in another database of the server costs a probe of each day.
    allowed = {
        "fetch": 200, "lag": 200, "lag of who is far behind": 500, "replay": slot // 2, "behind_slot": 500,
        "newest_events": 300, "newest_of_key": part,
    }  # fmt: skip
    assert {name: grown[name] for name in grown if grown[name] > allowed[name]} == {}

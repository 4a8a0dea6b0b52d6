"""What is asked of PostgreSQL about itself, and how its rows become values.

Floor 3, under collector.py, by the contract of parts.py: (session, look) -> value.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from pgops.database import Row
from pgops.ops.observe.part import Part, needs_stats
from pgops.ops.observe.parts import Look, Session
from pgops.ops.observe.rates import per_second
from pgops.ops.observe.snapshot_server import (
    IndexTrouble,
    Replay,
    ReplicationPart,
    SequencePart,
    Slot,
    Standby,
    TablePart,
    UnloggedTable,
    WalPart,
    WraparoundPart,
    XminHolder,
)
from pgops.ops.thresholds import Thresholds
from pgops.queries import load

Q = load("pgops.ops.observe", "server_parts.sql")

HOLDERS_SHOWN = 20
LEVEL_XIDS = 100
REPLICAS_SHOWN = 50
TABLES_SHOWN = 50
LARGEST_SHOWN = 10
INDEXES_SHOWN = 20
OTHERS_SHOWN = 20
TABLES_WALKED = 5_000
INDEXES_WALKED = 20_000
SEQUENCES_WALKED = 2_000
SOON_S, SELDOM_S, RARELY_S = 5.0, 30.0, 60.0
HALF = 0.5
BUSY = (
    "job_available", "job_scheduled", "job_waiting", "job_running", "job_dead", "job_history", "job_unique",
    "job_group", "queue_delta", "queue_total", "workers", "event_log", "subscription_parts", "relays",
    "parked_events", "inbox", "pubsub_payloads", "cache_store", "rate_limits", "rate_windows", "kv_store",
    "kv_ephemeral",
)  # fmt: skip
UNLOGGED = (
    "pubsub_payloads",
    "cache_store",
    "cache_stats",
    "rate_limits",
    "rate_windows",
    "limit_stats",
    "kv_ephemeral",
)


def all_parts(lines: Thresholds) -> tuple[Part[Any], ...]:
    """In the order they are taken."""
    return (
        Part("xmin_holders", partial(xmin_holders, lines=lines), needs_stats, every_s=SOON_S),
        Part("wal", wal, rate=wal_rate, every_s=SOON_S),
        Part("replication", replication, needs_stats, every_s=SOON_S),
        Part("tables", tables, every_s=SELDOM_S),
        Part("indexes", partial(indexes, lines=lines), every_s=RARELY_S),
        Part("wraparound", wraparound, every_s=RARELY_S),
    )


async def xmin_holders(session: Session, look: Look, lines: Thresholds) -> tuple[XminHolder, ...]:
    """Whom vacuum waits for, the oldest first, those of the catalogs alone last."""
    params = {"cap": HOLDERS_SHOWN, "seen_s": lines.xmin_seen_s, "level": LEVEL_XIDS}
    return tuple(_holder(row) for row in await session.all(Q["xmin_holders"], params))


def _holder(row: Row) -> XminHolder:
    kind, name, xids, seconds, *rest = row
    return XminHolder(kind, name, xids, None if seconds is None else max(seconds, 0.0), *rest)


async def wal(session: Session, look: Look) -> WalPart:
    return WalPart(*await session.one(Q.at(look.version)["wal"]))


def wal_rate(now: WalPart, before: WalPart, seconds: float) -> WalPart:
    """`now` with bytes_per_s."""
    return replace(now, bytes_per_s=None if now.bytes is None else per_second(now.bytes, before.bytes, seconds))


async def replication(session: Session, look: Look) -> ReplicationPart:
    in_recovery, synchronous = await session.one(Q["replication_setting"])
    cap = {"cap": REPLICAS_SHOWN}
    standbys = tuple(Standby(*row) for row in await session.all(Q["standbys"], cap))
    slots = tuple(Slot(*row) for row in await session.all(Q["slots"], cap))
    replay = Replay(*await session.one(Q["replay"])) if in_recovery else None
    return ReplicationPart(standbys, slots, synchronous, replay)


async def tables(session: Session, look: Look) -> tuple[TablePart, ...]:
    """pgops' own busy tables, and of all the tables with most dead rows and the largest; most dead rows first."""
    params = {"own": list(BUSY), "walk": TABLES_WALKED, "cap": TABLES_SHOWN, "largest": LARGEST_SHOWN}
    return tuple(_table(row) for row in await session.all(Q["tables"], params))


def _table(row: Row) -> TablePart:
    (name, own, partitions, rows, dead, updates, hot, vacuum, autovacuum, analyze, autoanalyze, enabled, due, above,
     vacuuming, size, freeze_age, unlogged) = row  # fmt: skip
    return TablePart(
        table=name, own=own, partitions=partitions, rows=rows, dead_rows=dead,
        dead_share=dead / (rows + dead) if dead else 0.0, updates_total=updates,
        hot_share=hot / updates if updates else None, last_vacuum=vacuum, last_autovacuum=autovacuum,
        last_analyze=analyze, last_autoanalyze=autoanalyze, autovacuum=enabled, autovacuum_due=due,
        vacuum_above=above, vacuuming=vacuuming, bytes=size, freeze_age=freeze_age, unlogged=unlogged,
        exact={"rows": False, "dead_rows": False},
    )  # fmt: skip


async def indexes(session: Session, look: Look, lines: Thresholds) -> tuple[IndexTrouble, ...]:
    """Indexes that matter: invalid first, then duplicates, then unused ones."""
    params = {
        "walk": INDEXES_WALKED, "cap": INDEXES_SHOWN, "unused_bytes": lines.unused_index_bytes,
        "unused_s": lines.unused_index_s,
    }  # fmt: skip
    return tuple(replace(IndexTrouble(*row), exact={"bytes": False}) for row in await session.all(Q["indexes"], params))


async def wraparound(session: Session, look: Look) -> WraparoundPart:
    ages = await session.one(Q["wraparound"])
    sequences = await session.all(Q["sequences"], {"walk": SEQUENCES_WALKED, "share": HALF, "cap": OTHERS_SHOWN})
    unlogged = await session.all(Q["unlogged"], {"own": list(UNLOGGED), "cap": OTHERS_SHOWN})
    return replace(
        WraparoundPart(*ages),
        sequences=tuple(SequencePart(*row) for row in sequences),
        unlogged=tuple(replace(UnloggedTable(*row), exact={"bytes": False}) for row in unlogged),
    )

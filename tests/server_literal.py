"""What PostgreSQL itself suffers from, written down by hand, for tests of what is shown of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pgops.ops.observe.snapshot import Snapshot
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

NOW = datetime(2026, 3, 1, 3, 12, 45, tzinfo=UTC)
MB = 1 << 20


def table(name: str, dead: int, **more: object) -> TablePart:
    """A table in which nothing is wrong but its dead rows."""
    plain = TablePart(
        table=name, own=name.startswith("pgops."), partitions=1, rows=80_000, dead_rows=dead,
        dead_share=dead / (80_000 + dead), updates_total=40_000, hot_share=0.97, last_vacuum=None,
        last_autovacuum=NOW - timedelta(minutes=4), last_analyze=None, last_autoanalyze=None, autovacuum=True,
        autovacuum_due=False, vacuum_above=16_050, vacuuming=False, bytes=48 * MB, freeze_age=1_200_000,
        exact={"rows": False, "dead_rows": False},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


HOLDERS = (
    XminHolder("backend", "billing", 48_211, 734.0, pid=4711, user="app", state="idle in transaction",
               backend_type="client backend"),
    XminHolder("prepared transaction", "order-7", 9_120, 300.0, user="app", state="prepared"),
    XminHolder("replication slot", "debezium", 8_000, None, only_catalogs=True, state="active"),
)  # fmt: skip
WAL = WalPart(
    level="replica", in_recovery=False, position="3A/91C0F2B8", bytes=251_000_000_000, average_bytes_per_s=1_200_000.0,
    average_over_s=900_000.0, checkpoints_timed=211, checkpoints_requested=14, checkpoints_over_s=64_000.0,
    archiving=True, archived_total=912, archive_failed_total=3, archive_failing=True,
    archive_failed_file="000000010000003A00000091", archived_s=700.0, bytes_per_s=5_600_000.0,
)  # fmt: skip
REPLICATION = ReplicationPart(
    (Standby(812, "second", "10.0.0.8", "streaming", "async", 6 * MB, 1.4),),
    (Slot("old", "physical", None, None, False, "extended", 9_000 * MB, inactive_s=86_000.0),
     Slot("debezium", "logical", "pgoutput", "shop", True, "reserved", 2 * MB)),
)  # fmt: skip
TABLES = (
    table("pgops.job_running", 51_000, autovacuum_due=True, hot_share=0.42),
    table("public.orders", 12_000, rows=4_100_000, bytes=1_900 * MB),
    table("pgops.event_log", 0, partitions=32, hot_share=None, last_autovacuum=None),
    table("public.scratch", 0, autovacuum=False, unlogged=True, bytes=None),
)
INDEXES = (
    IndexTrouble("public.orders", "public.orders_mail_idx", "invalid", "btree", 40 * MB, 0, True, None, 900_000.0),
    IndexTrouble("public.orders", "public.orders_paid_2", "duplicate", "btree", 30 * MB, 12, False,
                 "public.orders_paid", 900_000.0),
    IndexTrouble("public.orders", "public.orders_note", "unused", "gin", 210 * MB, 0, False, None, 900_000.0),
)  # fmt: skip
AGES = WraparoundPart(
    "shop", 48_000_000, 900, "shop", 48_000_000, "shop", 900, 200_000_000, 400_000_000,
    (SequencePart("public.orders_id_seq", "public.orders.id", 1_900_000_000, 2_147_483_647, 0.885),),
    (UnloggedTable("public.scratch", MB),),
)  # fmt: skip
STANDBY = ReplicationPart((), (), replay=Replay(True, True, 6 * MB, 90.0))


def suffering(snapshot: Snapshot) -> Snapshot:
    """The same with all of it."""
    return replace(
        snapshot,
        xmin_holders=HOLDERS,
        wal=WAL,
        replication=REPLICATION,
        tables=TABLES,
        indexes=INDEXES,
        wraparound=AGES,
    )

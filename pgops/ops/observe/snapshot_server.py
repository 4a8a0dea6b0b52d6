"""What PostgreSQL itself suffers from, as values: a Snapshot's parts about vacuum, its log, replication, tables,
indexes, and what runs out.

Floor 3, under snapshot.py, where everybody finds them. Tables, indexes and sequences are named
schema.name, quoted where SQL needs it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

XIDS_END = 2_144_483_647
"""At this age of the oldest transaction id, or multixact, the server gives out no more: 3 million before the wrap."""


@dataclass(frozen=True, slots=True)
class XminHolder:
    """Somebody whom vacuum waits for in this database. `name` is the application, the slot, the prepared
    transaction's id or the standby; `age_xids` how many transactions began since, `age_s` how long ago (a slot: since
    when it is inactive). `only_catalogs`: it holds back the catalogs alone, as a logical slot does."""

    kind: Literal["backend", "replication slot", "prepared transaction", "standby"]
    name: str
    age_xids: int
    age_s: float | None
    only_catalogs: bool = False
    pid: int | None = None
    started_at: datetime | None = None
    user: str | None = None
    state: str | None = None
    backend_type: str | None = None


@dataclass(frozen=True, slots=True)
class WalPart:
    """The write-ahead log: `bytes` were written since the server was made (on a standby: replayed). The average is
    since its statistics began, `average_over_s` ago. `archive_failing`: the last try to archive has failed."""

    level: str
    in_recovery: bool
    position: str | None
    bytes: int | None
    average_bytes_per_s: float | None
    average_over_s: float | None
    checkpoints_timed: int
    checkpoints_requested: int
    checkpoints_over_s: float | None
    archiving: bool
    archived_total: int
    archive_failed_total: int
    archive_failing: bool
    archive_failed_file: str | None
    archived_s: float | None
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Standby:
    """Who streams from this server, and how far behind its replay is."""

    pid: int
    name: str
    client: str
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot; `retained_bytes` of the log are kept for it, `wal_status` is PostgreSQL's: reserved,
    extended, unreserved, lost. `inactive_s` is known from 17 on."""

    name: str
    type: str
    plugin: str | None
    database: str | None
    active: bool
    wal_status: str | None
    retained_bytes: int | None
    safe_bytes: int | None = None
    age_xids: int | None = None
    inactive_s: float | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """Of a standby: whether it receives, whether its replay is paused, and how far behind it is itself."""

    receiving: bool
    paused: bool
    lag_bytes: int | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class ReplicationPart:
    """`synchronous`: commits wait for a standby. `replay` is None on a primary."""

    standbys: tuple[Standby, ...]
    slots: tuple[Slot, ...]
    synchronous: bool = False
    replay: Replay | None = None


@dataclass(frozen=True, slots=True)
class TablePart:
    """One table, with all its `partitions`. `own` are pgops' tables. `hot_share` is that of the updates which touched
    no index, since the statistics were reset. Autovacuum is due above `vacuum_above` dead rows, by the table's own
    settings, and comes only where `autovacuum` is on. `bytes` with indexes, None while somebody locks it away."""

    table: str
    own: bool
    partitions: int
    rows: int
    dead_rows: int
    dead_share: float
    updates_total: int
    hot_share: float | None
    last_vacuum: datetime | None
    last_autovacuum: datetime | None
    last_analyze: datetime | None
    last_autoanalyze: datetime | None
    autovacuum: bool
    autovacuum_due: bool
    vacuum_above: int
    vacuuming: bool
    bytes: int | None
    freeze_age: int
    unlogged: bool = False
    exact: Mapping[str, bool] = field(default_factory=dict)

    @property
    def vacuumed(self) -> datetime | None:
        """When it was last, by hand or by autovacuum."""
        return max((at for at in (self.last_vacuum, self.last_autovacuum) if at is not None), default=None)


@dataclass(frozen=True, slots=True)
class IndexTrouble:
    """An index that matters: invalid, alike to its `twin` and not needed beside it, or not scanned in the
    `statistics_s` since statistics began. The primary key or a constraint is never told."""

    table: str
    index: str
    problem: Literal["invalid", "duplicate", "unused"]
    method: str
    bytes: int
    scans_total: int
    unique: bool
    twin: str | None
    statistics_s: float | None
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SequencePart:
    """A sequence that is half used or more; `ends_at` is its own end or that of the column which it `feeds`."""

    name: str
    feeds: str | None
    last: int
    ends_at: int
    share: float


@dataclass(frozen=True, slots=True)
class UnloggedTable:
    """A table that a crash empties."""

    table: str
    bytes: int
    exact: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WraparoundPart:
    """Ages of the oldest transaction id and multixact, of this database and of the one where it is oldest; the
    server freezes by force from `freeze_max_age` on, and stops at XIDS_END. Beside it what else runs out or is lost."""

    database: str
    xid_age: int
    multixact_age: int
    oldest_database: str
    oldest_xid_age: int
    oldest_multixact_database: str
    oldest_multixact_age: int
    freeze_max_age: int
    multixact_freeze_max_age: int
    sequences: tuple[SequencePart, ...] = ()
    unlogged: tuple[UnloggedTable, ...] = ()
    xids_end: int = XIDS_END

"""The rules about PostgreSQL itself, on literal Snapshots: each line has a case on either side of it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from test_findings import WELL, Codes

from pgops.ops.judge.findings import judge
from pgops.ops.judge.minors import FLAWS, NEWEST
from pgops.ops.observe.snapshot import ServerPart, Snapshot, Unavailable
from pgops.ops.observe.snapshot_server import (
    XIDS_END,
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

MB, GB = 1 << 20, 1 << 30
HOLDER = XminHolder(
    "backend", "billing", 4_000, 300.0, pid=4711, user="app", state="idle in transaction", backend_type="client backend"
)
SLOT = Slot("old", "physical", None, None, False, "reserved", 0)
STANDBY = Standby(99, "second", "10.0.0.8", "streaming", "async", 0, None)
REPLICATION = ReplicationPart((STANDBY,), (SLOT,))
WAL = WalPart(
    level="replica", in_recovery=False, position="0/1", bytes=1, average_bytes_per_s=1.0 * MB, average_over_s=86_400.0,
    checkpoints_timed=100, checkpoints_requested=0, checkpoints_over_s=9_000.0, archiving=True, archived_total=5,
    archive_failed_total=0, archive_failing=False, archive_failed_file=None, archived_s=60.0, bytes_per_s=1.0 * MB,
)  # fmt: skip
TABLE = TablePart(
    table="pgops.job_running", own=True, partitions=1, rows=50_000, dead_rows=9_999, dead_share=0.17,
    updates_total=100_000, hot_share=0.5, last_vacuum=None, last_autovacuum=WELL.taken_at - timedelta(seconds=900),
    last_analyze=None, last_autoanalyze=None, autovacuum=True, autovacuum_due=True, vacuum_above=5_000,
    vacuuming=False, bytes=GB, freeze_age=1_000,
)  # fmt: skip
INDEX = IndexTrouble("public.t", "public.t_a", "unused", "btree", 10 * MB, 0, False, None, 604_800.0)
AGES = WraparoundPart("app", 1_000, 10, "app", 249_999_999, "app", 499_999_999, 200_000_000, 400_000_000)


def held(dead: int = 10_000, **changes: object) -> Snapshot:
    holder: XminHolder = replace(HOLDER, **changes)  # type: ignore[arg-type]
    table = replace(TABLE, dead_rows=dead, autovacuum_due=False)
    return replace(WELL, xmin_holders=(holder,), tables=(table,))


def wal(**changes: object) -> Snapshot:
    changed: WalPart = replace(WAL, **changes)  # type: ignore[arg-type]
    return replace(WELL, wal=changed)


def standby(**changes: object) -> Snapshot:
    changed: Standby = replace(STANDBY, **changes)  # type: ignore[arg-type]
    return replace(WELL, replication=replace(REPLICATION, standbys=(changed,)))


def synchronous(*standbys: Standby) -> Snapshot:
    return replace(WELL, replication=ReplicationPart(standbys, (), synchronous=True))


def slot(**changes: object) -> Snapshot:
    changed: Slot = replace(SLOT, **changes)  # type: ignore[arg-type]
    return replace(WELL, replication=replace(REPLICATION, slots=(changed,)))


def replay(lag_s: float | None, *, paused: bool = False) -> Snapshot:
    return replace(WELL, replication=ReplicationPart((), (), replay=Replay(True, paused, 0, lag_s)))


def table(**changes: object) -> Snapshot:
    changed: TablePart = replace(TABLE, **changes)  # type: ignore[arg-type]
    return replace(WELL, tables=(changed,))


def ages(**changes: object) -> Snapshot:
    changed: WraparoundPart = replace(AGES, **changes)  # type: ignore[arg-type]
    return replace(WELL, wraparound=changed)


def sequence(share: float) -> Snapshot:
    return ages(sequences=(SequencePart("public.t_id_seq", "public.t.id", 9, 10, share),))


def index(**changes: object) -> Snapshot:
    changed: IndexTrouble = replace(INDEX, **changes)  # type: ignore[arg-type]
    return replace(WELL, indexes=(changed,))


def version(number: int) -> Snapshot:
    assert isinstance(WELL.server, ServerPart)
    return replace(WELL, server=replace(WELL.server, version_num=number))


CASES: list[tuple[str, Snapshot, Codes]] = [
    ("held, but few dead rows", held(9_999), []),
    ("held, but briefly", held(age_s=299.9), []),
    ("held", held(), [("vacuum.held", "warning")]),
    ("held for long", held(age_s=3_600.0), [("vacuum.held", "critical")]),
    ("only catalogs are held", held(only_catalogs=True), []),
    ("a slot of unknown age, young", held(kind="replication slot", age_s=None, age_xids=99_999), []),
    ("a slot, old", held(kind="replication slot", age_s=None, age_xids=100_000), [("vacuum.held", "warning")]),
    ("nobody's tables are known", replace(held(), tables=Unavailable("", "")), []),
    # the log
    ("archived", wal(archive_failed_total=4), []),
    ("archiving fails", wal(archive_failing=True, archived_s=3_599.0), [("wal.archive", "warning")]),
    ("it fails for long", wal(archive_failing=True, archived_s=3_600.0), [("wal.archive", "critical")]),
    ("it never worked", wal(archive_failing=True, archived_s=None), [("wal.archive", "critical")]),
    ("no archive is wanted", wal(archive_failing=True, archiving=False), []),
    ("much log", wal(bytes_per_s=32.0 * MB), [("wal.rate", "info")]),
    ("not so much", wal(bytes_per_s=31.9 * MB), []),
    ("much, but as usual", wal(bytes_per_s=32.0 * MB, average_bytes_per_s=6.5 * MB), []),
    ("much, and nobody knows what is usual", wal(bytes_per_s=32.0 * MB, average_over_s=86_399.0), []),
    ("half of the checkpoints requested", wal(checkpoints_requested=100), [("wal.checkpoints", "info")]),
    ("less than half", wal(checkpoints_requested=99), []),
    ("few checkpoints yet", wal(checkpoints_timed=0, checkpoints_requested=19), []),
    # replication
    ("a standby a little behind", standby(lag_bytes=GB - 1, lag_s=59.9), []),
    ("behind by bytes", standby(lag_bytes=GB), [("replication.lag", "warning")]),
    ("behind by time", standby(lag_s=60.0), [("replication.lag", "warning")]),
    ("far behind", standby(lag_s=600.0), [("replication.lag", "critical")]),
    ("no synchronous standby", synchronous(STANDBY), [("replication.synchronous", "critical")]),
    ("a synchronous standby", synchronous(replace(STANDBY, sync_state="quorum")), []),
    ("an inactive slot keeps little", slot(retained_bytes=256 * MB - 1), []),
    ("an inactive slot", slot(retained_bytes=256 * MB), [("slots.inactive", "warning")]),
    ("an inactive slot keeps much", slot(retained_bytes=10 * GB), [("slots.inactive", "critical")]),
    ("an active slot", slot(active=True, retained_bytes=10 * GB - 1), []),
    ("an active slot keeps much", slot(active=True, retained_bytes=10 * GB), [("slots.retained", "warning")]),
    ("a slot is being lost", slot(wal_status="unreserved"), [("slots.lost", "critical")]),
    ("a slot is lost", slot(wal_status="lost", retained_bytes=None), [("slots.lost", "critical")]),
    ("this standby is level", replay(59.9), []),
    ("nothing was replayed yet", replay(None), []),
    ("this standby is behind", replay(60.0), [("replication.replay", "warning")]),
    ("far behind itself", replay(600.0), [("replication.replay", "critical")]),
    ("its replay is paused", replay(0.0, paused=True), [("replication.replay", "warning")]),
    # tables
    ("few dead rows", table(), []),
    ("autovacuum is late", table(dead_rows=10_000), [("vacuum.due", "warning")]),
    ("it was here", table(dead_rows=10_000, last_vacuum=WELL.taken_at - timedelta(seconds=899)), []),
    ("it is here", table(dead_rows=10_000, vacuuming=True), []),
    ("below twice its line", table(dead_rows=10_000, vacuum_above=5_001), []),
    ("it never came, and nothing is known of before", table(dead_rows=10_000, last_autovacuum=None), []),
    (
        "it may not come",
        table(dead_rows=10_000, last_autovacuum=None, autovacuum=False),
        [("vacuum.due", "warning")],
    ),
    ("few HOT updates", table(hot_share=0.49), [("tables.hot", "warning")]),
    ("too few updates to tell", table(hot_share=0.49, updates_total=99_999), []),
    ("of a table that cannot be HOT", table(hot_share=0.0, table="pgops.job_available"), []),
    # what runs out
    ("frozen in time", ages(), []),
    ("not frozen", ages(oldest_xid_age=250_000_000), [("wraparound.age", "warning")]),
    ("multixacts not frozen", ages(oldest_multixact_age=500_000_000), [("wraparound.age", "warning")]),
    ("near the end", ages(oldest_xid_age=XIDS_END * 3 // 4 + 1), [("wraparound.age", "critical")]),
    ("a sequence", sequence(0.799), []),
    ("a sequence far on", sequence(0.8), [("sequences.full", "warning")]),
    ("a sequence near its end", sequence(0.95), [("sequences.full", "critical")]),
    ("an unlogged table", ages(unlogged=(UnloggedTable("public.t", 8_192),)), [("tables.unlogged", "info")]),
    # indexes
    ("unused", index(), [("indexes.unused", "info")]),
    ("unused, but small", index(bytes=10 * MB - 1), []),
    ("unused, as far as is known", index(statistics_s=604_799.0), []),
    ("a twin", index(problem="duplicate", twin="public.t_b"), [("indexes.duplicate", "info")]),
    ("invalid", index(problem="invalid"), [("indexes.invalid", "warning")]),
    ("invalid, and told with the vectors", index(problem="invalid", method="hnsw"), []),
    # versions
    ("the newest", version(170_011), []),
    ("newer than is known", version(170_012), []),
    ("a major that is not known", version(190_000), []),
    ("behind", version(170_010), [("server.minor", "info")]),
    ("with a bug", version(170_008), [("server.flaw", "warning")]),
    ("with another", version(150_005), [("server.flaw", "warning")]),
]


@pytest.mark.parametrize(("snapshot", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_rules_draw_their_lines(snapshot: Snapshot, expected: Codes) -> None:
    found = judge(snapshot)
    assert [(finding.code, finding.severity) for finding in found] == expected
    for finding in found:
        assert any(character.isdigit() for character in finding.evidence), "evidence is in numbers"
        assert finding.why.endswith(".")
        assert finding.remedy
        assert (finding.action is None) == (finding.command is None)


def test_what_never_came_is_late_once_it_was_due_before() -> None:
    never = table(dead_rows=10_000, last_autovacuum=None)
    assert [one.code for one in judge(never, never)] == ["vacuum.due"]
    assert judge(never, table(autovacuum_due=False)) == ()
    assert judge(never, replace(never, tables=Unavailable("", ""))) == ()


def test_the_one_who_began_is_blamed_and_not_who_repeats_it() -> None:
    reader = replace(HOLDER, pid=4712, age_s=299.0)
    away = XminHolder("standby", "second", 4_100, None)
    both = replace(held(), xmin_holders=(away, reader, HOLDER, replace(HOLDER, pid=4713, age_s=301.0)))
    finding = judge(both)[0]
    assert (finding.action, finding.target, finding.command) == (
        "terminate_backend", "4713", "pgops sessions terminate 4713"
    )  # fmt: skip
    assert "billing as app, idle in transaction" in finding.evidence
    assert finding.evidence.endswith("; 1 other behind it")


@pytest.mark.parametrize(
    ("kind", "name", "remedy"),
    [
        ("replication slot", "old", "select pg_drop_replication_slot('old')"),
        ("prepared transaction", "it's", "rollback prepared 'it''s'"),
        ("standby", "second", "hot_standby_feedback = off"),
    ],
)
def test_what_is_no_session_is_let_go_in_words(kind: str, name: str, remedy: str) -> None:
    finding = judge(held(kind=kind, name=name, age_s=None, age_xids=100_000, pid=None))[0]
    assert remedy in finding.remedy
    assert (finding.action, finding.target) == (None, name)


def test_a_flaw_is_of_a_minor_that_is_older_than_the_newest() -> None:
    for flaw in FLAWS:
        major, cured = map(int, flaw.cured_in.split("."))
        assert major == flaw.major
        assert max(flaw.minors) < cured <= NEWEST[major]

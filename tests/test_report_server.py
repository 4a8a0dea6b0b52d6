"""`pgops status` about PostgreSQL itself, from a literal Snapshot; and the same as a document."""

import json
from dataclasses import replace

import pytest
from server_literal import STANDBY, suffering
from test_findings import WELL

from pgops.cli import output, report
from pgops.ops.observe.snapshot import Unavailable


def shown(capsys: pytest.CaptureFixture[str], snapshot: object) -> str:
    report.show(snapshot)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_status_tells_who_holds_vacuum_back_and_what_runs_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = shown(capsys, suffering(WELL))
    for words in (
        "wal       level replica, at 3A/91C0F2B8, 5.3 MB/s (1.1 MB/s on average); checkpoints 211 timed, 14 requested; "
        "archive FAILING",
        "standby second streaming async behind by 6.0 MB, 1.4s; slot old (physical) INACTIVE, extended, keeps 8.8 GB",
        "oldest transaction id 48,000,000 old in shop (2.2% of all)",
        "sequence public.orders_id_seq 88% used; unlogged: public.scratch",
        "Vacuum held back", "idle in transaction", "order-7", "48,211",
        "pgops.job_running", "51,000", "42%", "due", "OFF", "Indexes that only cost", "public.orders_paid_2",
    ):  # fmt: skip
        assert words in said
    assert "this standby is paused, behind by 6.0 MB, 1m 30s" in shown(capsys, replace(WELL, replication=STANDBY))
    bare = shown(capsys, replace(WELL, tables=Unavailable("no", "grant it")))
    assert "Tables: unavailable: no (grant it)" in bare
    assert "Vacuum held back: none" in bare


def test_the_document_has_the_keys_and_says_what_is_estimated() -> None:
    document = json.loads(json.dumps(output.plain(suffering(WELL))))
    assert document["xmin_holders"][0]["kind"] == "backend"
    assert document["wal"]["bytes_per_s"] == 5_600_000
    assert document["replication"]["slots"][0]["retained_bytes"] == 9_000 << 20
    assert document["tables"][0]["exact"] == {"rows": False, "dead_rows": False}
    assert document["indexes"][1]["twin"] == "public.orders_paid"
    assert document["wraparound"]["sequences"][0]["ends_at"] == 2_147_483_647

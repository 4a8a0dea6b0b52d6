"""Findings about queues, caches, limits and vectors: a literal Snapshot on either side of each line."""

from dataclasses import replace

import pytest
from test_findings import QUEUE, WELL, WORKER, Codes, told

from pgops.ops.findings import judge
from pgops.ops.snapshot import Finding, Snapshot


def flow(**changes: object) -> Snapshot:
    """A queue that is told over a minute: 1,000 jobs, ten a second more than end."""
    usual = replace(
        QUEUE, available=1_000, running=10, oldest_age_s=20.0, arriving_per_s=20.0, served_per_s=10.0,
        rates_over_s=60.0, drains=False, workers_needed=3,
    )  # fmt: skip
    return replace(WELL, queues=(replace(usual, **changes),))  # type: ignore[arg-type]


CASES: list[tuple[str, Snapshot, Codes]] = [
    ("grows", flow(), [("queue.not_draining", "warning")]),
    ("grows, few jobs", flow(available=99), []),
    ("grows, with those behind a head", flow(available=50, waiting=50), [("queue.not_draining", "warning")]),
    ("grows, told too early", flow(rates_over_s=19.9), []),
    ("grows, paused", flow(paused=True), []),
    ("nobody knows", flow(drains=None), []),
    ("grows, waited five minutes", flow(oldest_age_s=300.0), [("queue.not_draining", "critical")]),
    ("drains within the hour", flow(drains=True, drain_s=3_599.0), []),
    ("drains in an hour", flow(drains=True, drain_s=3_600.0), [("queue.not_draining", "warning")]),
    ("drains in six hours", flow(drains=True, drain_s=21_600.0), [("queue.not_draining", "critical")]),
    ("drains, but is late", flow(drains=True, drain_s=60.0, oldest_age_s=300.0), [("queue.slow", "warning")]),
    (
        "drains in an hour, and is very late",
        flow(drains=True, drain_s=3_600.0, oldest_age_s=1_800.0),
        [("queue.not_draining", "critical")],
    ),
    ("grows, no worker", replace(flow(oldest_age_s=90.0), workers=()), [("queue.no_worker", "critical")]),
]


@pytest.mark.parametrize(("snapshot", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_lines(snapshot: Snapshot, expected: Codes) -> None:
    assert sorted(told(snapshot)) == sorted(expected)
    for finding in judge(snapshot):
        assert any(character.isdigit() for character in finding.evidence)
        assert finding.why.endswith(".")
        assert finding.remedy
        assert (finding.action is None) == (finding.command is None)


def only(snapshot: Snapshot) -> Finding:
    (found,) = judge(snapshot)
    return found


def test_what_helps_a_queue_that_does_not_drain_is_said_by_its_cause() -> None:
    assert "2 workers more would empty it" in only(flow()).remedy
    assert "its own limit" in only(flow(limited=True, workers_needed=None)).remedy
    assert "look at what their jobs wait for" in only(flow(workers_needed=1)).remedy
    assert "1,000 jobs ready, never empty: 20.0 arrive and 10.0 end a second; 1 worker" in only(flow()).evidence
    assert WORKER.concurrency == 10

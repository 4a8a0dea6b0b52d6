"""Findings about queues, caches, limits and vectors: a literal Snapshot on either side of each line."""

from dataclasses import replace

import pytest
from test_findings import INDEX, QUEUE, WELL, WORKER, Codes, cache, index, told

from pgops.database import AsyncPool
from pgops.ops.collector import Collector
from pgops.ops.judge.findings import Thresholds, judge
from pgops.ops.observe.snapshot import Finding, LimitsPart, Snapshot, Unavailable
from pgops.services.cache import AsyncCache
from pgops.services.models import LimitStats


def flow(**changes: object) -> Snapshot:
    """A queue that is told over a minute: 1,000 jobs, ten a second more than end."""
    usual = replace(
        QUEUE, available=1_000, running=10, oldest_age_s=20.0, arriving_per_s=20.0, served_per_s=10.0,
        rates_over_s=60.0, drains=False, workers_needed=3,
    )  # fmt: skip
    return replace(WELL, queues=(replace(usual, **changes),))  # type: ignore[arg-type]


def limits(decisions_per_s: float | None, denied_per_s: float | None) -> Snapshot:
    login = LimitStats("login", 100, 50, WELL.taken_at, decisions_per_s, denied_per_s)
    calm = LimitStats("api", 10_000, 1, WELL.taken_at, 100.0, 0.0)
    return replace(WELL, limits=LimitsPart(5, 0, 8_192, decisions=10_100, denied=51, names=(login, calm)))


def foreign(**changes: object) -> Snapshot:
    plain = replace(
        INDEX, collection=None, rows=10_000, lists_set=100, lists_built=100, probes=5, recall=None, table="public.items"
    )
    return replace(WELL, vectors=(replace(plain, **changes),))  # type: ignore[arg-type]


def recalled(**changes: object) -> Snapshot:
    return index(**{"recall": 0.85, "recall_high": 0.9, "recall_before": 0.95, **changes})


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
    # limits
    ("half is denied", limits(10.0, 5.0), [("limits.denials", "warning")]),
    ("less than half is denied", limits(10.0, 4.9), []),
    ("all of a little is denied", limits(0.9, 0.9), []),
    ("denials by the second unknown", limits(None, None), []),
    ("limits unavailable", replace(WELL, limits=Unavailable("", "")), []),
    # vectors
    ("recall fell", recalled(), [("vector.recall_drop", "warning")]),
    ("recall fell a little", recalled(recall=0.851), []),
    ("recall fell within chance", recalled(recall_high=0.95), []),
    ("recall fell below the line for all", recalled(recall=0.79), [("vector.recall", "warning")]),
    ("recall before unknown", recalled(recall_before=None), []),
    ("recall fell while it is built", recalled(building=True), []),
    ("enough probes", foreign(), []),
    ("few probes", foreign(probes=4), [("vector.probes", "info")]),
    ("probes as pgvector has them", foreign(probes=None), [("vector.probes", "info")]),
    ("few probes, few rows", foreign(probes=1, rows=9_999), []),
    ("hnsw has no probes", foreign(probes=None, method="hnsw", lists_set=None, lists_built=None), []),
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


@pytest.mark.parametrize(
    ("before", "now", "codes"),
    [
        ((900, 100), (1_600, 400), ["cache.hit_drop"]),
        ((900, 100), (1_610, 390), []),
        ((899, 100), (1_599, 400), []),
        ((900, 100), (1_599, 400), []),
        ((9_000, 1_000), (10, 5), []),
        ((900, 100), (1_390, 610), ["cache.hit_ratio"]),
    ],
)
def test_a_cache_that_hits_less_than_it_did(before: tuple[int, int], now: tuple[int, int], codes: list[str]) -> None:
    lines = Thresholds(hit_ratio=0.5 if codes != ["cache.hit_ratio"] else 0.7)
    earlier, later = (cache(hits=hits, misses=misses) for hits, misses in (before, now))
    found = judge(later, earlier, lines)
    assert [one.code for one in found] == codes
    if codes == ["cache.hit_drop"]:
        assert found[0].evidence == "hit ratio 70% over the last 1,000 reads, 90% over the 1,000 before"
    assert "cache.hit_drop" not in [one.code for one in judge(later, None, lines)]


async def test_a_cache_whose_keys_have_changed_is_found_until_it_is_warm(db: AsyncPool) -> None:
    store, collector = AsyncCache(db), Collector(db)
    keys = [f"page:{n}" for n in range(1_000)]
    await store.set_many(dict.fromkeys(keys, b"x"))

    async def told(asked: list[str]) -> list[str]:
        await store.get_many(asked)
        await store.flush()
        snapshot = await collector.collect(fresh=True)
        return [one.code for one in snapshot.findings if one.code.startswith("cache.")]

    assert await told(keys) == []
    assert await told([*keys[:700], *(f"seite:{n}" for n in range(300))]) == ["cache.hit_drop"]
    assert await told(keys) == [], "85 % are 15 less than it was"


def test_what_helps_is_said() -> None:
    denied = only(limits(10.0, 8.0))
    assert denied.evidence == "8.0 of 10.0 decisions a second denied (80%)"
    assert "pgops limit stats" in denied.remedy
    assert only(recalled()).command == "pgops vector rebuild docs"
    few = only(foreign(probes=None))
    assert "set ivfflat.probes = 10" in few.remedy
    assert few.evidence == "ivfflat.probes is 1, as nobody set it; the index has 100 lists of 10,000 rows"


def only(snapshot: Snapshot) -> Finding:
    (found,) = judge(snapshot)
    return found


def test_what_helps_a_queue_that_does_not_drain_is_said_by_its_cause() -> None:
    assert "2 workers more would empty it" in only(flow()).remedy
    assert "its own limit" in only(flow(limited=True, workers_needed=None)).remedy
    assert "look at what their jobs wait for" in only(flow(workers_needed=1)).remedy
    assert "1,000 jobs ready, never empty: 20.0 arrive and 10.0 end a second; 1 worker" in only(flow()).evidence
    assert WORKER.concurrency == 10

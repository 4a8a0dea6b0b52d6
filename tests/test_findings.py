"""The rules, on literal Snapshots: each line has a case on either side of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pgops.ops.judge.findings import Thresholds, judge
from pgops.ops.observe.snapshot import (
    CachePart,
    Cost,
    Finding,
    KvPart,
    LimitsPart,
    OutboxSubscription,
    PubsubPart,
    ServerPart,
    Sessions,
    Snapshot,
    Unavailable,
    VectorIndexPart,
)
from pgops.ops.observe.snapshot_jobs import Queue, StuckJob, Worker
from pgops.services.models import CacheNamespace, ChannelListener, QueueHolder

QUEUE = Queue(
    name="email", paused=False, available=0, scheduled=0, running=0, stuck=0, dead=0, oldest_age_s=None,
    enqueued_total=100, completed_total=100, failed_total=0,
)  # fmt: skip
WORKER = Worker(
    id=12, host="app1", pid=77, queues=("email",), concurrency=10, running=3, heartbeat_age_s=1.0, alive=True,
    stopping=False,
)  # fmt: skip
EXPIRED = StuckJob("email", 5, "send", "lease expired", 20.0, 12)
TOO_LONG = StuckJob("email", 6, "send", "running too long", 700.0, 12)
UNCLAIMED = StuckJob("email", 7, "send", "not claimed", 90.0, None)
SUBSCRIPTION = OutboxSubscription(
    name="billing", sink="https://x", lag_events=0, lag_s=0.0, relayed_total=5, parked=0, relays=1
)
CACHE = CachePart(
    hits=900, misses=100, hit_ratio=0.9, window_s=None, buffer_hit_ratio=0.99, entries=20_000, expired_backlog=0,
    bytes=10_000,
)  # fmt: skip
KV = KvPart(20_000, 0, 10_000, 20_000, 0, 10_000)
INDEX = VectorIndexPart(
    table="pgops.vec_docs", index="vec_docs_ivf", method="ivfflat", rows=10_000, lists_built=10, lists_set=10,
    probes=3, bytes=8_192, valid=True, searches_total=5, collection="docs",
)  # fmt: skip
PUBSUB = PubsubPart(listeners=1, channels=1, queue_usage=0.01, payloads=0, oldest_payload_s=None, payload_bytes=8_192)
SESSIONS = Sessions(total=10, active=1, idle=9, idle_in_transaction=0, max=100, oldest_transaction_s=None)
WELL = Snapshot(
    taken_at=datetime(2026, 1, 1, tzinfo=UTC),
    target="",
    server=ServerPart("18.6", 180006, "app", 1, 1.0, False, "0.8.6"),
    sessions=SESSIONS,
    queues=(QUEUE,),
    stuck_jobs=(),
    workers=(WORKER,),
    outbox=(SUBSCRIPTION,),
    pubsub=PUBSUB,
    cache=CACHE,
    limits=LimitsPart(keys=1_000, expired_backlog=0, bytes=10_000),
    kv=KV,
    vectors=(INDEX,),
    findings=(),
    cost=Cost(1.0, 1, {}),
)

Codes = list[tuple[str, str]]


def told(snapshot: Snapshot, before: Snapshot | None = None) -> Codes:
    return [(finding.code, finding.severity) for finding in judge(snapshot, before)]


def one(snapshot: Snapshot, code: str) -> Finding:
    found = [finding for finding in judge(snapshot) if finding.code == code]
    assert len(found) == 1
    return found[0]


def queue(*stuck_jobs: StuckJob, workers: tuple[Worker, ...] = (WORKER,), **changes: object) -> Snapshot:
    changed: Queue = replace(QUEUE, stuck=len(stuck_jobs), **changes)
    return replace(WELL, queues=(changed,), stuck_jobs=stuck_jobs, workers=workers)


def outbox(**changes: object) -> Snapshot:
    changed: OutboxSubscription = replace(SUBSCRIPTION, **changes)
    return replace(WELL, outbox=(changed,))


def cache(**changes: object) -> Snapshot:
    changed: CachePart = replace(CACHE, **changes)
    return replace(WELL, cache=changed)


def cached(**changes: object) -> Snapshot:
    plain = CacheNamespace("pages", 1, 1, 0.5, 1, 0, 0, 100, 1_000)
    changed: CacheNamespace = replace(plain, **changes)  # type: ignore[arg-type]
    return replace(WELL, cache_namespaces=(changed,))


def kv(**changes: object) -> Snapshot:
    changed: KvPart = replace(KV, **changes)
    return replace(WELL, kv=changed)


def index(**changes: object) -> Snapshot:
    changed: VectorIndexPart = replace(INDEX, **changes)
    return replace(WELL, vectors=(changed,))


def sessions(**changes: object) -> Snapshot:
    changed: Sessions = replace(SESSIONS, **changes)
    return replace(WELL, sessions=changed)


GONE = replace(WORKER, alive=False, heartbeat_age_s=95.0)
LEAVING = replace(WORKER, stopping=True)
ELSEWHERE = replace(WORKER, queues=("other",))

CASES: list[tuple[str, Snapshot, Codes]] = [
    ("all is well", WELL, []),
    # queues and workers
    ("an expired lease", queue(EXPIRED), [("queue.stuck", "warning")]),
    ("a job runs too long", queue(TOO_LONG), [("queue.stuck", "warning")]),
    ("nobody claims", queue(UNCLAIMED, available=1, oldest_age_s=90), [("queue.unclaimed", "warning")]),
    ("both", queue(EXPIRED, UNCLAIMED), [("queue.stuck", "warning"), ("queue.unclaimed", "warning")]),
    ("no worker, but young", queue(workers=(), available=9, oldest_age_s=59), []),
    ("no worker", queue(workers=(), available=9, oldest_age_s=60), [("queue.no_worker", "critical")]),
    (
        "no worker says it all",
        queue(UNCLAIMED, workers=(), available=9, oldest_age_s=9_000),
        [("queue.no_worker", "critical")],
    ),
    (
        "a dead worker is none",
        queue(workers=(GONE,), available=9, oldest_age_s=60),
        [("queue.no_worker", "critical"), ("worker.gone", "warning")],
    ),
    ("workers cannot be seen", replace(queue(available=9, oldest_age_s=60), workers=Unavailable("", "")), []),
    (
        "a leaving one is none",
        queue(workers=(LEAVING,), available=9, oldest_age_s=60),
        [("queue.no_worker", "critical")],
    ),
    ("of another queue", queue(workers=(ELSEWHERE,), available=9, oldest_age_s=60), [("queue.no_worker", "critical")]),
    ("no worker, nothing to do", queue(workers=(), available=0, oldest_age_s=None), []),
    ("no worker, paused", queue(workers=(), paused=True, available=9, oldest_age_s=60), []),
    ("paused for a while", queue(paused=True, available=9, oldest_age_s=299), []),
    ("paused too long", queue(paused=True, available=9, oldest_age_s=300), [("queue.paused", "info")]),
    ("waits a little", queue(available=9, oldest_age_s=299), []),
    ("waits long", queue(available=9, oldest_age_s=300), [("queue.slow", "warning")]),
    ("waits very long", queue(available=9, oldest_age_s=1_800), [("queue.slow", "critical")]),
    ("a dead letter", queue(dead=1), [("queue.dead", "warning")]),
    ("a lost worker", queue(workers=(WORKER, replace(GONE, id=13))), [("worker.gone", "warning")]),
    # outbox
    ("lags a little", outbox(lag_events=9_999, lag_s=59.0), []),
    ("lags by number", outbox(lag_events=10_000, lag_s=1.0), [("outbox.lag", "warning")]),
    ("lags by age", outbox(lag_events=1, lag_s=60.0), [("outbox.lag", "warning")]),
    ("lags badly", outbox(lag_events=1, lag_s=600.0), [("outbox.lag", "critical")]),
    ("nothing to relay, no relay", outbox(relays=0), []),
    ("no relay, but young", outbox(relays=0, lag_events=1, lag_s=29.0), []),
    ("no relay", outbox(relays=0, lag_events=1, lag_s=30.0), [("outbox.no_relay", "critical")]),
    ("relays unknown", outbox(relays=None, lag_events=1, lag_s=30.0), []),
    ("paused", outbox(paused=True, relays=0, lag_events=1, lag_s=900.0), []),
    ("parked", outbox(parked=1), [("outbox.parked", "warning")]),
    ("no way to its sink", outbox(trouble="refused", lag_events=1, lag_s=1.0), [("outbox.sink", "warning")]),
    ("no way for long", outbox(trouble="refused", lag_events=1, lag_s=30.0), [("outbox.sink", "critical")]),
    ("no way, and nothing to hand over", outbox(trouble="refused"), []),
    ("a key held by hand", outbox(held_keys=1), [("outbox.held", "info")]),
    ("a log from elsewhere", outbox(at_home=False, lag_events=1, lag_s=900.0), [("outbox.away", "critical")]),
    # cache
    ("few expired", cache(expired_backlog=9_999), []),
    ("many expired", cache(expired_backlog=10_000), [("cache.expired", "warning")]),
    ("many, but a small share", cache(expired_backlog=10_000, entries=50_001), []),
    ("emptied", cache(emptied_by_crash=True), [("cache.emptied", "warning")]),
    ("a little above its cap", cached(entries=14_999, max_entries=10_000), []),
    ("far above a small cap", cached(entries=10_000, max_entries=10), []),
    ("above its cap", cached(entries=20_000, max_entries=10_000), [("cache.over_cap", "warning")]),
    ("bytes above their cap", cached(bytes=200_000_000, max_bytes=100_000_000), [("cache.over_cap", "warning")]),
    ("a large namespace without a cap", cached(entries=10**9, bytes=10**12), []),
    ("hits half", cache(hits=500, misses=500), []),
    ("hits less than half", cache(hits=499, misses=501), [("cache.hit_ratio", "warning")]),
    ("too few reads to tell", cache(hits=0, misses=999), []),
    ("bad now, good before", cache(hits_per_s=4.0, misses_per_s=6.0), [("cache.hit_ratio", "warning")]),
    ("good now, bad before", cache(hits=0, misses=9_000, hits_per_s=6.0, misses_per_s=4.0), []),
    ("too slow to tell now", cache(hits_per_s=0.0, misses_per_s=9.9), []),
    # kv
    ("few expired keys", kv(expired_backlog=9_999), []),
    ("many expired keys", kv(expired_backlog=10_000), [("kv.expired", "warning")]),
    ("many expired keys, but a small share", kv(ephemeral_expired_backlog=10_000, ephemeral_keys=50_001), []),
    ("many expired ephemeral keys", kv(ephemeral_expired_backlog=10_000), [("kv.expired", "warning")]),
    ("never read", cache(hits=0, misses=0, hit_ratio=None), []),
    # vectors
    ("invalid", index(valid=False), [("vector.invalid", "critical")]),
    ("invalid while it is built", index(valid=False, building=True), []),
    ("lists differ", index(lists_set=11), [("vector.lists", "warning")]),
    ("lists as built unknown", index(lists_built=None, lists_set=11), []),
    ("recall at the line", index(recall=0.8), []),
    ("recall low", index(recall=0.79), [("vector.recall", "warning")]),
    # sessions
    ("79 % of the connections", sessions(total=79), []),
    ("80 %", sessions(total=80), [("sessions.full", "warning")]),
    ("94 %", sessions(total=94), [("sessions.full", "warning")]),
    ("95 %", sessions(total=95), [("sessions.full", "critical")]),
    ("idle in transaction, briefly", sessions(oldest_idle_in_transaction_s=59.0), []),
    (
        "idle in transaction",
        sessions(oldest_idle_in_transaction_s=60.0, oldest_transaction_s=9_999.0),
        [("sessions.idle_in_transaction", "warning")],
    ),
    (
        "idle in transaction for long",
        sessions(oldest_idle_in_transaction_s=600.0),
        [("sessions.idle_in_transaction", "critical")],
    ),
    ("a long transaction", sessions(oldest_transaction_s=3_599.0), []),
    ("a very old transaction", sessions(oldest_transaction_s=3_600.0), [("sessions.old_transaction", "warning")]),
]


@pytest.mark.parametrize(("snapshot", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_rules_draw_their_lines(snapshot: Snapshot, expected: Codes) -> None:
    assert sorted(told(snapshot)) == sorted(expected)


@pytest.mark.parametrize("snapshot", [case[1] for case in CASES], ids=[case[0] for case in CASES])
def test_every_finding_is_complete(snapshot: Snapshot) -> None:
    for finding in judge(snapshot):
        assert finding.title
        assert any(character.isdigit() for character in finding.evidence), "evidence is in numbers"
        assert finding.why.endswith(".")
        assert finding.remedy
        assert (finding.action is None) == (finding.command is None)
        assert finding.action is None or finding.target is not None


def test_dead_letters_are_worse_while_they_rise_fast() -> None:
    assert told(queue(dead=13), queue(dead=3)) == [("queue.dead", "critical")]
    assert told(queue(dead=12), queue(dead=3)) == [("queue.dead", "warning")]
    assert told(queue(dead=4), queue(dead=4)) == [("queue.dead", "warning")]
    assert told(queue(dead=3), queue(dead=4)) == [("queue.dead", "warning")]
    assert told(queue(dead=3), replace(WELL, queues=())) == [("queue.dead", "warning")]
    assert told(queue(dead=3), replace(WELL, queues=Unavailable("", ""))) == [("queue.dead", "warning")]


def test_the_worst_comes_first() -> None:
    snapshot = replace(
        queue(EXPIRED, dead=1),
        sessions=replace(SESSIONS, total=99),
        vectors=(replace(INDEX, valid=False),),
        workers=(WORKER, replace(GONE, id=13)),
    )
    severities = [finding.severity for finding in judge(snapshot)]
    assert severities == ["critical", "critical", "warning", "warning", "warning"]


@pytest.mark.parametrize(
    ("snapshot", "code", "action", "target", "command"),
    [
        (queue(EXPIRED), "queue.stuck", "requeue_stuck", "email", "pgops queue requeue email --stuck"),
        (queue(dead=1), "queue.dead", "requeue_dead", "email", "pgops queue requeue email --dead"),
        (cache(expired_backlog=10_000), "cache.expired", "purge_expired", "", "pgops cache purge"),
        (cached(entries=10**6, max_entries=9), "cache.over_cap", "purge_expired", "", "pgops cache purge"),
        (kv(expired_backlog=10_000), "kv.expired", "purge_kv", "", "pgops kv purge"),
        (index(lists_set=11), "vector.lists", "rebuild_index", "docs", "pgops vector rebuild docs"),
        (index(valid=False), "vector.invalid", "rebuild_index", "docs", "pgops vector rebuild docs"),
        (index(valid=False, collection=None), "vector.invalid", None, "vec_docs_ivf", None),
    ],
)
def test_a_finding_names_its_cure(
    snapshot: Snapshot, code: str, action: str | None, target: str, command: str | None
) -> None:
    finding = one(snapshot, code)
    assert (finding.action, finding.target, finding.command) == (action, target, command)


def test_a_strange_queue_name_is_quoted_in_the_command() -> None:
    snapshot = replace(WELL, queues=(replace(QUEUE, name="a b; rm", dead=1),))
    assert judge(snapshot)[0].command == "pgops queue requeue 'a b; rm' --dead"


def test_stuck_jobs_are_told_by_reason_in_numbers() -> None:
    finding = one(queue(EXPIRED, TOO_LONG, TOO_LONG), "queue.stuck")
    assert finding.evidence == "3 stuck: 1 lease expired, 2 running too long; the longest for 12 min"


def test_a_capped_number_is_told_as_at_least() -> None:
    capped = replace(QUEUE, stuck=1_000, exact={"stuck": False})
    assert one(replace(queue(EXPIRED), queues=(capped,)), "queue.stuck").evidence.startswith("at least 1,000 stuck")


@pytest.mark.parametrize(
    ("thresholds", "expected"), [(Thresholds(lag_events_warning=5), ["outbox.lag"]), (Thresholds(), [])]
)
def test_thresholds_are_arguments(thresholds: Thresholds, expected: list[str]) -> None:
    found = judge(outbox(lag_events=5, lag_s=1.0), thresholds=thresholds)
    assert [finding.code for finding in found] == expected


PARTS: list[Callable[[], Snapshot]] = [
    lambda: replace(WELL, sessions=Unavailable("", "")),
    lambda: replace(WELL, queues=Unavailable("", ""), stuck_jobs=Unavailable("", "")),
    lambda: replace(WELL, workers=Unavailable("", "")),
    lambda: replace(WELL, outbox=Unavailable("", "")),
    lambda: replace(WELL, cache=Unavailable("", "")),
    lambda: replace(WELL, kv=Unavailable("", "")),
    lambda: replace(WELL, vectors=Unavailable("", "")),
]


@pytest.mark.parametrize("make", PARTS)
def test_a_missing_part_is_no_finding(make: Callable[[], Snapshot]) -> None:
    assert judge(make()) == ()


@pytest.mark.parametrize(
    ("usage", "severities"), [(0.0, []), (0.24, []), (0.25, ["warning"]), (0.75, ["critical"]), (1.0, ["critical"])]
)
def test_a_notification_queue_that_fills_is_told_before_it_is_full(usage: float, severities: list[str]) -> None:
    found = judge(replace(WELL, pubsub=replace(PUBSUB, queue_usage=usage)))
    assert [one.severity for one in found if one.code == "pubsub.queue"] == severities


@pytest.mark.parametrize(
    ("state", "state_s", "codes"),
    [("idle", 900.0, []), ("idle in transaction", 4.9, []), ("idle in transaction", 5.0, ["pubsub.idle_listener"])],
)
def test_a_listener_that_sits_in_a_transaction_is_told(state: str, state_s: float, codes: list[str]) -> None:
    deaf = ChannelListener("orders", 4_433, "report", "app", state, state_s)
    found = judge(replace(WELL, pubsub=replace(PUBSUB, listening=(deaf,))))
    assert [one.code for one in found] == codes
    if found:
        assert (found[0].action, found[0].target) == ("terminate_backend", "4433")
        assert "pid 4433 (report) on orders" in found[0].evidence
        assert "autocommit" in found[0].remedy


@pytest.mark.parametrize(
    ("usage", "transaction_s", "codes"),
    [(0.01, 59.9, []), (0.01, 60.0, ["pubsub.held"]), (0.24, 60.0, ["pubsub.held"]), (0.25, 60.0, ["pubsub.queue"]),
     (0.25, 2.0, ["pubsub.queue"])],
)  # fmt: skip
def test_whoever_may_hold_the_notification_queue_is_named(usage: float, transaction_s: float, codes: list[str]) -> None:
    holder = QueueHolder(4_433, "report", "app", "shop", "idle in transaction", transaction_s)
    found = judge(replace(WELL, pubsub=replace(PUBSUB, queue_usage=usage, holders=(holder,))))
    assert [one.code for one in found] == codes
    if found:
        assert "pid 4433 (report)" in found[0].evidence
        assert found[0].command == "pgops sessions terminate 4433"
        two = judge(replace(WELL, pubsub=replace(PUBSUB, queue_usage=usage, holders=(holder, replace(holder, pid=7)))))
        assert (found[0].action, two[0].action) == ("terminate_backend", None), "of two nobody knows which"
        assert two[0].command is None


@pytest.mark.parametrize(("pooled", "codes"), [((), []), (("orders",), ["pubsub.pooler"])])
def test_a_listen_through_a_pooler_is_told(pooled: tuple[str, ...], codes: list[str]) -> None:
    found = judge(replace(WELL, pubsub=replace(PUBSUB, pooled=pooled)))
    assert [one.code for one in found] == codes
    if found:
        assert "orders" in found[0].evidence
        assert "direct DSN" in found[0].remedy

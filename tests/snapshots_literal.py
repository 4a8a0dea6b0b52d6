"""Snapshots and a Source written down by hand, for tests of the dashboard: no database, no time, no chance."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import cos, sin
from uuid import UUID

from pgops.errors import NotFoundError, PgopsError, UsageError
from pgops.migrate import Step
from pgops.ops.act.actions import Action, Preview, Result
from pgops.ops.act.audit import AuditRow
from pgops.ops.act.danger import way_back
from pgops.ops.act.undoing import Kept, Trail
from pgops.ops.act.unlocking import Unlocked
from pgops.ops.observe.snapshot import (
    CachePart,
    Cost,
    DocumentsPart,
    Finding,
    KvPart,
    LimitsPart,
    LockBackend,
    OutboxSubscription,
    PubsubPart,
    ServerPart,
    SessionRow,
    Sessions,
    Snapshot,
    Unavailable,
    VectorIndexPart,
    items,
)
from pgops.ops.observe.snapshot_jobs import JobChain, Queue, StuckJob, Worker
from pgops.ops.thresholds import Thresholds
from pgops.services.models import (
    CacheNamespace,
    ChannelListener,
    CronEntry,
    DocumentIndex,
    Event,
    FailureGroup,
    JobMatch,
    JobPage,
    JobRow,
    JobState,
    ParkedEvent,
    ParkedKey,
    PartState,
    PgmqMessage,
    PgmqQueue,
    PubsubProbe,
    Subscription,
    Trouble,
)
from pgops.tui.news import SchemaSeen, schema_seen
from pgops.tui.source import SubscriptionView
from pgops.tui.standing import Standing

NOW = datetime(2026, 3, 1, 3, 12, 45, tzinfo=UTC)
TARGET = "postgresql://app:***@db.internal:5432/shop"


def queue(name: str, **more: object) -> Queue:
    """A queue in which nothing is wrong."""
    plain = Queue(
        name=name, paused=False, available=120, scheduled=8, running=12, stuck=0, dead=0, oldest_age_s=1.4,
        enqueued_total=48_211, completed_total=48_071, failed_total=19, in_per_s=41.0, out_per_s=40.2,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def vector_index(name: str, **more: object) -> VectorIndexPart:
    """A collection's index in which nothing is wrong."""
    plain = VectorIndexPart(
        table=f"pgops.vec_{name}", index=f"vec_{name}_embedding_idx", method="ivfflat", rows=84_120, lists_built=84,
        lists_set=84, probes=9, bytes=138_412_032, valid=True, searches_total=91_220, searches_per_s=12.4, recall=0.962,
        recall_low=0.94, recall_high=0.98, recall_at=NOW, collection=name,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def collection(name: str, **more: object) -> DocumentsPart:
    """A document collection in which nothing is wrong."""
    plain = DocumentsPart(
        name=name, table=f"pgops.doc_{name}", documents=41_200, dead_rows=310, bytes=52_428_800, index_count=3,
        index_bytes=9_437_184, invalid_indexes=0, unused_indexes=0, writes_total=91_200, updates_total=40_000,
        hot_updates_total=38_400, scans_total=120_411, writes_per_s=21.0, exact={"documents": False},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def namespace(name: str, **more: object) -> CacheNamespace:
    """A namespace of the cache without a cap."""
    plain = CacheNamespace(
        name=name, hits=81_200, misses=3_400, hit_ratio=0.9598, sets=3_512, expired=2_100, evicted=0, entries=18_000,
        bytes=18_874_368, exact={"entries": False, "bytes": False},
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def pgmq_queue(name: str, **more: object) -> PgmqQueue:
    """A queue of pgmq in which nothing is wrong."""
    plain = PgmqQueue(
        name=name, length=640, available=512, scheduled=28, running=100, dead=0, newest_age_s=0.4, oldest_age_s=640.0,
        ready_age_s=75.0, total=90_412, bytes=1_843_200, archive_bytes=9_437_184, created_at=NOW, unlogged=False,
        partitioned=False, in_per_s=61.0, out_per_s=58.0,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


FINDINGS = (
    Finding(
        code="queue.stuck", severity="critical", title="3 jobs of email are stuck",
        evidence="lease expired 3, oldest 14m 20s", why="Their worker is gone; nobody works on them.",
        remedy="Take them back, so that another worker runs them.", action="requeue_stuck", target="email",
        command="pgops queue requeue email --stuck",
    ),
    Finding(
        code="cache.expired", severity="warning", title="212,400 expired cache entries",
        evidence="41 % of 518,000 entries", why="They take space and make reads slower.", remedy="Purge them.",
        action="purge_expired", target="", command="pgops cache purge",
    ),
    Finding(
        code="vector.lists", severity="info", title="docs has outgrown its lists",
        evidence="1,001 rows a list, built with 84", why="Searches read more rows than needed.",
        remedy="Rebuild with 290 lists.", action="rebuild_index", target="docs", command="pgops vector rebuild docs",
    ),
)  # fmt: skip


def session(pid: int, **more: object) -> SessionRow:
    """An idle connection of the web application."""
    plain = SessionRow(
        pid=pid, started_at=NOW - timedelta(hours=1), user="app", database="shop", application="web", client="10.0.0.7",
        state="idle", transaction_s=None, query_s=4.0, state_s=4.0, wait="Client:ClientRead", query="commit",
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


SESSION_LIST = (
    session(4711, state="idle in transaction", transaction_s=734.0, query_s=730.0, state_s=730.0,
            query="update orders set paid = true where id = 7", application="billing"),
    session(4712, state="active", transaction_s=61.0, query_s=60.0, state_s=60.0, wait="Lock:transactionid",
            query="update orders set paid = false where id = 7"),
    session(4713, state="active", transaction_s=31.0, query_s=31.0, state_s=31.0, wait="Lock:relation",
            query="alter table orders add column note text", user="deploy", application="psql"),
    session(4714, state="active", transaction_s=0.2, query_s=0.2, state_s=0.2, wait=None, query="select 1"),
    session(4715),
)  # fmt: skip


def lock_backend(pid: int, *blocked_by: int, **more: object) -> LockBackend:
    """A backend of the tree under 4711, as the list of sessions knows it."""
    one = next((each for each in SESSION_LIST if each.pid == pid), session(pid))
    plain = LockBackend(
        pid=pid, started_at=one.started_at, user=one.user, database=one.database, application=one.application,
        backend_type="client backend", state=one.state, transaction_s=one.transaction_s, wait=one.wait,
        waited_s=one.query_s if blocked_by else None, blocked_by=blocked_by, root=4711,
        lock_type="relation" if blocked_by else None, lock_mode="AccessExclusiveLock" if blocked_by else None,
        relation="orders" if blocked_by else None, query=one.query,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


LOCKS = (lock_backend(4711), lock_backend(4712, 4711, lock_mode="ShareLock"), lock_backend(4713, 4712, 4711))

BUSY = Snapshot(
    taken_at=NOW,
    target=TARGET,
    server=ServerPart("18.1", 180001, "shop", 4_912_345_678, 1_824_000.0, False, "0.8.6"),
    sessions=Sessions(total=61, active=7, idle=51, idle_in_transaction=3, max=100, oldest_transaction_s=734.0),
    queues=(
        queue("billing", available=0, in_per_s=0.4, out_per_s=0.4, running=1, oldest_age_s=None),
        queue("email", available=12_412, stuck=3, dead=41, oldest_age_s=192.0, in_per_s=120.0, out_per_s=98.0),
        queue("thumbnails", available=2_210, exact={"available": False}, in_per_s=310.0, out_per_s=312.0),
        queue("webhooks", paused=True, available=87, running=0, oldest_age_s=5_412.0, out_per_s=0.0),
    ),
    stuck_jobs=(
        StuckJob("email", 91_204, "welcome", "lease expired", 860.0, 7),
        StuckJob("email", 91_377, "receipt", "lease expired", 402.0, 7),
        StuckJob("email", 92_011, "receipt", "running too long", 1_210.0, 4),
    ),
    workers=(
        Worker(4, "app-1", 4211, ("email", "billing"), 50, 12, 0.8, True, False),
        Worker(5, "app-2", 3987, ("thumbnails",), 20, 20, 1.1, True, False),
        Worker(7, "app-3", 4410, ("email",), 50, 2, 861.0, False, False),
    ),
    outbox=(
        OutboxSubscription("search-index", "https://search.internal/hook", 214, 3.2, 1_204_551, 0, 55.0, relays=2),
        OutboxSubscription(
            "warehouse", "queue:warehouse", 10_000, 812.0, 88_120, 4, 12.0, relays=0, exact={"lag_events": False}
        ),
    ),
    pubsub=PubsubPart(
        listeners=3, channels=2, queue_usage=0.0, payloads=4, oldest_payload_s=912.0, payload_bytes=122_880,
        listening=(
            ChannelListener("invoices", 4_715, "billing", "app", "idle", 302.0),
            ChannelListener("orders", 4_715, "billing", "app", "idle", 302.0),
            ChannelListener("orders", 4_420, "shop web 1", "app", "idle", 41.5),
            ChannelListener("orders", 4_433, "", "report", "idle in transaction", 95.0),
        ),
    ),
    cache=CachePart(
        hits=912_004, misses=41_220, hit_ratio=0.9567, window_s=None, buffer_hit_ratio=0.9991, entries=518_000,
        expired_backlog=212_400, bytes=402_653_184, hits_per_s=812.0, misses_per_s=40.0, exact={"entries": False},
    ),
    limits=LimitsPart(keys=12_800, expired_backlog=3_100, bytes=1_843_200),
    kv=KvPart(41_200, 210, 9_437_184, 8_100, 1_900, 2_097_152),
    vectors=(vector_index("docs"), vector_index("products", lists_set=120, recall=None, recall_at=None, rows=120_400)),
    documents=(
        collection("orders"),
        collection("carts", documents=8_120, dead_rows=9_400, hot_updates_total=9_000, unused_indexes=1),
        collection("events", updates_total=0, hot_updates_total=0, invalid_indexes=1, writes_per_s=310.0),
    ),
    findings=FINDINGS,
    cost=Cost(5.8, 14, {"server": 0.3, "queues": 1.9, "outbox": 1.2, "cache": 0.9, "vectors": 0.8, "sessions": 0.4}),
    locks=LOCKS,
    session_list=SESSION_LIST,
    cache_namespaces=(
        namespace("pages", hits=822_004, misses=33_100, hit_ratio=0.9613, entries=498_000, max_entries=500_000,
                  evicted=71_020, bytes=372_244_480, max_bytes=536_870_912),
        namespace("sessions"),
        namespace("fragments", hits=8_800, misses=4_720, hit_ratio=0.6509, entries=2_000, bytes=2_097_152, exact={}),
    ),
)  # fmt: skip

WITH_PGMQ = replace(BUSY, pgmq=(pgmq_queue("wms_orders", dead=7),))

CALM = replace(
    BUSY,
    findings=(),
    stuck_jobs=(),
    queues=(queue("email"), queue("billing")),
    outbox=BUSY.outbox[:1],  # type: ignore[index]
)

EMPTY = replace(
    BUSY,
    queues=(), stuck_jobs=(), workers=(), outbox=(), vectors=(), documents=(), findings=(), cache_namespaces=(),
    cache=CachePart(0, 0, None, None, 0.998, 0, 0, 8_192),
    limits=LimitsPart(0, 0, 16_384),
    kv=KvPart(0, 0, 24_576, 0, 0, 24_576),
)  # fmt: skip

_NONE = Unavailable("the pgops schema is missing here", "run: pgops migrate")
NO_SCHEMA = replace(
    BUSY, queues=_NONE, stuck_jobs=_NONE, workers=_NONE, outbox=_NONE, pubsub=_NONE, cache=_NONE, limits=_NONE,
    kv=_NONE, documents=_NONE, findings=(), cache_namespaces=_NONE,
    vectors=Unavailable("the extension vector is not installed", "install pgvector, then run: pgops migrate"),
)  # fmt: skip

HOSTILE = replace(
    CALM,
    queues=(queue("[red]boo[/red]\x1b[31m\x1b]0;pwned\x07"), queue("‮evil")),
    findings=(replace(FINDINGS[0], title="[bold]x[/bold]\x1b[2J", evidence="a\nb", command=None),),
)


def history(base: Snapshot, length: int = 90) -> list[Snapshot]:
    """The minutes before `base`: queues, lag and cost in gentle waves."""

    def wave(at: int, period: float, low: float) -> float:
        return low + (1 - low) * (0.5 + 0.5 * cos((length - at) / period)) * (0.95 + 0.05 * sin(at * 1.7))

    found = []
    for at in range(length):
        queues, outbox, cache, vectors, sessions = base.queues, base.outbox, base.cache, base.vectors, base.sessions
        if isinstance(queues, tuple):
            queues = tuple(
                replace(
                    one,
                    available=int(one.available * wave(at, 9, 0.2)),
                    in_per_s=(one.in_per_s or 0) * wave(at, 7, 0.6),
                    out_per_s=(one.out_per_s or 0) * wave(at, 11, 0.7),
                )
                for one in queues
            )
        if isinstance(outbox, tuple):
            outbox = tuple(replace(one, lag_events=int(one.lag_events * wave(at, 14, 0.05))) for one in outbox)
        if isinstance(cache, CachePart) and cache.hits_per_s is not None:
            cache = replace(cache, hits_per_s=cache.hits_per_s * wave(at, 6, 0.5))
        if isinstance(vectors, tuple):
            vectors = tuple(replace(one, searches_per_s=12 * wave(at, 5, 0.1)) for one in vectors)
        documents = tuple(
            replace(
                one,
                documents=one.documents - 9 * (length - at),
                writes_per_s=(one.writes_per_s or 0) * wave(at, 8, 0.4),
            )
            for one in items(base.documents)
        )
        if isinstance(sessions, Sessions):
            sessions = replace(sessions, total=int(sessions.total * wave(at, 20, 0.7)))
        found.append(
            replace(
                base, taken_at=base.taken_at - timedelta(seconds=length - at), queues=queues, outbox=outbox,
                cache=cache,
                vectors=vectors, documents=documents, sessions=sessions,
                cost=replace(base.cost, duration_ms=4 + 4 * wave(at, 4, 0.3)),
            )
        )  # fmt: skip
    return [*found, base]


def job(id: int, state: JobState = "available", **more: object) -> JobRow:
    """A job of the queue email."""
    failed = state == "dead"
    errors = (
        {"attempt": 2, "at": "2026-03-01T03:10:02.114Z", "error": "SMTPServerDisconnected: connection closed",
         "traceback": "Traceback (most recent call last):\n  File \"jobs.py\", line 41, in welcome\n    send()"},
        {"attempt": 3, "at": "2026-03-01T03:11:14.660Z", "error": "TimeoutError: no answer within 30 s"},
    )  # fmt: skip
    plain = JobRow(
        queue="email", id=id, state=state, kind="welcome", priority=2, attempt=3 if failed else 1, max_attempts=3,
        payload={"to": f"user{id}@example.org", "template": "welcome", "locale": "de", "items": [1, 2.5, None, True],
                 "meta": {"campaign": "spring", "trace": "00-4bf92f3577b34da6"}},
        errors=errors if failed else (), run_at=None,
        created_at=NOW - timedelta(seconds=300 + id % 97),
        started_at=NOW - timedelta(seconds=40) if state == "running" else None,
        lease_until=NOW + timedelta(seconds=20) if state == "running" else None,
        owner=4 if state == "running" else None, group_key=None, unique_key=None, progress=None,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


JOBS = (
    *(job(93_000 + at) for at in range(12)),
    *(job(94_000 + at, "scheduled") for at in range(3)),
    *(job(91_204 + at, "running") for at in range(4)),
    *(job(90_100 + at, "dead") for at in range(5)),
)
FAILURES = (
    FailureGroup(
        "email",
        "welcome",
        "SMTPServerDisconnected: connection to ? closed after ? s",
        5,
        7,
        NOW - timedelta(hours=2),
        NOW - timedelta(seconds=40),
        "SMTPServerDisconnected: connection to 10.0.0.7 closed after 4.2 s",
        90_104,
        tuple(range(90_104, 90_099, -1)),
        (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3),
    ),
    FailureGroup(
        "webhooks",
        "deliver",
        "HTTPStatusError: HTTP 503 from ?",
        2,
        2,
        NOW - timedelta(hours=1),
        NOW - timedelta(minutes=9),
        "HTTPStatusError: HTTP 503 from 'https://x.org'",
        90_002,
        (90_002, 90_001),
        (0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1),
    ),
)
MATCHES = (
    (4120, 0.913, "sorted(iterable, *, key=None, reverse=False): return a new sorted list of the items."),
    (4121, 0.874, "list.sort(): sort the list in place. The sort is stable, and keys are computed once."),
    (88, 0.741, "heapq.nsmallest(n, iterable): the n smallest elements; the same as sorted(iterable)[:n]."),
    (913, 0.402, "bisect.insort(a, x): insert x in a, keeping it sorted."),
)

DOCUMENT_INDEXES = (
    DocumentIndex(
        "doc_orders_1f2e", "orders", "btree", "json", "customer.name",
        "CREATE INDEX doc_orders_1f2e ON pgops.doc_orders USING btree ((data #> '{customer,name}'))", True, 4_194_304,
        88_120,
    ),
    DocumentIndex(
        "doc_orders_77ab", "orders", "gin", None, None,
        "CREATE INDEX doc_orders_77ab ON pgops.doc_orders USING gin (data jsonb_path_ops)", True, 2_097_152, 0,
    ),
)  # fmt: skip


def cron_entry(name: str, expression: str, next_s: float | None, **more: object) -> CronEntry:
    """A recurring job whose next tick is in so many seconds; None: it is paused."""
    plain = CronEntry(
        name=name, expression=expression, timezone="Europe/Berlin", queue="email", kind="report", payload={},
        priority=2, missed="skip", overlap=False, paused=next_s is None,
        next_at=None if next_s is None else NOW + timedelta(seconds=next_s), last_at=None, last_id=None, ticks=0,
        skipped=0, created_at=NOW - timedelta(days=30),
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


CRONS = (
    cron_entry("nightly", "0 3 * * *", 9_435, last_at=NOW - timedelta(hours=21), last_id=90_122, ticks=412, skipped=3),
    cron_entry("month-end", "0 0 L * *", None, timezone="America/New_York", queue="billing", kind="close"),
    cron_entry("stalled", "*/5 * * * *", -720, timezone="UTC", missed="once", overlap=True, ticks=88),
)


def message(id: int, **more: object) -> PgmqMessage:
    """A message of pgmq that waits for its first reader."""
    sent = NOW - timedelta(seconds=90)
    plain = PgmqMessage("orders", id, 0, sent, sent, {"to": f"user{id}@example.org", "order": id}, None)
    return replace(plain, **more)  # type: ignore[arg-type]


MESSAGES = (
    message(7, read_ct=6),
    message(8, read_ct=1, vt=NOW + timedelta(seconds=25)),
    message(9, vt=NOW + timedelta(hours=2)),
    message(10, headers={"dead_letter": {"queue": "orders", "reason": "no such item"}}),
)


def parked(id: int, key: str | None, attempts: int, error: str = "HTTP 500: no such customer") -> ParkedEvent:
    """An event that was put aside."""
    event = Event(
        7, id, UUID(int=id), "orders", key, "order.paid", f'{{"order":{id}}}', "{}", NOW - timedelta(minutes=6)
    )
    return ParkedEvent(event, attempts, error, NOW - timedelta(minutes=5))


SUBSCRIPTION = Subscription(
    "billing", ("orders",), None, "https://billing.internal/hook", "park", 5, False, NOW, 1_204_551,
    NOW - timedelta(seconds=1), 3, 1, True, ("relay-1:77", "relay-2:78"),
)  # fmt: skip
SUBSCRIBED = SubscriptionView(
    SUBSCRIPTION,
    tuple(
        PartState(part, "relay-1:77" if part < 30 else "relay-2:78" if part < 60 else None, NOW, False, True, 9, NOW, 0)
        for part in range(64)
    ),
    (
        parked(101, "customer-7", 5),
        parked(102, "customer-7", 0, "waits behind an earlier event of its key"),
        parked(103, "customer-9", 0, "waits behind an earlier event of its key"),
    ),
    (ParkedKey(7, "customer-9", "asked for by support", NOW - timedelta(hours=2), 1),),
)


PROBED = PubsubProbe(
    channel=None,
    ok=True,
    connect_ms=12.4,
    sent=5,
    received=5,
    p50_ms=0.42,
    max_ms=1.3,
    queue_usage=0.0,
    listeners=(),
    troubles=(),
)
UNPROBED = PubsubProbe(
    channel=None, ok=False, connect_ms=None, sent=0, received=0, p50_ms=None, max_ms=None, queue_usage=0.0,
    listeners=(),
    troubles=(
        Trouble(
            "pooler", "a connection pooler stands between, and keeps notifications back (transaction pooling)",
            "listen over a direct DSN: PostgreSQL's own host and port instead of the pooler's",
        ),
    ),
)  # fmt: skip

ACTS = (
    AuditRow(
        12, NOW - timedelta(minutes=2), NOW - timedelta(minutes=2), "ann", "pgops dashboard", "requeue_dead", "email",
        "done", 41, 41, {}, NOW + timedelta(days=7),
    ),
    AuditRow(
        11, NOW - timedelta(hours=2), NOW - timedelta(hours=1), "bob", "pgops cli", "vacuum_table", "pgops.job_dead",
        "done", 1, 1, {"dead_before": 1200, "dead_after": 0},
    ),
    AuditRow(
        10, NOW - timedelta(hours=3), NOW - timedelta(hours=3), "eve", "pgops cli", "discard_dead", "email", "done", 3,
        3, {}, NOW + timedelta(days=7), 13,
    ),
    AuditRow(
        9, NOW - timedelta(days=1), None, "bob", "pgops cli", "reindex_index", "orders_pkey", "interrupted", 1, 0, {},
    ),
)  # fmt: skip
KEPT = Kept("job_dead", {"id": 90_100, "payload": {"to": "a@example.org"}}, {})


class LiteralSource:
    """A Source that gives what it was given, and notes what is asked of it. An error in its script is raised."""

    def __init__(self, *script: Snapshot | PgopsError, target: str = TARGET, jobs: tuple[JobRow, ...] = JOBS) -> None:
        self.target = target
        self.doing = ""
        self.script = list(script)
        self.previewed: list[Action] = []
        self.ran: list[Action] = []
        self.snapshots = 0
        self.matched = 41
        self.exact = True
        self.held: asyncio.Event | None = None
        self.left = "nothing was changed"
        self.refuses: PgopsError | None = None
        self.sql = "delete from pgops.job_dead\nwhere queue = %(queue)s\nreturning id"
        self.jobs_held = jobs
        self.scan = 100_000
        self.asked: list[JobMatch | None] = []
        self.failures_held = FAILURES
        self.chain_held: JobChain | None = None
        self.subscription_held = SUBSCRIBED
        self.crons_held = CRONS
        self.messages_held = MESSAGES
        self.acts_held = ACTS
        self.undoable = False
        self.fails: PgopsError | None = None
        self.probed: list[str | None] = []
        self.probe_gives = PROBED
        self.stands = Standing()
        self.thresholds = Thresholds()
        self.steps_held: tuple[Step, ...] = (Step("0001_base", "applied"), Step("0002_queue", "applied"))
        self.reasons: list[str] = []

    @property
    def schema(self) -> SchemaSeen | None:
        return schema_seen(self.steps_held)

    async def migrations(self) -> Sequence[Step]:
        return self.steps_held

    async def migrate(self) -> Sequence[Step]:
        if self.fails is not None:
            raise self.fails
        self.steps_held = tuple(replace(one, state="applied") for one in self.steps_held)
        return self.steps_held

    @property
    def standing(self) -> Standing:
        return self.stands

    async def unlock(self, reason: str) -> Unlocked:
        if not reason.strip():
            raise UsageError("a reason is needed to unlock", "say in a few words why")
        self.reasons.append(reason)
        self.stands = replace(self.stands, mode="unlocked", left_s=600)
        return Unlocked(12, reason, NOW + timedelta(minutes=10))

    async def lock(self) -> None:
        self.stands = replace(self.stands, mode="locked", left_s=0)

    async def snapshot(self) -> Snapshot:
        self.snapshots += 1
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, PgopsError):
            raise step
        return replace(step)

    async def preview(self, action: Action) -> Preview:
        if self.refuses is not None:
            raise self.refuses
        self.previewed.append(action)
        samples = tuple(f"{90_100 + at}  welcome  SMTPServerDisconnected: connection closed" for at in range(5))
        title = f"{action.name.replace('_', ' ')} {action.target}".strip()
        one = action.name in ("cancel_backend", "terminate_backend")
        matched = min(self.matched, 1) if one else self.matched
        look = Preview(action, title, matched, self.exact, samples if self.matched else (), self.sql)
        return replace(look, undo=way_back(look))

    async def given(self, action: Action) -> str:
        return '{"lease_s": 60}'

    async def run(self, action: Action) -> Result:
        self.ran.append(action)
        if self.held is not None:
            await self.held.wait()
        if self.fails is not None:
            raise self.fails
        if action.name == "search":
            return Result(action, len(MATCHES), 0, None, False, f"{len(MATCHES)} rows like {action.query!r}", MATCHES)
        said = f"{self.matched} jobs of {action.target} requeued"
        return Result(action, self.matched, self.matched, 12, False, said, undoable=self.undoable)

    async def page(
        self,
        queue: str,
        state: JobState | None,
        *,
        limit: int,
        after: str | None = None,
        before: str | None = None,
        match: JobMatch | None = None,
    ) -> JobPage:
        """Its cursors are the ids of jobs; of what must match it knows the kind, and it looks at `scan` jobs."""
        self.asked.append(match)
        held = [one for one in self.jobs_held if state in (None, one.state)]
        places = {str(one.id): place for place, one in enumerate(held)}
        if before is not None:
            end = places.get(before, len(held))
            start = max(end - limit, 0)
        else:
            start = 0 if after is None else places[after] + 1
            end = start + limit
        stop = min(len(held), start + self.scan if match else end)
        found = [one for one in held[start:stop] if match is None or match.kind in (None, one.kind)]
        last = str(held[stop - 1].id) if stop < len(held) else None
        first = str(held[start].id) if start else None
        return JobPage(
            tuple(found), last, first, str(held[start - 1].id) if start else None, stop - start,
            match is not None and last is not None,
        )  # fmt: skip

    async def how_far(self, action: Action) -> str:
        return f"scanning heap, 43% of {action.target}"

    async def left_of(self, action: Action) -> str:
        return self.left

    async def job(self, queue: str, id: int) -> JobRow:
        for one in self.jobs_held:
            if one.id == id:
                return one
        raise NotFoundError(f"queue {queue!r} has no job {id}", "it may be completed")

    async def chain(self, queue: str, id: int) -> JobChain | None:
        return self.chain_held

    async def failures(self, queue: str | None) -> list[FailureGroup]:
        return [one for one in self.failures_held if queue in (None, one.queue)]

    async def dead_jobs(self, queue: str, ids: Sequence[int]) -> list[JobRow]:
        return [one for one in self.jobs_held if one.id in ids and one.state == "dead"]

    async def pgmq_messages(self, queue: str, limit: int) -> list[PgmqMessage]:
        if self.fails is not None:
            raise self.fails
        return [replace(one, queue=queue) for one in self.messages_held][:limit]

    async def subscription(self, name: str, limit: int) -> SubscriptionView:
        if self.fails is not None:
            raise self.fails
        return replace(self.subscription_held, subscription=replace(SUBSCRIPTION, name=name))

    async def crons(self) -> tuple[CronEntry, ...]:
        if self.fails is not None:
            raise self.fails
        return self.crons_held

    async def acts(self, limit: int) -> tuple[AuditRow, ...]:
        if self.fails is not None:
            raise self.fails
        return self.acts_held[:limit]

    async def trail(self, act: int) -> Trail:
        for one in self.acts_held:
            if one.id == act:
                refused = "" if one.undoable else f"act {act} cannot be undone"
                return Trail(one, (KEPT,) if one.undoable else (), refused, "", "")
        raise NotFoundError(f"there is no act {act}")

    async def probe(self, channel: str | None) -> PubsubProbe:
        self.probed.append(channel)
        if self.fails is not None:
            raise self.fails
        return replace(self.probe_gives, channel=channel)

    async def document_indexes(self, collection: str) -> tuple[DocumentIndex, ...]:
        if self.fails is not None:
            raise self.fails
        return tuple(one for one in DOCUMENT_INDEXES if one.collection == collection)

    async def close(self) -> None:
        pass

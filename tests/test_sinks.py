"""Sinks before there is a broker: their names and what of them may be shown, missing extras, lanes; and the two that
are in the relay's own database."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from cli_call import Run, caller, spawned
from cloudevents.core.formats.json import JSONFormat
from test_relay import running, until

from pgops.cli.running import SINKS
from pgops.database import AsyncPool
from pgops.errors import UnreachableError, UsageError
from pgops.runtime import sinks
from pgops.runtime.registry import Registry
from pgops.runtime.sinks import DeliveryError, SinkClosedError, open_sink, shown
from pgops.runtime.sinks.address import template
from pgops.runtime.sinks.lanes import Refusal, in_lanes
from pgops.runtime.worker import Worker
from pgops.services.events import AsyncEvents
from pgops.services.models import Event, Job, Message, NewEvent
from pgops.services.pubsub import AsyncPubsub
from pgops.services.queue import AsyncQueue

SECRET = "s3cret-word"


@pytest.fixture
async def events(db: AsyncPool) -> AsyncIterator[AsyncEvents]:
    found = AsyncEvents(db)
    await found.subscribe("s")
    yield found


@pytest.fixture
def pgops(dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    return caller(monkeypatch, capsys)


def event(id: int, key: str | None = None, payload: str = "1", topic: str = "t") -> Event:
    return Event(0, id, uuid4(), topic, key, "made", payload, "{}", datetime.now(UTC))


# --- names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"rabbitmq://app:{SECRET}@mq:5672/shop?exchange=events", "rabbitmq://app:***@mq:5672/shop?exchange=events"),
        (f"amqp://app:{SECRET}/x@mq", "amqp://app:***@mq"),
        (f"amqp://app:a@{SECRET}@mq/v", "amqp://app:***@mq/v"),
        (f"amqp://app:{SECRET}", "amqp://app:***"),
        (f"nats://{SECRET}@nats:4222/orders", "nats://***@nats:4222/orders"),
        (f"redis://:{SECRET}@r/0?stream=a&password={SECRET}", "redis://:***@r/0?stream=a&password=***"),
        (f"https://hooks.example.com/services/{SECRET}?token={SECRET}", "https://hooks.example.com/…"),
        (f"https://u:{SECRET}@example.com:8443/", "https://example.com:8443/"),
        (f"https://example.com?{SECRET}", "https://example.com/…"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("stdout", "stdout"),
        ("app.events:publish", "app.events:publish"),
        ("queue:email?kind=send", "queue:email?kind=send"),
    ],
)
def test_what_is_shown_of_a_sink_holds_no_secret(name: str, told: str) -> None:
    assert shown(name) == told
    assert SECRET not in shown(name)


BAD = [
    ("carrier-pigeon://coop", "there is no sink 'carrier-pigeon://coop'"),
    ("kafka://host", "there is no sink"),
    ("rabbitmq://", "names no host"),
    ("rabbitmq:///vhost", "names no host"),
    (f"amqp://app:{SECRET}", "is no URL"),
    (f"amqp://app:{SECRET}@mq:port", "is no URL"),
    ("rabbitmq://mq?exchang=x", "does not know: exchang"),
    ("rabbitmq://mq?exchange=a&exchange=b", "an option twice"),
    ("rabbitmq://mq/v#x", "has a #"),
    ("rabbitmq://mq?routing_key={tenant}", "cannot be filled in"),
    ("rabbitmq://mq?routing_key={topic", "cannot be filled in"),
    ("nats://", "names no host"),
    ("nats://n/{who}", "cannot be filled in"),
    ("redis://r/zero", "is a number"),
    ("redis://r/0?maxlen=many", "maxlen of .* is 0 to"),
    ("redis://r/0?maxlen=-1", "maxlen of .* is 0 to"),
    ("https://", "names no host"),
    ("https://example.com?timeout=0", "timeout of .* is 0.1 to 300"),
    ("https://example.com?concurrency=x", "concurrency of .* is 1 to 100"),
    ("https://example.com?allow_private=yes", "allow_private of .* is 0 or 1"),
    ("sqs://", "names no host"),
    ("sqs://q?regio=x", "does not know: regio"),
    ("queue:", "names nothing"),
    ("queue:email?knd=x", "does not know: knd"),
    ("queue:email?group=no", "is 0 or 1"),
    ("notify:", "names nothing"),
    ("notify:" + "x" * 64, "1 to 63 bytes"),
]


@pytest.mark.parametrize(("name", "words"), BAD, ids=[name[:40] for name, _ in BAD])
async def test_a_bad_name_is_one_line_and_a_hint(name: str, words: str, db: AsyncPool) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        open_sink(name, db)
    said = f"{caught.value} {caught.value.hint}"
    assert caught.value.hint and "\n" not in said and SECRET not in said


@pytest.mark.parametrize("name", ["queue:email", "notify:orders"])
def test_a_sink_of_the_database_needs_one(name: str) -> None:
    with pytest.raises(UsageError, match="of the relay's own database"):
        open_sink(name)


EXTRAS = [
    ("rabbitmq://mq", "aiormq", "rabbitmq"), ("nats://n/a", "nats", "nats"), ("valkey://r/0", "redis", "redis"),
    ("https://example.com", "httpx", "webhook"), ("sqs://q?region=x", "boto3", "sqs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "library", "extra"), EXTRAS, ids=[extra for _, _, extra in EXTRAS])
def test_a_missing_extra_is_asked_for_by_name(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = f"pgops.runtime.sinks.{extra}"
    for module in [one for one in sys.modules if one.startswith((f"{library}.", ours))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UsageError, match="which is not installed") as caught:
        open_sink(name)
    assert f"pip install 'pgops[{extra}]'" in caught.value.hint


def test_help_and_error_list_the_same_sinks() -> None:
    kinds = (
        "stdout",
        "module:function",
        "queue:",
        "notify:",
        "rabbitmq://",
        "nats://",
        "redis://",
        "https://",
        "sqs://",
    )
    for kind in kinds:
        assert kind in SINKS and kind in sinks.KINDS
    assert "sqs:// (experimental)" in SINKS and "sqs:// (experimental)" in sinks.KINDS


def test_a_template_is_filled_in_from_the_event() -> None:
    assert template("a.{topic}.{type}.{key}", "x")(event(1, "k", topic="{key}")) == "a.{key}.made.k"
    assert template("plain", "x")(event(1)) == "plain"


# --- lanes ---------------------------------------------------------------------------------------------------


async def test_lanes_keep_the_order_of_a_key_and_run_beside_each_other() -> None:
    sent: list[int] = []
    busy, most = [0], [0]

    async def send(event: Event) -> None:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        await asyncio.sleep(0.001 * (event.id % 3))
        busy[0] -= 1
        sent.append(event.id)

    await in_lanes([event(n, f"k{n % 4}" if n % 5 else None) for n in range(60)], send, at_once=6)
    assert most[0] == 6
    for key in range(4):
        lane = [n for n in sent if n % 5 and n % 4 == key]
        assert lane == sorted(lane)
    assert sorted(sent) == list(range(60))


async def test_nothing_overtakes_an_event_that_was_refused() -> None:
    async def send(event: Event) -> None:
        if event.id == 2:
            raise Refusal("never", poison=True)
        if event.id == 3:
            raise ValueError("odd")

    with pytest.raises(DeliveryError) as caught:
        await in_lanes([event(n, "ab"[n % 2]) for n in range(8)], send, at_once=2)
    error = caught.value
    assert (error.delivered, error.failed, error.poison) == ({0, 1}, {3: "ValueError: odd"}, {2: "never"})


@pytest.mark.parametrize("raised", [UnreachableError("away"), ConnectionError("away"), TimeoutError("away")])
async def test_an_outage_ends_the_batch_and_what_got_through_is_told(raised: Exception) -> None:
    async def send(event: Event) -> None:
        if event.id == 2:
            raise raised

    with pytest.raises(DeliveryError) as caught:
        await in_lanes([event(n, "k") for n in range(4)], send, at_once=2)
    assert (caught.value.delivered, caught.value.failed) == ({0, 1}, {})
    with pytest.raises(type(raised), match="away"):
        await in_lanes([event(n, "k") for n in range(2, 4)], send, at_once=2)


async def test_a_library_that_cancels_what_it_was_asked_for_is_an_outage_and_a_stop_is_a_stop() -> None:
    async def cancelled(event: Event) -> None:
        waited = asyncio.get_running_loop().create_future()
        waited.cancel()
        await waited

    with pytest.raises(ConnectionError):
        await in_lanes([event(1)], cancelled, at_once=1)

    async def forever(event: Event) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(in_lanes([event(1), event(2)], forever, at_once=2))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_end_that_was_never_right_stops_all() -> None:
    async def send(event: Event) -> None:
        raise SinkClosedError("wrong password")

    with pytest.raises(SinkClosedError):
        await in_lanes([event(1), event(2)], send, at_once=2)


# --- the same database ---------------------------------------------------------------------------------------


async def taken(events: AsyncEvents) -> list[Event]:
    """Every event there is, as a relay gets them."""
    await events.lease_parts("s", owner="test", token=7, lease_s=60)
    return list((await events.fetch("s", 7, 1_000)).events)


async def test_an_event_becomes_one_job_however_often_it_is_handed_over(events: AsyncEvents, db: AsyncPool) -> None:
    big = {"n": 12345678901234567890, "s": "é"}
    id = await events.append("orders", big, key="k", type="made", headers={"traceparent": "00-1"})
    await events.append_many(NewEvent("orders", n, key=f"k{n % 3}", type="made") for n in range(30))
    ran: list[Job] = []
    registry = Registry()

    @registry.job("made")
    async def made(job: Job) -> None:
        ran.append(job)

    sink, found = open_sink("queue:email", db), await taken(events)
    await sink.deliver(found[:20])
    await sink.deliver(found)
    worker = Worker(db, registry, ["email"], concurrency=8)
    working = asyncio.create_task(worker.run())
    await until(lambda: len(ran) >= 31)
    await sink.deliver(found)
    await asyncio.sleep(0.3)
    worker.stop()
    await working
    documents = [JSONFormat().read(None, job.payload_json) for job in ran]
    assert len(ran) == len({document.get_id() for document in documents}) == 31
    for key in range(3):
        assert [d.get_data() for d in documents if d.get_subject() == f"k{key}"] == list(range(key, 30, 3))
    first, job = next((d, job) for d, job in zip(documents, ran, strict=True) if d.get_id() == str(id))
    assert (first.get_data(), job.unique_key, job.group_key) == (big, str(id), "k")
    assert job.headers == {"traceparent": "00-1"}


async def test_an_event_that_is_replayed_makes_another_job_and_says_so(events: AsyncEvents, db: AsyncPool) -> None:
    await events.append_many(NewEvent("t", n) for n in range(3))
    async with running(db, open_sink("queue:email", db)) as relay:
        await until(lambda: relay.stats.delivered == 3)
    await events.replay("s", since=datetime.now(UTC) - timedelta(hours=1))
    async with running(db, open_sink("queue:email", db)) as relay:
        await until(lambda: relay.stats.delivered == 3)
    jobs = await AsyncQueue(db).jobs("email")
    flags = [JSONFormat().read(None, json.dumps(job.payload)).get_extension("pgopsreplayed") for job in jobs]
    assert sorted(map(bool, flags)) == [False] * 3 + [True] * 3


async def test_a_relay_fills_a_queue_and_parks_what_can_be_no_job(events: AsyncEvents, db: AsyncPool) -> None:
    await events.append_many(NewEvent("t", n, key=f"k{n % 3}") for n in range(30))
    await events.append("t", "x" * 999_950, key="large")
    async with running(db, open_sink("queue:email?kind=send&group=0", db)) as relay:
        await until(lambda: relay.stats.delivered == 30 and relay.stats.parked == 1)
    (parked,) = await events.parked("s")
    assert (parked.event.key, "document has more than" in parked.error) == ("large", True)
    assert {job.kind for job in await AsyncQueue(db).jobs("email")} == {"send"}


async def test_an_event_becomes_a_live_message_whole_however_large_it_is(events: AsyncEvents, db: AsyncPool) -> None:
    payloads = [{"n": 12345678901234567890, "s": "é 😀 \n"}, "small", {"large": "é" * 9_000}, None]
    async with AsyncPubsub(db).listen("orders", timeout_s=10) as messages:
        for payload in payloads:
            await events.append("t", payload, key="k")
        async with running(db, open_sink("notify:orders", db)) as relay:
            await until(lambda: relay.stats.delivered == 4)
        got = []
        async for message in messages:
            assert isinstance(message, Message) and message.channel == "orders"
            got.append(message.payload)
            if len(got) == 4:
                break
    documents = [JSONFormat().read(None, json.dumps(one)) for one in got]
    assert [document.get_data() for document in documents] == payloads
    assert [document.get_subject() for document in documents] == ["k"] * 4


# --- the command ---------------------------------------------------------------------------------------------


def test_a_password_in_a_sinks_url_is_not_in_what_the_command_says(
    dsn: str, pgops: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    pgops("outbox", "subscribe", "billing", "--sink", f"amqp://app:{SECRET}@mq/", "--json")
    done = pgops("outbox", "list", "--json")
    assert done.document["items"][0]["sink"] == "amqp://app:***@mq/"
    monkeypatch.setenv("PGOPS_SINK", f"rabbitmq://app:{SECRET}@mq/?exchang=events")
    done = pgops("outbox", "relay", "--subscription", "billing", "--json")
    assert done.code == 2
    assert SECRET not in done.out + done.err
    assert "does not know: exchang" in done.error["message"]


def test_a_relay_says_where_it_relayed_to_without_the_password(dsn: str, pgops: Run) -> None:
    pgops("outbox", "subscribe", "billing", "--from", "beginning")
    sink = f"http://app:{SECRET}@127.0.0.1:9/{SECRET}?allow_private=1"
    with spawned(["outbox", "relay", "--subscription", "billing", "--to", sink, "--json"], dsn) as process:
        pgops("outbox", "append", "orders", "1")
        assert process.stderr is not None
        line = next(line for line in process.stderr if "cannot be reached" in line)
        assert "http://127.0.0.1:9/…" in line
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    assert SECRET not in line + out + err
    document = json.loads(out)
    assert (document["sink"], document["delivered"]) == ("http://127.0.0.1:9/…", 0)
    assert document["outages"] >= 1 and "cannot be reached" in document["last_error"]


def test_a_bad_sink_is_told_before_anybody_is_called(pgops: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_DSN", "host=127.0.0.1 port=1")
    done = pgops("outbox", "relay", "--subscription", "s", "--to", "kafka://broker", "--json")
    assert (done.code, done.error["message"]) == (2, "there is no sink 'kafka://broker'")
    assert "rabbitmq://" in done.error["hint"]
    assert pgops("outbox", "relay", "--subscription", "s", "--to", "queue:email", "--json").code == 3

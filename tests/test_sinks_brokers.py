"""The sinks of brokers, over real ones: complete, in order within a key, and so again when the broker is killed in the
middle. What arrives is read with the broker's own client, and its envelope by the CloudEvents project's library.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from broker_places import PASSWORD, Arrived, Nats, Place, Rabbit, RedisStream
from brokers import Broker, nats_server, rabbitmq_broker, redis_broker
from cloudevents.core.formats.json import JSONFormat
from nats.js.api import DiscardPolicy
from test_relay import running, start_process, until

from pgops.database import AsyncPool
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import SinkClosedError, open_sink
from pgops.services.events import AsyncEvents
from pgops.services.inbox import AsyncInbox
from pgops.services.models import NewEvent

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLACES: dict[str, type[Place]] = {"rabbitmq": Rabbit, "nats": Nats, "redis": RedisStream}


@contextmanager
def started(kind: str) -> Iterator[Broker]:
    if kind == "rabbitmq":
        with rabbitmq_broker() as broker:
            yield broker
    elif kind == "nats":
        with nats_server() as broker:
            yield broker
    else:
        with redis_broker("--appendonly", "yes", "--appendfsync", "always", "--requirepass", PASSWORD) as broker:
            yield broker


BROKERS = {
    kind: pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"broker {kind}")]) for kind in PLACES
}


@pytest.fixture(scope="module", params=BROKERS.values())
def broker(request: pytest.FixtureRequest) -> Iterator[tuple[str, Broker]]:
    """One of each kind for all tests here."""
    with started(request.param) as broker:
        yield request.param, broker


@pytest.fixture
async def place(broker: tuple[str, Broker]) -> Place:
    kind, server = broker
    place = PLACES[kind](server)
    await place.open()
    return place


@pytest.fixture
async def events(db: AsyncPool) -> AsyncEvents:
    found = AsyncEvents(db)
    await found.subscribe("s")
    return found


def by_key(arrived: list[Arrived]) -> dict[str, list[int]]:
    """The numbers of each key, in order of arrival, the first time each."""
    found: dict[str, list[int]] = {}
    for one in arrived:
        document = json.loads(one.body)
        numbers = found.setdefault(document["subject"], [])
        if document["data"] not in numbers:
            numbers.append(document["data"])
    return found


async def test_events_arrive_complete_in_order_and_as_cloudevents(
    place: Place, events: AsyncEvents, db: AsyncPool
) -> None:
    headers = {"traceparent": TRACE, "tenant": "café \n"}
    ids = [
        await events.append("t", {"n": 12345678901234567890, "s": "é\n"}, key="käse", type="made ü", headers=headers),
        await events.append("t", None),
    ]
    await events.append_many(NewEvent("t", n, key=f"k{n % 20}") for n in range(600))
    sink = open_sink(place.url)
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.delivered == 602)
    await sink.close()
    arrived = await place.arrived()
    assert len(arrived) == len({one.id for one in arrived}) == 602
    first = next(one for one in arrived if one.id == str(ids[0]))
    document = JSONFormat().read(None, first.body)
    assert (document.get_id(), document.get_type(), document.get_source()) == (str(ids[0]), "made ü", "/pgops/t")
    assert (document.get_subject(), document.get_extension("traceparent")) == ("käse", TRACE)
    assert document.get_data() == {"n": 12345678901234567890, "s": "é\n"}
    assert document.get_specversion() == "1.0" and document.get_time().tzinfo is not None
    assert first.beside["traceparent"] == TRACE
    named = {name.removeprefix("ce-"): value for name, value in first.beside.items()}
    assert (named["id"], named["source"]) == (str(ids[0]), "/pgops/t")
    assert named["type"] in ("made ü", "made%20%C3%BC")
    second = JSONFormat().read(None, next(one.body for one in arrived if one.id == str(ids[1])))
    assert second.get_data() is None and second.get_subject() is None
    numbered = [one for one in arrived if one.id not in map(str, ids)]
    assert by_key(numbered) == {f"k{k}": list(range(k, 600, 20)) for k in range(20)}


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing_and_keeps_the_order(
    place: Place, events: AsyncEvents, db: AsyncPool
) -> None:
    sink = open_sink(place.url)

    async def write() -> None:
        for start in range(0, 1_200, 60):
            await events.append_many(NewEvent("t", n, key=f"k{n % 15}") for n in range(start, start + 60))
            await asyncio.sleep(0.02)

    async with running(db, sink, batch=20, backoff_max_s=0.3) as relay:
        writing = asyncio.create_task(write())
        await until(lambda: relay.stats.delivered > 200)
        await asyncio.to_thread(place.broker.kill)
        await until(lambda: relay.stats.outages > 0)
        assert (relay.stats.failures, relay.stats.parked) == (0, 0)
        await asyncio.to_thread(place.broker.start)
        await writing
        await until(lambda: relay.stats.delivered == 1_200, seconds=30)
    await sink.close()
    arrived = await place.arrived()
    assert by_key(arrived) == {f"k{k}": list(range(k, 1_200, 15)) for k in range(15)}
    again = len(arrived) - 1_200
    assert again <= 64 * 20, "what was under way, and no more"
    assert relay.stats.parked == 0
    assert "Error" in relay.stats.last_error


async def test_relays_killed_and_stalled_lose_nothing_and_keep_the_order_and_the_inbox_takes_each_once(
    place: Place, events: AsyncEvents, db: AsyncPool, dsn: str, tmp_path: Path
) -> None:
    relays = [start_process(dsn, tmp_path / "unused", sink=place.url) for _ in range(2)]

    async def write(numbers: range) -> None:
        for start in numbers[::30]:
            await events.append_many(NewEvent("t", n, key=f"k{n % 15}") for n in range(start, start + 30))
            await asyncio.sleep(0.02)

    async def relayed(amount: int) -> None:
        async with asyncio.timeout(30):
            while True:
                if (await events.subscription("s")).relayed >= amount:
                    return
                await asyncio.sleep(0.02)

    try:
        await write(range(300))
        await relayed(100)
        relays[0].kill()
        relays[1].send_signal(signal.SIGSTOP)
        relays.append(start_process(dsn, tmp_path / "unused", sink=place.url))
        await write(range(300, 600))
        await relayed(450)
        relays[1].send_signal(signal.SIGCONT)
        await write(range(600, 900))
        await relayed(900)
    finally:
        for relay in relays:
            relay.kill()
            relay.wait()
    arrived = await place.arrived()
    assert by_key(arrived) == {f"k{k}": list(range(k, 900, 15)) for k in range(15)}
    inbox = AsyncInbox(db)
    assert sum([await inbox.first("mail", UUID(one.id)) for one in arrived]) == 900


async def test_what_nobody_takes_is_the_events_own_failure_and_says_what_is_missing(
    place: Place, events: AsyncEvents, db: AsyncPool
) -> None:
    await events.append_many([NewEvent("t", n, key="k") for n in range(2)])
    sink = open_sink(place.nowhere)
    async with running(db, sink, attempts=2) as relay:
        await until(lambda: relay.stats.parked == 2)
    await sink.close()
    parked = await events.parked("s")
    assert [one.attempts for one in parked] == [2, 0]
    assert place.said_of_nowhere in parked[0].error
    assert relay.stats.outages == 0


async def test_a_wrong_password_ends_a_relay_that_never_got_through_and_is_never_shown(
    place: Place, events: AsyncEvents, db: AsyncPool
) -> None:
    await events.append("t", 1)
    sink = open_sink(place.denied)
    with pytest.raises(SinkClosedError, match=place.said_of_denied) as caught:
        await asyncio.wait_for(Relay(db, "s", sink).run(), 20)
    await sink.close()
    assert caught.value.hint
    told = f"{caught.value} {caught.value.hint} {sink!r}"
    assert PASSWORD not in told and "***" in told
    assert (await events.lag("s")).events == 1
    assert await events.parked("s") == []


# --- what only one of them has -------------------------------------------------------------------------------


def only(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("broker", [BROKERS[kind]], indirect=True)


@only("rabbitmq")
async def test_rabbitmq_what_an_exchange_does_not_route_holds_its_key_and_nothing_else(
    place: Rabbit, events: AsyncEvents, db: AsyncPool
) -> None:
    async with place.channel() as channel:
        await channel.exchange_declare(place.name, exchange_type="topic")
        await channel.queue_bind(place.name, place.name, "made.*")
    kinds = ["made", "lost", "made"]
    await events.append_many(NewEvent("t", n, key="ab"[n // 3], type=kinds[n] if n < 3 else "made") for n in range(6))
    sink = open_sink(f"{place.server}?exchange={place.name}&routing_key={{type}}.{{topic}}")
    async with running(db, sink, attempts=2) as relay:
        await until(lambda: relay.stats.delivered == 4 and relay.stats.parked == 2)
    await sink.close()
    assert by_key(await place.arrived()) == {"a": [0], "b": [3, 4, 5]}
    parked = await events.parked("s")
    assert f"bind one to exchange {place.name!r} with routing key 'lost.t'" in parked[0].error
    assert [(one.event.payload, one.attempts) for one in parked] == [(1, 2), (2, 0)]


@only("rabbitmq")
async def test_rabbitmq_a_full_queue_is_waited_for_and_keeps_the_order(
    place: Rabbit, events: AsyncEvents, db: AsyncPool
) -> None:
    full = f"{place.name}-full"
    async with place.channel() as channel:
        limits = {"x-max-length": 3, "x-overflow": "reject-publish"}
        await channel.queue_declare(full, durable=True, arguments=limits)
    await events.append_many(NewEvent("t", n, key="k") for n in range(12))
    sink = open_sink(f"{place.server}?routing_key={full}")
    got: list[int] = []
    async with running(db, sink, attempts=1, backoff_max_s=0.05) as relay:
        await until(lambda: relay.stats.outages)
        assert "a queue of it is full" in relay.stats.last_error
        async with place.channel() as channel:
            while len(got) < 12:
                one = await channel.basic_get(full, no_ack=True)
                if one.delivery_tag is not None:
                    got.append(json.loads(one.body)["data"])
    await sink.close()
    assert got == list(range(12))
    assert relay.stats.parked == relay.stats.failures == 0


@only("rabbitmq")
async def test_rabbitmq_an_exchange_or_vhost_that_is_not_there_is_named(
    place: Rabbit, events: AsyncEvents, db: AsyncPool
) -> None:
    await events.append("t", 1)
    for url, words in [
        (f"{place.server}?exchange=missing", "has no exchange 'missing'"),
        (f"{place.server}missing", "knows no such vhost"),
    ]:
        sink = open_sink(url)
        with pytest.raises(SinkClosedError, match=words) as caught:
            await Relay(db, "s", sink).run()
        assert caught.value.hint
        await sink.close()


@only("rabbitmq")
async def test_rabbitmq_a_message_of_several_frames_arrives_whole(
    place: Rabbit, events: AsyncEvents, db: AsyncPool
) -> None:
    payloads = ["x" * size for size in (131_000, 500_000, 999_000)]
    await events.append_many(NewEvent("t", payload, key="k") for payload in payloads)
    sink = open_sink(place.url)
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.delivered == 3)
    await sink.close()
    assert [json.loads(one.body)["data"] for one in await place.arrived()] == payloads


@only("nats")
async def test_nats_an_event_that_is_handed_over_again_is_stored_once(
    place: Nats, events: AsyncEvents, db: AsyncPool
) -> None:
    await events.append_many(NewEvent("t", n, key="k") for n in range(20))
    await events.lease_parts("s", owner="test", token=7, lease_s=60)
    found = (await events.fetch("s", 7, 100)).events
    sink = open_sink(place.url)
    await sink.deliver(found)
    await sink.deliver(found)
    await sink.close()
    assert by_key(await place.arrived()) == {"k": list(range(20))}
    assert len(await place.arrived()) == 20


@only("nats")
async def test_nats_a_full_stream_is_waited_for_and_a_message_too_large_is_poison(
    place: Nats, events: AsyncEvents, db: AsyncPool
) -> None:
    async with place.stream() as stream:
        settings = {"name": place.name, "subjects": [f"{place.name}.>"], "max_msg_size": 2_000}
        await stream.update_stream(**settings, max_msgs=3, discard=DiscardPolicy.NEW)
        await events.append("t", "x" * 3_000, key="large")
        await events.append_many(NewEvent("t", n, key="k") for n in range(5))
        sink = open_sink(place.url)
        async with running(db, sink, attempts=1, backoff_max_s=0.05) as relay:
            await until(lambda: relay.stats.delivered == 3 and relay.stats.outages)
            assert "maximum messages exceeded" in relay.stats.last_error
            await stream.update_stream(**settings, max_msgs=100)
            await until(lambda: relay.stats.delivered == 5 and relay.stats.parked == 1)
        await sink.close()
    (parked,) = await events.parked("s")
    assert parked.event.key == "large" and "message size exceeds maximum" in parked.error
    assert by_key(await place.arrived()) == {"k": list(range(5))}


@only("nats")
async def test_nats_a_subject_that_may_not_be_published_to_ends_a_new_relay_and_is_an_events_own_failure_later(
    place: Nats, events: AsyncEvents, db: AsyncPool
) -> None:
    sink = open_sink(place.url.replace("nats://app:", "nats://narrow:"))
    await events.append("secret", 1, key="k")
    with pytest.raises(SinkClosedError, match=r"refuses this user.*(?i:permissions violation)"):
        await Relay(db, "s", sink).run()
    assert await events.parked("s") == []
    await events.append("allowed", 2, key="j")
    async with running(db, sink, attempts=2) as relay:
        await until(lambda: relay.stats.delivered == 1 and relay.stats.parked == 1)
    await sink.close()
    (parked,) = await events.parked("s")
    assert (parked.event.topic, parked.attempts) == ("secret", 2)


@only("redis")
async def test_redis_a_stream_is_trimmed_and_a_key_does_not_overtake_itself_between_streams(
    place: RedisStream, events: AsyncEvents, db: AsyncPool
) -> None:
    topics = [place.name, "taken", place.name]  # what "taken" is there is no stream
    await events.append_many(NewEvent(topics[n % 3], n, key="a") for n in range(3))
    await events.append_many(NewEvent(place.name, n, key="b") for n in range(700))
    sink = open_sink(place.url.partition("?")[0] + "?stream={topic}&maxlen=200")
    async with running(db, sink, attempts=1) as relay:
        await until(lambda: relay.stats.delivered == 701 and relay.stats.parked == 2)
    await sink.close()
    arrived = by_key(await place.arrived())
    assert "a" not in arrived or arrived["a"] == [0]
    assert arrived["b"] == list(range(700 - len(arrived["b"]), 700))
    assert 200 <= len(arrived["b"]) < 400, "it is trimmed by whole nodes of 100"

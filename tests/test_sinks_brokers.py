"""The sinks of brokers, over real ones: complete, in order within a key, and so again when the broker is killed in the
middle. What arrives is read with the broker's own client, and its envelope by the CloudEvents project's library.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from broker_places import PASSWORD, Arrived, Nats, Place, Rabbit, RedisStream
from brokers import Broker, nats_server, rabbitmq_broker, redis_broker
from cloudevents.core.formats.json import JSONFormat
from test_relay import running, until

from pgops.database import AsyncPool
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import SinkClosedError, open_sink
from pgops.services.events import AsyncEvents
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


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=[pytest.mark.slow, pytest.mark.xdist_group(f"broker {kind}")]) for kind in PLACES],
)
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

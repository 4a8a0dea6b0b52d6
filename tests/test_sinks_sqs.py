"""The sink of SQS, which is experimental: over moto's server, a stand-in for Amazon's. Nothing here reaches Amazon."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from brokers import free_port
from cloudevents.core.formats.json import JSONFormat
from test_relay import running, until

from pgops.database import AsyncPool
from pgops.errors import UnreachableError
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import SinkClosedError, open_sink
from pgops.services.events import AsyncEvents
from pgops.services.models import NewEvent

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sqs")]
REGION = "eu-west-1"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Its address; a process of its own, which other threads' warnings are not."""
    port = free_port()
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
async def events(db: AsyncPool) -> AsyncIterator[AsyncEvents]:
    found = AsyncEvents(db)
    await found.subscribe("s")
    yield found


def client(moto: str) -> Any:
    return boto3.session.Session().client("sqs", region_name=REGION, endpoint_url=moto)


def received(moto: str, queue: str) -> list[dict[str, Any]]:
    """All messages, in order."""
    sqs, found = client(moto), []
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    while got := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
    ).get("Messages"):
        found += got
        for one in got:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
    sqs.close()
    return found


async def test_events_arrive_once_in_order_within_their_key(moto: str, events: AsyncEvents, db: AsyncPool) -> None:
    sqs = client(moto)
    sqs.create_queue(QueueName="Orders.fifo", Attributes={"FifoQueue": "true"})
    sqs.close()
    await events.append_many(NewEvent("t", n, key=["a", "key with blanks", "b"][n % 3]) for n in range(30))
    id = await events.append("t", {"s": "é"}, type="made")
    sink = open_sink(f"sqs://Orders.fifo?region={REGION}&endpoint={moto}")
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.delivered == 31, seconds=20)
    await sink.close()
    found = received(moto, "Orders.fifo")
    documents = [JSONFormat().read(None, one["Body"]) for one in found]
    assert len(documents) == 31
    for place, key in enumerate(("a", "key with blanks", "b")):
        assert [d.get_data() for d in documents if d.get_subject() == key] == list(range(place, 30, 3))
    last = next(one for one in found if json.loads(one["Body"])["id"] == str(id))
    assert last["Attributes"]["MessageDeduplicationId"] == last["Attributes"]["MessageGroupId"] == str(id)
    assert last["MessageAttributes"]["ce-type"]["StringValue"] == "made"
    assert {one["Attributes"]["MessageGroupId"] for one in found} >= {"a", "b"}


async def test_a_queue_that_is_not_there_and_a_server_that_is_away_are_told_apart(
    moto: str, events: AsyncEvents, db: AsyncPool
) -> None:
    await events.append("t", 1)
    sink = open_sink(f"sqs://nowhere?region={REGION}&endpoint={moto}")
    with pytest.raises(SinkClosedError, match="does not exist") as caught:
        await Relay(db, "s", sink).run()
    assert "check the queue's name" in caught.value.hint
    await sink.close()
    sink = open_sink(f"sqs://nowhere?region={REGION}&endpoint=http://127.0.0.1:{free_port()}")
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await sink.deliver([])
    await sink.close()


async def test_an_event_that_is_too_large_is_poison(moto: str, events: AsyncEvents, db: AsyncPool) -> None:
    sqs = client(moto)
    sqs.create_queue(QueueName="plain", Attributes={"MaximumMessageSize": "2048"})
    sqs.close()
    await events.append("t", "x" * 4_000, key="k")
    await events.append("t", "small", key="j")
    sink = open_sink(f"sqs://plain?region={REGION}&endpoint={moto}")
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.delivered == relay.stats.parked == 1)
    await sink.close()
    (parked,) = await events.parked("s")
    assert (parked.event.key, parked.attempts) == ("k", 1)
    assert "SQS will not have it" in parked.error

"""The webhook sink over a real HTTP server: signatures that a third party proves, answers and what follows from them,
addresses that are not called."""

import json
import socket
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from test_relay import running, until
from webhook_server import Endpoint, Posted, endpoint, hang_up, status

from pgops.database import AsyncPool
from pgops.errors import UnreachableError, UsageError
from pgops.runtime.relay import Relay
from pgops.runtime.sinks import SinkClosedError, open_sink
from pgops.runtime.sinks import webhook as webhook_sink
from pgops.runtime.sinks.webhook_rules import is_public
from pgops.services.events import AsyncEvents
from pgops.services.models import NewEvent

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLDER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("PGOPS_WEBHOOK_SECRET", SECRET)
    with endpoint() as found:
        yield found


@pytest.fixture
async def events(db: AsyncPool) -> AsyncIterator[AsyncEvents]:
    found = AsyncEvents(db)
    await found.subscribe("s")
    yield found


async def relayed(db: AsyncPool, url: str, count: int, **options: Any) -> Relay:
    """A relay that has delivered or parked `count` events."""
    sink = open_sink(url)
    async with running(db, sink, **options) as relay:
        await until(lambda: relay.stats.delivered + relay.stats.parked >= count)
    await sink.close()
    return relay


async def ended(db: AsyncPool, url: str) -> None:
    """A relay that ends by itself."""
    sink = open_sink(url)
    try:
        await Relay(db, "s", sink).run()
    finally:
        await sink.close()


def numbers(posted: list[Posted]) -> list[Any]:
    return [json.loads(one.body)["data"] for one in posted]


async def test_an_event_is_posted_signed_and_as_a_cloudevent(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    id = await events.append("orders", {"n": 1.10, "s": "é"}, key="k", type="made", headers={"traceparent": trace})
    await relayed(db, f"{hook.url}&tenant=a%20b&timeout=5", 1)
    (posted,) = hook.posted
    assert posted.path == "/hook?tenant=a%20b", "what is not ours stays the endpoint's, as it was written"
    assert posted.headers["host"] == f"127.0.0.1:{hook.port}"
    assert posted.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert (posted.headers["webhook-id"], posted.headers["traceparent"]) == (str(id), trace)
    Webhook(SECRET).verify(posted.body, posted.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(posted.body + b" ", posted.headers)
    document = from_http_event(HTTPMessage(posted.headers, posted.body))
    assert (document.get_id(), document.get_type(), document.get_subject()) == (str(id), "made", "k")
    assert document.get_data() == {"n": 1.10, "s": "é"}


async def test_while_a_secret_is_replaced_both_sign(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_SECRET", f"{SECRET} {OLDER}")
    await events.append("orders", 1)
    await relayed(db, f"{hook.url}&secret_env=ORDERS_SECRET", 1)
    for secret in (SECRET, OLDER):
        Webhook(secret).verify(hook.posted[0].body, hook.posted[0].headers)


async def test_events_of_one_key_are_posted_one_after_the_other_and_others_beside_them(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool
) -> None:
    busy: Counter[str] = Counter()
    most = [0]

    def answer(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        key = json.loads(posted.body)["subject"]
        with hook.lock:
            busy[key] += 1
            assert busy[key] == 1
            most[0] = max(most[0], busy.total())
        time.sleep(0.01)
        with hook.lock:
            busy[key] -= 1
        status(200)(handler, posted)

    hook.answer = answer
    await events.append_many(NewEvent("t", n, key=f"k{n % 6}") for n in range(60))
    relay = await relayed(db, f"{hook.url}&concurrency=4", 60)
    assert relay.stats.outages == relay.stats.failures == 0
    assert 1 < most[0] <= 4
    for key in range(6):
        assert [n for n in numbers(hook.posted) if n % 6 == key] == list(range(key, 60, 6))


async def test_gone_is_poison_and_an_error_of_the_endpoints_own_is_tried_again_and_parked(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool
) -> None:
    def answer(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        code = {2: 410, 4: 500}.get(json.loads(posted.body)["data"], 200)
        status(code)(handler, posted)

    hook.answer = answer
    await events.append_many(NewEvent("t", n, key=f"k{n % 2}") for n in range(8))
    await events.append("t", 4)
    relay = await relayed(db, hook.url, 9, attempts=3)
    parked = {one.event.payload: (one.attempts, one.error) for one in await events.parked("s") if one.attempts}
    assert parked == {2: (1, "the endpoint answers 410"), 4: (3, "the endpoint answers 500")}
    assert Counter(numbers(hook.posted)) == {0: 1, 1: 1, 2: 1, 3: 1, 5: 1, 7: 1, 4: 3}
    assert (relay.stats.delivered, relay.stats.parked, relay.stats.outages) == (5, 4, 0)


@pytest.mark.parametrize("code", [429, 503])
async def test_retry_after_is_honoured_and_nothing_is_asked_before(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, code: int
) -> None:
    asked: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        asked.append(time.monotonic())
        status(200)(handler, posted) if len(asked) > 1 else status(code, Retry_After="1")(handler, posted)

    hook.answer = answer
    await events.append_many([NewEvent("t", n, key="k") for n in range(3)])
    relay = await relayed(db, hook.url, 3, backoff_s=0.01, backoff_max_s=0.02)
    assert asked[1] - asked[0] >= 1
    assert numbers(hook.posted) == [0, 0, 1, 2]
    assert (relay.stats.failures, relay.stats.parked) == (0, 0)


async def test_an_endpoint_that_is_away_is_waited_for(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook.script = [hang_up, hang_up, status(502)]
    await events.append_many([NewEvent("t", n, key="k") for n in range(3)])
    relay = await relayed(db, hook.url, 3, attempts=1, backoff_s=0.01)
    assert (relay.stats.outages, relay.stats.failures, relay.stats.delivered) == (3, 0, 3)


async def test_an_event_that_never_gets_an_answer_is_at_last_its_own_failure(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_sink, "PATIENCE", 2)

    def answer(handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        if json.loads(posted.body)["data"] == "poison":
            time.sleep(0.3)
        status(200)(handler, posted)

    hook.answer = answer
    await events.append_many([NewEvent("t", "poison", key="a"), NewEvent("t", 1, key="b")])
    relay = await relayed(db, f"{hook.url}&timeout=0.1", 2, attempts=2, backoff_s=0.01)
    (parked,) = await events.parked("s")
    assert parked.event.payload == "poison" and "gives no answer within 0.1 s" in parked.error
    assert (relay.stats.delivered, parked.attempts) == (1, 2)


@pytest.mark.parametrize("code", [301, 401, 404])
async def test_what_is_no_answer_of_the_endpoint_ends_a_relay_that_never_got_through_and_else_waits(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, code: int
) -> None:
    await events.append("t", 1)
    hook.answer = status(code, Location=f"http://127.0.0.1:{hook.port}/elsewhere")
    with pytest.raises(SinkClosedError, match=f"answers {code}") as caught:
        await ended(db, hook.url)
    assert "redirects are not followed" in caught.value.hint
    assert [one.path for one in hook.posted] == ["/hook"]
    hook.script = [status(200), status(code)]
    hook.answer = status(200)
    await events.append("t", 2)
    await relayed(db, f"{hook.url}&concurrency=1", 2, backoff_s=0.01)
    assert await events.parked("s") == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "10.1.2.3", "192.168.0.9", "169.254.169.254", "[::1]", "[fe80::1]",
             "[::ffff:127.0.0.1]",
             "100.64.0.1", "0.0.0.0", "[fd00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1"],
)  # fmt: skip
def test_an_address_of_this_machine_or_a_private_network_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="this machine or of a private network") as caught:
        open_sink(f"http://{host}:8080/hook")
    assert "allow_private=1" in caught.value.hint
    open_sink(f"http://{host}:8080/hook?allow_private=1")


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "8.8.8.8"])
def test_an_address_of_the_internet_is_not(address: str) -> None:
    assert is_public(address)


def test_what_is_no_address_is_none() -> None:
    assert not is_public("example.com")


async def test_a_name_is_judged_by_where_it_leads_and_only_that_address_is_called(
    hook: Endpoint, events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of a name server that lies is never asked for: it could lead anywhere."""
    asked: list[str] = []

    def look_up(host: str, port: int, *rest: object, **more: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    await events.append("t", 1)
    url = f"http://hooks.example.com:{hook.port}/hook"
    with pytest.raises(SinkClosedError, match=r"private network \(127.0.0.1\)"):
        await ended(db, url)
    assert hook.posted == []
    asked.clear()
    await relayed(db, f"{url}?allow_private=1", 1)
    assert hook.posted[0].headers["host"] == f"hooks.example.com:{hook.port}"
    assert asked.count("hooks.example.com") == 1


async def test_a_name_that_leads_nowhere_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = open_sink("https://no-such-host.invalid/hook")
    with pytest.raises(UnreachableError, match="cannot be looked up"):
        await sink.deliver([])
    await sink.close()


def test_a_secret_that_is_none_is_refused_and_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_SECRET", "whsec_tooshort")
    with pytest.raises(UsageError, match="what ORDERS_SECRET holds is no webhook secret") as caught:
        open_sink("https://example.com/?secret_env=ORDERS_SECRET")
    assert "tooshort" not in f"{caught.value}{caught.value.hint}"
    with pytest.raises(UsageError, match="takes its secret from UNSET, which is not set"):
        open_sink("https://example.com/?secret_env=UNSET")


async def test_without_a_secret_it_says_so_and_signs_nothing(
    hook: Endpoint,
    events: AsyncEvents,
    db: AsyncPool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("PGOPS_WEBHOOK_SECRET")
    await events.append("t", 1)
    await relayed(db, f"http://user:pw%40@127.0.0.1:{hook.port}/T00/B00/XXXX?allow_private=1", 1)
    assert "gets no signatures" in caplog.text
    assert "XXXX" not in caplog.text and "pw" not in caplog.text
    assert "webhook-signature" not in hook.posted[0].headers
    assert hook.posted[0].headers["authorization"] == "Basic dXNlcjpwd0A="


async def test_the_relay_stops_while_it_is_asked_to_wait(hook: Endpoint, events: AsyncEvents, db: AsyncPool) -> None:
    hook.answer = status(429, Retry_After="600")
    await events.append("t", 1)
    began = time.monotonic()
    sink = open_sink(hook.url)
    async with running(db, sink) as relay:
        await until(lambda: relay.stats.outages)
    await sink.close()
    assert time.monotonic() - began < 5
    assert (await events.lag("s")).events == 1
    assert len(hook.posted) == 1


def certificate(folder: Path, host: str) -> Path:
    """One for `host`, signed by itself, with its key."""
    path = folder / "certificate.pem"
    line = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    line += ["-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}", "-keyout", path, "-out", folder / "cert"]
    subprocess.run(line, check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "cert").read_text())
    return path


async def test_the_certificate_is_of_the_name_though_the_connection_goes_to_the_address(
    events: AsyncEvents, db: AsyncPool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look_up(host: str, port: int, *rest: object, **more: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    path = certificate(tmp_path, "hooks.example.com")
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("PGOPS_WEBHOOK_SECRET", SECRET)
    id = await events.append("t", 1)
    with endpoint(path) as hook:
        await relayed(db, f"https://hooks.example.com:{hook.port}/?allow_private=1", 1)
        assert [one.headers["webhook-id"] for one in hook.posted] == [str(id)]
        sink = open_sink(f"https://other.example.com:{hook.port}/?allow_private=1")
        await events.lease_parts("s", owner="test", token=7, lease_s=60)
        await events.append("t", 2)
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            await sink.deliver((await events.fetch("s", 7, 10)).events)
        await sink.close()
        assert len(hook.posted) == 1

"""NATS JetStream: one message an event, acknowledged by its stream; the event's id is Nats-Msg-Id, by which the stream
drops repeats within its duplicate window (not what comes again since the subscription was set back).

    nats://user:password@host:4222/subject.prefix?stream=EVENTS

The subject is the prefix, a dot and the topic; {topic}, {type} and {key} in it take the place of that. tls:// asks for
TLS; `creds` names a credentials file, `stream` the one stream that is to take it all. No stream is made here.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import quote

import nats.aio.client
import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from pgops.errors import PgopsError, UnreachableError
from pgops.runtime.sinks.address import parse, template
from pgops.runtime.sinks.cloudevents import CONTENT_TYPE, cloudevent, header_value, headers
from pgops.runtime.sinks.contract import not_as_set_up
from pgops.runtime.sinks.lanes import Refusal, in_lanes
from pgops.runtime.sinks.nats_acks import Acks
from pgops.services.models import Event

EXAMPLE = "nats://localhost:4222/events?stream=EVENTS"
AT_ONCE = 500
CONNECT_S, ACK_S, CLOSE_S, LOOK_S = 5, 5.0, 2.0, 0.05
TOO_LARGE, OTHER_STREAM = 10054, 10060
DENIED = re.compile(r"authorization violation|authentication|permissions violation|nkey|signature", re.IGNORECASE)
_DROPPED = re.compile(r'permissions violation for publish to "([^"]*)"', re.IGNORECASE)
_NO_TOKEN = re.compile(r"[\s*>\x00-\x1f\x7f]")


class NatsSink:
    """Publishes to the subjects of one prefix. It connects when the first event comes, and again after an outage."""

    def __init__(self, name: str) -> None:
        address = parse(name, EXAMPLE, ("stream", "creds"))
        self._shown = address.shown
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._server = f"{address.scheme}://{host}:{address.port or 4222}"
        by_token = address.password is None
        self._user, self._password = (None, None) if by_token else (address.user, address.password)
        self._token = address.user if by_token else None
        self._credentials = address.options.get("creds")
        prefix = address.path
        self._subject = template(prefix if "{" in prefix else f"{prefix}.{{topic}}".lstrip("."), address.shown)
        self._expected = {"Nats-Expected-Stream": address.options["stream"]} if "stream" in address.options else {}
        self._client: nats.aio.client.Client | None = None
        self._acks: Acks | None = None
        self._heard = ""
        self._worked = False

    async def deliver(self, events: Sequence[Event]) -> None:
        self._heard = ""
        acks = await self._open()
        watching = asyncio.create_task(self._watch())
        try:
            await in_lanes(events, lambda event: self._publish(acks, event), at_once=AT_ONCE)
        finally:
            watching.cancel()

    async def close(self) -> None:
        client, self._client, self._acks = self._client, None, None
        if client is not None:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await client.close()

    async def _open(self) -> Acks:
        if self._client is not None and self._acks is not None and self._client.is_connected:
            return self._acks
        await self.close()
        self._client = client = nats.aio.client.Client()
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.connect(
                    self._server, name="pgops", allow_reconnect=False, reconnect_time_wait=0, ping_interval=10,
                    max_outstanding_pings=2, connect_timeout=CONNECT_S, error_cb=self._hear, user=self._user,
                    password=self._password, token=self._token, user_credentials=self._credentials,
                )  # fmt: skip
                acks = await Acks.open(client, ACK_S)
        except (nats.errors.Error, OSError, ValueError) as error:
            await self.close()
            raise self._unreachable(error) from error
        self._acks = acks
        return acks

    async def _watch(self) -> None:
        """Once the connection is lost no ack will come for what is under way. The client's own callback says so only
        after it has cleaned up, which may take longer than an ack."""
        client = self._client
        while client is not None and client.is_connected:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        if self._acks is not None:
            self._acks.give_up()

    async def _publish(self, acks: Acks, event: Event) -> None:
        """Returns when a stream has stored it."""
        subject = self._subject(event)
        if ".." in f".{subject}.":
            raise Refusal(f"{subject!r} is no subject: a part of it is empty", poison=True)
        subject = _NO_TOKEN.sub(lambda found: quote(found[0], safe=""), subject)
        beside = {name: header_value(value) for name, value in headers(event).items()}
        beside |= {"Content-Type": CONTENT_TYPE, **self._expected}
        if not event.replayed:
            beside["Nats-Msg-Id"] = str(event.event_id)
        try:
            await acks.publish(subject, cloudevent(event).encode(), beside)
            self._worked = True
        except PermissionError as error:
            raise Refusal(f"{self._shown} refuses it: {error}") if self._worked else self._denied(error) from error
        except nats.errors.MaxPayloadError as error:
            raise Refusal("it is larger than max_payload of the NATS server", poison=True) from error
        except nats.js.errors.NoStreamResponseError as error:
            raise await self._no_stream(acks.stream, subject) from error
        except nats.js.errors.APIError as error:
            raise self._refused(error) from error
        except (nats.errors.Error, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    async def _no_stream(self, stream: JetStreamContext, subject: str) -> Exception:
        """Nobody answered: because no stream has the subject, or because JetStream is away."""
        try:
            await stream.find_stream_name_by_subject(subject)
        except nats.js.errors.NotFoundError:
            pattern = f"{subject.rpartition('.')[0]}.>".lstrip(".")
            return Refusal(f"no stream takes the subject {subject}: nats stream add EVENTS --subjects {pattern!r}")
        except (nats.errors.Error, OSError, TimeoutError):
            return UnreachableError(
                f"{self._shown} has no JetStream that answers", "start nats-server with -js, or look at its cluster"
            )
        return UnreachableError(f"the stream of subject {subject} has no leader at the moment")

    def _refused(self, error: nats.js.errors.APIError) -> Exception:
        """A full stream is waited for; what the stream says of the message is the event's own."""
        said = error.description or str(error)
        if error.err_code == TOO_LARGE:
            return Refusal(f"the stream will not have it: {said}", poison=True)
        if error.err_code == OTHER_STREAM:
            hint = "name the stream that has these subjects, or leave stream out"
            return not_as_set_up(f"{self._shown} stores nothing: {said}", hint, worked=self._worked)
        if (error.code or 500) >= 500:
            return UnreachableError(f"{self._shown} stored nothing: {said}")
        return Refusal(f"the stream will not have it: {said}")

    async def _hear(self, error: Exception) -> None:
        """What the server says without being asked; whoever waits for an answer finds it."""
        self._heard = str(error)
        if self._acks is not None and (dropped := _DROPPED.search(self._heard)):
            self._acks.deny(dropped[1], self._heard)

    def _unreachable(self, error: Exception) -> PgopsError:
        said = self._heard or str(error) or type(error).__name__
        if DENIED.search(said) or isinstance(error, FileNotFoundError):
            return self._denied(said)
        return UnreachableError(f"{self._shown} cannot be reached: {said}")

    def _denied(self, said: object) -> PgopsError:
        hint = "check user, password, token or credentials file, and what the user may publish to"
        return not_as_set_up(f"{self._shown} refuses this user: {said}", hint, worked=self._worked)

"""Redis and Valkey: one stream entry an event, many in one MULTI/EXEC.

    redis://user:password@host:6379/0?stream=events&maxlen=1000000

rediss:// asks for TLS, unix:///path/to/socket?stream=… for a socket; valkey:// and valkeys:// mean the same. The stream
is the topic unless it is given; `maxlen` trims it to about so many entries. An entry has the fields event (the whole
document), id, type, source, key and traceparent. Redis drops no repeats, so consumers go by id. An event is as safe as
that Redis keeps its data: `appendonly yes`, and `appendfsync always` to lose none in a crash.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
)
from redis.typing import EncodableT

from pgops.errors import UnreachableError, UsageError
from pgops.runtime.sinks.address import parse, template
from pgops.runtime.sinks.cloudevents import cloudevent, context
from pgops.runtime.sinks.contract import DeliveryError, not_as_set_up
from pgops.services.models import Event

EXAMPLE = "redis://localhost:6379/0?stream=events&maxlen=1000000"
CHUNK = 500
CONNECT_S, ANSWER_S, CLOSE_S = 5.0, 10.0, 2.0
SETUP_ERRORS = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)
TLS = ("rediss", "valkeys")


class RedisSink:
    """Appends to streams. It connects when the first event comes, and again after an outage."""

    def __init__(self, name: str) -> None:
        by_socket = name.startswith("unix://")
        options = ("stream", "maxlen", "db") if by_socket else ("stream", "maxlen")
        address = parse(name, EXAMPLE, options, has_host=not by_socket)
        database = address.options.get("db", "0") if by_socket else address.path or "0"
        if not (database.isascii() and database.isdigit()):
            raise UsageError(f"the database of {address.shown} is a number", f"for example {EXAMPLE}")
        self._shown = address.shown
        self._stream = template(address.options.get("stream", "{topic}"), address.shown)
        self._maxlen = int(address.number("maxlen", 0, 0, 2**53)) or None
        self._redis = Redis(
            host=address.host or "localhost", port=address.port or 6379, db=int(database),
            unix_socket_path=f"/{address.path}" if by_socket else None,
            username=address.user or None, password=address.password or None, ssl=address.scheme in TLS,
            socket_timeout=ANSWER_S, socket_connect_timeout=CONNECT_S, retry=Retry(NoBackoff(), 0), protocol=2,
            max_connections=1,
        )  # fmt: skip
        self._worked = False

    async def deliver(self, events: Sequence[Event]) -> None:
        delivered: list[int] = []
        failed: dict[int, str] = {}
        blocked: set[str | None] = set()
        for chunk in self._chunks(events):
            chosen = [(event, stream) for event, stream in chunk if event.key not in blocked]
            try:
                refused = await self._append(chosen)
            except UnreachableError as error:
                if delivered or failed:
                    raise DeliveryError(str(error), delivered=delivered, failed=failed) from error
                raise
            delivered += [event.id for event, _ in chosen if event.id not in refused]
            failed |= refused
            blocked |= {event.key for event, _ in chosen if event.id in refused and event.key is not None}
        if failed:
            raise DeliveryError("some events did not get through", delivered=delivered, failed=failed)

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await self._redis.aclose()

    def _chunks(self, events: Sequence[Event]) -> Iterator[list[tuple[Event, str]]]:
        """With their streams. An entry that is refused does not keep the others of its MULTI back, so within a chunk a
        key's events are of one stream, which takes all of them or none."""
        chunk: list[tuple[Event, str]] = []
        streams: dict[str, str] = {}
        for event in events:
            stream = self._stream(event)
            elsewhere = event.key is not None and streams.get(event.key, stream) != stream
            if elsewhere or len(chunk) == CHUNK:
                yield chunk
                chunk, streams = [], {}
            chunk.append((event, stream))
            if event.key is not None:
                streams[event.key] = stream
        yield chunk

    async def _append(self, chunk: Sequence[tuple[Event, str]]) -> dict[int, str]:
        """All that Redis takes; what of it it refuses, and why."""
        if not chunk:
            return {}
        pipeline = self._redis.pipeline(transaction=True)
        for event, stream in chunk:
            pipeline.xadd(stream, _fields(event), maxlen=self._maxlen, approximate=True)
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            if any(isinstance(one, SETUP_ERRORS) for one in (error, error.__cause__, error.__context__)):
                hint = "check user and password, and what the user may do: it needs XADD, MULTI and EXEC on the stream"
                raise not_as_set_up(f"{self._shown} refuses this user: {error}", hint, worked=self._worked) from error
            raise UnreachableError(f"{self._shown} took nothing: {str(error) or type(error).__name__}") from error
        self._worked = True
        return {
            event.id: f"{stream!r} took no entry: {answer}"
            for (event, stream), answer in zip(chunk, answers, strict=True)
            if isinstance(answer, Exception)
        }


def _fields(event: Event) -> dict[EncodableT, EncodableT]:
    fields: dict[EncodableT, EncodableT] = {"event": cloudevent(event)}
    fields.update(context(event).items())
    if event.key is not None:
        fields["key"] = event.key
    return fields

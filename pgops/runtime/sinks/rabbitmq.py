"""RabbitMQ: one persistent message an event, confirmed by the broker, over one channel.

    rabbitmq://user:password@host:5672/vhost?exchange=events&routing_key=orders.{type}

amqp:// and amqps:// mean the same. Without an exchange it is the default one, whose routing key is a queue's name; the
routing key is the topic unless it is given. Nothing is declared here: a message that no queue takes comes back, and
its event is tried again and then parked.
"""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import quote

import aiormq
from aiormq.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from aiormq.exceptions import DeliveryError as NackError
from pamqp.commands import Basic

from pgops.errors import PgopsError, UnreachableError
from pgops.runtime.sinks.address import parse, template
from pgops.runtime.sinks.cloudevents import CONTENT_TYPE, cloudevent, headers
from pgops.runtime.sinks.contract import not_as_set_up
from pgops.runtime.sinks.lanes import Refusal, in_lanes
from pgops.runtime.sinks.rabbitmq_publisher import Publisher
from pgops.services.models import Event

EXAMPLE = "rabbitmq://user:password@localhost/vhost?exchange=events&routing_key={topic}"
AT_ONCE = 1_000
CONNECT_S, CONFIRM_S, CLOSE_S = 5.0, 15.0, 2.0
MOST_BYTES_OF_A_KEY = 255
SETUP_ERRORS = (
    AuthenticationError, ProbableAuthenticationError, InvalidFrameError, ChannelNotFoundEntity, ChannelAccessRefused,
)  # fmt: skip


class RabbitSink:
    """Publishes to one exchange. It connects when the first event comes, and again after an outage."""

    def __init__(self, name: str) -> None:
        logging.getLogger("aiormq").addHandler(logging.NullHandler())  # what it has to say is raised too
        address = parse(name, EXAMPLE, ("exchange", "routing_key"))
        secure = address.scheme == "amqps"
        user, password = quote(address.user or "guest", safe=""), quote(address.password or "guest", safe="")
        port = address.port or (5671 if secure else 5672)
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._url = (
            f"{'amqps' if secure else 'amqp'}://{user}:{password}@{host}:{port}/{quote(address.path or '/', safe='')}"
            "?heartbeat=15&name=pgops"
        )
        self._tls = ssl.create_default_context() if secure else None
        self._shown = address.shown
        self._exchange = address.options.get("exchange", "")
        self._routing_key = template(address.options.get("routing_key", "{topic}"), address.shown)
        self._connection: AbstractConnection | None = None
        self._publisher: Publisher | None = None
        self._worked = False
        self._at_once = AT_ONCE

    async def deliver(self, events: Sequence[Event]) -> None:
        publisher = await self._open()
        at_once, self._at_once = self._at_once, AT_ONCE
        await in_lanes(events, lambda event: self._publish(publisher, event, alone=at_once == 1), at_once=at_once)

    async def close(self) -> None:
        connection, self._connection, self._publisher = self._connection, None, None
        if connection is not None:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await connection.close()

    async def _open(self) -> Publisher:
        if self._publisher is not None and not self._publisher.channel.is_closed:
            return self._publisher
        await self.close()
        try:
            async with asyncio.timeout(CONNECT_S):
                self._connection = await aiormq.connect(self._url, context=self._tls)
                channel = await self._connection.channel(publisher_confirms=True)
                assert isinstance(channel, aiormq.Channel)
                if self._exchange:
                    await channel.exchange_declare(self._exchange, passive=True)
        except SETUP_ERRORS as error:
            raise self._not_as_set_up(error) from error
        except (AMQPError, ChannelInvalidStateError, OSError, EOFError) as error:
            raise UnreachableError(f"{self._shown} cannot be reached: {_reason(error)}") from error
        self._publisher = Publisher(channel, self._exchange)
        return self._publisher

    async def _publish(self, publisher: Publisher, event: Event, *, alone: bool) -> None:
        """Returns when the broker has confirmed it. `alone`: nothing else is under way."""
        routing_key = self._routing_key(event)
        if len(routing_key.encode()) > MOST_BYTES_OF_A_KEY:
            raise Refusal(f"its routing key has more than {MOST_BYTES_OF_A_KEY} bytes", poison=True)
        try:
            if publisher.channel.is_closed:
                raise ChannelInvalidStateError("the channel is closed")
            async with asyncio.timeout(CONFIRM_S):
                await publisher.publish(cloudevent(event).encode(), routing_key, _properties(event))
            self._worked = True
        except PublishError as error:
            raise Refusal(_unroutable(self._exchange, routing_key)) from error
        except NackError as error:
            raise UnreachableError(f"{self._shown} did not take a message: a queue of it is full, or fails") from error
        except ChannelPreconditionFailed as error:
            if alone:
                raise Refusal(f"RabbitMQ will not have it: {_reason(error)}") from error
            self._at_once = 1  # the channel is closed, and it was one of many
            raise UnreachableError(f"{self._shown} closed the channel: {_reason(error)}") from error
        except SETUP_ERRORS as error:
            raise self._not_as_set_up(error) from error
        except TimeoutError as error:
            await self.close()
            raise UnreachableError(f"{self._shown} gave no confirm within {CONFIRM_S:g} s") from error
        except (AMQPError, ChannelInvalidStateError, OSError, EOFError) as error:
            raise UnreachableError(f"{self._shown} was lost: {_reason(error)}") from error

    def _not_as_set_up(self, error: Exception) -> PgopsError:
        if isinstance(error, ChannelNotFoundEntity):
            hint = "declare the exchange, or leave it out for the default one"
            return not_as_set_up(f"{self._shown} has no exchange {self._exchange!r}", hint, worked=self._worked)
        hint = "check user, password, vhost, and the user's permissions there"
        if isinstance(
            error, InvalidFrameError
        ):  # a Connection.Close in place of OpenOk, whose text aiormq keeps to itself
            return not_as_set_up(f"{self._shown} knows no such vhost, or not for this user", hint, worked=self._worked)
        return not_as_set_up(f"{self._shown} refuses this user: {_reason(error)}", hint, worked=self._worked)


def _properties(event: Event) -> Basic.Properties:
    return Basic.Properties(
        content_type=CONTENT_TYPE, delivery_mode=2, message_id=str(event.event_id), timestamp=event.created_at,
        headers={**headers(event)},
    )  # fmt: skip


def _unroutable(exchange: str, routing_key: str) -> str:
    if exchange:
        return f"no queue takes it: bind one to exchange {exchange!r} with routing key {routing_key!r}"
    return f"no queue takes it: declare a queue {routing_key!r}, or name an exchange and a routing_key"


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__

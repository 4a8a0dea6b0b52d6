"""Amazon SQS, experimental: tried against moto's server alone, never against Amazon's.

    sqs://orders.fifo?region=eu-west-1&endpoint=http://localhost:5000

Credentials are found as every AWS program finds them (environment, profile, role). Into a FIFO queue an event goes with
its key as MessageGroupId and its id as MessageDeduplicationId; any other queue keeps no order.
"""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError, PartialCredentialsError

from pgops.errors import UnreachableError, UsageError
from pgops.runtime.sinks.address import parse
from pgops.runtime.sinks.cloudevents import CONTENT_TYPE, cloudevent, headers
from pgops.runtime.sinks.contract import not_as_set_up
from pgops.runtime.sinks.lanes import Refusal, in_lanes
from pgops.services.models import Event

EXAMPLE = "sqs://orders.fifo?region=eu-west-1"
AT_ONCE = 10
CONNECT_S, ANSWER_S = 5.0, 10.0
_GROUP = re.compile(r"[A-Za-z0-9!-/:-@\[-`{-~]{1,128}")
POISON = {"InvalidMessageContents", "InvalidParameterValue", "AWS.SimpleQueueService.InvalidMessageContents"}
NOT_AS_SET_UP = {
    "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "AccessDenied", "AccessDeniedException",
    "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "UnrecognizedClientException", "InvalidAddress",
    "OptInRequired", "InvalidSecurity",
}  # fmt: skip


class SqsSink:
    """Sends to one queue, over boto3 in threads."""

    def __init__(self, name: str) -> None:
        address = parse(name, EXAMPLE, ("region", "endpoint"))
        self._shown = address.shown
        self._queue = name.partition("://")[2].partition("?")[0].strip("/")  # a URL's host is in lower case
        self._fifo = self._queue.endswith(".fifo")
        config = Config(
            connect_timeout=CONNECT_S, read_timeout=ANSWER_S, retries={"total_max_attempts": 1},
            max_pool_connections=AT_ONCE,
        )  # fmt: skip
        try:
            self._client: Any = boto3.session.Session().client(
                "sqs", region_name=address.options.get("region"), endpoint_url=address.options.get("endpoint"),
                config=config,
            )  # fmt: skip
        except (BotoCoreError, ValueError) as error:
            hint = (
                "name region=…, or set AWS_DEFAULT_REGION"
                if isinstance(error, NoRegionError)
                else f"for example {EXAMPLE}"
            )
            raise UsageError(f"{self._shown} cannot be used: {error}", hint) from error
        self._url = ""
        self._worked = False

    async def deliver(self, events: Sequence[Event]) -> None:
        if not self._url:
            self._url = (await self._call("get_queue_url", QueueName=self._queue))["QueueUrl"]
        await in_lanes(events, self._send, at_once=AT_ONCE)

    async def close(self) -> None:
        with suppress(Exception):
            await asyncio.to_thread(self._client.close)

    async def _send(self, event: Event) -> None:
        values: dict[str, Any] = {"MessageBody": cloudevent(event), "MessageAttributes": _attributes(event)}
        if self._fifo:
            once = f"{event.event_id}:{uuid4()}" if event.replayed else str(event.event_id)
            values |= {"MessageGroupId": _group(event), "MessageDeduplicationId": once}
        await self._call("send_message", QueueUrl=self._url, **values)
        self._worked = True

    async def _call(self, method: str, **values: Any) -> Any:
        try:
            return await asyncio.to_thread(getattr(self._client, method), **values)
        except ClientError as error:
            raise self._refused(error) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
            raise not_as_set_up(f"{self._shown}: {error}", hint, worked=self._worked) from error
        except (BotoCoreError, OSError) as error:
            raise UnreachableError(f"{self._shown} cannot be reached: {error}") from error

    def _refused(self, error: ClientError) -> Exception:
        """Of what the service says, only a few words are about the message."""
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in POISON:
            return Refusal(f"SQS will not have it: {error}", poison=True)
        if code in NOT_AS_SET_UP:
            self._url = ""
            hint = "check the queue's name, the region, and what the credentials may do"
            return not_as_set_up(f"{self._shown}: {error}", hint, worked=self._worked)
        return UnreachableError(f"{self._shown} took nothing: {error}")


def _group(event: Event) -> str:
    """The key where it can be one; an event without a key is a group of its own."""
    if event.key is None:
        return str(event.event_id)
    return event.key if _GROUP.fullmatch(event.key) else hashlib.sha256(event.key.encode()).hexdigest()


def _attributes(event: Event) -> dict[str, dict[str, str]]:
    values = {**headers(event), "content-type": CONTENT_TYPE}
    return {name: {"DataType": "String", "StringValue": value} for name, value in values.items()}

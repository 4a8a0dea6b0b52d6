"""A webhook: one POST an event, signed as Standard Webhooks 1.0 says, answered with a 2xx.

    https://example.com/hooks/orders?secret_env=ORDERS_SECRET&timeout=15&concurrency=8

`secret_env`, `timeout` (seconds), `concurrency` and `allow_private` are taken out; what else stands behind the `?` is
the endpoint's. The secret stands in the environment, in PGOPS_WEBHOOK_SECRET or the variable that `secret_env` names.
No redirect is followed and no proxy used. The name is looked up here, and the connection goes to the address that was
checked: one of this machine or of a private network is refused unless `allow_private=1`.
"""

import asyncio
import base64
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic, time

import httpx

from pgops.errors import UnreachableError, UsageError
from pgops.runtime.sinks.address import Address, parse, shown, taken_out
from pgops.runtime.sinks.cloudevents import CONTENT_TYPE, cloudevent, context, header_value
from pgops.runtime.sinks.contract import not_as_set_up
from pgops.runtime.sinks.lanes import Refusal, in_lanes
from pgops.runtime.sinks.webhook_rules import Answer, is_private, is_public, meaning, secrets, signature
from pgops.services.embedder_answer import retry_after
from pgops.services.models import Event
from pgops.version import __version__

log = logging.getLogger("pgops.relay")

EXAMPLE = "https://example.com/hooks/orders?secret_env=ORDERS_SECRET"
OPTIONS = ("secret_env", "timeout", "concurrency", "allow_private")
SECRET_ENV = "PGOPS_WEBHOOK_SECRET"
CONNECT_S, LOOK_UP_S, KNOWN_FOR_S, CLOSE_S = 5.0, 5.0, 30.0, 2.0
HOLD_S, LONGEST_HOLD_S = 1.0, 3_600.0
PATIENCE = 5
PRIVATE = "is an address of this machine or of a private network"
ALLOW = "add allow_private=1 to the URL if that is meant"
MOST_BYTES = 65_536


class WebhookSink:
    """Posts to one endpoint. An event that gets no answer is an outage PATIENCE times, for the endpoint may be slow,
    and then the event's own failure, for it may be what the endpoint dies of."""

    def __init__(self, name: str, env: Mapping[str, str] = os.environ) -> None:
        url, options = taken_out(name, OPTIONS)
        address = replace(parse(url.partition("?")[0], EXAMPLE), options=options, shown=shown(name))
        self._shown = address.shown
        self._url = _target(url, address.shown)
        self._private = address.flag("allow_private")
        self._timeout_s = address.number("timeout", 15, 0.1, 300)
        self._at_once = int(address.number("concurrency", 8, 1, 100))
        self._keys = _keys(options.get("secret_env"), env, self._shown)
        self._headers = _headers(self._url, address)
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=self._at_once))
        self._addresses: list[str] = []
        self._look_up_at = 0.0
        self._resume_at = 0.0
        self._silences: dict[int, int] = {}
        self._worked = False
        if not self._private and (address.host == "localhost" or is_private(address.host)):
            raise UsageError(f"{self._shown} {PRIVATE}", ALLOW)

    async def deliver(self, events: Sequence[Event]) -> None:
        await self._hold_back()
        await self._look_up()
        await in_lanes(events, self._post, at_once=self._at_once)

    async def close(self) -> None:
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await self._transport.aclose()

    async def _hold_back(self) -> None:
        """Until the moment that the endpoint has asked for; a moment at a time, so that a relay can stop."""
        if self._resume_at > monotonic():
            await asyncio.sleep(min(self._resume_at - monotonic(), HOLD_S))
        if (left := self._resume_at - monotonic()) > 0:
            raise UnreachableError(f"{self._shown} has asked to be left alone for {left:.0f} s more")

    async def _look_up(self) -> None:
        if self._addresses and monotonic() < self._look_up_at:
            return
        host, port = self._url.raw_host.decode(), self._url.port
        try:
            async with asyncio.timeout(LOOK_UP_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UnreachableError(f"{self._shown} cannot be looked up: {error}") from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        self._addresses = addresses if self._private else [one for one in addresses if is_public(one)]
        self._look_up_at = monotonic() + KNOWN_FOR_S
        if not self._addresses:
            raise not_as_set_up(f"{self._shown} {PRIVATE} ({', '.join(addresses)})", ALLOW, worked=self._worked)

    async def _post(self, event: Event) -> None:
        """Returns when the endpoint has taken it."""
        body, id, now = cloudevent(event).encode(), str(event.event_id), int(time())
        headers = {**self._headers, "webhook-id": id, "webhook-timestamp": str(now)}
        if self._keys:
            headers["webhook-signature"] = signature(self._keys, id, now, body)
        if traceparent := context(event).get("traceparent"):
            headers["traceparent"] = header_value(traceparent)
        try:
            async with asyncio.timeout(self._timeout_s):
                status, after_s = await self._answer(body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            self._look_up_at = 0.0
            raise UnreachableError(f"{self._shown} cannot be reached: {_reason(error)}") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._silent(event, error) from error
        self._silences.pop(event.id, None)
        self._judge(status, after_s)

    async def _answer(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float | None]:
        """Status and Retry-After, of the first address to which there is a connection."""
        *others, last = self._addresses
        for address in others:
            try:
                return await self._ask(address, body, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                self._addresses = sorted(self._addresses, key=address.__eq__)  # it goes last
        return await self._ask(last, body, headers)

    async def _ask(self, address: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, float | None]:
        timeouts = {"connect": CONNECT_S, "read": self._timeout_s, "write": self._timeout_s, "pool": self._timeout_s}
        request = httpx.Request(
            "POST", self._url.copy_with(host=address), headers=headers, content=body,
            extensions={"sni_hostname": self._url.raw_host.decode(), "timeout": timeouts},
        )  # fmt: skip
        response = await self._transport.handle_async_request(request)
        size = 0
        try:
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > MOST_BYTES:
                    break
        finally:
            await response.aclose()
        after = response.headers.get("retry-after")
        return response.status_code, retry_after(after) if after else None

    def _judge(self, status: int, after_s: float | None) -> None:
        answer = meaning(status)
        if answer is Answer.TAKEN:
            self._worked = True
        elif answer is Answer.LATER:
            self._resume_at = max(self._resume_at, monotonic() + min(after_s or 0.0, LONGEST_HOLD_S))
            raise UnreachableError(f"{self._shown} answers {status}: not now")
        elif answer is Answer.WRONG:
            hint = "is the address the endpoint's own, and does it know this secret? redirects are not followed"
            raise not_as_set_up(f"{self._shown} answers {status}", hint, worked=self._worked)
        else:
            raise Refusal(f"the endpoint answers {status}", poison=answer is Answer.GONE)

    def _silent(self, event: Event, error: Exception) -> Exception:
        self._silences[event.id] = self._silences.get(event.id, 0) + 1
        said = f"{self._shown} gives no answer within {self._timeout_s:g} s"
        if not isinstance(error, TimeoutError | httpx.TimeoutException):
            said = f"{self._shown} breaks off: {_reason(error)}"
        return UnreachableError(said) if self._silences[event.id] <= PATIENCE else Refusal(said)


def _target(url: str, shown_url: str) -> httpx.URL:
    try:
        return httpx.URL(url).copy_with(userinfo=b"", fragment=None)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"{shown_url} is no URL", f"for example {EXAMPLE}") from error


def _headers(url: httpx.URL, address: Address) -> dict[str, str]:
    """Of every request; who logs in by user and password does so by Basic."""
    headers = {
        "Host": url.netloc.decode(), "User-Agent": f"pgops/{__version__}",
        "Content-Type": f"{CONTENT_TYPE}; charset=utf-8",
    }  # fmt: skip
    if address.user is not None:
        login = base64.b64encode(f"{address.user}:{address.password or ''}".encode()).decode()
        headers["Authorization"] = f"Basic {login}"
    return headers


def _keys(variable: str | None, env: Mapping[str, str], shown_url: str) -> list[bytes]:
    name = variable or SECRET_ENV
    keys = secrets(env.get(name, ""), name)
    if not keys and variable is not None:
        raise UsageError(f"{shown_url} takes its secret from {name}, which is not set", f"export {name}=whsec_…")
    if not keys:
        log.warning("%s gets no signatures: set %s to sign what is sent", shown_url, SECRET_ENV)
    return keys


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__

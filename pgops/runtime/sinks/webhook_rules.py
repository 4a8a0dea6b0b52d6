"""What a webhook rests on: signatures, addresses that may be called, what an answer means. Pure.

Signatures are those of Standard Webhooks 1.0 (standardwebhooks.com, spec/standard-webhooks.md).
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from pgops.errors import UsageError

SHORTEST_SECRET, LONGEST_SECRET = 16, 512
_TRANSLATED = ip_network("64:ff9b::/96")


class Answer(Enum):
    """What a status says of the event."""

    TAKEN = "taken"
    REFUSED = "refused"  # this one, and it may be taken the next time
    GONE = "gone"  # this one, for good
    LATER = "later"  # all of them, for now
    WRONG = "wrong"  # all of them, until somebody mends the address or the secret


def meaning(status: int) -> Answer:
    """2xx takes it, 410 never will; 408, 425, 429, 502, 503 and 504 ask to come again; a redirect, 401, 403, 404, 405
    and 407 are no answer of the right endpoint. Whatever else is the event's own failure."""
    if 200 <= status < 300:
        return Answer.TAKEN
    if status == 410:
        return Answer.GONE
    if status in (408, 425, 429, 502, 503, 504):
        return Answer.LATER
    if 300 <= status < 400 or status in (401, 403, 404, 405, 407):
        return Answer.WRONG
    return Answer.REFUSED


def secrets(value: str, variable: str) -> list[bytes]:
    """The keys of an environment variable: `whsec_` and base64; several with blanks between them while one replaces
    the other. Raises UsageError, which does not tell them."""
    keys = []
    for one in value.split():
        try:
            text = one.removeprefix("whsec_").rstrip("=")
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not SHORTEST_SECRET <= len(key) <= LONGEST_SECRET:
            raise UsageError(
                f"what {variable} holds is no webhook secret: whsec_ and base64 of {SHORTEST_SECRET} bytes or more",
                "make one: echo whsec_$(openssl rand -base64 32)",
            )
        keys.append(key)
    return keys


def signature(keys: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """The value of webhook-signature: v1, comma and HMAC-SHA256 of id.timestamp.body in base64, one for each key."""
    signed = f"{id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in keys)


def is_public(address: str) -> bool:
    """Whether it is an address of the internet: none of this machine, of a private network, link-local or multicast,
    also not wrapped into an IPv6 address."""
    found = _parsed(address)
    if found is None:
        return False
    inner = _wrapped(found) if isinstance(found, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    return found.is_global and not found.is_multicast


def is_private(address: str) -> bool:
    """Whether it is an address, and not a public one."""
    return _parsed(address) is not None and not is_public(address)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address.partition("%")[0])
    except ValueError:
        return None


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)

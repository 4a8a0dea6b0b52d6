"""What a sink must do, and how it tells that something went wrong.

`deliver` returns when every event is safe at the other end; only then does the cursor move. Otherwise it raises:

    DeliveryError                                      says which events got through and which cannot
    UnreachableError, ConnectionError, TimeoutError    the other end is away: all is tried again for as long as it takes
    SinkClosedError                                    the other end is gone for good: the relay stops
    any other exception                                an event's own fault: it is found, tried again, then parked

Events of one key come in order, and after one of them has failed a sink must not deliver a later one of that key.
A sink bounds its own waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from pgops.errors import PgopsError, UnreachableError
from pgops.services.models import Event


class Sink(Protocol):
    """The other end of a relay."""

    async def deliver(self, events: Sequence[Event]) -> None:
        """Hand over all events, in order within a key, and return when they are safe there."""

    async def close(self) -> None:
        """Let go of what is held."""


class DeliveryError(PgopsError):
    """Some events did not get through: `failed` (id -> error) may the next time, `poison` (id -> error) never will.
    `delivered` are the ids that are safe; the rest was not tried, or not confirmed."""

    def __init__(
        self,
        message: str,
        *,
        delivered: Iterable[int] = (),
        failed: Mapping[int, str] | None = None,
        poison: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.delivered = frozenset(delivered)
        self.failed = dict(failed or {})
        self.poison = dict(poison or {})


class SinkClosedError(PgopsError):
    """The other end is gone for good, as a pipe whose reader has left, or was never one that could take anything."""


def not_as_set_up(message: str, hint: str, *, worked: bool) -> PgopsError:
    """The other end is there and refuses what the sink asks of it, as with a wrong password: the end of a relay that
    never got through. One that did waits until it is mended, for no event is at fault."""
    return UnreachableError(message, hint) if worked else SinkClosedError(message, hint)

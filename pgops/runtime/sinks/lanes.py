"""A batch in lanes: the events of a key one after the other, those of different keys side by side.

An event is sent when the one before it in its lane is confirmed, so nothing overtakes an event that the other end
refused. An outage ends the batch: what is under way is waited for, nothing more is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from pgops.errors import UnreachableError
from pgops.runtime.sinks.contract import DeliveryError, SinkClosedError
from pgops.services.models import Event

AWAY = (UnreachableError, ConnectionError, TimeoutError, SinkClosedError)


class Refusal(Exception):
    """The other end will not take this one event; `poison` says that it never will."""

    def __init__(self, reason: str, *, poison: bool = False) -> None:
        super().__init__(reason)
        self.poison = poison


async def in_lanes(events: Sequence[Event], send: Callable[[Event], Awaitable[None]], *, at_once: int) -> None:
    """`send` every event, at most `at_once` at a time; it returns when the event is safe. Raises what a sink does."""
    lanes = _lanes(events)
    batch = _Batch(iter(lanes), send)
    await asyncio.gather(*(batch.work() for _ in range(min(at_once, len(lanes)))))
    batch.finish()


class _Batch:
    def __init__(self, lanes: Iterable[list[Event]], send: Callable[[Event], Awaitable[None]]) -> None:
        self._lanes = lanes
        self._send = send
        self._delivered: list[int] = []
        self._failed: dict[int, str] = {}
        self._poison: dict[int, str] = {}
        self._away: Exception | None = None

    async def work(self) -> None:
        """One lane after the other, until there are none."""
        for lane in self._lanes:
            for event in lane:
                if self._away is not None:
                    return
                if not await self._sent(event):
                    break

    async def _sent(self, event: Event) -> bool:
        try:
            await self._send(event)
        except Refusal as refusal:
            (self._poison if refusal.poison else self._failed)[event.id] = str(refusal)
        except AWAY as error:
            self._away = self._away or error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._away = self._away or ConnectionError("the connection was closed")
        except Exception as error:
            self._failed[event.id] = f"{type(error).__name__}: {error}"
        else:
            self._delivered.append(event.id)
            return True
        return False

    def finish(self) -> None:
        if isinstance(self._away, SinkClosedError) and not self._delivered:
            raise self._away
        if self._failed or self._poison or (self._away is not None and self._delivered):
            raise DeliveryError(
                "some events did not get through", delivered=self._delivered, failed=self._failed, poison=self._poison
            )
        if self._away is not None:
            raise self._away


def _lanes(events: Sequence[Event]) -> list[list[Event]]:
    """One a key; an event without a key has one of its own."""
    lanes: list[list[Event]] = []
    by_key: dict[str, list[Event]] = {}
    for event in events:
        if event.key is None:
            lanes.append([event])
        elif event.key in by_key:
            by_key[event.key].append(event)
        else:
            by_key[event.key] = [event]
            lanes.append(by_key[event.key])
    return lanes

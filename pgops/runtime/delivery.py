"""One batch to its sink: retries, order within a key, parking. No database.

An outage is waited out and never counts against an event. An event's own failure is tried again a few times; then the
event is parked, and the later events of its key with it, so that the rest of its part goes on.
"""

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from pgops.errors import UnreachableError
from pgops.runtime.sinks import DeliveryError, Sink, SinkClosedError
from pgops.services.batches import behind, done_so_far, within
from pgops.services.models import Batch, Event, Rejected

log = logging.getLogger("pgops.relay")

OUTAGE = (UnreachableError, ConnectionError, TimeoutError)


@dataclass(slots=True)
class RelayStats:
    """What a relay has done since it started. `stale`: parts whose batch came after another relay had taken over;
    `trouble`: why nothing gets through now."""

    parts: int = 0
    batches: int = 0
    delivered: int = 0
    parked: int = 0
    failures: int = 0
    outages: int = 0
    stale: int = 0
    last_error: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """How often an event that failed is tried, how long between (doubling), and whether the later events of its key
    `skip` it then, or are parked behind it."""

    attempts: int = 5
    backoff_s: float = 0.1
    backoff_max_s: float = 5.0
    skip: bool = False


@dataclass(slots=True)
class Delivery:
    """One batch under way; `pending` is what is neither delivered nor rejected."""

    batch: Batch
    sink: Sink
    stopping: asyncio.Event
    stats: RelayStats
    policy: Policy
    pending: dict[int, Event] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)
    failures: dict[int, int] = field(default_factory=dict)

    async def run(self) -> None:
        """Until nothing is pending, or until the relay is to stop and the sink does not take it at once."""
        self.pending = {event.id: event for event in self.batch.events if event.id not in self.batch.waiting}
        self.rejected = [behind(event) for event in self.batch.events if event.id in self.batch.waiting]
        policy = self.policy
        wait_s = policy.backoff_s
        while self.pending:
            before = len(self.pending)
            clean = await self._attempt()
            if clean or not self.pending:
                continue
            if self.stopping.is_set():
                return
            wait_s = policy.backoff_s if len(self.pending) < before else min(wait_s * 2, policy.backoff_max_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), wait_s * random.uniform(0.5, 1.0))

    async def _attempt(self) -> bool:
        """Offer all that is pending once; whether the sink took it without a word."""
        try:
            await self.sink.deliver(list(self.pending.values()))
            self._delivered(list(self.pending))
            return True
        except DeliveryError as error:
            self._settle(error)
        except SinkClosedError:
            raise
        except OUTAGE as error:
            self._outage(error)
        except Exception as error:
            if len(self.pending) == 1:
                self._settle(_failure(*self.pending.values(), error=error))
            else:
                await self._one_by_one()
        return False

    async def _one_by_one(self) -> None:
        """The sink could not say which event it was."""
        blocked: set[str] = set()
        for event in list(self.pending.values()):
            if event.key is not None and event.key in blocked:
                continue
            try:
                await self.sink.deliver([event])
                self._delivered([event.id])
                continue
            except DeliveryError as error:
                self._settle(error)
            except SinkClosedError:
                raise
            except OUTAGE as error:
                self._outage(error)
                return
            except Exception as error:
                self._settle(_failure(event, error=error))
            if event.key is not None:
                blocked.add(event.key)

    def _delivered(self, ids: Iterable[int]) -> None:
        self.stats.trouble = ""
        self.stats.delivered += sum(self.pending.pop(id, None) is not None for id in ids)

    def _settle(self, error: DeliveryError) -> None:
        self._delivered(error.delivered)
        for id, reason in error.failed.items():
            self.stats.failures += 1
            self.stats.last_error = reason
            self.failures[id] = self.failures.get(id, 0) + 1
            if self.failures[id] >= self.policy.attempts:
                self._park(id, reason)
        for id, reason in error.poison.items():
            self.stats.last_error = reason
            self._park(id, reason)

    def _park(self, id: int, reason: str) -> None:
        event = self.pending.pop(id, None)
        if event is None:
            return
        log.warning("event %s of key %r is parked: %s", id, event.key, reason)
        self.rejected.append(Rejected(event, self.failures.get(id, 1), reason))
        for later in () if self.policy.skip else list(self.pending.values()):
            if later.id > id and later.key is not None and later.key == event.key:
                self.rejected.append(behind(self.pending.pop(later.id)))

    def _outage(self, error: Exception) -> None:
        self.stats.outages += 1
        self.stats.last_error = f"{type(error).__name__}: {error}"
        self.stats.trouble = str(error) or type(error).__name__
        log.warning("the sink cannot be reached: %s", error)

    def delivered(self) -> list[int]:
        """The ids that are safe at the other end."""
        rejected = {one.event.id for one in self.rejected}
        return [e.id for e in self.batch.events if e.id not in self.pending and e.id not in rejected]

    def settled(self) -> tuple[Batch, list[Rejected]]:
        """The batch as far as it is done, and what of that is rejected: a part ends before its first pending event."""
        if not self.pending:
            return self.batch, self.rejected
        done = done_so_far(self.batch, self.pending)
        return done, within(done, self.rejected)


def _failure(event: Event, *, error: Exception) -> DeliveryError:
    return DeliveryError(str(error), failed={event.id: f"{type(error).__name__}: {error}"})

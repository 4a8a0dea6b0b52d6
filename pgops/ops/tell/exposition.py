"""Metrics as Prometheus reads them: as text, and behind an endpoint.

Floor 3. Needs the extra `metrics`. However many ask, the database is observed at most once in `fresh_s`; while it is
away the endpoint goes on answering, with `pgops_up 0`, and connects anew with the next observation. What Prometheus
asks for by its Accept header it gets: its text format, or OpenMetrics.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from time import monotonic

from pgops.errors import PgopsError, UnavailableError, UnreachableError
from pgops.ops.collector import Collector
from pgops.ops.observe.snapshot import Snapshot
from pgops.ops.tell.meters import Family, families
from pgops.ops.tell.meters_parts import METERS

try:
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as error:
    raise UnavailableError("metrics need prometheus-client", "pip install 'pgops[metrics]'") from error

Opened = Callable[[], AbstractAsyncContextManager[Collector]]


class Observer:
    """One database, for all who ask: an observation that is younger than `fresh_s` is not made again. `told` hears of
    it when the database goes and when it is back."""

    def __init__(self, opened: Opened, *, fresh_s: float, timeout_s: float, told: Callable[[str], None]) -> None:
        self._opened = opened
        self._fresh_s = fresh_s
        self._timeout_s = timeout_s
        self._told = told
        self._stack = AsyncExitStack()
        self._collector: Collector | None = None
        self._looking: asyncio.Task[Snapshot | None] | None = None
        self._began = 0.0
        self._trouble = ""

    async def snapshot(self) -> Snapshot | None:
        """How it is; None where the database does not answer in time."""
        if self._looking is None or (self._looking.done() and monotonic() - self._began >= self._fresh_s):
            self._began = monotonic()
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(self._looking)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
        await self._let_go()

    async def _look(self) -> Snapshot | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                snapshot = await self._collect()
        except TimeoutError:
            self._say(f"no answer within {self._timeout_s:g} s")
        except PgopsError as error:
            self._say(str(error))
        except Exception as error:
            self._say(f"{type(error).__name__}: {error}")
        else:
            self._say("")
            return snapshot
        await self._let_go()
        return None

    async def _collect(self) -> Snapshot:
        """A connection that is lost is not yet a database that is away."""
        if self._collector is not None:
            try:
                return await self._collector.collect()
            except UnreachableError:
                await self._let_go()
        self._collector = await self._stack.enter_async_context(self._opened())
        return await self._collector.collect()

    async def _let_go(self) -> None:
        self._collector, stack, self._stack = None, self._stack, AsyncExitStack()
        with suppress(PgopsError):
            await stack.aclose()

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._told(f"the database is away: {trouble}" if trouble else "the database is back")
        self._trouble = trouble


class _Scrape:
    """What a scrape gets: prometheus-client asks in a thread of its own, the observation is made in `loop`."""

    def __init__(self, observer: Observer, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._observer = observer
        self._loop = loop
        self._timeout_s = timeout_s

    def collect(self) -> Iterable[Metric]:
        asked: Future[Snapshot | None] = asyncio.run_coroutine_threadsafe(self._observer.snapshot(), self._loop)
        try:
            snapshot = asked.result(self._timeout_s)
        except TimeoutError:
            asked.cancel()
            snapshot = None
        return _metrics(families(snapshot, METERS))


@asynccontextmanager
async def serve(observer: Observer, port: int, address: str, *, timeout_s: float) -> AsyncIterator[str]:
    """Answer `GET /metrics` as long as the block lasts; yields the URL. Port 0 takes a free one. Raises PgopsError
    where it cannot be had."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(observer, asyncio.get_running_loop(), timeout_s))
    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        said = f"port {port} of {address} cannot be had: {(error.strerror or str(error)).lower()}"
        raise PgopsError(said, "choose another --port, or --address") from error
    try:
        yield f"http://{f'[{address}]' if ':' in address else address}:{server.server_port}/metrics"
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
        await observer.close()


def text(found: Iterable[Family]) -> str:
    """Families in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(_metrics(found)))
    return generate_latest(registry).decode()


class _Given:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metrics(found: Iterable[Family]) -> list[Metric]:
    return [_metric(one) for one in found]


def _metric(family: Family) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in family.samples:
        metric.add_metric(labels, value)
    return metric

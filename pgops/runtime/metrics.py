"""What Prometheus reads of a worker: its counters as they are, and how long handlers take.

Names and units follow Prometheus' conventions. Needs the extra `metrics`; the endpoint answers on 127.0.0.1 alone.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter

from pgops.errors import UnavailableError, UsageError
from pgops.runtime.job import RunningJob
from pgops.runtime.registry import Awaited, Registry
from pgops.runtime.worker import Worker

try:
    from prometheus_client import CollectorRegistry, Histogram, start_http_server
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as error:
    raise UnavailableError("metrics need prometheus-client", "pip install 'pgops[metrics]'") from error

HOST = "127.0.0.1"
BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0)
OUTCOMES = ("completed", "retried", "dead", "snoozed", "cancelled", "stale", "released")


class WorkerCollector:
    """The worker's numbers, read when they are asked for."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def collect(self) -> Iterable[Metric]:
        stats = self._worker.stats
        claimed = CounterMetricFamily("pgops_worker_jobs_claimed", "Jobs claimed by this worker.")
        claimed.add_metric([], stats.claimed)
        batches = CounterMetricFamily("pgops_worker_claims", "Claims that got jobs; jobs claimed by these is a batch.")
        batches.add_metric([], stats.batches)
        ended = CounterMetricFamily("pgops_worker_jobs", "Jobs that ended here, by how.", labels=["outcome"])
        for outcome in OUTCOMES:
            ended.add_metric([outcome], getattr(stats, outcome))
        running = GaugeMetricFamily("pgops_worker_jobs_running", "Jobs in the hands of a handler.")
        running.add_metric([], self._worker.running)
        waiting = GaugeMetricFamily("pgops_worker_jobs_prefetched", "Jobs claimed and not started.")
        waiting.add_metric([], self._worker.prefetched)
        return [claimed, batches, ended, running, waiting]


@contextmanager
def serve(worker: Worker, handlers: Registry, port: int) -> Iterator[None]:
    """Answer `GET /metrics` on 127.0.0.1:`port` as long as the block lasts. Raises UsageError where it is taken."""
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker))
    took = Histogram(
        "pgops_worker_handler_seconds", "How long handlers take.", ["kind"], buckets=BUCKETS, registry=registry
    )

    async def timed(job: RunningJob, call_next: Awaited) -> object:
        began = perf_counter()
        try:
            return await call_next(job)
        finally:
            took.labels(job.kind).observe(perf_counter() - began)

    handlers.middlewares.insert(0, timed)
    try:
        server, thread = start_http_server(port, HOST, registry)
    except OSError as error:
        raise UsageError(f"port {port} cannot be had: {error.strerror}", "choose another --metrics-port") from error
    try:
        yield
    finally:
        handlers.middlewares.remove(timed)
        server.shutdown()
        server.server_close()
        thread.join()

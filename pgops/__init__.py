"""pgops: queue, cache, outbox and vector search on one PostgreSQL, seen and steered from one terminal.

The house, from the ground up; each floor imports only what is below it:

    errors, config, queries     no database (profiles, embedder_settings: config.toml; pause, calling: in both worlds)
    database                    connections, transactions; listener; translation of the driver's errors
    server, migrate             the embedded PostgreSQL; the schema
    services, sync              queue, events, pubsub, cache, limits, kv, documents, vectors; the generated twin
    runtime, ops                worker and relay; observe, judge, act
    demo                        traffic through the public services
    tui                         the dashboard
    cli                         the commands

The library's face is `AsyncPgops` and `Pgops`; they load on first use, so that a command starts fast.
"""

from pgops.version import __version__

TYPE_CHECKING = False  # typing's own would be an import in the way of a fast start
__all__ = [
    "AsyncPgops",
    "Backoff",
    "Discard",
    "Pgops",
    "PgopsError",
    "Registry",
    "Retry",
    "RunningJob",
    "Snooze",
    "__version__",
]

if TYPE_CHECKING:
    from pgops.errors import PgopsError
    from pgops.runtime.job import Discard, Retry, RunningJob, Snooze
    from pgops.runtime.registry import Backoff, Registry
    from pgops.services.client import AsyncPgops
    from pgops.sync.services.client import Pgops

_HOMES = {
    "AsyncPgops": "pgops.services.client",
    "Backoff": "pgops.runtime.registry",
    "Discard": "pgops.runtime.job",
    "Pgops": "pgops.sync.services.client",
    "PgopsError": "pgops.errors",
    "Registry": "pgops.runtime.registry",
    "Retry": "pgops.runtime.job",
    "RunningJob": "pgops.runtime.job",
    "Snooze": "pgops.runtime.job",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pgops' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

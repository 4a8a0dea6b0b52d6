"""The contestants by name. A peer's library is imported when it takes part, so that pgops alone needs none of them."""

import importlib
from collections.abc import Callable
from typing import Any

from contest import Contestant
from ours import Pgops, PgopsBound


def _from(module: str, kind: str, *args: Any) -> Callable[[], Contestant]:
    return lambda: getattr(importlib.import_module(module), kind)(*args)


ENTRANTS: dict[str, Callable[[], Contestant]] = {
    "pgops": Pgops,
    "pgops, small batches": PgopsBound,
    "pgmq": _from("contestants", "Pgmq"),
    "pgqueuer": _from("contestants", "Pgqueuer"),
    "procrastinate": _from("contestants", "Procrastinate"),
    "awa": _from("other_contestants", "Awa"),
    "Redis, one by one": _from("other_contestants", "Redis", 1),
    "Redis, in batches": _from("other_contestants", "Redis", 100),
    "RabbitMQ, single acks": _from("other_contestants", "RabbitMq", 1),
    "RabbitMQ, multiple acks": _from("other_contestants", "RabbitMq", 100),
}
LIBRARIES = {
    "pgmq": ("pgmq",), "pgqueuer": ("pgqueuer", "asyncpg"), "procrastinate": ("procrastinate",), "awa": ("awa-pg",),
    "Redis": ("redis",), "RabbitMQ": ("pika",),
}  # fmt: skip

"""Sinks: where a relay hands events to. `open_sink` makes one from its name.

contract.py     what a sink must do, and how it tells that something went wrong
cloudevents.py  an event as a CloudEvents 1.0 JSON document
address.py      a sink's URL taken apart, and what of it may be shown
lanes.py        a batch: in order within a key, side by side otherwise
stdout.py       a line an event
function.py     a Python function, called for each event
queue.py        a job of the same database; notify.py  a live message of it
rabbitmq.py  nats.py  redis.py  webhook.py (with webhook_rules.py)  sqs.py (experimental)

What talks to a broker is an extra and imported when it is asked for: pip install 'pgops[rabbitmq]', or [sinks] for all.
"""

from importlib import import_module
from typing import cast

from pgops.database import AsyncPool
from pgops.errors import UsageError
from pgops.runtime.sinks.address import shown
from pgops.runtime.sinks.contract import DeliveryError, Sink, SinkClosedError
from pgops.runtime.sinks.function import FunctionSink, load_function
from pgops.runtime.sinks.stdout import StdoutSink

__all__ = [
    "DeliveryError",
    "FunctionSink",
    "Sink",
    "SinkClosedError",
    "StdoutSink",
    "in_database",
    "open_sink",
    "shown",
]

KINDS = (
    "stdout, module:function, queue:NAME, notify:CHANNEL, or a URL: rabbitmq://, nats://, redis://, https:// "
    "(a webhook), sqs:// (experimental)"
)
_BROKERS = {
    **dict.fromkeys(("rabbitmq", "amqp", "amqps"), ("rabbitmq", "RabbitSink", "aiormq")),
    **dict.fromkeys(("nats", "tls"), ("nats", "NatsSink", "nats-py")),
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix"), ("redis", "RedisSink", "redis")),
    **dict.fromkeys(("http", "https"), ("webhook", "WebhookSink", "httpx")),
    "sqs": ("sqs", "SqsSink", "boto3"),
}


def open_sink(name: str, db: AsyncPool | None = None) -> Sink:
    """The sink that `name` means, one of KINDS. `db` is the relay's database, for the sinks that are in it.

    Nothing is connected yet. Raises UsageError, also where the extra that the sink needs is not installed.
    """
    kind = name.partition(":")[0]
    if name == "stdout":
        return StdoutSink()
    if "://" in name:
        return _broker(name, kind.lower())
    if in_database(name):
        return _of_database(name, kind, db)
    if ":" in name:
        return FunctionSink(load_function(name))
    raise _unknown(name)


def in_database(name: str) -> bool:
    """Whether it is a sink of the relay's own database, which `open_sink` then needs."""
    return name.startswith(("queue:", "notify:")) and "://" not in name


def _broker(name: str, scheme: str) -> Sink:
    if scheme not in _BROKERS:
        raise _unknown(name)
    extra, sink, library = _BROKERS[scheme]
    try:
        module = import_module(f"pgops.runtime.sinks.{extra}")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a sink of {scheme}:// needs {library}, which is not installed", f"run: pip install 'pgops[{extra}]'"
        ) from error
    return cast(Sink, getattr(module, sink)(name))


def _of_database(name: str, kind: str, db: AsyncPool | None) -> Sink:
    if db is None:
        raise UsageError(f"{name} is a sink of the relay's own database", "hand it over: open_sink(name, db)")
    if kind == "queue":
        from pgops.runtime.sinks.queue import QueueSink

        return QueueSink(name, db)
    from pgops.runtime.sinks.notify import NotifySink

    return NotifySink(name, db)


def _unknown(name: str) -> UsageError:
    return UsageError(f"there is no sink {shown(name)!r}", f"use {KINDS}")

"""Sinks: where a relay hands events to. `open_sink` makes one from its name.

contract.py     what a sink must do, and how it tells that something went wrong
cloudevents.py  an event as a CloudEvents 1.0 JSON document
stdout.py       a line an event
function.py     a Python function, called for each event
"""

from pgops.errors import UsageError
from pgops.runtime.sinks.contract import DeliveryError, Sink, SinkClosedError
from pgops.runtime.sinks.function import FunctionSink, load_function
from pgops.runtime.sinks.stdout import StdoutSink

__all__ = ["DeliveryError", "FunctionSink", "Sink", "SinkClosedError", "StdoutSink", "open_sink"]


def open_sink(name: str) -> Sink:
    """The sink that `name` means: `stdout`, or `module:function`. Raises UsageError."""
    if name == "stdout":
        return StdoutSink()
    if ":" in name and "://" not in name:
        return FunctionSink(load_function(name))
    raise UsageError(f"there is no sink {name!r}", "use stdout, or module:function for a function of your own")

"""stdout: one CloudEvents line an event, flushed with each batch."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TextIO

from pgops.runtime.sinks.cloudevents import cloudevent
from pgops.runtime.sinks.contract import SinkClosedError
from pgops.services.models import Event


class StdoutSink:
    """Writes to `stream`, by default the process's stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    async def deliver(self, events: Sequence[Event]) -> None:
        await asyncio.to_thread(self._write, "".join(f"{cloudevent(event)}\n" for event in events))

    async def close(self) -> None:
        """stdout is not ours to close."""

    def _write(self, text: str) -> None:
        """In a thread: a reader that is slow must not keep the leases from being renewed."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except (BrokenPipeError, ValueError) as error:
            raise SinkClosedError("the reader of stdout is gone") from error

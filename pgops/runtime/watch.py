"""Who blocks the loop: a thread that asks it for a sign of life, and names the handler when none comes.

While a handler computes or sleeps without `await`, nothing else of its worker runs: no claim, no completion, no
heartbeat. The warning says which job, and the line it stands on.
"""

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic

from pgops.services.models import Job

log = logging.getLogger("pgops.worker")

ASK_EVERY_S = 0.5
SILENT_S = 1.0


class BlockWatch:
    """Watches the running loop between `start` and `stop`. `serving` gives the job of a task."""

    def __init__(self, serving: Callable[["asyncio.Task[None]"], Job | None]) -> None:
        self._serving = serving
        self._ended = threading.Event()
        self._alive_at = monotonic()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; called in the loop that is to be watched."""
        loop, ident = asyncio.get_running_loop(), threading.get_ident()
        self._thread = threading.Thread(target=self._watch, args=(loop, ident), name="pgops-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _watch(self, loop: asyncio.AbstractEventLoop, ident: int) -> None:
        warned = False
        while not self._ended.wait(ASK_EVERY_S):
            silent_s = monotonic() - self._alive_at
            if silent_s < SILENT_S + ASK_EVERY_S:
                warned = False
            elif not warned:
                warned = True
                self._warn(loop, ident, silent_s)
            try:
                loop.call_soon_threadsafe(self._alive)
            except RuntimeError:
                return  # the loop is closed

    def _alive(self) -> None:
        self._alive_at = monotonic()

    def _warn(self, loop: asyncio.AbstractEventLoop, ident: int, silent_s: float) -> None:
        task = asyncio.current_task(loop)
        job = self._serving(task) if task is not None else None
        frame = sys._current_frames().get(ident)
        where = traceback.extract_stack(frame)[-1] if frame is not None else None
        log.warning(
            "%s blocks the worker for %.1f s at %s; make it a plain def, so that it runs in a thread",
            f"the handler of {job.kind} (job {job.queue}/{job.id})" if job is not None else "something",
            silent_s,
            f"{where.filename}:{where.lineno}" if where is not None else "an unknown line",
        )

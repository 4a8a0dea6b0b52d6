"""An act that is under way: since when, how far, and stopping it. Pure but for the task that is cancelled."""

import asyncio
from dataclasses import dataclass

from pgops.ops.act.actions import Action
from pgops.tui import formats

# How many acts one dashboard does at once.
MOST = 3
SHOWN_AFTER_S = 1.0


@dataclass(slots=True, eq=False)
class Work:
    """One act. `began` is in monotonic seconds; `said` is how far it is, as the server tells; `task` does it."""

    action: Action
    began: float
    task: asyncio.Task[object] | None
    said: str = ""
    stopping: bool = False

    @property
    def name(self) -> str:
        return f"{self.action.name} {self.action.target}".replace("_", " ", self.action.name.count("_")).strip()

    def words(self, now: float) -> str:
        """It in a line at `now`."""
        took = now - self.began
        parts = [self.name, "stopping" if self.stopping else self.said]
        parts.append(formats.duration(took) if took >= SHOWN_AFTER_S else "")
        return " · ".join(part for part in parts if part)

    def stop(self) -> None:
        """Once: whoever cleans up after it is left in peace."""
        if not self.stopping and self.task is not None:
            self.stopping = True
            self.task.cancel()

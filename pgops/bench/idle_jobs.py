"""Jobs that do nothing, for a worker in a process of its own: `pgops queue work pgops.bench.idle_jobs:registry`."""

from pgops.runtime.registry import Registry
from pgops.services.models import Job

registry = Registry()


@registry.job("nothing")
async def nothing(job: Job) -> None:
    """A handler that does nothing."""

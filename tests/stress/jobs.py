"""What the stressed workers run. Each start is told to the ledger, so that every run can be accounted for afterwards.

note     does nothing but wait, in the loop
block    the same in a thread
flaky    fails its first attempts; some have too few
snooze   puts itself off now and then
effect   has its effect in the transaction that completes it: exactly once, and in a group's order
"""

import asyncio
import os
import random
import time

from pgops import Registry, RunningJob, Snooze
from pgops.runtime.registry import Awaited

registry = Registry()


class Flaw(Exception):
    """The failure that a flaky job was made for."""


@registry.middleware
async def told(job: RunningJob, call_next: Awaited) -> object:
    """Leave a row of each start, committed before the handler is called."""
    async with job.connection() as conn:
        await conn.execute(
            "insert into stress.ran (number, kind, attempt, token, pid) values (%s, %s, %s, %s, %s)",
            [job.payload["number"], job.kind, job.attempt, job.token, os.getpid()],
        )
    return await call_next(job)


@registry.job("note")
async def note(job: RunningJob) -> dict[str, int]:
    await asyncio.sleep(job.payload["sleep"])
    return {"attempt": job.attempt}


@registry.job("block")
def block(job: RunningJob) -> None:
    time.sleep(job.payload["sleep"])


@registry.job("flaky")
async def flaky(job: RunningJob) -> None:
    if job.attempt <= job.payload["fails"]:
        raise Flaw(f"attempt {job.attempt} of {job.payload['fails']} that fail")


@registry.job("snooze")
async def snooze(job: RunningJob) -> None:
    if random.random() < 0.3:
        raise Snooze(0.2)


@registry.job("effect")
async def effect(job: RunningJob) -> None:
    async with job.connection() as conn:
        await conn.execute(
            "insert into stress.effect (number, attempt, group_key) values (%s, %s, %s)",
            [job.payload["number"], job.attempt, job.group_key],
        )
        await asyncio.sleep(job.payload["sleep"] / 2)
        await job.complete(conn)
        await asyncio.sleep(job.payload["sleep"] / 2)

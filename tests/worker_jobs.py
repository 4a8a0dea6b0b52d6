"""Handlers for the worker's tests, run by real `pgops queue work` processes. What they do they tell the database."""

import asyncio
import os
import sys
import time

import psycopg

import pgops
from pgops import RunningJob
from pgops.services.models import Job

registry = pgops.Registry()


@registry.job("note")
async def note(job: Job) -> None:
    """Leaves a row of its own: which job, which process."""
    await asyncio.sleep(job.payload.get("sleep", 0))
    async with await psycopg.AsyncConnection.connect(os.environ["PGOPS_DSN"], autocommit=True) as conn:
        await conn.execute("insert into ran (job, pid) values (%s, %s)", [job.id, os.getpid()])


@registry.job("block")
def block(job: Job) -> None:
    """The same in a thread."""
    time.sleep(job.payload.get("sleep", 0))
    with psycopg.connect(os.environ["PGOPS_DSN"], autocommit=True) as conn:
        conn.execute("insert into ran (job, pid) values (%s, %s)", [job.id, os.getpid()])


@registry.job("effect")
async def effect(job: RunningJob) -> None:
    """Leaves a row in the transaction that completes the job."""
    async with job.connection() as conn:
        await conn.execute("insert into ran (job, pid) values (%s, %s)", [job.id, os.getpid()])
        await asyncio.sleep(job.payload.get("sleep", 0))
        await job.complete(conn)
        await asyncio.sleep(job.payload.get("sleep", 0))


@registry.job("locks")
async def locks(job: RunningJob) -> None:
    """Wants a table that somebody holds, on the job's connection or, asked for that, on one that is named after it or
    after nothing."""
    own = job.payload.get("own")
    if own is None:
        async with job.connection() as conn:
            await conn.execute("lock table held")
            await job.complete(conn)
        return
    name = job.session_name if own == "named" else "mine"
    async with await psycopg.AsyncConnection.connect(os.environ["PGOPS_DSN"], application_name=name) as conn:
        await conn.execute("lock table held")


@registry.job("stubborn")
async def stubborn(job: Job) -> None:
    """Goes on whatever it is told."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue


@registry.job("leaves")
def leaves(job: Job) -> None:
    """Wants to end the process from its thread."""
    sys.exit(3)


@registry.job("interrupts")
async def interrupts(job: Job) -> None:
    """The same as ctrl-c would, with an error nobody can write down."""
    raise KeyboardInterrupt("\ud800")

"""What the shop's workers do: wait a little, and fail as real handlers fail.

A few jobs can never succeed (an address that bounces, a truncated image, a stolen card) and end as dead letters; any
job may meet an outage and succeeds at the next attempt. Both follow from the job itself, so that runs are alike.
"""

import asyncio
from smtplib import SMTPRecipientsRefused
from zlib import crc32

from pgops.runtime.job import RunningJob
from pgops.runtime.registry import Registry
from pgops.services.models import Job, JsonValue

OUTAGE_EVERY = 23
HANGS_FOR_S = 60.0
SHELVES = 12

registry = Registry()


class CardDeclinedError(Exception):
    """The bank said no."""


@registry.job("send_receipt")
@registry.job("send_newsletter")
async def send_mail(job: Job) -> None:
    """One mail by SMTP."""
    to = job.payload["to"]
    await _work(job, 0.08, ConnectionRefusedError(111, "Connection refused: smtp.example.org:25"))
    if to.endswith("@bounce.example"):
        raise SMTPRecipientsRefused({to: (550, b"5.1.1 user unknown")})


@registry.job("charge_card")
async def charge_card(job: Job) -> None:
    """One payment."""
    await _work(job, 0.12, TimeoutError("payments.example.com did not answer within 2 s"))
    if job.payload["card"] == "0002":
        raise CardDeclinedError(f"order {job.payload['order']}: card ending in 0002 was reported stolen")


@registry.job("make_thumbnail")
async def make_thumbnail(job: Job) -> None:
    """One picture in three sizes."""
    await _work(job, 0.06, OSError(28, "No space left on device: '/var/tmp/thumbs'"))
    if job.payload["file"].endswith(".tiff"):
        raise OSError("image file is truncated (17 bytes not processed)")


@registry.job("render_catalogue")
async def render_catalogue(job: Job) -> None:
    """Hangs at its first attempt, so that it is seen as stuck."""
    await asyncio.sleep(HANGS_FOR_S if job.attempt == 1 else 2.0)


@registry.job("count_stock")
async def count_stock(job: RunningJob) -> JsonValue:
    """Recurs, says how far it is, and returns what it found."""
    for shelf in range(SHELVES):
        job.progress({"shelf": shelf, "of": SHELVES})
        await asyncio.sleep(0.4)
    return {"shelves": SHELVES, "items": crc32(f"{job.id}".encode()) % 900 + 100}


@registry.job("close_books")
async def close_books(job: Job) -> None:
    """Recurs once a night."""
    await asyncio.sleep(1.0)


async def _work(job: Job, seconds: float, outage: Exception) -> None:
    dice = crc32(f"{job.id} {job.attempt}".encode())
    await asyncio.sleep(seconds * (0.5 + dice % 100 / 100))
    if dice % OUTAGE_EVERY == 0:
        raise outage

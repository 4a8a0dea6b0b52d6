"""The real demo in a real terminal: it lives, acts, searches, and outlives its server."""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from terminal import Terminal, terminal

from pgops.errors import PgopsError
from pgops.server import Server
from pgops.services.client import AsyncPgops
from pgops.services.models import FailedJob

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an embedded server of its own; all that ran on it is gone in the end."""
    folder = Path(tempfile.mkdtemp(prefix="pgops-test-", dir="/tmp"))
    folder.chmod(0o755)
    monkeypatch.setenv("PGOPS_HOME", str(folder))
    try:
        yield folder
    finally:
        server = Server()
        end = time.monotonic() + 30
        while server.status().users and time.monotonic() < end:
            time.sleep(0.2)
        with suppress(PgopsError):
            server.destroy(force=True)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def demo(home: Path) -> Iterator[Terminal]:
    env = {
        "PGOPS_HOME": str(home), "PYTHONPATH": str(ROOT), "TERM": "tmux-256color", "LANG": "C.UTF-8",
        "XDG_CONFIG_HOME": str(home), "PATH": os.environ["PATH"],
    }  # fmt: skip
    with terminal([sys.executable, "-m", "pgops", "demo"], env, home) as screen:
        yield screen


async def let_one_die(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("terminal", {"to": "x"}, max_attempts=1)
        claim = await pg.queue.claim("terminal", owner=1, token=77, limit=1, floors=(0, 0, 0, 0))
        await pg.queue.fail("terminal", 77, [FailedJob(job.id, "TimeoutError: no answer") for job in claim.jobs])


async def let_some_expire(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.cache.set_many({f"short:{at}": b"x" for at in range(500)}, ttl_s=0.01)


def clock(screen: str) -> str:
    found = re.search(r"\d\d:\d\d:\d\d UTC", screen)
    return found[0] if found else ""


def confirmed(demo: Terminal, said: str) -> None:
    """A question with something in it: yes; and it is done."""
    demo.until("nothing is changed yet", "y  Do it", "matches")
    time.sleep(0.3)
    demo.press("y")
    demo.until("✓ Done", said)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_in_a_terminal(demo: Terminal) -> None:
    demo.until("● live", "ready", "vectors")
    assert max(map(len, demo.screen.splitlines())) > 110, "it fills the terminal"
    first = clock(demo.screen)
    demo.wait(lambda: clock(demo.screen) not in ("", first), "another second")
    dsn = make_conninfo(Server().url, dbname="pgops_demo")

    asyncio.run(let_one_die(dsn))
    demo.press("2")
    demo.until("terminal")
    demo.press("/")
    demo.type("terminal")
    demo.press("Enter", "R")
    demo.until("terminal: let 1 dead start over")
    demo.press("Enter")
    confirmed(demo, "terminal")
    demo.press("Escape")

    for _ in range(5):  # the demo's own upkeep may be there first
        asyncio.run(let_some_expire(dsn))
        demo.press("1", "P")
        if not re.search(r"matches (at least )?0\b", demo.until("nothing is changed yet", "matches")):
            break
        demo.press("Escape")
    confirmed(demo, "expired")

    demo.press("3")
    demo.until("vector indexes")
    demo.press("B")
    demo.wait(lambda: any(one in demo.screen for one in ("matches", "Build or rebuild", "lists")), "a choice")
    if "nothing is changed yet" not in demo.screen:
        demo.press("Enter")
    confirmed(demo, "rebuilt")

    demo.press("/")
    demo.type("read a comma separated file")
    demo.press("Enter")
    demo.wait(lambda: re.search(r"\b0\.\d{3}\b", demo.screen) is not None, "a score")
    demo.press("Escape", "Escape", "1")

    postmaster = Server().status().pid
    assert postmaster is not None
    os.kill(postmaster, signal.SIGQUIT)
    demo.until("✕ lost", "last seen", "trying")
    assert "Traceback" not in demo.screen
    demo.wait(lambda: not Server().status().running, "its end")
    Server().start(pin=True)
    demo.until("● live", "started anew")
    demo.press("q")
    demo.wait(lambda: not demo.alive, "the end")

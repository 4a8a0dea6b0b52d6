"""Parts of the demo as processes of their own: `python -m pgops.demo worker`, or `traffic`.

The rule: a child lives as long as its starter holds the other end of its stdin, so a kill -9 of anyone leaves nobody
behind. The first line of stdin says where to work; thus no DSN stands in a list of processes. What a child has to say
goes to a file, never to the terminal.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from pgops.demo.site import Site

log = logging.getLogger("pgops.demo")

Role = Literal["worker", "traffic"]
FAREWELL_S = 5.0
RESTART_S = 15.0


class Child:
    """A process that was started; it begins when it is told the site."""

    def __init__(self, role: Role, talk: BinaryIO) -> None:
        source = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        self._talk = talk
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pgops.demo", role],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=talk,
            start_new_session=True,
        )

    def begin(self, site: Site) -> None:
        """Let it work at `site`."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(json.dumps([site.dsn, site.prefix, site.sink]).encode() + b"\n")
            stdin.flush()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def wait(self) -> None:
        """Until it has ended."""
        await asyncio.to_thread(self._process.wait)

    def last_words(self) -> str:
        """The last line that it has written to stderr."""
        self._talk.seek(0)
        lines = self._talk.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end(self) -> None:
        """Tell it to end, and see that it does."""
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.close()
        try:
            self._process.wait(FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def child(role: Role) -> Iterator[Child]:
    """A process as long as the block lasts."""
    with tempfile.TemporaryFile() as talk:
        process = Child(role, talk)
        try:
            yield process
        finally:
            process.end()


async def keep_child(role: Role, site: Site) -> None:
    """A process until cancelled. One that was killed is missed for RESTART_S, then there is a new one."""
    while True:
        with child(role) as process:
            process.begin(site)
            await process.wait()
            log.warning("the %s has ended: %s", role, process.last_words())
        await asyncio.sleep(RESTART_S)

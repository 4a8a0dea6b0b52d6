"""The watcher: a small detached process that stops a server nobody uses any more.

There is one a server (it holds `watch.lock`). It looks and decides only under `start.lock`, so nobody can
begin to use what it is about to stop; and it lets go of its own lock before that one, so whoever finds
`watch.lock` held knows that the watcher will look again. It ends itself when the server is gone.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from pgops.errors import UnreachableError
from pgops.server.locks import is_held, lock
from pgops.server.process import postmaster, terminate, trim_log


def ensure_watched(home: Path, linger: float) -> None:
    """Start a watcher unless one is alive. The caller holds `start.lock`.

    The shell in between ends at once: the watcher is nobody's child, hears no Ctrl-C, outlives its starter.
    """
    if is_held(home / "watch.lock"):
        return
    source = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), source]))
    subprocess.run(
        ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-P", "-m", "pgops.server", str(home), str(linger)],
        cwd=home,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )


def watch(home: Path, *, linger: float) -> None:
    """Look now and then; stop the server `linger` seconds after its last user left, unless it is pinned."""
    with ExitStack() as alone:
        try:
            alone.enter_context(lock(home / "watch.lock"))
        except (BlockingIOError, FileNotFoundError):
            return
        used_at = time.monotonic()
        stamp = 0
        while True:
            try:
                with lock(home / "start.lock", create=False):
                    latest = _stamp(home / "use.lock")
                    if latest != stamp or is_held(home / "use.lock") or (home / "pinned").exists():
                        used_at, stamp = time.monotonic(), latest
                    elif time.monotonic() - used_at >= linger:
                        _stop(home)
                    if postmaster(home) is None:
                        alone.close()
                        return
                    trim_log(home)
            except BlockingIOError:
                pass
            except FileNotFoundError:
                return
            time.sleep(min(5.0, max(0.05, linger / 10)))


def _stop(home: Path) -> None:
    try:
        terminate(home)
    except UnreachableError:
        return


def _stamp(path: Path) -> int:
    """When someone last came or left: those who stay between two looks only are seen by it."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0

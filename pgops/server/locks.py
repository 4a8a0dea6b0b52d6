"""File locks (flock): the kernel frees them when their holder ends, however it ends.

A lock file may be removed by `destroy` while others wait for it, so whoever gets a lock checks that the file
still stands at its path. Descriptors are close-on-exec: no child keeps a lock alive, but for psql, which takes its
holder's place.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_S = 0.02


@contextmanager
def lock(path: Path, *, shared: bool = False, wait: float = 0.0, create: bool = True) -> Iterator[int]:
    """Hold the lock and give its descriptor.

    Raises BlockingIOError where others still hold it after `wait` seconds, and FileNotFoundError where its
    folder (or, with create=False, the file) is gone.
    """
    fd = _take(path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, time.monotonic() + wait, create)
    try:
        yield fd
    finally:
        os.close(fd)


def is_held(path: Path) -> bool:
    """Whether anyone holds the lock. Sure only for a caller that keeps others from taking it meanwhile."""
    try:
        with lock(path, create=False):
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def holders(path: Path) -> int | None:
    """How many hold the lock; None where the system cannot say."""
    try:
        inode = str(path.stat().st_ino)
        lines = Path("/proc/locks").read_text().splitlines()
    except FileNotFoundError:
        return None if path.exists() else 0
    except OSError:
        return None
    held = (line.split() for line in lines if "->" not in line)
    return sum(1 for words in held if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode)


def _take(path: Path, mode: int, deadline: float, create: bool) -> int:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    while True:
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, mode | fcntl.LOCK_NB)
            if _stands(fd, path):
                return fd
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise
            time.sleep(POLL_S)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _stands(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False

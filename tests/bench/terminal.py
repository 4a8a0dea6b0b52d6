"""A program in a terminal of its own, as a person has it: keys go in, and what stands on the screen comes out."""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter

import pyte

CHUNK = 65_536
TIMES_OUT_S = 60.0


class Terminal:
    """`lines` is the screen as text; `pid` the program's process."""

    def __init__(self, pid: int, fd: int, columns: int, rows: int) -> None:
        self.pid = pid
        self._fd = fd
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lines = [""] * rows
        self._arrived: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        self._reader = Thread(target=self._listen, daemon=True)
        self._reader.start()

    @property
    def lines(self) -> list[str]:
        for row in self._screen.dirty:
            cells = self._screen.buffer[row]
            self._lines[row] = "".join(cells[column].data for column in range(self._screen.columns))
        self._screen.dirty.clear()
        return self._lines

    def lit(self, row: int, color: str) -> bool:
        """Whether a cell of this row has this background (six hexadecimal digits)."""
        return any(cell.bg == color for cell in self._screen.buffer[row].values())

    def press(self, keys: str) -> float:
        """When it was pressed, for `until`."""
        at = perf_counter()
        os.write(self._fd, keys.encode())
        return at

    def until(self, true: Callable[["Terminal"], bool], since: float | None = None) -> float:
        """Seconds until what came last has made the screen so. Raises TimeoutError with what stands there instead,
        EOFError at the end."""
        began = at = perf_counter() if since is None else since
        while not true(self):
            if (came := self.read(began + TIMES_OUT_S - perf_counter())) is None:
                raise TimeoutError("it never came; the screen says:\n" + "\n".join(self.lines))
            at = came
        return at - began

    def read(self, within_s: float) -> float | None:
        """Draw what comes next, waiting so long at most; when it came. Raises EOFError at the end."""
        try:
            at, data = self._arrived.get(timeout=max(within_s, 0.0))
        except Empty:
            return None
        if not data:
            raise EOFError("the program has ended; the screen says:\n" + "\n".join(self.lines))
        self._stream.feed(data)
        return at

    def end(self) -> None:
        """The program has ended, and nothing more comes."""
        self._reader.join()
        os.close(self._fd)

    def _listen(self) -> None:
        """Take what comes when it comes: drawing it takes longer."""
        data = b"."
        while data:
            try:
                data = os.read(self._fd, CHUNK)
            except OSError:
                data = b""
            self._arrived.put((perf_counter(), data))


@contextmanager
def terminal(
    command: Sequence[str], columns: int = 120, rows: int = 40, env: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """`command` in a terminal of this size, until the block ends; it is killed then if it has not ended."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.execvpe(command[0], list(command), {**os.environ, **(env or {}), "TERM": "xterm-256color"})
        finally:
            os._exit(127)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    it = Terminal(pid, fd, columns, rows)
    try:
        yield it
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        it.end()


def pgops(*words: str) -> list[str]:
    return [sys.executable, "-m", "pgops", *words]

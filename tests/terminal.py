"""A program in a real terminal: tmux with a socket of its own and no settings. Keys go in, the screen comes out."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pgbouncer import requires

PATIENCE_S = 90.0


class Terminal:
    """One screen, as long as its program runs."""

    def __init__(self, socket: Path) -> None:
        self._tmux = (requires("tmux"), "-S", str(socket), "-f", "/dev/null")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=30, check=False)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, Escape, Down, or a letter."""
        for key in keys:
            self.run("send-keys", key)
            time.sleep(0.15)

    def type(self, words: str) -> None:
        self.run("send-keys", "-l", words)

    @property
    def screen(self) -> str:
        return self.run("capture-pane", "-p").stdout

    @property
    def alive(self) -> bool:
        return self.run("has-session").returncode == 0

    def until(self, *words: str, gone: str = "") -> str:
        """The screen once all of these stand on it, and `gone` does not."""
        self.wait(lambda: all(one in (seen := self.screen) for one in words) and not (gone and gone in seen), *words)
        return self.screen

    def wait(self, true: Callable[[], bool], *about: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, f"{about} never came; the screen says:\n{self.screen}"
            time.sleep(0.2)


@contextmanager
def terminal(
    argv: Sequence[str], env: Mapping[str, str], folder: Path, size: tuple[int, int] = (120, 40)
) -> Iterator[Terminal]:
    """`argv` in a terminal of this size; whatever happens, it is gone after the block."""
    found = Terminal(folder / "tmux.sock")
    given = ["-u", "COLUMNS", "-u", "LINES", *(f"{name}={value}" for name, value in env.items())]
    made = found.run("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), "env", *given, *argv)
    assert made.returncode == 0, made.stderr
    try:
        yield found
    finally:
        found.run("kill-server")

"""One command line, run in the test's own process or as a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import this_server

from pgops.cli.app import run
from pgops.errors import UnavailableError

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Done:
    """How it ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.err)["error"])


Run = Callable[..., Done]
Process = subprocess.Popen[str]
PGOPS = (sys.executable, "-m", "pgops")


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs its arguments as a command line, without a terminal. One that needs pgvector where the
    server has none raises as the library does, once it has told the remedy: that is what the mark `vectors` expects."""

    def call(*argv: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = run(argv)
        captured = capsys.readouterr()
        if code == 1 and "need the extension vector" in captured.err and not this_server.has_pgvector():
            assert "install pgvector" in captured.err
            raise UnavailableError(captured.err)
        return Done(code, captured.out, captured.err)

    return call


@contextmanager
def spawned(argv: Sequence[str], dsn: str, *, program: Sequence[str] = PGOPS, **more: Any) -> Iterator[Process]:
    """`pgops …` as a process, with pipes unless `more` says otherwise; gone after the block whatever happens."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    env = os.environ | {"PGOPS_DSN": dsn, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*program, *argv], env=env, text=True, **(pipes | more)) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: Process) -> Done:
    """How the process ends on ctrl-c."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)
    return Done(process.returncode, out, err)

"""The server's processes: what postmaster.pid and the log say of them, what makes, starts and stops them.

A process is taken for the server only if its command line names this server's configuration: a process id
alone may have been given to another program since.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pgops.errors import UnavailableError, UnreachableError
from pgops.server.binaries import Binaries
from pgops.server.places import Account, make_private, sockets_of

LOG_LIMIT_BYTES = 8 << 20
NO_PROCESS = 999_999_999
POLL_S = 0.02
START_S = 120
STOP_S = 60


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The running server: its process and whether it takes connections."""

    pid: int
    ready: bool


def postmaster(home: Path) -> Postmaster | None:
    """The server of this home, or None where it does not run."""
    try:
        lines = (home / "data" / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _is_server(pid, home):
        return None
    return Postmaster(pid, ready=len(lines) > 7 and lines[7].strip() == "ready")


def initialise(home: Path, binaries: Binaries, owner: Account, *, sync: bool) -> None:
    """Make the data folder: beside its place, then renamed, so that it is there whole or not at all."""
    new = home / f"data.new-{os.urandom(4).hex()}"
    make_private(new, owner)
    options = [f"--pgdata={new.name}", "--username=postgres", "--encoding=UTF8", "--no-instructions"]
    options += ["--auth-local=peer", "--auth-host=reject", *([] if sync else ["--no-sync"])]
    for locale in _locales(binaries.major):
        made = _run(owner, [binaries.program("initdb"), *options, *locale], home)
        if made.returncode == 0 or "invalid locale" not in made.stderr:
            break
    if made.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        reasons = re.findall(r"(?:error|FATAL): +(.*)", made.stderr) or [f"initdb gave {made.returncode}"]
        raise UnavailableError(f"cannot make the data folder: {reasons[-1]}", f"is there room and access in {home}?")
    new.rename(home / "data")


def clear_interrupted(home: Path) -> None:
    """Remove what an initdb left whose pgops was killed; one that still runs fails by it."""
    for leftover in home.glob("data.new-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def launch(home: Path, binaries: Binaries, owner: Account) -> str | None:
    """Start the server and wait until it is ready. Gives None, or the log's line that says why it is not."""
    log = home / "log" / "server.log"
    make_private(log.parent, owner)
    make_private(sockets_of(home), owner)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    before = log.stat().st_size if log.exists() else 0
    _forget_old_process(home)
    config = shlex.quote(f"--config_file={home / 'postgresql.conf'}")
    command = [binaries.program("pg_ctl"), "start", "-w", "-s", "-t", str(START_S), "-D", "data"]
    started = _run(owner, [*command, "-l", "log/server.log", "-o", config], home)
    if started.returncode == 0:
        return None
    return _why(log, before) or started.stderr.strip().partition("\n")[0] or f"pg_ctl gave {started.returncode}"


def terminate(home: Path) -> None:
    """Fast shutdown: open transactions end, what was committed stays. UnreachableError if it takes long."""
    running = postmaster(home)
    if running is None:
        return
    os.kill(running.pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_S
    while _is_server(running.pid, home):
        if time.monotonic() > deadline:
            raise UnreachableError("the server is still shutting down", "try again in a moment")
        time.sleep(POLL_S)


def terminate_orphans(home: Path) -> None:
    """End what a killed postmaster left at work: such a process keeps a new server from starting.

    Those that wait for something end by themselves; one that computes does not notice.
    """
    for found in Path("/proc").glob("[0-9]*"):
        try:
            ours = os.readlink(found / "cwd") == str(home / "data")
            if ours and (found / "cmdline").read_bytes().startswith(b"postgres: "):
                os.kill(int(found.name), signal.SIGTERM)
        except OSError:
            continue


def become(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Turn this process into `program`, which gets back the signals that Python ignores."""
    ignored = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        os.execve(program, [program, *arguments], dict(environment))
    except OSError as error:
        for number, handler in ignored.items():
            signal.signal(number, handler)
        reason = f"cannot run {program}: {error.strerror}"
        raise UnavailableError(reason, "is it a program for this machine?") from error


def folder_bytes(folder: Path) -> int | None:
    """What all files in it take, also while some come and go. None where it cannot be read."""
    total = 0
    try:
        for place, _, names in os.walk(folder, onerror=_unless_gone):
            for name in names:
                with suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(place, name)).st_size
    except OSError:
        return None
    return total


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def trim_log(home: Path) -> None:
    """Empty a log that has grown too large; the server goes on appending to it."""
    try:
        log = os.open(home / "log" / "server.log", os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        if os.fstat(log).st_size > LOG_LIMIT_BYTES:
            os.ftruncate(log, 0)
    finally:
        os.close(log)


def _is_server(pid: int, home: Path) -> bool:
    if Path("/proc/self").exists():
        try:
            return os.fsencode(home / "postgresql.conf") in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(sockets_of(home) / ".s.PGSQL.5432")) == 0


def _run(owner: Account, command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as the server's user, with no more of our environment than it needs, away from Ctrl-C."""
    passed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    other = owner.uid != os.geteuid()
    with tempfile.TemporaryFile("w+") as errors:
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={**passed, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                umask=0o077,
                user=owner.uid if other else None,
                group=owner.gid if other else None,
                extra_groups=[] if other else None,
                check=False,
            )
        except OSError as error:
            raise UnavailableError(
                f"cannot run {command[0]} as the user {owner.name}: {error.strerror}",
                "run pgops as a normal user, or set PGOPS_PG_BIN to programs that this user can run",
            ) from error
        errors.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, "", errors.read())


def _locales(major: int) -> list[list[str]]:
    if major >= 17:
        return [["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]]
    return [["--locale=C.UTF-8"], ["--locale=C"]]


def _forget_old_process(home: Path) -> None:
    """Make the pid file of a server that was killed harmless.

    PostgreSQL refuses to start while any process of the same user has the id in it. The rest of the file
    stays: by it PostgreSQL sees whether processes of the old server still hang on to its shared memory.
    """
    for leftover in sockets_of(home).glob(".s.PGSQL.*"):
        leftover.unlink(missing_ok=True)
    path = home / "data" / "postmaster.pid"
    try:
        file = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        _, newline, rest = os.read(file, 4096).partition(b"\n")
        if not newline:
            path.unlink()
            return
        text = str(NO_PROCESS).encode() + newline + rest
        os.pwrite(file, text, 0)
        os.ftruncate(file, len(text))
    finally:
        os.close(file)


def _why(log: Path, start: int) -> str | None:
    """The last FATAL or PANIC line written since, with the LOG line before it where that holds the reason."""
    try:
        with log.open(errors="replace") as lines:
            lines.seek(start)
            said = re.findall(r"(LOG|FATAL|PANIC):  (.*)", lines.read())
    except OSError:
        return None
    for at in range(len(said) - 1, -1, -1):
        level, text = said[at]
        if level != "LOG":
            if "contains errors" in text and at > 0:
                return str(said[at - 1][1])
            return str(text)
    return None

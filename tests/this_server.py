"""The server of this run: where it stands, how a test gets a database on it, and what it has.

It is the embedded one with fsync off, in memory where the machine has room there; with PGOPS_PG_BIN other programs,
with PGOPS_TEST_DSN (a superuser's DSN) a server that is there already. Copying a database takes 13 ms in memory and
600 ms on a disk, where copying through the log takes 50.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgops.errors import PgopsError
from pgops.server import Server, binaries

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
ABANDONED_S = 3600
SETTINGS = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB",
    "max_connections": "200", "max_wal_size": "256MB",
}  # fmt: skip
EMBEDDED = not ("PGOPS_PG_BIN" in os.environ or "PGOPS_TEST_DSN" in os.environ)
_numbers = count()


def run_id() -> str:
    """The name of the run; the controller draws it and its workers inherit it."""
    return os.environ["PGOPS_TEST_RUN"]


@cache
def in_memory() -> bool:
    """Whether there is room in memory, and programs may be run from there."""
    try:
        return not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    except OSError:
        return False


def root() -> Path:
    """The folder of the run's server."""
    return (MEMORY if in_memory() else Path(tempfile.gettempdir())) / f"pgops-tests-{run_id()}"


def forget_abandoned() -> None:
    """Remove what a run left whose pytest was killed: memory is too dear for it."""
    for folder in root().parent.glob("pgops-tests-*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > ABANDONED_S:
            with suppress(PgopsError):
                Server(folder).destroy()


@cache
def has_pgvector() -> bool:
    """Whether the server can have the extension vector. The embedded one has it."""
    given = os.environ.get("PGOPS_TEST_DSN")
    if given is None:
        return binaries.find().has_library("vector")
    with psycopg.connect(given) as conn:
        return conn.execute("select from pg_available_extensions where name = 'vector'").fetchone() is not None


@contextmanager
def database(server_dsn: str, template: str) -> Iterator[str]:
    """A database of its own for as long as the block lasts."""
    name = f"pgops_test_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}_{next(_numbers)}"
    strategy = sql.SQL("file_copy" if in_memory() and "PGOPS_TEST_DSN" not in os.environ else "wal_log")
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute(
            sql.SQL("create database {} template {} strategy {}").format(
                sql.Identifier(name), sql.Identifier(template), strategy
            )
        )
        try:
            yield make_conninfo(server_dsn, dbname=name)
        finally:
            conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

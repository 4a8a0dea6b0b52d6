"""A primary and its standby, for tests of what only they show: the standby is a copy made by pg_basebackup, streams
over the primary's socket, and sends its feedback each second."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import this_server
from psycopg.conninfo import conninfo_to_dict

from pgops.server import Server, binaries, places

SETTINGS = {**this_server.SETTINGS, "max_prepared_transactions": "5", "max_connections": "30"}
FAILING = {"archive_mode": "on", "archive_command": "/bin/false"}


@contextmanager
def pair() -> Iterator[tuple[str, str]]:
    """The DSNs of both, as superuser, while the block runs."""
    with servers() as (primary, standby):
        yield primary.url, standby.url


@contextmanager
def servers() -> Iterator[tuple[Server, Server]]:
    """Both, while the block runs."""
    folder = Path(f"{this_server.root()}-pair-{os.getpid()}")
    primary = Server(folder / "p", settings={**SETTINGS, **FAILING})
    places_of = places.home_of(folder / "s")
    feedback = {"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"}
    conninfo = f"host={conninfo_to_dict(primary.url)['host']} port=5432 user=postgres application_name=second"
    standby = Server(folder / "s", settings={**SETTINGS, **feedback, "primary_conninfo": conninfo})
    try:
        primary.start(pin=True)
        _copy(primary, places_of)
        standby.start(pin=True)
        yield primary, standby
    finally:
        standby.destroy(force=True)
        primary.destroy(force=True)
        folder.rmdir()


def _copy(primary: Server, home: Path) -> None:
    """The data folder of the standby, owned by who runs the primary."""
    places.make_home(home)
    data = home / "data"
    program = binaries.find().program("pg_basebackup")
    subprocess.run(
        [program, "-d", primary.url, "-D", data, "--no-sync", "--checkpoint=fast", "--wal-method=stream"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (data / "standby.signal").touch()
    owner = places.account(Path(primary.status().data_dir))
    for place, folders, files in os.walk(data):
        for name in (".", *folders, *files):
            shutil.chown(Path(place, name), owner.uid, owner.gid)

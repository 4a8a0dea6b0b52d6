"""The text of the server's configuration files, and what a client of it is told: pure functions.

The rules: durable by default; no network; each connection proves who it is by its operating-system user. The
files stand beside the data folder and are written anew at each start; ALTER SYSTEM makes lasting changes.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgops.errors import UsageError

PORT = 5432
ELSEWHERE = ("PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE")

DEFAULTS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "track_io_timing": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "default_text_search_config": "pg_catalog.english",
    "logging_collector": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}


def postgresql_conf(folder: Path, sockets: Path, *, preload: Sequence[str], settings: Mapping[str, str]) -> str:
    """postgresql.conf for the server in `folder`. Raises UsageError for a setting that cannot be one."""
    values = {
        **DEFAULTS,
        "shared_preload_libraries": ", ".join(preload),
        "unix_socket_directories": '"' + str(sockets).replace('"', '""') + '"',
        "hba_file": str(folder / "pg_hba.conf"),
        "ident_file": str(folder / "pg_ident.conf"),
        **settings,
    }
    lines = ["# Written by pgops at each start. Use ALTER SYSTEM for changes that last."]
    for name, value in values.items():
        if not re.fullmatch(r"[A-Za-z_][\w.]*", name) or "\n" in value:
            raise UsageError(f"not a PostgreSQL setting: {name} = {value!r}")
        lines.append(f"{name} = {_quoted(value)}")
    return "\n".join(lines) + "\n"


def pg_hba_conf(major: int) -> str:
    """pg_hba.conf: the operating-system user must be in the map.

    Before 16 a map cannot say "any role": there only `postgres` is checked so. For other roles the socket and
    its folder, both closed to all but the server's user and root, are the one check.
    """
    if major >= 16:
        return "local all all peer map=pgops\nlocal replication all peer map=pgops\n"
    return (
        "local all postgres peer map=pgops\n"
        "local replication postgres peer map=pgops\n"
        "local all all trust\n"
        "local replication all trust\n"
    )


def pg_ident_conf(major: int, users: Sequence[str]) -> str:
    """pg_ident.conf: these operating-system users may be any role."""
    role = "all" if major >= 16 else "postgres"
    return "".join(f'pgops "{user}" {role}\n' for user in users)


def client_environment(sockets: Path, around: Mapping[str, str], *, read_only: bool) -> dict[str, str]:
    """`around` with libpq's variables for this server; what in it names another one is left out."""
    found = {name: value for name, value in around.items() if name not in ELSEWHERE}
    options = [around.get("PGOPTIONS", ""), "-c default_transaction_read_only=on" if read_only else ""]
    return found | {
        "PGHOST": str(sockets), "PGPORT": str(PORT), "PGUSER": "postgres", "PGDATABASE": "postgres",
        "PGOPTIONS": " ".join(filter(None, options)),
    }  # fmt: skip


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

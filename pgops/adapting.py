"""What pgops' own connections know more than psycopg does; a caller's connection is not taught anything.

Floor 1, under database.py; the blocking twin shares it.
"""

from typing import Any

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format

from pgops.errors import UsageError

CONNECT_TIMEOUT_S = 5


class Packed(bytes):
    """A parameter already in PostgreSQL's binary format, of whatever type the statement casts it to."""


class _PackedDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Packed) -> Packed:
        return obj


class OwnAdapters:
    """What pgops' own connections are opened with: psycopg's adapters and Packed."""

    connection = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        self.adapters.register_dumper(Packed, _PackedDumper)


def connection_kwargs(dsn: str, application_name: str) -> dict[str, Any]:
    """What is added to the caller's DSN, which libpq gets untouched."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.Error as error:
        raise UsageError(
            "the DSN cannot be parsed",
            "use postgresql://user@host:5432/database or 'host=… dbname=… user=…'",
        ) from error
    kwargs: dict[str, Any] = {
        "autocommit": True, "fallback_application_name": application_name, "context": OwnAdapters()
    }  # fmt: skip
    if "connect_timeout" not in given:
        kwargs["connect_timeout"] = CONNECT_TIMEOUT_S
    return kwargs


def nearest_first(dsn: str, host: str, port: int) -> dict[str, str]:
    """Of several hosts in a DSN the one that answered first, the others after it in their order: what is to be added so
    that who connects again does not wait for one that is gone. Nothing where the order is that already."""
    given = {name: str(value).split(",") for name, value in conninfo_to_dict(dsn).items()}
    lists = {name: given[name] for name in ("host", "hostaddr", "port") if len(given.get(name, ())) > 1}
    hosts = given.get("host") or given.get("hostaddr") or []
    ports = lists.get("port") or given.get("port", [str(port)]) * len(hosts)
    at = next((at for at, one in enumerate(zip(hosts, ports, strict=False)) if one == (host, str(port))), 0)
    return {name: ",".join(each[at:] + each[:at]) for name, each in lists.items()} if at else {}

"""What pgops' own connections know more than psycopg does; a caller's connection is not taught anything.

Floor 1, under database.py; the blocking twin shares it.
"""

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format


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

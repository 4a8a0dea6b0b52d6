"""Every named statement is PREPAREd against the migrated schema: no typo waits for its first caller."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pgmq import install_pgmq_from_sql
from psycopg import sql

import pgops
from pgops.database import AsyncPool
from pgops.queries import Statement, parse
from pgops.services.documents import AsyncDocuments
from pgops.services.vectors import AsyncVectors

ROOT = Path(pgops.__file__).parent

# Utility commands cannot be prepared; each of these is run by the test of the module that owns it.
UTILITIES = re.compile(
    rb"^\s*(--[^\n]*\n\s*)*(copy|create|alter|do|drop|grant|revoke|reindex|set|vacuum|analyze|savepoint|rollback|lock)\b",
    re.IGNORECASE,
)


# What these name is there only with pgvector.
VECTORS = re.compile(rb"\{type\}|\{operator\}|\{inspect\}|\{table\}|vector_collections")


def statements(version: int) -> Iterator[tuple[str, Statement]]:
    """Every name once, as it runs on a server of `version`."""
    for path in sorted(ROOT.rglob("*.sql")):
        if path.parent.name != "schema":
            fitting = [one for one in parse(path.read_text(encoding="utf-8")).variants if one.since <= version]
            newest = {one.name: one for one in sorted(fitting, key=lambda one: one.since)}
            for statement in newest.values():
                yield str(path.relative_to(ROOT)), statement


async def test_every_statement_is_prepared(dsn: str, db: AsyncPool) -> None:
    await AsyncDocuments(db).create("fixture")
    assert prepared(dsn, about_vectors=False) > 60


@pytest.mark.vectors
async def test_every_statement_about_vectors_is_prepared(dsn: str, db: AsyncPool) -> None:
    await AsyncVectors(db).create("fixture", 3)
    assert prepared(dsn, about_vectors=True) > 10


def prepared(dsn: str, *, about_vectors: bool) -> int:
    """PREPARE each statement that this server's version has; how many they were."""
    prepared = 0
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as conn:
        install_pgmq_from_sql(conn=conn)
        conn.execute("select pgmq.create('fixture')")
        for where, statement in statements(conn.info.server_version):
            if UTILITIES.match(statement.sql):
                continue
            if bool(VECTORS.search(statement.sql)) is not about_vectors:
                continue
            try:
                conn.execute(_prepare(statement.sql))
            except psycopg.Error as error:
                pytest.fail(f"{where}: {statement.name}: {error}")
            conn.execute("deallocate all")
            prepared += 1
    return prepared


def _prepare(text: bytes) -> sql.Composed:
    """Named parameters become $1, $2 …; names of collections the fixture's."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    numbered = re.sub(r"%\((\w+)\)[sbt]", number, text.decode()).replace("%%", "%")
    collection = {
        "table": sql.Identifier("pgops", "vec_fixture"), "index": sql.Identifier("vec_fixture_pkey"),
        "type": sql.SQL("public.vector"), "operator": sql.SQL("operator(public.<=>)"),
        "inspect": sql.Identifier("public"), "store": sql.Identifier("pgops", "kv_store"),
        "entries": sql.Identifier("pgops", "rate_limits"), "until": sql.Identifier("tat"),
        "documents": sql.Identifier("pgops", "doc_fixture"),
        "queue": sql.Identifier("pgmq", "q_fixture"), "archive": sql.Identifier("pgmq", "a_fixture"),
        "dead": sql.Identifier("pgmq", "q_fixture"), "headers": sql.Identifier("headers"),
        "touch": sql.SQL(", last_read_at = clock_timestamp()"), "kept": sql.SQL("msg_id, vt, message, headers"),
        "key": sql.SQL("(data -> 'a')"), "order": sql.SQL("(data -> 'a'), id"), "conditions": sql.SQL("true"),
        "matching": sql.SQL("true"), "beyond": sql.SQL(">"), "way": sql.SQL("asc"),
    }  # fmt: skip
    holes = set(re.findall(r"(?<!\{)\{(\w+)\}(?!\})", numbered))
    body = sql.SQL(numbered).format(**{n: collection[n] for n in holes}) if holes else sql.SQL(numbered)
    return sql.SQL("prepare statement_under_test as ") + body

"""The seed article's JSONB example on our table: events with an expression and a GIN index, the purchase query as it is
written there, and user_id made a real column and joined."""

import os
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import psycopg
import pytest

from pgops.services.document_rules import parse_where
from pgops.sync.services.client import Pgops

EVENTS = 20_000
PURCHASES = """
select data->>'user_id' as user_id, (data->>'amount')::numeric as amount
from pgops.doc_events
where data @> '{"type": "purchase"}'
  and (data->>'amount')::numeric > 50
  and (data->'customer'->>'is_new')::boolean
"""


@cache
def event(n: int) -> dict[str, Any]:
    rng = Random(n)
    return {
        "type": rng.choice(("view", "click", "purchase", "signup")), "user_id": n % 500, "amount": rng.randrange(120),
        "customer": {"is_new": rng.random() < 0.1}, "note": f"{n:032}" * 6,
    }  # fmt: skip


@pytest.fixture(scope="module")
def events(server_dsn: str, template: str) -> Iterator["psycopg.Connection[Any]"]:
    """A database with doc_events, filled, with the article's two indexes; shared by the tests that only read."""
    name = f"pgops_seed_events_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as server:
        server.execute(f'create database "{name}" template "{template}" strategy file_copy'.encode())
        try:
            dsn = psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
            with Pgops.open(dsn) as pg:
                pg.documents.create("events")
                pg.documents.put_many("events", map(event, range(EVENTS)))
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute("create index events_user_id on pgops.doc_events ((data->>'user_id'))")
                conn.execute("create index events_data on pgops.doc_events using gin (data)")
                conn.execute("analyze pgops.doc_events")
                yield conn
        finally:
            server.execute(f'drop database "{name}" with (force)'.encode())


def plan(conn: "psycopg.Connection[Any]", query: str) -> str:
    return "\n".join(row[0] for row in conn.execute(f"explain (costs off) {query}".encode()).fetchall())


def expected(**more: int) -> list[tuple[str, int]]:
    wanted = [event(n) for n in range(EVENTS)]
    return sorted(
        (str(one["user_id"]), one["amount"])
        for one in wanted
        if one["type"] == "purchase" and one["amount"] > 50 and one["customer"]["is_new"]
        and all(one[key] == value for key, value in more.items())
    )  # fmt: skip


def test_purchases_over_50_by_new_customers_as_the_article_asks_for_them(events: "psycopg.Connection[Any]") -> None:
    found = events.execute(PURCHASES.encode()).fetchall()
    assert sorted(found) == expected()
    assert len(found) > 100
    shown = plan(events, PURCHASES)
    assert "Bitmap Index Scan on events_data" in shown
    assert "Seq Scan" not in shown


def test_the_purchases_of_one_new_customer_use_the_expression_and_the_gin_index_together(
    events: "psycopg.Connection[Any]",
) -> None:
    query = PURCHASES + "  and data->>'user_id' = '147'\n"
    assert sorted(events.execute(query.encode()).fetchall()) == expected(user_id=147)
    shown = plan(events, query)
    assert "BitmapAnd" in shown
    assert "Bitmap Index Scan on events_user_id" in shown
    assert "Bitmap Index Scan on events_data" in shown


def test_the_events_of_a_user_are_found_by_the_expression_index_alone(events: "psycopg.Connection[Any]") -> None:
    query = "select data from pgops.doc_events where data->>'user_id' = '44'"
    assert len(events.execute(query.encode()).fetchall()) == EVENTS // 500
    shown = plan(events, query)
    assert "events_user_id" in shown
    assert "events_data" not in shown


def test_find_asks_the_same_and_gets_the_same(events: "psycopg.Connection[Any]") -> None:
    wanted = [parse_where(one) for one in ("type=purchase", "amount>50", "customer.is_new=true")]
    with Pgops.open(events.info.dsn) as pg:
        page = pg.documents.find("events", wanted, limit=10_000)
        assert pg.documents.count("events", wanted).count == len(page.documents)
    assert sorted((str(one.data["user_id"]), one.data["amount"]) for one in page.documents) == expected()


def test_user_id_becomes_a_real_column_and_is_joined_with_users(dsn: str) -> None:
    with Pgops.open(dsn) as pg, psycopg.connect(dsn, autocommit=True) as conn:
        pg.documents.create("events")
        pg.documents.put_many("events", map(event, range(2_000)))
        conn.execute("create table users (id bigint primary key, name text not null)")
        conn.execute("insert into users select n, 'user ' || n from generate_series(0, 499) as n")
        conn.execute("alter table pgops.doc_events add column user_id bigint "
                     "generated always as ((data->>'user_id')::bigint) stored")  # fmt: skip
        conn.execute("create index events_user on pgops.doc_events (user_id)")
        conn.execute("alter table pgops.doc_events add foreign key (user_id) references users")
        conn.execute("analyze pgops.doc_events, users")
        joined = """
            select u.name, count(*), sum((e.data->>'amount')::numeric)
            from users as u join pgops.doc_events as e on e.user_id = u.id
            where u.id = 44 group by u.name
        """
        mine = [event(n) for n in range(2_000) if event(n)["user_id"] == 44]
        assert conn.execute(joined.encode()).fetchall() == [("user 44", len(mine), sum(one["amount"] for one in mine))]
        assert "events_user" in plan(conn, joined)

        stored = pg.documents.put("events", {"user_id": 44, "amount": 1000}, "late")
        assert conn.execute("select user_id from pgops.doc_events where id = 'late'").fetchone() == (44,)
        pg.documents.patch("events", stored.id, {"user_id": 45})
        assert conn.execute("select user_id from pgops.doc_events where id = 'late'").fetchone() == (45,)
        with pytest.raises(Exception, match="foreign key"):
            pg.documents.put("events", {"user_id": 5_000})
        assert pg.documents.count("events").count == 2_001

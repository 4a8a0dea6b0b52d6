"""A writer of events under stress: transactions with delays, savepoints that are rolled back, some rolled back whole
and some committed seconds late. Whoever writes to a key updates its aggregate first.

What it appends it writes into stress.told in the same transaction; so that table is the truth about what must come.
"""

import json
import random
import sys
import time
from typing import Any
from uuid import UUID

import psycopg

from pgops import Pgops

Conn = psycopg.Connection[Any]
KEYS = 16
LOST = (psycopg.OperationalError, psycopg.errors.DeadlockDetected)


def write(dsn: str, per_s: float, seed: int) -> None:
    """About `per_s` transactions a second, until killed; a lost connection is opened again."""
    dice = random.Random(seed)
    while True:
        try:
            with Pgops.open(dsn) as pg, psycopg.connect(dsn) as conn:
                while True:
                    transact(pg, conn, dice)
                    time.sleep(dice.uniform(0.5, 1.5) / per_s)
        except LOST:
            time.sleep(0.1)
        except Exception as error:
            if getattr(error, "exit_code", 0) != 3:
                raise
            time.sleep(0.1)


def transact(pg: Pgops, conn: Conn, dice: random.Random) -> None:
    """One transaction over one to three keys; some have their id long before their first event."""
    if dice.random() < 0.5:
        conn.execute("select pg_current_xact_id()")
        time.sleep(dice.uniform(0, 0.02))
    for key in sorted(dice.sample(range(KEYS), dice.choice([1, 1, 2, 3]))):
        if dice.random() < 0.2:
            conn.execute("savepoint aside")
            append(pg, conn, f"k{key}", dice, never=True)
            conn.execute("rollback to savepoint aside")
        append(pg, conn, f"k{key}", dice)
        time.sleep(dice.uniform(0, 0.01))
    time.sleep(dice.uniform(0.5, 2) if dice.random() < 0.01 else 0)
    if dice.random() < 0.1:
        conn.rollback()
    else:
        conn.commit()


def append(pg: Pgops, conn: Conn, key: str, dice: random.Random, never: bool = False) -> None:
    """One event through one of the doors, with its number within its key."""
    query = (
        "insert into stress.aggregate (key) values (%s) on conflict (key) do update set n = aggregate.n + 1 returning n"
    )
    row = conn.execute(query, [key]).fetchone()
    assert row is not None
    payload = {"n": row[0], "never": never}
    if dice.random() < 0.5:
        event_id: UUID = pg.bind(conn).events.append("stress", payload, key=key)
    else:
        query = "insert into pgops.outbox (aggregate_id, payload) values (%s, %s) returning event_id"
        found = conn.execute(query, [key, json.dumps(payload)]).fetchone()
        assert found is not None
        event_id = found[0]
    conn.execute("insert into stress.told (key, n, event_id) values (%s, %s, %s)", [key, row[0], event_id])


if __name__ == "__main__":
    write(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))

"""A producer under stress: transactions of all sizes and ways, some rolled back, some committed seconds late.

What it enqueues it writes into stress.sent in the same transaction; so that table is the truth about what must happen.
"""

import json
import os
import random
import sys
import time
from typing import Any

import psycopg

from pgops import Pgops
from pgops.services.models import NewJob

QUEUE = "stress"
Conn = psycopg.Connection[Any]


def produce(dsn: str, per_s: float) -> None:
    """About `per_s` jobs a second, until killed; a lost connection is opened again."""
    while True:
        try:
            with Pgops.open(dsn) as pg, psycopg.connect(dsn) as conn:
                while True:
                    transact(pg, conn, jobs := random.randint(1, 20))
                    time.sleep(random.uniform(0.5, 1.5) * jobs / per_s)
        except (psycopg.OperationalError, psycopg.errors.DeadlockDetected):
            time.sleep(0.1)
        except Exception as error:
            if getattr(error, "exit_code", 0) != 3:
                raise
            time.sleep(0.1)


def transact(pg: Pgops, conn: Conn, jobs: int) -> None:
    """One transaction of so many jobs."""
    tx = pg.bind(conn).queue
    numbers = [row[0] for row in conn.execute("select nextval('stress.number') from generate_series(1, %s)", [jobs])]
    sent: list[tuple[int, str]] = []
    if random.random() < 0.2:
        tx.enqueue_many(QUEUE, [payload(number) for number in numbers], kind="note", priority=random.randint(1, 4))
        sent = [(number, "note") for number in numbers]
    else:
        for number in numbers:
            if kind := enqueue(tx, conn, number):
                sent.append((number, kind))
    with conn.cursor() as cursor:
        cursor.executemany("insert into stress.sent (number, kind) values (%s, %s)", sent)
    time.sleep(random.uniform(1, 4) if random.random() < 0.03 else random.uniform(0, 0.01))
    if random.random() < 0.1:
        conn.rollback()
    else:
        conn.commit()


def enqueue(tx: Any, conn: Conn, number: int) -> str | None:
    """One job in one of the ways there are; its kind, or None where its unique key was taken."""
    way = random.choices(["plain", "late", "flaky", "group", "unique", "function", "view"], [4, 2, 2, 3, 2, 1, 1])[0]
    what = payload(number)
    if way == "plain":
        kind = random.choice(["note", "block", "snooze", "effect"])
        tx.enqueue(QUEUE, what, kind=kind, priority=random.randint(1, 4))
        return kind
    if way == "late":
        tx.enqueue(QUEUE, what, kind="effect", delay_s=random.uniform(0, 3))
        return "effect"
    if way == "flaky":
        tx.enqueue(QUEUE, what | {"fails": random.randint(0, 5)}, kind="flaky", max_attempts=4)
        return "flaky"
    if way == "group":
        tx.enqueue(QUEUE, what, kind="effect", group_key=f"{os.getpid()}-{number % 3}")
        return "effect"
    if way == "unique":
        (added,) = tx.enqueue_jobs(QUEUE, [NewJob(what, kind="note", unique_key=f"u{random.randrange(30)}")])
        return None if added.existing else "note"
    if way == "function":
        conn.execute("select pgops.enqueue(%s, %s, kind => 'effect')", [QUEUE, json.dumps(what)])
        return "effect"
    conn.execute(
        "insert into pgops.job_queue (queue, kind, payload) values (%s, 'effect', %s)", [QUEUE, json.dumps(what)]
    )
    return "effect"


def payload(number: int) -> dict[str, float]:
    """Most jobs take no time; one in fifty takes longer than a lease, and lives by its heartbeats."""
    return {"number": number, "sleep": 3.5 if number % 50 == 0 else random.choice([0, 0, 0.01, 0.05])}


if __name__ == "__main__":
    produce(sys.argv[1], float(sys.argv[2]))

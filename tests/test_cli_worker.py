"""`pgops queue work` as a program: processes that are started anew, metrics, logs for a machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

WORK = [sys.executable, "-m", "pgops", "queue", "work", "worker_jobs:registry", "-q", "q"]


def start(dsn: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*WORK, *options], env=os.environ | {"PGOPS_DSN": dsn}, cwd=Path(__file__).parent, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def stopped(process: "subprocess.Popen[str]") -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=30)
    finally:
        process.kill()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@pytest.fixture
def conn(dsn: str) -> "Iterator[psycopg.Connection[tuple[int]]]":
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create table ran (job bigint, pid int, at timestamptz default clock_timestamp())")
        conn.execute("select pgops.enqueue('q', '{}', kind => 'note') from generate_series(1, 40)")
        yield conn


@pytest.mark.slow
def test_several_processes_share_the_work_and_the_dead_are_replaced(
    dsn: str, conn: "psycopg.Connection[tuple[int]]"
) -> None:
    process = start(dsn, "--processes", "2", "--json")
    try:

        def living() -> list[int]:
            return [row[0] for row in conn.execute("select pid from pgops.workers").fetchall()]

        def left() -> int:
            row = conn.execute("select count(*) from pgops.job_queue").fetchone()
            assert row is not None
            return row[0]

        until(lambda: len(living()) == 2 and left() == 0)
        victim = living()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(set(living()) - {victim}) == 2)
        conn.execute("select pgops.enqueue('q', '{}', kind => 'note') from generate_series(1, 40)")
        until(lambda: left() == 0)
    finally:
        said, talk = stopped(process)
    document = json.loads(said)
    assert document["processes"] == 2
    assert 40 <= document["completed"] <= 80, "what the victim did died with it"
    assert "another one follows" in talk
    assert process.returncode == 0
    for pid in living():
        assert pid == victim, "the living have said farewell"


@pytest.mark.slow
def test_no_process_outlives_the_one_that_started_it(dsn: str, conn: "psycopg.Connection[tuple[int]]") -> None:
    process = start(dsn, "--processes", "2")

    def living() -> list[int]:
        return [row[0] for row in conn.execute("select pid from pgops.workers").fetchall()]

    until(lambda: len(living()) == 2)
    pids = living()
    process.kill()
    process.communicate()
    until(lambda: not living())
    for pid in pids:
        until(lambda pid=pid: not Path(f"/proc/{pid}").exists())


@pytest.mark.slow
def test_metrics_are_what_a_parser_reads(dsn: str, conn: object, free_port: int) -> None:
    process = start(dsn, "--metrics-port", str(free_port), "--log-format", "json")

    def metrics() -> dict[tuple[str, str], float]:
        try:
            with urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        return {(sample.name, sample.labels.get("outcome", "")): sample.value for sample in samples}

    try:
        until(lambda: metrics().get(("pgops_worker_jobs_total", "completed")) == 40)
        assert metrics()[("pgops_worker_handler_seconds_count", "")] == 40
        assert metrics()[("pgops_worker_jobs_claimed_total", "")] == 40
        assert 1 <= metrics()[("pgops_worker_claims_total", "")] <= 40
        assert metrics()[("pgops_worker_jobs_running", "")] == 0
    finally:
        _, talk = stopped(process)
    records = [json.loads(line) for line in talk.splitlines() if line.startswith("{")]
    assert any("worker" in record["message"] and record["level"] == "info" for record in records)
    assert {"time", "logger", "pid"} <= set(records[0])


def test_a_taken_port_is_said_in_a_line(dsn: str, taken_port: int) -> None:
    process = start(dsn, "--metrics-port", str(taken_port))
    _, talk = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"port {taken_port} cannot be had" in talk
    assert "Traceback" not in talk

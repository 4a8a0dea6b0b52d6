"""`pgops metrics`: what Prometheus' parser makes of it, on stdout and over HTTP, also while the database is away."""

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import this_server
from cli_call import PGOPS, Process, Run, caller, spawned
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from server_literal import suffering
from snapshots_literal import BUSY, EMPTY, FINDINGS, NO_SCHEMA, NOW, WITH_PGMQ, queue

from pgops.cli import output
from pgops.database import AsyncPool
from pgops.errors import PgopsError
from pgops.ops.collector import Collector
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.observe.snapshot_outgrow import OutgrowLine, OutgrowPart
from pgops.ops.tell.exposition import Observer, serve, text
from pgops.ops.tell.meters import NOT_A_PART, families
from pgops.ops.tell.meters_parts import METERS
from pgops.server import Server
from pgops.services.client import AsyncPgops

LINE = OutgrowLine("vectors", "rows", "rows", 1e7, 5e6, 0.5, 9, 1e4, NOW, NOW, NOW, "Citus")
FULL = suffering(replace(WITH_PGMQ, outgrow=OutgrowPart((LINE,), {}, 300)))
Samples = Mapping[tuple[str, ...], float]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def parsed(exposed: str) -> list[Metric]:
    return list(text_string_to_metric_families(exposed))


def samples(exposed: str) -> Samples:
    """By name and the values of the labels."""
    found = [sample for family in parsed(exposed) for sample in family.samples]
    by = {(one.name, *one.labels.values()): one.value for one in found}
    assert len(by) == len(found), "no sample stands twice"
    return by


def told(snapshot: Snapshot | None) -> Samples:
    return samples(text(families(snapshot, METERS)))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


# --- what is told -------------------------------------------------------------------------------------------------


def test_a_name_that_steers_a_terminal_stays_a_label(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the text knows three escapes, and refuses all of it for another."""
    exposed = text(families(replace(BUSY, queues=(queue('e\x1b[31m"x\\y\nz'),)), METERS))
    output.say(exposed)
    shown = capsys.readouterr().out
    assert shown == f"{exposed}\n", "nothing is left to be made harmless"
    assert re.findall(r"\\(.)", exposed.replace(r"\\", "")) and not re.search(r"\\[^\"n]", exposed.replace(r"\\", ""))
    assert samples(exposed)["pgops_queue_jobs", 'e\\x1b[31m"x\\y\nz', "dead"] >= 0


def test_each_has_help_and_type_and_a_name_by_the_conventions() -> None:
    exposed = text(families(FULL, METERS))
    found = parsed(exposed)
    names = {family.name for family in found}
    assert len(names) == len(found) > 80
    for family in found:
        assert family.documentation.endswith("."), family.name
        assert family.type in ("gauge", "counter")
        assert family.samples, family.name
        assert family.name.startswith("pgops_") and "_per_s" not in family.name
        for sample in family.samples:
            assert sample.name == family.name + ("_total" if family.type == "counter" else "")
    assert exposed.count("# HELP ") == exposed.count("# TYPE ") == len(names)
    for unit in ("_ms", "_s", "_kb", "_percent", "_total"):
        assert not [name for name in names if name.endswith(unit)], "base units, in full"


def test_the_numbers_are_those_of_the_snapshot() -> None:
    found = told(FULL)
    (email, *_), (subscription, *_) = BUSY.queues, BUSY.outbox  # type: ignore[misc]
    for state in ("available", "waiting", "scheduled", "running", "dead"):
        assert found["pgops_queue_jobs", email.name, state] == getattr(email, state)
    assert found["pgops_queue_jobs_completed_total", email.name] == email.completed_total
    assert found["pgops_outbox_relayed_events_total", subscription.name] == subscription.relayed_total
    assert found["pgops_cache_hits_total",] == 912_004
    assert found["pgops_kv_keys", "ephemeral"] == 8_100
    assert found["pgops_pgmq_messages", "wms_orders", "dead"] == 7
    assert found["pgops_observation_duration_seconds",] == pytest.approx(0.0058)
    assert found["pgops_observation_part_duration_seconds", "queues"] == pytest.approx(0.0019)
    assert found["pgops_findings", FINDINGS[0].code, "critical"] == 1
    assert found["pgops_findings_by_severity", "critical"] == 1
    assert found["pgops_up",] == 1
    assert found["pgops_outgrow_share_ratio", "vectors"] == 0.5
    assert found["pgops_outgrow_crosses_timestamp_seconds", "vectors"] == NOW.timestamp()
    assert found["pgops_vacuum_held_transactions",] == 48_211
    assert found["pgops_replication_slot_retained_bytes", "old"] == 9_000 << 20
    assert found["pgops_indexes_in_trouble", "unused"] == 1
    assert ("pgops_vector_index_recall_ratio", "pgops.vec_products", "vec_products_embedding_idx") not in found


def test_a_part_that_is_missing_has_no_numbers_and_says_so() -> None:
    parts = [field.name for field in fields(Snapshot) if field.name not in NOT_A_PART]
    assert set(METERS) < set(parts)
    full = told(FULL)
    for name in parts:
        left = told(replace(FULL, **{name: Unavailable("hidden", "grant it")}))
        assert left["pgops_part_available", name] == 0
        assert left["pgops_up",] == 1
        gone = {key[0] for key in set(full) - set(left)}
        assert bool(gone) is (name in METERS), name
        assert not gone & {key[0] for key in told(replace(suffering(EMPTY), **{name: Unavailable("", "")}))}, name
    assert ("pgops_part_available", "pgmq") in full
    assert told(NO_SCHEMA)["pgops_part_available", "queues"] == 0


def test_without_an_observation_there_is_only_that() -> None:
    assert {key[0] for key in told(None)} == {"pgops_up", "pgops_build_info"}
    assert told(None)["pgops_up",] == 0


def test_a_label_comes_back_as_it_was_and_holds_no_secret() -> None:
    odd = 'a"b\\c\nd grüße 🙂 {} #'
    secret = replace(BUSY.outbox[0], sink="redis://:hunter2@h/0")  # type: ignore[index]
    snapshot = replace(BUSY, queues=(queue(odd),), outbox=(secret,), target="postgresql://u:hunter2@h/d")
    exposed = text(families(snapshot, METERS))
    assert samples(exposed)["pgops_queue_paused", odd] == 0
    assert "hunter2" not in exposed and "redis" not in exposed


# --- once ---------------------------------------------------------------------------------------------------------


async def test_a_database_is_told_on_stdout_and_as_a_document(dsn: str, command: Run) -> None:
    async with AsyncPgops.open(dsn) as pg:
        for number in range(3):
            await pg.queue.enqueue("email", {"n": number})
    done = await asyncio.to_thread(command, "metrics", "--dsn", dsn)
    assert (done.code, done.err) == (0, "")
    found = samples(done.out)
    assert found["pgops_queue_jobs", "email", "available"] == 3
    assert found["pgops_queue_jobs_enqueued_total", "email"] == 3
    items = (await asyncio.to_thread(command, "metrics", "--json", "--dsn", dsn)).document["items"]
    assert {one["name"] for one in items} == {family.name for family in parsed(done.out)}


def test_a_database_that_is_away_is_told_too_and_the_exit_code_says_it(command: Run, tmp_path: Path) -> None:
    done = command("metrics", "--dsn", f"host={tmp_path} password=hunter2")
    assert done.code == 3
    assert samples(done.out)["pgops_up",] == 0
    assert "hunter2" not in done.out + done.err
    assert command("metrics", "--timeout", "0").code == 2
    assert command("metrics", "serve", "--every", "-1").code == 2


def test_the_embedded_server_is_not_started_to_be_looked_at(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPS_HOME", str(tmp_path))
    for name in ("PGOPS_DSN", "DATABASE_URL", "PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    done = command("metrics")
    assert done.code == 1
    assert samples(done.out)["pgops_up",] == 0
    assert "pgops server start" in done.err
    assert not (tmp_path / "server").exists()


# --- the endpoint -------------------------------------------------------------------------------------------------


def scraped(url: str, accept: str = "") -> tuple[str, str]:
    with urlopen(Request(url, headers={"Accept": accept} if accept else {}), timeout=15) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Collector]:
    async with AsyncPool.open(dsn) as db:
        yield Collector(db)


def up(url: str) -> float:
    return samples(scraped(url)[0])["pgops_up",]


async def test_however_many_ask_the_database_is_asked_once_and_openmetrics_is_had(dsn: str) -> None:
    said: list[str] = []
    observer = Observer(lambda: opened(dsn), fresh_s=60, timeout_s=5, told=said.append)
    async with serve(observer, 0, "127.0.0.1", timeout_s=5) as url:
        texts = await asyncio.gather(*[asyncio.to_thread(scraped, url) for _ in range(5)])
        assert len(set(texts)) == 1
        ((exposed, kind),) = set(texts)
        assert kind.startswith("text/plain")
        openmetrics, kind = await asyncio.to_thread(scraped, url, OPENMETRICS)
        assert kind.startswith("application/openmetrics-text") and openmetrics.endswith("# EOF\n")
        same = {family.name for family in of_openmetrics(openmetrics)}
        assert same == {family.name for family in parsed(exposed)}
    assert said == []
    anew = Observer(lambda: opened(dsn), fresh_s=0, timeout_s=5, told=said.append)
    first, second = await anew.snapshot(), await anew.snapshot()
    await anew.close()
    assert first and second and first.taken_at < second.taken_at


async def test_a_database_that_does_not_answer_costs_the_timeout_and_no_more() -> None:
    said: list[str] = []
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]}"
        observer = Observer(lambda: opened(dsn), fresh_s=0, timeout_s=0.3, told=said.append)
        async with serve(observer, 0, "127.0.0.1", timeout_s=0.3) as url:
            began = time.monotonic()
            assert await asyncio.to_thread(up, url) == 0
            assert time.monotonic() - began < 3
            assert await asyncio.to_thread(up, url) == 0
    assert said == ["the database is away: no answer within 0.3 s"]


async def test_a_port_that_is_taken_is_said_in_a_line(command: Run) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = str(held.getsockname()[1])
        done = await asyncio.to_thread(subprocess.run, [*PGOPS, "metrics", "serve", "--port", port, "--dsn", "host=h"],
                                       capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: port {port} of 127.0.0.1 cannot be had: address already in use" in done.stderr
    assert "hint: choose another --port" in done.stderr
    with pytest.raises(PgopsError, match="cannot be had"):
        observer = Observer(lambda: opened(""), fresh_s=0, timeout_s=1, told=str)
        async with serve(observer, 0, "203.0.113.1", timeout_s=1):
            pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One of the test's own, not started yet."""
    server = Server(Path(f"{this_server.root()}-metrics-{tmp_path.name}"), settings=this_server.SETTINGS)
    yield server
    server.destroy(force=True)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def heard(process: Process) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


@pytest.mark.slow
def test_the_endpoint_opens_before_the_database_and_outlives_its_restart(server: Server) -> None:
    with server.use() as url:
        pass
    with spawned(["metrics", "serve", "--port", "0", "--every", "0", "--json"], url) as process:
        server.stop(force=True)
        words, _, endpoint = heard(process).rpartition(" ")
        assert words == "answering on"
        assert endpoint.startswith("http://127.0.0.1:")
        assert up(endpoint) == 0
        assert heard(process).startswith("the database is away: ")
        for _ in range(2):
            server.start(pin=True)
            until(lambda: up(endpoint) == 1)
            assert heard(process) == "the database is back"
            server.stop(force=True)
            server.start(pin=True)
            assert up(endpoint) == 1, "a connection that is lost is not a database that is away"
            server.stop(force=True)
            until(lambda: up(endpoint) == 0)
            assert heard(process).startswith("the database is away: ")
        process.terminate()
        out, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert json.loads(out)["url"] == endpoint
    assert "Traceback" not in err

"""What goes wrong is told in one line with a hint, ends with the right exit code, and gives no secret away."""

import asyncio
import os
import pty
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import this_server
from cli_call import PGOPS, Done, Run, caller, interrupted, spawned

from pgops.database import AsyncPool
from pgops.services.client import AsyncPgops

NOBODY = "host=127.0.0.1 port=1 user=u password=hunter2 dbname=d connect_timeout=2"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process; without a database that answers."""
    monkeypatch.setenv("PGOPS_DSN", NOBODY)
    return caller(monkeypatch, capsys)


@pytest.fixture(scope="module")
def shared_dsn(server_dsn: str, template: str) -> Iterator[str]:
    """One database for all that can share it, with collections `docs` (3 dimensions) and `events`: one each would take
    longer than the tests do."""

    async def fill(dsn: str) -> None:
        async with AsyncPgops.open(dsn) as pg:
            if this_server.has_pgvector():
                await pg.vectors.create("docs", 3)
            await pg.documents.create("events")

    with this_server.database(server_dsn, template) as dsn:
        asyncio.run(fill(dsn))
        yield dsn


@pytest.fixture
def shared(shared_dsn: str, command: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run one command line in this process, against the shared database."""
    monkeypatch.setenv("PGOPS_DSN", shared_dsn)
    return command


def check(done: Done, code: int, *words: str) -> None:
    """One error line, at most one hint, nothing on stdout, no traceback."""
    assert done.code == code, done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if not line.startswith("target: ")]
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), done.err
    for word in words:
        assert word in done.err


@pytest.mark.parametrize("dsn", ["foo:bar", "host=a nonsense=1", "postgresql://[::1"])
def test_a_dsn_that_does_not_parse_is_a_usage_error(command: Run, dsn: str) -> None:
    check(command("queue", "list", "--dsn", dsn), 2, "hint: ")


def test_a_host_that_does_not_answer_is_told_as_such(command: Run) -> None:
    check(command("queue", "list"), 3, "refused", "hint: ")


@pytest.mark.parametrize(
    "dsn", [NOBODY, "postgresql://u:hunter2@127.0.0.1:1/d", "postgresql://127.0.0.1:1/d?password=hunter2"]
)
@pytest.mark.parametrize("flag", [(), ("--json",)])
def test_no_password_is_ever_shown(command: Run, dsn: str, flag: tuple[str, ...]) -> None:
    done = command("queue", "list", "--dsn", dsn, *flag)
    assert done.code == 3
    assert "hunter2" not in done.out + done.err
    assert "127.0.0.1" in done.err


@pytest.fixture
def refusing_server() -> Iterator[int]:
    """The port of a server that asks for a password and takes none, as PostgreSQL's protocol has it."""

    def refuse(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with closing(connection):
                request = connection.recv(4096)
                while request[4:8] in (struct.pack("!I", 80877103), struct.pack("!I", 80877104)):
                    connection.sendall(b"N")
                    request = connection.recv(4096)
                connection.sendall(b"R" + struct.pack("!II", 8, 3))
                password = connection.recv(4096)[5:-1].decode()
                fields = f"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed, password={password}\0\0"
                connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields.encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=refuse, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_wrong_password_is_told_without_the_password(command: Run, refusing_server: int) -> None:
    done = command("queue", "list", "--dsn", f"postgresql://u:hunter2@127.0.0.1:{refusing_server}/d")
    check(done, 3, "password authentication failed", "~/.pgpass")
    assert "hunter2" not in done.err


def test_a_database_without_schema_says_what_to_run(command: Run, empty_dsn: str) -> None:
    check(command("queue", "enqueue", "email", "{}", "--dsn", empty_dsn), 1, "no pgops schema", "run: pgops migrate")


def test_a_newer_schema_is_refused_before_anything_is_done(command: Run, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "insert into pgops.migrations (name, checksum, duration_s, pgops_version) values ('9999_x', 'x', 0, '9')"
        )
        check(command("queue", "enqueue", "email", "{}", "--dsn", dsn), 1, "9999_x", "upgrade pgops")
        check(command("migrate", "--dsn", dsn), 1, "9999_x")
        assert conn.execute("select count(*) from pgops.job_queue").fetchone() == (0,)


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["queue", "enqueue", "email", '{"to" 1}'], 2, ["not JSON", "column 7"]),
        (["queue", "enqueue", "email", "NaN"], 2, ["NaN"]),
        (["queue", "enqueue", "email", "[" * 100_000], 2, ["nested"]),
        (["queue", "enqueue", "email", "{}", "--priority", "9"], 2, ["priority is 1"]),
        (["queue", "enqueue", "email", "{}", "--delay", "-1"], 2, ["delay"]),
        (["queue", "enqueue", "", "{}"], 2, ["name"]),
        (["queue", "enqueue", "email", '"' + "x" * 1_000_001 + '"'], 2, ["1,000,003 bytes"]),
        (["queue", "enqueue", "email", "{}", "--many"], 2, ["--many"]),
        (["queue", "jobs", "nobody"], 5, ["no queue 'nobody'"]),
        (["queue", "show", "email", "x"], 2, ["JOB"]),
        (["queue", "requeue", "email"], 2, ["--stuck or --dead"]),
        (["queue", "requeue", "email", "--dead", "--stuck"], 2, ["--stuck or --dead"]),
        (["queue", "work", "nosuchmodule:registry", "-q", "email"], 2, ["nosuchmodule"]),
        (["queue", "work", "json:loads", "-q", "email"], 2, ["Registry"]),
        (["queue", "work", "json:loads"], 2, ["--queue"]),
        (["cache", "set", "k", "v", "--ttl", "-1"], 2, ["TTL"]),
        (["cache", "set", "k", "v", "--ttl", "nan"], 2, ["TTL"]),
        (["cache", "set", "k" * 1_000_000, "v"], 2, ["2,000 bytes"]),
        (["cache", "set", "k\0", "v"], 2, ["NUL"]),
        (["cache", "set", "k", "v", "--sliding"], 2, ["time to live"]),
        (["cache", "set", "k", "v", "--ttl", "9", "--jitter", "nan"], 2, ["jitter"]),
        (["cache", "touch", "nothing"], 5, ["no value"]),
        (["cache", "cap", "pages"], 2, ["--entries"]),
        (["cache", "cap", "pages", "--none", "--bytes", "9"], 2, ["--none"]),
        (["cache", "cap", "pages", "--entries", "0"], 2, ["from 1 on"]),
        (["cache", "cap", "n" * 201, "--entries", "1"], 2, ["200 bytes"]),
        (["cache", "invalidate", "nosuch", "--yes"], 5, ["no namespace", "nosuch"]),
        (["cache", "invalidate", "n\0", "--yes"], 2, ["NUL"]),
        (["cache", "get", "nothing"], 5, ["no value"]),
        (["kv", "set", "", "v"], 2, ["1 to 2,000 bytes"]),
        (["kv", "set", "k\0", "v"], 2, ["NUL"]),
        (["kv", "set", "k", "v", "--ttl", "0"], 2, ["TTL"]),
        (["kv", "get", "nothing"], 5, ["no value"]),
        (["kv", "cas", "nothing", "7", "v"], 5, ["not there", "retry"]),
        (["kv", "cas", "k", "x", "v"], 2, ["VERSION"]),
        (["kv", "scan", "--glob", "a["], 2, ["not closed"]),
        (["kv", "scan", "--glob", "a", "--prefix", "b"], 2, ["not both"]),
        (["kv", "scan", "--limit", "0"], 2, ["1 to 10,000"]),
        (["limit", "hit", "k", "--limit", "5"], 2, ["--per"]),
        (["limit", "hit", "k", "--limit", "5", "--per", "60", "--burst", "0"], 2, ["burst"]),
        (["limit", "hit", "k", "--limit", "5", "--per", "60", "--cost", "6"], 2, ["above the burst"]),
        (["limit", "hit", "k", "--limit", "-5", "--per", "60"], 2, ["limit is a whole number"]),
        (["limit", "hit", "k", "--limit", "5", "--per", "nan"], 2, ["period"]),
        (["limit", "hit", "", "--limit", "5", "--per", "60"], 2, ["key"]),
        (["limit", "hit", "k", "--limit", "5", "--per", "60", "--algorithm", "x"], 2, ["algorithm"]),
        (["limit", "reset", "nothing"], 5, ["used nothing"]),
        (["vector", "search", "docs"], 2, ["text"]),
        pytest.param(["vector", "search", "docs", "[1, 2]"], 2, ["2 dimensions"], marks=pytest.mark.vectors),
        pytest.param(["vector", "search", "docs", "[1, 2, NaN]"], 2, ["embedding"], marks=pytest.mark.vectors),
        pytest.param(["vector", "search", "docs", "[1, 2, 1e400]"], 2, ["embedding"], marks=pytest.mark.vectors),
        pytest.param(["vector", "search", "nobody", "[1]"], 5, ["nobody"], marks=pytest.mark.vectors),
        (["vector", "create", "docs; drop", "3"], 2, ["name"]),
        (["vector", "create", "other", "0"], 2, ["dimensions"]),
        (["doc", "create", "x; drop"], 2, ["called"]),
        (["doc", "put", "events", "{"], 2, ["not JSON"]),
        (["doc", "put", "events", "[1]"], 2, ["object", "array"]),
        (["doc", "put", "events", '{"a": NaN}'], 2, ["NaN"]),
        (["doc", "put", "events", '{"a": "\\u0000"}'], 2, ["NUL"]),
        (["doc", "put", "events", '{"a": "' + "x" * 8_400_000 + '"}'], 2, ["8,388,608"]),
        (["doc", "put", "events"], 2, ["--many"]),
        (["doc", "put", "evnets", "{}"], 5, ["evnets", "did you mean events?"]),
        (["doc", "put", "events", "{}", "--id", "e", "--version", "3"], 5, ["no document 'e'"]),
        (["doc", "put", "events", "{}", "--ttl", "0"], 2, ["TTL"]),
        (["doc", "get", "events", "nothing"], 5, ["nothing"]),
        (["doc", "patch", "events", "nothing", "{}"], 5, ["nothing"]),
        (["doc", "patch", "events", "nothing", "7"], 2, ["object"]),
        (["doc", "find", "events", "--where", 'a"b=1'], 2, ["path"]),
        (["doc", "find", "events", "--where", "amount"], 2, ["condition"]),
        (["doc", "find", "events", "--where", "a>true"], 2, ["number or a text"]),
        (["doc", "find", "events", "--contains", "7"], 2, ["object or an array"]),
        (["doc", "find", "events", "--limit", "0"], 2, ["limit"]),
        (["doc", "find", "events", "--after", "x"], 2, ["page"]),
        (["doc", "index", "events", 'a"b'], 2, ["path"]),
        (["doc", "index", "events", "--drop", "nothing", "--yes"], 5, ["nothing"]),
        (["doc", "drop", "nobody", "--yes"], 5, ["nobody"]),
        (["outbox", "append", "orders", "{"], 2, ["not JSON"]),
        (["outbox", "relay", "--subscription", "nobody", "--to", "stdout"], 5, ["nobody"]),
        (["outbox", "relay", "--subscription", "nobody", "--to", "kafka://x"], 2, ["kafka"]),
        (["outbox", "unsubscribe", "nobody", "--yes"], 5, ["nobody"]),
        (["status", "0", "--watch"], 2, ["interval"]),
        (["nonsense"], 2, ["nonsense", "pgops --help"]),
        (["queue", "list", "--nonsense"], 2, ["--nonsense", "pgops queue list --help"]),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else None,
)  # fmt: skip
def test_bad_input_is_told_in_one_line(shared: Run, argv: list[str], code: int, words: list[str]) -> None:
    check(shared(*argv), code, *words)


def test_with_json_an_error_is_one_object_on_stderr(shared: Run) -> None:
    for argv, code, kind in (
        (["cache", "get", "nothing"], 5, "NotFoundError"),
        (["cache", "get"], 2, "UsageError"),
        (["cache", "set", "k", "v", "--ttl", "-1"], 2, "UsageError"),
    ):
        done = shared(*argv, "--json")
        assert (done.code, done.out) == (code, "")
        assert (done.error["exit_code"], done.error["kind"]) == (code, kind)
        assert done.error["message"]
        assert done.error["hint"]


def test_what_nobody_expected_is_one_line_too(shared: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond line, password=hunter2")

    monkeypatch.setattr(AsyncPool, "open", explode)
    done = shared("cache", "stats")
    check(done, 1, "RuntimeError: first line second line", "PGOPS_DEBUG=1")
    assert "hunter2" not in done.err
    monkeypatch.setenv("PGOPS_DEBUG", "1")
    with pytest.raises(RuntimeError, match="first line"):
        shared("cache", "stats")


def test_escape_sequences_of_stored_data_do_not_reach_the_terminal(shared: Run) -> None:
    evil = "\x1b]0;owned\x07\x9b31m"
    made = shared("queue", "enqueue", "evil", '{"a": "\\u001b[31m"}', "--kind", evil, "--json")
    job = made.document["id"]
    for argv in (["queue", "jobs", "evil"], ["queue", "show", "evil", str(job)], ["queue", "jobs", evil]):
        done = shared(*argv)
        assert not {"\x1b", "\x07", "\x9b"} & set(done.out + done.err)
    assert shared("queue", "show", "evil", str(job), "--json").document["job"]["kind"] == evil


@pytest.mark.slow
def test_ctrl_c_ends_a_watch_in_one_line(shared_dsn: str) -> None:
    with spawned(["status", "0.2", "--watch", "--json"], shared_dsn) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline().startswith("{")
        done = interrupted(process)
    assert done.code == 130
    assert '"interrupted"' in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("payload", ["-", "--many"])
def test_ctrl_c_ends_waiting_for_stdin(shared_dsn: str, payload: str) -> None:
    with spawned(["queue", "enqueue", "email", payload], shared_dsn) as process:
        time.sleep(0.8)
        done = interrupted(process)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_ctrl_c_at_any_moment_shows_no_traceback(shared_dsn: str) -> None:
    text = "import sys, pgops.cli; print(flush=True); sys.argv = ['pgops', 'cache', 'stats']; pgops.cli.main()"
    for delay in range(20, 420, 20):
        with spawned([], shared_dsn, program=(sys.executable, "-c", text)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(delay / 1000)
            done = interrupted(process)
        assert done.code in (130, 0, -signal.SIGINT), done.err
        assert [line for line in done.err.splitlines() if not line.startswith("target: ")] in (["interrupted"], [])


def test_ctrl_c_stops_a_relay_in_order(shared_dsn: str, shared: Run) -> None:
    assert shared("outbox", "subscribe", "all").code == 0
    assert shared("outbox", "append", "orders", "{}").code == 0
    with spawned(["outbox", "relay", "--subscription", "all", "--to", "stdout"], shared_dsn) as relay:
        assert relay.stdout is not None
        assert relay.stdout.readline()
        done = interrupted(relay)
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted"
    found = shared("outbox", "list", "--json").document["items"][0]
    assert (found["lag_events"], found["relays"]) == (0, [])


def test_a_reader_that_leaves_is_no_error(shared_dsn: str) -> None:
    with spawned(["status", "0.1", "--watch", "--json"], shared_dsn) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=15) == 0
        assert [line for line in process.stderr if not line.startswith("target: ")] == []


@pytest.mark.slow
def test_a_full_disk_is_an_error_and_no_traceback(shared_dsn: str) -> None:
    with open("/dev/full", "w") as full, spawned(["cache", "stats", "--json"], shared_dsn, stdout=full) as process:
        _, err = process.communicate(timeout=15)
    assert process.returncode == 1
    assert "No space left" in err
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_stream_that_is_closed_from_the_start_is_no_error(shared_dsn: str, closed: str) -> None:
    program = ("sh", "-c", f'"$@" {closed}', "sh", *PGOPS)
    with spawned(["cache", "stats", "--json"], shared_dsn, program=program) as process:
        _, err = process.communicate(timeout=15)
    assert process.returncode == 0, err
    assert [line for line in err.splitlines() if not line.startswith("target: ")] == []


SLOW = pytest.mark.slow
ANSWERS = [
    ("y\n", 0, 0), ("n\n", 4, 1), pytest.param("\n", 4, 1, marks=SLOW), pytest.param("", 130, 1, marks=SLOW)
]  # fmt: skip


@pytest.mark.parametrize(("answer", "code"), [("y\n", 4), ("typed\n", 0)])
def test_on_a_terminal_the_name_of_what_is_destroyed_for_good_is_typed(
    shared_dsn: str, shared: Run, answer: str, code: int
) -> None:
    name = "typed"
    assert shared("doc", "create", name).code in (0, 2)
    assert shared("doc", "put", name, '{"a": 1}').code == 0
    ours, theirs = pty.openpty()
    with spawned(["doc", "drop", name], shared_dsn, stdin=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        said = ""
        while f"Type {name} to do it: " not in said:
            said += os.read(ours, 4096).decode()
        os.write(ours, answer.encode())
        assert process.wait(timeout=15) == code
    os.close(ours)


@pytest.mark.parametrize(("answer", "code", "left"), ANSWERS)
def test_on_a_terminal_a_person_is_asked(shared_dsn: str, shared: Run, answer: str, code: int, left: int) -> None:
    assert shared("doc", "create", "asked").code in (0, 2)
    ours, theirs = pty.openpty()
    with spawned(["doc", "drop", "asked"], shared_dsn, stdin=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        said = ""
        while "[y/N]" not in said:
            said += os.read(ours, 4096).decode()
        assert "asked" in said
        if answer:
            os.write(ours, answer.encode())
        else:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=15) == code
    os.close(ours)
    names = [one["name"] for one in shared("doc", "list", "--json").document["items"]]
    assert names.count("asked") == left

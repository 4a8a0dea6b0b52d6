"""What `pgops check` says: pure, over snapshots written down by hand; how it runs: test_cli_connections.py."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from cli_call import Run, caller
from server_literal import suffering
from snapshots_literal import BUSY, CALM, FINDINGS, NO_SCHEMA

import pgops.ops.judge
from pgops.cli.checking import LONGEST, Choice, choice, counted, more, perfdata, unseen, verdict
from pgops.errors import UsageError
from pgops.ops.judge.finding_codes import ASKED, CODES, NEEDS, SUBSYSTEMS
from pgops.ops.observe.outgrow import MEASURES
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.ops.tell.meters import NOT_A_PART
from pgops.ops.thresholds import Thresholds

RULES = [path.read_text("utf-8") for path in Path(pgops.ops.judge.__file__).parent.glob("rules_*.py")]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def test_every_code_of_the_rules_is_known_and_no_other() -> None:
    written = {code for text in RULES for code in re.findall(r'"([a-z]+\.[a-z_]+)"', text)}
    written |= {f"outgrow.{one.name}" for one in MEASURES}
    assert written == set(CODES), "it stands in ops/judge/finding_codes.py"
    assert set(NEEDS) < set(ASKED) == set(SUBSYSTEMS)
    assert {part for parts in ASKED.values() for part in parts} <= set(Snapshot.__slots__)


@pytest.mark.parametrize(
    ("only", "ignore", "code", "counts"),
    [
        (None, None, 2, ["queue.stuck", "cache.expired", "vector.lists"]),
        ("cache", None, 1, ["cache.expired"]),
        ("cache.expired, vector", None, 1, ["cache.expired", "vector.lists"]),
        ("queue", "queue.stuck", 0, []),
        (None, "queue,cache.expired", 0, ["vector.lists"]),
        ("outbox,kv", None, 0, []),
    ],
)
def test_findings_are_chosen_by_code_or_subsystem(
    only: str | None, ignore: str | None, code: int, counts: list[str]
) -> None:
    assert {one.code for one in FINDINGS} <= set(CODES)
    of = choice(only, ignore)
    assert [one.code for one in counted(BUSY, of)] == counts
    assert verdict(BUSY, of)[0] == code


def test_a_part_that_is_missing_matters_to_who_asks_for_it() -> None:
    hidden = replace(CALM, locks=Unavailable("hidden", "grant it"), server=Unavailable("hidden", "grant it"))
    assert [one.partition(":")[0] for one in unseen(hidden)] == ["server", "locks"]
    assert verdict(hidden, choice("queue,cache", None))[0] == 0
    assert verdict(hidden, choice("locks", None)) == (3, "locks: hidden (grant it)")
    assert verdict(hidden, choice("queue,locks", "locks.blocked"))[0] == 0
    assert len(unseen(NO_SCHEMA)) == 5


@pytest.mark.parametrize("subsystem", SUBSYSTEMS)
def test_what_is_asked_for_by_name_and_cannot_be_seen_is_unknown(subsystem: str) -> None:
    """A role without pg_monitor must not hear that its replicas are well."""
    none = Unavailable("hidden", "grant it")
    parts = [one.name for one in fields(CALM) if one.name not in NOT_A_PART]
    blind = replace(CALM, **dict.fromkeys(parts, none))
    assert verdict(blind, choice(subsystem, None))[0] == 3


@pytest.mark.parametrize(
    ("given", "hint"),
    [("quue", "did you mean queue"), ("queue.stck", "did you mean queue.stuck"), ("zzz", "there are queue, worker")],
)
def test_what_there_is_not_is_refused_with_what_is_near(given: str, hint: str, command: Run) -> None:
    with pytest.raises(UsageError, match=given) as refused:
        choice(None, f"cache,{given}")
    assert refused.value.hint.startswith(hint)
    done = command("check", "--only", given, "--dsn", "host=h")
    assert (done.code, done.err) == (3, "")
    assert hint in done.out


def test_every_line_that_is_drawn_stands_in_the_figures() -> None:
    found = perfdata(suffering(BUSY), Thresholds(lag_warning_s=61))
    assert found["xmin_held"] == "734.000s;300;3600;0"
    assert found["xid_age"].split(";")[0::4] == ["48000000", "2144483647"]
    assert found["slot_retained"] == f"{9_000 << 20}B;10737418240;;0"
    assert found["sequence_used"] == "88.5%;80;95;0;100"
    assert found["outbox_lag"].split(";")[1:] == ["61", "600", "0"]
    assert found["outbox_lag_events"].split(";")[1:] == ["10000", "", "0"]
    assert found["oldest_transaction"].split(";")[1:] == ["3600", "", "0"]
    assert found["idle_in_transaction"].split(";")[1:] == ["60", "600", "0"]
    assert found["notify_queue"].split(";")[1:] == ["25", "75", "0", "100"]
    assert found["recall_lowest"] == "0.962;0.8:;;0;1"
    assert {"workers", "jobs_dead", "outbox_parked", "cache_expired", "kv_expired", "blocked_longest"} <= set(found)
    label, value = re.compile(r"[a-z_]{1,19}"), re.compile(r"[\d.]+(s|ms|%|c|B)?(;[\d.]*:?){0,4}")
    for name, figure in found.items():
        assert label.fullmatch(name) and value.fullmatch(figure), f"{name}={figure}"


def test_the_other_findings_follow_a_line_each_and_begin_no_figures() -> None:
    evil = replace(FINDINGS[0], title="a|b\nc\x1b[2J", evidence="x\r\ny", command=None, remedy="do|it")
    assert more([evil], ["cache: gone (a|b)"]) == [
        "critical queue.stuck: a/b c\\x1b[2J (x\\r y): do/it", "not seen: cache: gone (a/b)",
    ]  # fmt: skip
    assert more(FINDINGS, [])[0].endswith(": pgops queue requeue email --stuck")
    many = more([evil] * (LONGEST + 5), [])
    assert (len(many), many[-1]) == (LONGEST + 1, "5 more: pgops status")


def test_a_choice_reaches_the_command_and_the_document_says_what_it_left_out(dsn: str, command: Run) -> None:
    import psycopg

    with psycopg.connect(dsn) as conn:
        conn.execute("insert into pgops.cache_marker default values")
        conn.execute("insert into pgops.queues (queue) values ('email')")
        conn.execute("update pgops.queues set paused = true")
        conn.execute("select pgops.enqueue('email', '{}')")
    told = command("check", "--dsn", dsn)
    assert told.code == 1
    first, *below = told.out.splitlines()
    assert first.startswith("PGOPS WARNING - ") and "|connections=" in first
    assert [one for one in below if one.startswith("warning cache.emptied: a crash emptied the cache (")]
    left = command("check", "--ignore", "cache,queue", "--json", "--dsn", dsn).document
    assert (left["exit_code"], left["unseen"]) == (0, [])
    assert [one["code"] for one in left["findings"] if one["code"].startswith(("cache.", "queue."))] == []
    assert left["left_out"] == len(told.out.splitlines()) - len(left["findings"]) - 1
    alone = command("check", "--only", "outbox", "--dsn", dsn)
    assert alone.code == 0 and alone.out.startswith("PGOPS OK - ") and alone.out.count("\n") == 1


def test_nothing_chosen_is_everything() -> None:
    assert all(Choice().takes(code) for code in CODES)

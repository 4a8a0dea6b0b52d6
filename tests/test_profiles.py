"""config.toml and the order of targets: what is meant, and one clear line for what is wrong."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from cli_call import Done, Run, caller

from pgops.config import resolve_target
from pgops.errors import UsageError
from pgops.ops.threshold_settings import thresholds_of
from pgops.ops.thresholds import Thresholds

CONFIG = """
default_profile = "local"

[profiles.local]
dsn = "host=local password=s3cret"

[profiles.prod]
dsn = "service=prod"
read_only = true

[profiles.careful]
read_only = true
"""


class Home:
    """A folder for configuration, and the environment that points to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"XDG_CONFIG_HOME": str(folder)}

    def write(self, text: str | bytes) -> "Home":
        (self.folder / "pgops").mkdir(exist_ok=True)
        (self.folder / "pgops" / "config.toml").write_bytes(text.encode() if isinstance(text, str) else text)
        return self


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_every_source_wins_over_those_after_it(home: Home) -> None:
    home.write(CONFIG)
    env = home.env | {"PGOPS_DSN": "host=a", "DATABASE_URL": "postgresql://b/db", "PGHOST": "c"}
    found = [resolve_target("host=x", env), resolve_target(None, env, profile="prod")]
    for name in ("PGOPS_DSN", "DATABASE_URL", "PGHOST"):
        found.append(resolve_target(None, env))
        del env[name]
    found.append(resolve_target(None, env))
    found.append(resolve_target(None, {"XDG_CONFIG_HOME": str(home.folder / "empty")}))
    assert [target.source for target in found] == [
        "--dsn", "profile prod", "PGOPS_DSN", "DATABASE_URL", "PGHOST", "profile local", "embedded",
    ]  # fmt: skip
    assert [target.read_only for target in found] == [False, True, False, False, False, False, False]
    assert "s3cret" not in found[5].display + repr(found[5])


def test_read_only_holds_whatever_the_profile_says(home: Home) -> None:
    home.write(CONFIG)
    assert resolve_target(None, home.env, profile="local", read_only=True).read_only
    assert resolve_target("host=x", home.env, read_only=True).read_only
    assert resolve_target(None, {}, read_only=True).read_only


def test_a_profile_without_dsn_is_about_what_is_meant_without_it(home: Home) -> None:
    home.write(CONFIG)
    target = resolve_target(None, home.env | {"PGOPS_DSN": "host=a"}, profile="careful")
    assert (target.dsn, target.source, target.read_only) == ("host=a", "PGOPS_DSN", True)
    assert resolve_target(None, home.env, profile="careful").embedded


def test_a_dsn_and_a_profile_exclude_each_other(home: Home) -> None:
    with pytest.raises(UsageError, match="exclude"):
        resolve_target("host=x", home.write(CONFIG).env, profile="prod")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profiles.prod\ndsn = 1", "not TOML"),
        ("x = ", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        ("profiles = 3", "profiles are tables"),
        ("[profiles]\nprod = 'host=x'", "is a table"),
        ("[profiles.prod]\ndns = 'host=x'", "no setting dns"),
        ("[profiles.prod]\ndsn = 5", "dsn of profile prod"),
        ("[profiles.prod]\nread_only = 'yes'", "read_only of profile prod is true or false"),
        ("[profiles.prod]\nread_only = 1", "read_only of profile prod is true or false"),
        ("profile = 'prod'", "no setting profile"),
        ("default_profile = 3", "default_profile"),
        ("thresholds = 3", "thresholds are a table"),
        ("[profiles.prod]\nthresholds = 3", "thresholds of profile prod"),
        ("default_profile = 'prodd'\n[profiles.prod]\ndsn = 'host=x'", "no profile prodd"),
    ],
)
def test_a_config_that_is_wrong_is_one_clear_line(home: Home, text: str | bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        resolve_target(None, home.write(text).env)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_says_which_is_near(home: Home) -> None:
    with pytest.raises(UsageError, match="no profile pord") as caught:
        resolve_target(None, home.write(CONFIG).env, profile="pord")
    assert "prod" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        resolve_target(None, {"XDG_CONFIG_HOME": str(home.folder / "none")}, profile="zzz")
    assert "config.toml" in caught.value.hint


def test_a_wrong_config_does_not_matter_where_it_is_not_asked(home: Home) -> None:
    home.write("[")
    assert resolve_target("host=x", home.env).source == "--dsn"
    assert resolve_target(None, home.env | {"PGOPS_DSN": "host=x"}).source == "PGOPS_DSN"


# --- where findings begin ----------------------------------------------------------------------------------------

LINES = """
[profiles.prod]
dsn = "service=prod"
[profiles.prod.thresholds]
lag_warning_s = 30
[thresholds]
connections_warning = 0.7
lag_warning_s = 40
dead_rise_critical = 3
denied_decisions_per_s = 5
"""


def test_thresholds_are_those_of_all_and_over_them_those_of_the_profile(home: Home) -> None:
    home.write(LINES)
    of_all = thresholds_of(resolve_target("host=x", home.env), home.env)
    moved = Thresholds(connections_warning=0.7, dead_rise_critical=3, denied_decisions_per_s=5.0)
    assert of_all == replace(moved, lag_warning_s=40.0)
    own = thresholds_of(resolve_target(None, home.env, profile="prod"), home.env)
    assert own == replace(moved, lag_warning_s=30.0)
    none = {"XDG_CONFIG_HOME": str(home.folder / "none")}
    assert thresholds_of(resolve_target("host=x", none), none) == Thresholds()


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("[thresholds]\nconnection_warning = 0.7", "no threshold connection_warning", "connections_warning"),
        ("[thresholds]\nzzz = 1", "no threshold zzz", "for example"),
        ("[thresholds]\nrecall = '0.7'", "recall in .* is a number, not str", "0.8"),
        ("[thresholds]\nrecall = true", "recall in .* is a number, not bool", "0.8"),
        ("[thresholds]\nrecall = 7", "recall in .* is a share, 0 to 1, not 7", "0.8"),
        ("[thresholds]\nlag_warning_s = -1", "0 seconds to 10 years, not -1", "60"),
        ("[thresholds]\nlag_warning_s = nan", "0 seconds to 10 years, not nan", "60"),
        ("[thresholds]\nlag_events_warning = 0.5", "a whole number, not 0.5", "10000"),
        ("[thresholds]\nlag_events_warning = -5", "0 or more, not -5", "10000"),
        ("[thresholds]\nlag_warning_s = 900", "lag_warning_s above lag_critical_s", "900 and 600"),
        ("[profiles.prod.thresholds]\nrecal = 1", r"no threshold recal in \[profiles.prod.thresholds\]", "recall"),
    ],
)
def test_a_threshold_that_is_wrong_is_one_clear_line(home: Home, text: str, words: str, hint: str) -> None:
    home.write(text + "\n[profiles.prod]\ndsn = 'host=x'\n" if "profiles" not in text else text)
    with pytest.raises(UsageError, match=words) as caught:
        thresholds_of(resolve_target("host=x" if "profiles" not in text else None, home.env,
                                     profile="prod" if "profiles" in text else None), home.env)  # fmt: skip
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


# --- the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home, dsn: str) -> Run:
    """Run one command line in this process; `prod` is the fresh database, read-only, `dev` the same without that."""
    quoted = dsn.replace("\\", "\\\\").replace('"', '\\"')
    home.write(f'[profiles.prod]\ndsn = "{quoted}"\nread_only = true\n[profiles.dev]\ndsn = "{quoted}"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.folder))
    monkeypatch.setenv("PGOPS_DSN", "host=127.0.0.1 port=1")
    return caller(monkeypatch, capsys)


def check_refused(done: Done) -> None:
    assert done.code == 4, done.err
    assert "read-only" in done.err
    assert done.out == ""


def test_a_profile_may_be_named_before_and_after_the_command(command: Run) -> None:
    for argv in (["--profile", "dev", "queue", "list", "--json"], ["queue", "list", "--json", "--profile", "dev"]):
        done = command(*argv)
        assert done.code == 0, done.err
        assert done.document["target"]["source"] == "profile dev"
        assert done.document["target"]["read_only"] is False


def test_both_a_dsn_and_a_profile_are_a_usage_error(command: Run, dsn: str) -> None:
    for argv in (
        ["queue", "list", "--profile", "dev", "--dsn", dsn],
        ["--profile", "dev", "queue", "list", "--dsn", dsn],
    ):
        done = command(*argv)
        assert done.code == 2
        assert "exclude each other" in done.err
    assert command("queue", "list", "--profile", "nope", "--json").error["exit_code"] == 2


WRITES = [
    ("queue", "enqueue", "email", "{}"),
    ("queue", "requeue", "email", "--dead", "--yes"),
    ("cache", "set", "k", "v"),
    ("cache", "purge", "--yes"),
    ("outbox", "append", "orders", "{}"),
    ("outbox", "subscribe", "s"),
    ("pubsub", "publish", "orders", "1"),
    ("pubsub", "publish", "orders", "1", "--durable"),
    ("pubsub", "listen", "orders", "--durable", "s", "--timeout", "0.1"),
    pytest.param(("vector", "create", "docs", "3"), marks=pytest.mark.vectors),
    ("kv", "set", "k", "v"),
    ("limit", "hit", "k", "--limit", "1", "--per", "1"),
    ("demo", "--headless", "--yes"),
    ("queue", "pause", "email"),
]


@pytest.mark.parametrize("argv", WRITES, ids=" ".join)
def test_a_write_is_refused_by_a_read_only_session_with_exit_code_4(
    command: Run, dsn: str, argv: tuple[str, ...]
) -> None:
    command("queue", "enqueue", "email", "{}", "--profile", "dev")
    check_refused(command(*argv, "--read-only", "--dsn", dsn))
    check_refused(command("--read-only", "--dsn", dsn, *argv))
    if argv[0] != "demo":
        check_refused(command(*argv, "--profile", "prod"))
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from pgops.job_available").fetchone() == (1,)


def test_the_lines_of_a_profile_hold_for_status_check_and_their_figures(command: Run, home: Home) -> None:
    path = home.folder / "pgops" / "config.toml"
    plain = path.read_text()
    path.write_text(plain + "[profiles.dev.thresholds]\nconnections_warning = 0.0\nconnections_critical = 0.9\n")
    done = command("check", "--json", "--profile", "dev")
    assert done.code in (1, 2), done.out
    assert "sessions.full" in [one["code"] for one in done.document["findings"]]
    assert done.document["perfdata"]["connections"].split(";")[1] == "0"
    found = command("status", "--json", "--profile", "dev").document["findings"]
    assert "sessions.full" in [one["code"] for one in found]
    path.write_text(plain + "[thresholds]\nconections_warning = 0\n")
    assert command("status", "--profile", "dev").code == 2
    done = command("check", "--profile", "dev")
    assert (done.code, "did you mean connections_warning" in done.out) == (3, True)


def test_a_read_only_session_says_so_and_reads(command: Run) -> None:
    done = command("status", "--json", "--profile", "prod")
    assert done.code == 0, done.err
    assert done.document["target"]["read_only"] is True
    assert "unavailable" not in done.document["queues"]
    assert "read-only)" in command("queue", "list", "--profile", "prod").err


@pytest.mark.parametrize("argv", [("queue", "enqueue", "email", "{}"), ("cache", "purge", "--yes")], ids=" ".join)
def test_a_write_is_refused_through_a_pooler_too(command: Run, pooled_dsn: str, argv: tuple[str, ...]) -> None:
    check_refused(command(*argv, "--read-only", "--dsn", pooled_dsn))
    assert command("queue", "enqueue", "email", "{}", "--dsn", pooled_dsn).code == 0, "the next client may write"


def test_a_migration_is_refused_by_a_read_only_session_where_one_is_pending(
    command: Run, dsn: str, pooled_dsn: str
) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("delete from pgops.migrations where name = '0006_documents'")
    for where in (dsn, pooled_dsn):
        check_refused(command("migrate", "--read-only", "--dsn", where))

"""The dashboard's pure half: formats, sparkline, commands, and the feed's sense of time."""

import pytest
from snapshots_literal import BUSY

from pgops.errors import UnreachableError
from pgops.ops.act.actions import Action
from pgops.services.models import DeadMatch
from pgops.tui import formats
from pgops.tui.commands import act_command
from pgops.tui.feed import BACKOFF_S, Feed
from pgops.tui.widgets.spark import cells


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, "–"), (0, "0"), (999, "999"), (9_999, "9,999"), (12_345, "12.3k"), (99_999, "100k"), (999_999, "1.0M"),
     (4_600_000, "4.6M"), (-12_345, "-12.3k"), (7_200_000_000, "7.2G"), (8e15, "8000T")],
)  # fmt: skip
def test_counts_take_six_cells(number: float | None, shown: str) -> None:
    assert formats.count(number) == shown


@pytest.mark.parametrize(
    ("per_s", "shown"), [(None, "–"), (0.0, "0"), (0.44, "0.4"), (9.96, "10"), (12_000.0, "12.0k")]
)
def test_rates(per_s: float | None, shown: str) -> None:
    assert formats.rate(per_s) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0, "0s"), (0.35, "350ms"), (0.9999, "1.0s"), (4.2, "4.2s"), (59.4, "59s"), (59.6, "1m 00s"),
     (192, "3m 12s"), (7_500, "2h 05m"), (86_400, "1d 0h"), (-3, "0s")],
)  # fmt: skip
def test_durations(seconds: float | None, shown: str) -> None:
    assert formats.duration(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "–"), (0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (1_048_575, "1.0 MB"), (402_653_184, "384 MB")],
)
def test_sizes(count: int | None, shown: str) -> None:
    assert formats.size(count) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(None, "–"), (0, "0%"), (0.9567, "95.7%"), (0.99996, "99.9%"), (1.0, "100%")]
)
def test_all_but_one_is_not_all(share: float | None, shown: str) -> None:
    assert formats.ratio(share) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain", "plain"), ("\x1b[31mred", "␛[31mred"), ("a\nb\tc", "a␊b␉c"), ("\u202eevil", "�evil"), ("\x9b2J", "�2J"),
     ("\ud800", "�"), ("zero\u200bwidth", "zero�width"), ("grün 猫", "grün 猫"), ("x" * 600, "x" * 499 + "…")],
)  # fmt: skip
def test_nothing_in_a_text_steers_the_terminal(text: str, shown: str) -> None:
    assert formats.clean(text) == shown


def test_lines_stay_lines_and_nothing_else() -> None:
    assert formats.clean_lines("a\r\n\tb\x1b[2J") == "a\n    b␛[2J"


@pytest.mark.parametrize(
    ("share", "filled"), [(0.0, 0), (0.001, 1), (0.5, 5), (0.999, 9), (1.0, 10), (7.0, 10), (-1.0, 0)]
)
def test_a_bar_shows_something_for_something(share: float, filled: int) -> None:
    full, rest = formats.bar(share, 10)
    assert (len(full), len(rest)) == (filled, 10 - filled)


def test_a_sparkline_ends_with_the_newest_and_hides_nothing() -> None:
    assert cells([0, 1, 1000], 4, 1) == ["  ▁█"]
    assert cells([None, 0, 8], 3, 2) == ["  █", "  █"]
    assert cells([1, 2, 3, 4], 2, 1) == ["▆█"]
    assert cells([], 3, 1) == ["   "]


@pytest.mark.parametrize(
    ("action", "command"),
    [(Action("requeue_dead", "email"), "pgops queue requeue email --dead"),
     (Action("requeue_dead", "email", (7,), match=DeadMatch("report", "no answer", {"n": 1}, ("a", "b"))),
      """pgops queue requeue email --kind report --error 'no answer' --word a --word b --payload '{"n": 1}' --dead"""),
     (Action("requeue_stuck", "a b", ids=(1, 2)), "pgops queue requeue 'a b' 1 2 --stuck"),
     (Action("purge_expired", ""), "pgops cache purge"),
     (Action("rebuild_index", "docs", lists=290), "pgops vector rebuild docs --lists 290"),
     (Action("resume", "email"), "pgops queue resume email"),
     (Action("unsubscribe", "billing"), "pgops outbox unsubscribe billing"),
     (Action("drop_collection", "docs"), "pgops vector drop docs"),
     (Action("drop_documents", "orders"), "pgops doc drop orders"),
     (Action("search", "docs", query="it's $x", limit=5), """pgops vector search docs 'it'"'"'s $x' --limit 5""")],
)  # fmt: skip
def test_an_act_has_its_command(action: Action, command: str) -> None:
    assert act_command(action) == command


def test_a_slow_observation_skips_and_never_queues() -> None:
    feed = Feed("x")
    assert feed.due(100.0)
    feed.started(100.0)
    assert not feed.due(105.0), "one is under way"
    feed.took(BUSY)
    assert feed.due(105.0)
    feed.started(105.0)
    feed.took(BUSY)
    assert not feed.due(105.5)
    assert feed.due(106.0)


def test_a_lost_connection_is_tried_again_with_back_off_and_its_last_snapshot_stays() -> None:
    feed = Feed("x")
    feed.started(0.0)
    feed.took(BUSY)
    now = 1.0
    for wait in (*BACKOFF_S, BACKOFF_S[-1]):
        feed.started(now)
        feed.failed(UnreachableError("refused", "start it"), now)
        assert not feed.due(now + wait - 0.01)
        assert feed.due(now + wait)
        now += wait
    view = feed.view(now)
    assert view.lost is not None
    assert (view.lost.reason, view.lost.hint, view.snapshot) == ("refused", "start it", BUSY)
    assert view.lost.for_s == now - 1.0
    feed.started(now)
    feed.took(BUSY)
    assert feed.view(now).lost is None


def test_paused_looks_only_for_a_lost_connection() -> None:
    feed = Feed("x")
    feed.paused = True
    assert not feed.due(10.0)
    feed.failed(UnreachableError("refused"), 10.0)
    assert feed.due(11.0)


def test_the_speed_has_ends() -> None:
    feed = Feed("x")
    for _ in range(20):
        feed.slower()
    assert feed.every_s == 60.0
    for _ in range(20):
        feed.faster()
    assert feed.every_s == 0.5

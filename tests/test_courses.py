"""Diagrams of how numbers went: what was not seen is not drawn, and memory is bounded however long it is open."""

from dataclasses import replace
from datetime import timedelta

import pytest
from dashboard_story import LARGE, SMALL, dashboard, screen, until
from snapshots_literal import BUSY, NO_SCHEMA, NOW, LiteralSource, history, queue

from pgops.tui import formats
from pgops.tui.app import PgopsApp
from pgops.tui.screens.course import CourseNote
from pgops.tui.tracks import COARSE, FINE, MOST_TRACKS, Run, Track, Tracks, seen
from pgops.tui.widgets.plot import braille, nice, plot


def run(*points: tuple[float, float], gap_s: float = 3.5) -> Run:
    return Run(points, gap_s)


# --- what is kept ----------------------------------------------------------------------------------------------


def test_memory_is_bounded_and_all_of_the_session_stays() -> None:
    track = Track()
    for at in range(100_000):
        track.add(float(at), float(at % 7))
    assert len(track) <= FINE + COARSE + 1_024
    whole, lately = track.whole().points, track.lately().points
    assert whole[0][0] < 200 and whole[-1][0] > 99_500
    assert all(abs(value - 3) < 0.2 for _, value in whole[:-1]), "each is the mean of a stretch"
    assert lately == tuple((float(at), float(at % 7)) for at in range(99_400, 100_000))


def test_what_came_twice_or_is_older_is_not_kept() -> None:
    track = Track()
    for at in (1.0, 2.0, 2.0, 1.5, 3.0):
        track.add(at, at)
    assert track.lately().points == track.whole().points == ((1.0, 1.0), (2.0, 2.0), (3.0, 3.0))


def test_no_more_tracks_than_are_kept_and_what_always_shows_is_among_them() -> None:
    tracks = Tracks()
    tracks.take(replace(BUSY, queues=tuple(queue(f"q{at}") for at in range(500))))
    assert len(tracks) == MOST_TRACKS
    assert tracks.get("connections") and tracks.get("cache hit ratio") and tracks.get("outbox lag")
    assert tracks.get("depth of q0") and not tracks.get("depth of q499")


def test_what_is_not_known_leaves_no_point() -> None:
    tracks = Tracks()
    tracks.take(replace(BUSY, queues=(queue("email", in_per_s=None, available=None),)))
    assert tracks.get("into email") is None and tracks.get("depth of email") is None
    assert dict(seen(NO_SCHEMA)).keys() == {"connections", "connections at work"}


# --- how it is drawn -------------------------------------------------------------------------------------------


def test_a_line_of_braille() -> None:
    assert braille(run((0, 0), (1, 1), (2, 2), (3, 3)), 2, 1, 0, 3, 3) == ["⡠⠊"]
    assert braille(run((0, 2), (1, 2), (2, 2), (3, 2)), 2, 2, 0, 3, 2) == ["⠉⠉", "  "]
    assert braille(run((0, 5)), 2, 1, 0, 3, 2) == ["⠁ "], "above the top it stands at the top"
    assert braille(run((0, 0), (7, 0)), 4, 1, 0, 7, 1) == ["⡀  ⢀"], "nothing is drawn where nothing was seen"
    assert braille(run((0, 0), (7, 0), gap_s=8), 4, 1, 0, 7, 1) == ["⣀⣀⣀⣀"]
    assert braille(run((9, 1)), 2, 1, 0, 3, 1) == ["  "], "what lies outside is left out"


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.3, 0.3), (1, 1), (7, 8), (12, 15), (2_001, 3_000), (1e6, 1e6)])
def test_the_top_of_an_axis(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)


def test_axes_have_units_and_times() -> None:
    points = tuple((NOW.timestamp() + at, at * 100.0) for at in range(61))
    text = plot("depth of email", run(*points), 60, 8, formats.count).plain.splitlines()
    assert text[0].startswith("depth of email  6,000   least 0  most 6,000")
    assert text[1].startswith("6,000 ┤") and text[-2].startswith("    0 ┤")
    assert text[-1].split() == ["└03:12:45", "60", "s", "03:13:45", "UTC"]
    assert max(map(len, text)) <= 60 and len(text) == 8
    ratio = plot("hits", run((0, 0.5), (1, 0.7)), 40, 5, formats.ratio, most=1).plain.splitlines()
    assert ratio[1].startswith("100.0% ┤") or ratio[1].startswith("100% ┤")
    assert "not seen yet" in plot("x", run(), 40, 5, formats.count).plain


def test_a_gap_is_told_from_the_usual_pace() -> None:
    track = Track()
    for at in (0, 1, 2, 3, 30, 31, 32):
        track.add(float(at), 1.0)
    assert track.lately().gap_s == 3.5


# --- in the dashboard ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_queue_s_course_is_drawn_and_its_span_is_turned(size: tuple[int, int]) -> None:
    looks = history(BUSY)
    async with dashboard(LiteralSource(*looks), size) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        for look in looks:
            app.feed.tracks.take(replace(look, taken_at=look.taken_at + timedelta(hours=1)))
        await pilot.press("2", "down", "d")
        await until(pilot, lambda: isinstance(app.screen, CourseNote) and "into email" in screen(pilot))
        seen_now = screen(pilot)
        for words in ("depth of email", "out of email", "/s", "UTC", "┤", "lately"):
            assert words in seen_now, words
        assert any("⠁" <= each <= "⣿" for each in seen_now)
        await pilot.press("d")
        await until(pilot, lambda: "since it was opened · d lately" in screen(pilot))
        await pilot.press("escape", "5", "d")
        await until(pilot, lambda: "relayed by" in screen(pilot))
        await pilot.press("escape", "4", "d")
        await until(pilot, lambda: "cache hit ratio" in screen(pilot) and "outbox lag" in screen(pilot))

"""Timetables: expressions, time zones, days on which the clocks change, and what is due."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from pgops.errors import UsageError
from pgops.services.cron_rules import MAX_COUNTED, Timetable, find_timezone, new_cron, turn
from pgops.services.models import WhenMissed

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def told(expression: str, timezone: str, after: datetime, count: int) -> list[str]:
    """The next fires as the clock on the wall shows them, with its distance from UTC."""
    zone = find_timezone(timezone)
    fires = islice(Timetable(expression, timezone).after(after), count)
    return [at.astimezone(zone).strftime("%d %H:%M%z")[:-2] for at in fires]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("*/5 * * * *", "2026-06-01 12:05:00"), ("30 3 * * *", "2026-06-02 03:30:00"),
        ("0 9 * * MON-FRI", "2026-06-02 09:00:00"), ("0 0 L * *", "2026-06-30 00:00:00"),
        ("0 0 * * 5#2", "2026-06-12 00:00:00"), ("0 0 29 2 *", "2028-02-29 00:00:00"),
        ("*/20 * * * * *", "2026-06-01 12:00:20"), ("@hourly", "2026-06-01 13:00:00"),
        ("@daily", "2026-06-02 00:00:00"), ("@Weekly", "2026-06-07 00:00:00"), ("@monthly", "2026-07-01 00:00:00"),
        ("@yearly", "2027-01-01 00:00:00"),
    ],
)  # fmt: skip
def test_an_expression_means_what_cron_means(expression: str, first: str) -> None:
    assert str(Timetable(expression, "UTC").check().first_after(NOON)) == f"{first}+00:00"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 30 2 *", "never fires"), ("0 0 31 4,6,9,11 *", "never fires"), ("0 0 */31 2 1#5", "never fires"),
        ("0 0 30 13 *", "bad month"), ("61 * * * *", "bad minute"),
        ("x * * * *", "bad minute"), ("*/0 * * * *", "bad minute"),
        ("0 24 * * *", "bad hour"), ("0 0 0 * *", "bad day-of-month"), ("0 0 * * 8", "bad day-of-week"),
        ("60 * * * * *", "bad second"), ("* * * *", "wrong number of fields"), ("", "wrong number of fields"),
        ("1 2 3 4 5 6 7", "wrong number of fields"), ("@reboot", "@daily"), ("0 0 * * ²L", "bad day-of-week"),
        ("0," * 100 + "0 * * * *", "at most 200"), ("٣ * * * *", "bad minute"), ("- * * * *", "bad minute"),
    ],
)  # fmt: skip
def test_what_is_no_timetable_is_told_with_a_hint(expression: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        new_cron("n", expression, "q")
    assert words in f"{refused.value} {refused.value.hint}"
    assert refused.value.hint


@pytest.mark.parametrize(
    ("timezone", "near"),
    [
        ("europe/berlin", BERLIN), ("Berlin", BERLIN), ("Europe/Berln", BERLIN), ("New York", "America/New_York"),
        ("", "UTC"), ("../etc/passwd", "UTC"), ("/etc/passwd", "UTC"), ("Europe", "Europe/"), ("x" * 5_000, "UTC"),
        ("localtime", "UTC"), ("right/Europe/Berlin", BERLIN), ("a\0b", "UTC"),
    ],
)  # fmt: skip
def test_an_unknown_time_zone_is_told_with_near_names(timezone: str, near: str) -> None:
    with pytest.raises(UsageError, match="no time zone") as refused:
        new_cron("n", "* * * * *", "q", timezone=timezone)
    assert near in refused.value.hint


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 201}, {"name": "a\0"}, {"queue": ""}, {"kind": ""}, {"priority": 5},
     {"missed": "never"}, {"payload": {"at": object()}}, {"payload": "\0"}],
)  # fmt: skip
def test_bad_settings_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refused:
        new_cron(**({"name": "n", "expression": "* * * * *", "queue": "q"} | given))  # type: ignore[arg-type]
    assert refused.value.hint


# --- the clocks change -----------------------------------------------------------------------------------------

FORWARD = datetime(2026, 3, 28, 12, tzinfo=UTC)  # on the 29th 02:00 is 03:00
BACK = datetime(2026, 10, 24, 12, tzinfo=UTC)  # on the 25th 03:00 is 02:00 again


@pytest.mark.parametrize(
    ("expression", "after", "fires"),
    [
        ("30 2 * * *", FORWARD, ["29 03:00+02", "30 02:30+02"]),
        ("30 2 * * *", BACK, ["25 02:30+02", "26 02:30+01"]),
        ("0,30 2 * * *", FORWARD, ["29 03:00+02", "30 02:00+02", "30 02:30+02"]),
        ("30 1-3 * * *", BACK, ["25 01:30+02", "25 02:30+02", "25 03:30+01"]),
        ("0 3 * * *", FORWARD, ["29 03:00+02", "30 03:00+02"]),
        ("0 */1 * * *", FORWARD + timedelta(hours=12), ["29 03:00+02", "29 04:00+02"]),
        ("0 * * * *", BACK + timedelta(hours=11), ["25 02:00+02", "25 02:00+01", "25 03:00+01"]),
        ("*/30 2 * * *", FORWARD, ["30 02:00+02", "30 02:30+02"]),
        ("*/30 2 * * *", BACK, ["25 02:00+02", "25 02:30+02", "25 02:00+01", "25 02:30+01", "26 02:00+01"]),
    ],
)
def test_an_hour_left_out_and_an_hour_that_comes_twice(expression: str, after: datetime, fires: list[str]) -> None:
    start = told(expression, BERLIN, after, len(fires) + 12)
    first = start.index(fires[0])
    assert start[first : first + len(fires)] == fires


def test_asked_in_the_hour_that_comes_again_it_never_goes_back() -> None:
    """02:10 for the second time: 02:30 was an hour ago."""
    again = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert told("30 2 * * *", BERLIN, again, 1) == ["26 02:30+01"]


@pytest.mark.parametrize("timezone", [BERLIN, "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("expression", ["*/7 * * * *", "0 0 * * *", "30 1,2 * * *", "*/10 0-3 * * *", "*/30 * * * * *"])
def test_from_wherever_one_asks_the_next_fire_is_later(timezone: str, expression: str) -> None:
    table = Timetable(expression, timezone)
    for start in (FORWARD, BACK, datetime(2026, 3, 7, 12, tzinfo=UTC), datetime(2026, 10, 31, 12, tzinfo=UTC)):
        for minute in range(0, 36 * 60, 20):
            moment = start + timedelta(minutes=minute, seconds=0.5)
            assert table.first_after(moment) > moment


# --- what is due -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "missed", "late_s", "ticks", "passed", "next_s"),
    [
        ("* * * * *", "skip", 0.2, [0], 0, 60),
        ("* * * * *", "skip", 59, [0], 0, 60),
        ("* * * * *", "skip", 61, [60], 1, 120),
        ("* * * * *", "once", 61, [60], 1, 120),
        ("0 * * * *", "skip", 60, [0], 0, 3600),
        ("0 * * * *", "skip", 61, [], 1, 3600),
        ("0 * * * *", "once", 61, [0], 0, 3600),
        ("0 * * * *", "once", 3 * 3600 + 5, [3 * 3600], 3, 4 * 3600),
        ("* * * * * *", "skip", 1.5, [0, 1], 0, 2),
        ("* * * * * *", "skip", 30, [25, 26, 27, 28, 29, 30], 25, 31),
        ("* * * * * *", "once", 30, [30], 30, 31),
        ("*/10 * * * * *", "skip", 25, [20], 2, 30),
    ],
)
def test_what_comes_too_late_is_passed_over_or_made_one(
    expression: str, missed: WhenMissed, late_s: float, ticks: list[int], passed: int, next_s: int
) -> None:
    found = turn(Timetable(expression, "UTC"), missed, NOON, NOON + timedelta(seconds=late_s))
    assert [(at - NOON).total_seconds() for at in found.ticks] == ticks
    assert found.passed == passed
    assert found.next_at == NOON + timedelta(seconds=next_s)


@pytest.mark.parametrize("missed", ["skip", "once"])
def test_after_a_month_away_counting_ends_and_what_is_due_now_is_not_lost(missed: WhenMissed) -> None:
    now = NOON + timedelta(days=31, seconds=0.5)
    found = turn(Timetable("* * * * * *", "UTC"), missed, NOON, now)
    assert found.ticks[-1] == NOON + timedelta(days=31)
    assert len(found.ticks) == (5 if missed == "skip" else 1)
    assert MAX_COUNTED <= found.passed <= MAX_COUNTED + 61
    assert found.next_at == now + timedelta(seconds=0.5)

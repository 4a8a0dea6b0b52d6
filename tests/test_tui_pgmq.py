"""Key stories of pgmq's queues in room 2: they stand among ours, and what is done about one asks first."""

from dataclasses import replace

import psycopg
import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, foot_fits, say_yes, screen, until
from pgmq import install_pgmq_from_sql
from snapshots_literal import BUSY, EMPTY, NO_SCHEMA, LiteralSource, message, pgmq_queue

from pgops.config import Target
from pgops.errors import RefusedError
from pgops.ops.act.actions import Action
from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Snapshot, Unavailable
from pgops.services.client import AsyncPgops
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.pgmq_messages import MessageNote, MessagesRoom
from pgops.tui.screens.queues import QueuesRoom
from pgops.tui.widgets.ledger import Ledger

SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)


BOTH = replace(
    BUSY,
    pgmq=(
        pgmq_queue("aaa_orders", dead=7),
        pgmq_queue("email", length=5_210_000, available=5_200_000, exact={"length": False, "available": False}),
        pgmq_queue("parts", partitioned=True, available=None, scheduled=None, running=None, ready_age_s=None),
        pgmq_queue("zzz", unlogged=True, dead=0),
    ),
)


async def at_queue(pilot: Story, name: str) -> None:
    await pilot.press("2")
    await until(pilot, lambda: bool(pilot.app.screen.query("#queues")))
    table = pilot.app.screen.query_one("#queues", Ledger)
    await until(pilot, lambda: table.row_count > 0)
    table.move_cursor(row=0)
    for _ in range(table.row_count + 1):
        line = table.current_line
        if line is not None and " ".join([line.cells[0].plain, *line.tags]).startswith(name):
            return
        await pilot.press("down")
        await pilot.pause()
    raise AssertionError(f"no row {name}:\n{screen(pilot)}")


@SIZES
async def test_they_stand_among_ours_with_what_pgmq_knows(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BOTH), size) as pilot:
        await at_queue(pilot, "aaa_orders pgmq")
        seen = screen(pilot)
        line = next(one for one in seen.splitlines() if "aaa_orders pgmq" in one).split()
        assert line[3:11] == ["512", "28", "100", "–", "7", "1m", "15s", "61"]
        assert "~5.2M" in seen
        await at_queue(pilot, "parts pgmq part")
        await at_queue(pilot, "zzz pgmq unlogged")
        await at_queue(pilot, "email pgmq")
        assert pilot.app.screen.query_one("#queues", Ledger).row_count == 8, "our email is another row"


async def test_a_long_name_at_80_columns_does_not_hide_whose_queue_it_is() -> None:
    names = ("warehouse_orders_outgoing", "warehouse_orders_returned")
    theirs = (pgmq_queue(names[0]), pgmq_queue(names[1], unlogged=True))
    async with dashboard(LiteralSource(replace(BUSY, pgmq=theirs))) as pilot:
        for name in names:
            await at_queue(pilot, name)
        lines = [line for line in screen(pilot).splitlines() if "512" in line]
        assert len(lines) == 2
        assert all("warehouse" in line and "… pgmq" in line for line in lines), lines


async def test_they_are_sorted_among_ours_by_every_column() -> None:
    async with dashboard(LiteralSource(BOTH), LARGE) as pilot:
        await at_queue(pilot, "aaa_orders")
        table = pilot.app.screen.query_one("#queues", Ledger)
        names = ["aaa_orders", "billing", "email", "email", "parts", "thumbnails", "webhooks", "zzz"]
        assert shown(table) == names
        await pilot.press("r")
        assert shown(table) == names[::-1]
        await pilot.press("r", "s")
        assert shown(table) == ["billing", "parts", "webhooks", "aaa_orders", "zzz", "thumbnails", "email", "email"]
        assert table.current_line is not None and table.current_line.value == "aaa_orders"
        for column in ("sched", "run", "stuck", "dead", "oldest", "in", "out", "drains", "done", "failed"):
            await pilot.press("s")
            assert table.sort_by == column
            assert sorted(shown(table)) == sorted(names)


async def test_the_filter_tells_them_from_ours() -> None:
    async with dashboard(LiteralSource(BOTH)) as pilot:
        await at_queue(pilot, "aaa_orders")
        table = pilot.app.screen.query_one("#queues", Ledger)
        await pilot.press("slash", *"pgmq !unlogged")
        await until(pilot, lambda: shown(table) == ["aaa_orders", "email", "parts"])
        await pilot.press("escape", "slash", *"queue:pgmq email")
        await until(pilot, lambda: table.row_count == 1)
        await pilot.press("enter", "R")
        await until(pilot, lambda: "pgops queue pgmq dead email --more-than 5" in screen(pilot))
        await pilot.press("escape", "escape", "slash", *"!pgmq")
        await until(pilot, lambda: shown(table) == ["billing", "email", "thumbnails", "webhooks"])


def shown(table: Ledger) -> list[str]:
    """What each row is, from the top."""
    return [str(row.key.value).removeprefix("\0pgmq ") for row in table.ordered_rows]


async def test_its_dead_letters_are_redriven_and_a_question_comes_first() -> None:
    source = LiteralSource(BOTH)
    async with dashboard(source) as pilot:
        await at_queue(pilot, "aaa_orders")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        assert "aaa_orders: set aside what was read more than 5 times" in screen(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        assert "pgops queue pgmq redrive aaa_orders" in screen(pilot)
        assert source.ran == []
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action("pgmq_redrive", "aaa_orders")])
        await at_queue(pilot, "parts")
        await pilot.press("R")
        await until(pilot, lambda: "There is nothing of pgmq to move here." in screen(pilot))
        await at_queue(pilot, "zzz")
        await pilot.press("R")
        await until(pilot, lambda: "pgops queue pgmq dead zzz --more-than 5" in screen(pilot))


async def test_it_is_emptied_and_a_question_comes_first() -> None:
    source = LiteralSource(BOTH)
    async with dashboard(source) as pilot:
        await at_queue(pilot, "aaa_orders")
        await until(pilot, lambda: "X Empty" in screen(pilot))
        await pilot.press("X")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        assert "to do it, type aaa_orders:" in screen(pilot)
        await pilot.press("escape")
        assert source.ran == []
        await pilot.press("X")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        await say_yes(pilot)
        await until(pilot, lambda: source.ran == [Action("pgmq_purge", "aaa_orders")])


async def test_a_queue_of_ours_has_no_such_key() -> None:
    source = LiteralSource(BOTH)
    async with dashboard(source, USUAL) as pilot:
        await at_queue(pilot, "billing")
        await until(pilot, lambda: "X Empty" not in screen(pilot))
        await pilot.press("X")
        await pilot.pause()
        assert source.previewed == []
        await pilot.press("P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        assert source.previewed == [Action("pause", "billing")]


async def test_what_pgmq_has_nothing_for_is_said() -> None:
    source = LiteralSource(BOTH)
    async with dashboard(source, USUAL) as pilot:
        await at_queue(pilot, "email pgmq")
        await pilot.press("P")
        await until(pilot, lambda: "pgmq has no pause" in screen(pilot))
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == "pgops queue pgmq peek email")
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.clipboard == "email")
        assert source.previewed == []


@SIZES
async def test_enter_shows_its_messages_and_reads_none(size: tuple[int, int]) -> None:
    source = LiteralSource(BOTH)
    async with dashboard(source, size) as pilot:
        await at_queue(pilot, "aaa_orders")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesRoom) and "user9@" in screen(pilot))
        lines = {line.split()[1]: line for line in screen(pilot).splitlines() if "user" in line}
        for id, words in {"7": "○ ready 6 1m 30s –", "8": "● out 1 1m 30s 25s", "9": "◔ delayed 0 1m 30s 2h"}.items():
            assert words in " ".join(lines[id].split())
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: '"reason": "no such item"' in screen(pilot))
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == "pgops queue pgmq peek aaa_orders")
        await pilot.press("enter")
        await until(pilot, lambda: '"to": "user10@example.org"' in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.clipboard == '{"to": "user10@example.org", "order": 10}')
        await pilot.press("escape", "s", "r", "slash", *"user8", "enter")
        await until(pilot, lambda: "user8@" in screen(pilot) and "user9@" not in screen(pilot))
        await pilot.press("X")
        await until(pilot, lambda: source.previewed == [Action("pgmq_purge", "aaa_orders")])
        await pilot.press("escape", "escape", "escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, QueuesRoom))
    assert source.ran == []


async def test_messages_that_cannot_be_had_and_none_at_all_are_told() -> None:
    source = LiteralSource(BOTH)
    source.fails = RefusedError("permission denied for table q_aaa_orders", "grant select on it")
    async with dashboard(source) as pilot:
        await at_queue(pilot, "aaa_orders")
        await pilot.press("enter")
        await until(pilot, lambda: "permission denied" in screen(pilot) and "grant select on it" in screen(pilot))
        source.fails, source.messages_held = None, ()
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "○ no messages here" in screen(pilot))
        source.messages_held = (message(1, payload="\x1b[2J[red]boo", headers={"\x07": 1}),)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "␛[2J[red]boo" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessageNote))
        assert not {"\x1b", "\x07"} & set(screen(pilot))


async def test_on_the_queue_of_dead_letters_they_are_let_back_to_where_they_come_from() -> None:
    source = LiteralSource(replace(BUSY, pgmq=(pgmq_queue("aaa", dead=7), pgmq_queue("aaa_dlq"))))
    async with dashboard(source) as pilot:
        await at_queue(pilot, "aaa_dlq")
        await pilot.press("R")
        await until(pilot, lambda: "aaa: let 7 dead start over" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: source.previewed == [Action("pgmq_redrive", "aaa")])
        await pilot.press("escape", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesRoom))
        await pilot.press("R")
        await until(pilot, lambda: "aaa: let 7 dead start over" in screen(pilot))


@SIZES
async def test_the_overview_counts_them_with_ours_and_alone(size: tuple[int, int]) -> None:
    theirs = (
        pgmq_queue("orders", dead=7), pgmq_queue("orders_dlq", available=7, in_per_s=0, out_per_s=0, running=0),
        pgmq_queue("parts", partitioned=True, available=None, running=None, in_per_s=None, out_per_s=None),
    )  # fmt: skip
    for base in (EMPTY, NO_SCHEMA):
        async with dashboard(LiteralSource(replace(base, pgmq=theirs)), size) as pilot:
            seen = screen(pilot)
            for words in ("~512 ready in pgmq", "in 61/s  out 58/s", "oldest 1m 15s  run 100", "stuck 0  ◆ dead 7"):
                assert words in seen, words
            assert "no queues yet" not in seen
    async with dashboard(LiteralSource(replace(BUSY, pgmq=theirs)), size) as pilot:
        seen = screen(pilot)
        for words in ("~15.2k ready ", "in 532/s  out 468/s", "oldest 1h 30m  run 125", "◆ stuck 3  ◆ dead 48"):
            assert words in seen, words


@SIZES
@pytest.mark.parametrize("base", [EMPTY, NO_SCHEMA], ids=["empty", "no schema"])
async def test_they_appear_where_there_is_nothing_of_ours(base: Snapshot, size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(replace(base, pgmq=(pgmq_queue("orders"),))), size) as pilot:
        await at_queue(pilot, "orders pgmq")
        assert "No queue yet." not in screen(pilot)
        assert ("run: pgops migrate" in screen(pilot)) == (base is NO_SCHEMA)


@SIZES
async def test_a_role_that_may_not_see_them_reads_the_remedy_and_absence_is_silent(size: tuple[int, int]) -> None:
    part = Unavailable("role viewer may not read pgmq's queues", "grant usage on schema pgmq to viewer")
    async with dashboard(LiteralSource(replace(BUSY, pgmq=part)), size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "grant usage on schema pgmq to viewer" in " ".join(screen(pilot).split()))
        assert "thumbnails" in screen(pilot)
    async with dashboard(LiteralSource(replace(BUSY, pgmq=ABSENT)), size) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "thumbnails" in screen(pilot))
        assert "pgmq" not in screen(pilot)


async def test_terminal_sequences_in_a_name_are_only_text() -> None:
    evil = "[red]x[/red]\x1b[2J"
    async with dashboard(LiteralSource(replace(BUSY, pgmq=(pgmq_queue(evil, dead=1),))), USUAL) as pilot:
        await at_queue(pilot, "[red]x[/red]␛[2J")
        await pilot.press("R", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        assert "\x1b" not in screen(pilot)


async def test_at_80_columns_the_foot_still_has_room_for_what_one_needs() -> None:
    async with dashboard(LiteralSource(BOTH)) as pilot:
        await at_queue(pilot, "aaa_orders")
        await until(pilot, lambda: "X Empty" in screen(pilot))
        assert foot_fits(pilot)
        foot = screen(pilot).splitlines()[-1]
        assert all(words in foot for words in ("R Redrive", "X Empty", "? Help", "q Quit"))


@pytest.mark.slow
async def test_on_a_real_database_a_purge_is_previewed_done_and_seen(dsn: str) -> None:
    install_pgmq_from_sql(dsn=dsn)
    async with AsyncPgops.open(dsn) as pg:
        await pg.pgmq.create("orders")
        await pg.pgmq.send_many("orders", range(12))
    app = PgopsApp(LiveSource(Target(dsn, "test")))
    async with app.run_test(size=USUAL, notifications=True) as pilot:
        await at_queue(pilot, "orders")
        await pilot.press("enter")
        await until(pilot, lambda: screen(pilot).count("○ ready") == 12)
        await pilot.press("escape", "X")
        await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
        assert "matches 12" in screen(pilot)
        assert "message 1, read 0 times: 0" in screen(pilot)
        await say_yes(pilot)
        await until(pilot, lambda: "deleted 12 messages of pgmq queue orders" in screen(pilot))
    with psycopg.connect(dsn) as conn:
        assert conn.execute("select count(*) from pgmq.q_orders").fetchone() == (0,)
        assert conn.execute("select action, changed from pgops.audit").fetchall() == [("pgmq_purge", 12)]

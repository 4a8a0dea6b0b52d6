"""A payload edited by hand: what is wrong is told where the text still stands, and every digit survives."""

import asyncio
import json

import pytest
from cli_call import Run, caller
from dashboard_story import SMALL, USUAL, dashboard, say_yes, screen, until
from snapshots_literal import BUSY, JOBS, LiteralSource
from textual.widgets import TextArea

from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import NotFoundError, UsageError
from pgops.ops.act.acting import Action
from pgops.ops.act.actions import preview, run
from pgops.ops.act.payloads import exact, wrong_at
from pgops.ops.act.previews import given
from pgops.services.client import AsyncPgops
from pgops.services.queue import AsyncQueue
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Question
from pgops.tui.screens.editor import Editor

DIGITS = "12345678901234567890.123456789012345678901234567890"
HARD = f'{{"id": {"9" * 40}, "price": {DIGITS}, "far": 1e400, "note": "a  b\\n\\"c  d\\"", "ü": [1.10, true, null]}}'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"a": 1}', None),
        ('{"a": 1,}', (1, 9)),
        ('{\n  "a": 1\n  "b": 2\n}', (3, 3)),
        ("", (1, 1)),
        ("7", None),
        ("9" * 5_000, None),
        ("1e400", None),
        ("[" * 100_000, (1, 1)),
    ],
)
def test_where_a_text_stops_being_json(text: str, wrong: tuple[int, int] | None) -> None:
    found = wrong_at(text)
    assert (found and found[:2]) == wrong


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '"\\u0000"', '"\\ud800"', "{", '"' + "x" * 1_000_000 + '"'])
def test_what_postgresql_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        exact(Action("edit_job", "email", (1,), given=text))


def test_the_text_is_made_compact_and_nothing_else() -> None:
    text = exact(Action("edit_job", "email", (1,), given='{ "a b" :\n [ 1.10 , 1e400, "x  \\" y" ] }'))
    assert text == '{"a b":[1.10,1e400,"x  \\" y"]}'


async def test_every_digit_survives_an_edit_of_something_else(dsn: str, pgops: Run) -> None:
    async with AsyncPgops.open(dsn) as pg:
        id = await pg.queue.enqueue("email", {})
        await pg.db.execute(b"update pgops.job_available set payload = %(p)s::jsonb", {"p": HARD})
        text = await given(pg.db, Action("edit_job", "email", (id,)))
        assert DIGITS in text and "9" * 40 in text and "1.10" in text
        edited = Action("edit_job", "email", (id,), given=text.replace("true", "false"))
        look = await preview(pg.db, edited)
        assert DIGITS in look.sql
        done = await run(pg.db, edited)
        wanted = HARD.replace("true", "false")
        same = b"select payload = %(p)s::jsonb, payload::text from pgops.job_available"
        assert (await pg.db.all(same, {"p": wanted}))[0][0]
        await run(pg.db, Action("undo", str(done.audit_id)))
        assert (await pg.db.all(same, {"p": HARD}))[0][0], "undone to the last digit"
        ran = await asyncio.to_thread(pgops, "queue", "edit", "email", str(id), wanted, "--yes", "--dsn", dsn)
        assert ran.code == 0, ran.err
        assert (await pg.db.all(same, {"p": wanted}))[0][0]


async def test_a_payload_as_large_as_one_may_be_is_edited(db: AsyncPool) -> None:
    numbers = list(range(130_000))
    queue = AsyncQueue(db)
    id = await queue.enqueue("email", numbers)
    text = await given(db, Action("edit_job", "email", (id,)))
    assert len(text) > 1_000_000, "laid out it is longer than a payload may be"
    await run(db, Action("edit_job", "email", (id,), given=text.replace("\n    7,", "\n    70,")))
    changed = (await queue.job("email", id)).payload
    assert changed == [70 if number == 7 else number for number in numbers]


@pytest.mark.parametrize("size", [SMALL, USUAL])
async def test_what_is_wrong_is_told_and_the_text_stays(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY, jobs=tuple(one for one in JOBS if one.state == "dead"))
    async with dashboard(source, size) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        app.act(Action("edit_job", "email", (90_100,)))
        await until(pilot, lambda: isinstance(app.screen, Editor) and "lease_s" in screen(pilot))
        area = app.screen.query_one("#given", TextArea)
        area.load_text('{\n  "to": 7\n  "x": 1\n}')
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "✕ line 3, column 3: Expecting ',' delimiter" in screen(pilot))
        assert area.cursor_location == (2, 2)
        area.load_text('{"to": 7}')
        source.refuses = UsageError("job 90100 is running, and keeps its payload", "cancel it first, or wait")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "is running, and keeps its payload" in screen(pilot))
        assert area.text == '{"to": 7}'
        source.refuses = None
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
        await say_yes(pilot)
        await until(pilot, lambda: source.ran == [Action("edit_job", "email", (90_100,), given='{"to": 7}')])
        app.act(Action("edit_job", "email", (90_100,)))
        await until(pilot, lambda: isinstance(app.screen, Editor))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, Editor))
        assert len(source.ran) == 1


async def test_live_a_job_that_was_claimed_meanwhile_is_told(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        id = await pg.queue.enqueue("email", {"to": 1})
        async with PgopsApp(LiveSource(Target(dsn, "test"))).run_test(size=USUAL, notifications=True) as pilot:
            app = pilot.app
            assert isinstance(app, PgopsApp)
            app.act(Action("edit_job", "email", (id,)))
            await until(pilot, lambda: isinstance(app.screen, Editor) and '"to": 1' in screen(pilot))
            await pilot.press("ctrl+s")
            await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)
            await pg.queue.claim("email", owner=1, token=5, limit=1)
            await pilot.press("y")
            await until(pilot, lambda: "✕ Not done" in screen(pilot))
            app.act(Action("edit_job", "email", (id,)))
            await until(pilot, lambda: isinstance(app.screen, Editor) and "could be edited" in screen(pilot))
        with pytest.raises(NotFoundError):
            await given(pg.db, Action("edit_job", "email", (id,)))
        assert json.dumps((await pg.queue.job("email", id)).payload) == '{"to": 1}'


@pytest.fixture
def pgops(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)

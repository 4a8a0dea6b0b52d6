"""Every key of an act, pressed: its question is seen, a no does nothing, a yes does what was shown, and it is told."""

from dataclasses import replace

import pytest
from dashboard_story import SMALL, Story, dashboard, say_yes, screen, until
from server_literal import suffering
from snapshots_literal import BUSY, WITH_PGMQ, LiteralSource
from textual.widgets import Static

from pgops.ops.act.actions import ActionName
from pgops.tui.app import PgopsApp
from pgops.tui.keymap import GROUPS, KEYS
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.editor import Editor

# By the id of a key: the way to where it is pressed, and the first act that it asks about.
STORIES: dict[str, tuple[str, ActionName]] = {
    "requeue": ("2 down", "requeue_stuck"),
    "redrive": ("2 down down down down", "pgmq_redrive"),
    "empty": ("2 down down down down", "pgmq_purge"),
    "cancel_jobs": ("2 down enter", "cancel_jobs"),
    "discard": ("2 down", "discard_dead"),
    "edit_job": ("2 down enter left enter", "edit_job"),
    "edit_queue": ("2", "set_queue"),
    "purge": ("1", "purge_expired"),
    "purge_stores": ("6", "purge_expired"),
    "invalidate": ("6", "invalidate"),
    "hold": ("2", "pause"),
    "hold_cron": ("2 t", "cron_pause"),
    "run_cron": ("2 t", "cron_run"),
    "remove_cron": ("2 t", "cron_remove"),
    "rebuild": ("3 down", "rebuild_index"),
    "hold_events": ("5", "outbox_pause"),
    "replay": ("5", "outbox_replay"),
    "keep": ("5", "outbox_keep"),
    "purge_events": ("5", "outbox_purge"),
    "unpark": ("5 enter", "outbox_unpark"),
    "discard_parked": ("5 enter down", "outbox_discard"),
    "hold_key": ("5 enter down", "outbox_park"),
    "unsubscribe": ("5", "unsubscribe"),
    "drop": ("3", "drop_collection"),
    "drop_documents": ("7", "drop_documents"),
    "drop_index": ("7 down down enter", "drop_index"),
    "cancel": ("4", "cancel_backend"),
    "terminate": ("4", "terminate_backend"),
    "vacuum": ("8", "vacuum_table"),
    "mend_index": ("8 tab", "reindex_index"),
    "undo": ("u", "undo"),
    "cure": ("1", "requeue_stuck"),
}
ACTS = {key.id for group in GROUPS if group.title.startswith("Act") for key in group.keys} - {"confirm", "stop"}


def test_every_key_of_an_act_has_its_story() -> None:
    assert set(STORIES) == ACTS


IDS = sorted(STORIES, key=lambda id: STORIES[id][0])


@pytest.mark.parametrize("ids", [IDS[: len(IDS) // 2], IDS[len(IDS) // 2 :]], ids=["one half", "the other"])
@pytest.mark.timeout(120)
async def test_no_does_nothing_and_yes_does_what_was_shown(ids: list[str]) -> None:
    source = LiteralSource(replace(suffering(WITH_PGMQ), findings=BUSY.findings))
    async with dashboard(source, SMALL) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        for _ in range(5):
            app.feed.slower()
        for id in ids:
            try:
                await story(pilot, source, id)
            except BaseException as error:
                error.add_note(f"of the key {id}")
                raise


async def story(pilot: Story, source: LiteralSource, id: str) -> None:
    app = pilot.app
    assert isinstance(app, PgopsApp)
    way, name = STORIES[id]
    await go(pilot, way)
    await asked(pilot, id)
    action = source.previewed[-1]
    assert action.name == name
    assert "as a command" in str(app.screen.query_one("#told", Static).content)
    before = len(source.ran)
    await pilot.press("escape")
    await until(pilot, lambda: not isinstance(app.screen, Question))
    assert len(source.ran) == before, "a no does nothing"
    await asked(pilot, id)
    await say_yes(pilot)
    await until(pilot, lambda: len(source.ran) > before and not app.feed.busy)
    assert replace(source.ran[-1], since=None) == replace(action, since=None), "what was shown is what is done"
    await until(pilot, lambda: "(audit 12)" in screen(pilot))
    app.clear_notifications()


async def go(pilot: Story, way: str) -> None:
    """From the overview, with nothing open over any room, and every cursor on its first line."""
    app = pilot.app
    while len(app.screen_stack) > 1:
        await app.pop_screen()
    await app.switch_mode("overview")
    for key in way.split():
        await pilot.press(key)
        await pilot.pause(0.05)
        await quiet(pilot)
        if key.isdigit():
            while len(app.screen_stack) > 1:
                await app.pop_screen()
            await pilot.press("ctrl+home")


async def quiet(pilot: Story) -> None:
    await until(pilot, lambda: not any(one.is_running and one.group != "observe" for one in pilot.app.workers))


async def asked(pilot: Story, id: str) -> None:
    """Press the key, take the first of several, go on from what is written by hand, until the question stands."""
    app = pilot.app
    await pilot.press(KEYS[id].key)
    await until(pilot, lambda: isinstance(app.screen, Choose | Editor | Question))
    if isinstance(app.screen, Choose):
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Editor | Question))
    if isinstance(app.screen, Editor):
        await quiet(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, Question))
    await until(pilot, lambda: isinstance(app.screen, Question) and app.screen.ready)

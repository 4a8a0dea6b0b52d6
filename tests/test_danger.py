"""What is confirmed how: a yes for what is small or comes back, a name for what is destroyed for good in bulk."""

from typing import get_args

import pytest
from dashboard_story import SMALL, USUAL, dashboard, say_yes, screen, until
from snapshots_literal import BUSY, LiteralSource

from pgops.ops.act.actions import Action, ActionName, Preview
from pgops.ops.act.danger import DESTROYS, UNDO, danger, for_good, meanwhile, way_back
from pgops.ops.act.undoing import WAYS
from pgops.tui.screens.ask import Question

# Acts whose previews have words of their own.
THEIR_OWN = {"vacuum_table", "reindex_index", "drop_invalid_index", "reset_stats", "undo"}


def look(name: ActionName, matched: int = 1, target: str = "docs", *, exact: bool = True, undo: str = "") -> Preview:
    return Preview(Action(name, target), "", matched, exact, (), "", undo=undo)


@pytest.mark.parametrize(
    ("preview", "typed"),
    [
        (look("drop_collection", 120), "docs"),
        (look("drop_collection", 0), ""),
        (look("drop_collection", 0, exact=False), "docs"),
        (look("drop_documents", 3), "docs"),
        (look("unsubscribe", 1, "billing"), "billing"),
        (look("pgmq_purge", 1, "orders"), "orders"),
        (look("discard_dead", 1_000, "email"), ""),
        (look("discard_dead", 1_001, "email"), "email"),
        (look("discard_dead", 100_000, "email", exact=False), "email"),
        (look("cancel_jobs", 1_001, "email"), "email"),
        (look("outbox_discard", 1_001, "billing"), "billing"),
        (look("invalidate", 10_000, "pages"), ""),
        (look("invalidate", 10_001, "pages"), "pages"),
        (look("invalidate", 12, "pages", exact=False), "pages"),
        (look("terminate_backend", 1, "4711"), ""),
        (look("terminate_backend", 2, "4711"), "4711"),
        (look("requeue_dead", 100_000, "email", exact=False), ""),
        (look("purge_expired", 100_000, ""), ""),
        (look("drop_documents", 7, "größe"), "größe"),
        (look("drop_documents", 7, "\u202edocs"), "7"),
        (look("drop_documents", 7, " docs "), "7"),
        (look("drop_documents", 7, "d" * 61), "7"),
        (look("drop_documents", 7, ""), "7"),
    ],
)
def test_what_has_to_be_typed(preview: Preview, typed: str) -> None:
    assert danger(preview) == typed


def test_what_is_typed_for_cannot_be_undone_or_is_more_than_a_thousand() -> None:
    assert all(least > 1_000 or way_back(look(name)).startswith("cannot") for name, least in DESTROYS.items())


def test_every_act_says_whether_there_is_a_way_back() -> None:
    assert set(get_args(ActionName)) == {*UNDO, *WAYS} | THEIR_OWN
    assert not set(UNDO) & (set(WAYS) | THEIR_OWN)
    for name in get_args(ActionName):
        assert way_back(look(name)).startswith(("cannot be undone: ", "nothing to undo: ")), name
    assert way_back(look("discard_dead", undo="can be undone for 7 days")) == "can be undone for 7 days"
    assert for_good(look("drop_index", undo=way_back(look("drop_index"))))
    assert not for_good(look("cancel_jobs", 0, undo=way_back(look("cancel_jobs", 0))))
    assert for_good(look("cancel_jobs", 2, undo=way_back(look("cancel_jobs", 2)))), "those that run"


@pytest.mark.parametrize(
    ("preview", "changed", "said"),
    [
        (look("requeue_dead", 5), 3, "2 of 5 changed meanwhile, and were left alone"),
        (look("cancel_jobs", 1_200), 1_199, "1 of 1,200 changed meanwhile, and was left alone"),
        (look("requeue_dead", 5), 5, ""),
        (look("requeue_dead", 5), 9, ""),
        (look("requeue_dead", 100_000, exact=False), 3, ""),
        (look("outbox_replay", 5), 3, ""),
    ],
)
def test_what_had_changed_meanwhile(preview: Preview, changed: int, said: str) -> None:
    assert meanwhile(preview, changed) == said


@pytest.mark.parametrize("size", [SMALL, USUAL])
async def test_a_collection_is_dropped_once_its_name_was_typed(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        await pilot.press("3", "D")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        seen = screen(pilot)
        for words in ("to do it, type docs:", "✗ cannot be undone: its rows and its index are gone", "enter  Do it"):
            assert words in seen, words
        await pilot.press("enter", *"doc", "enter")
        assert isinstance(pilot.app.screen, Question), "not yet its name"
        await pilot.press("y", "enter")
        assert not source.ran, "y is a letter of the name here"
        await pilot.press("backspace", "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.sure)
        await pilot.press("enter")
        await until(pilot, lambda: source.ran == [Action("drop_collection", "docs")])
        await pilot.press("D")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        await pilot.press(*"docs", "escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
        assert len(source.ran) == 1


async def test_what_had_changed_meanwhile_is_told_when_it_is_done() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("2", "down", "D")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question) and pilot.app.screen.ready)
        source.matched = 38
        await say_yes(pilot)
        await until(pilot, lambda: "3 of 41 changed meanwhile" in screen(pilot).replace("\n", " "))

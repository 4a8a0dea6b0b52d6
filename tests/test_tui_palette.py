"""The palette: every act of every room is reached from any room, and asks on what where that is not said."""

from dataclasses import replace
from typing import get_args

import pytest
from dashboard_story import SMALL, USUAL, Story, dashboard, screen, until
from snapshots_literal import EMPTY, WITH_PGMQ, LiteralSource
from textual.command import CommandPalette

from pgops.errors import UnreachableError
from pgops.ops.act.actions import ActionName
from pgops.ops.observe.snapshot import items
from pgops.tui.app import PgopsApp
from pgops.tui.keymap import GROUPS, KEYS
from pgops.tui.offers import OFFERS
from pgops.tui.palette import CRON_ACTS, PARKED_ACTS, Palette
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.base import Room
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.screens.crons import CronsRoom
from pgops.tui.screens.documents import DocumentsRoom
from pgops.tui.screens.editor import Editor
from pgops.tui.screens.finding import FindingNote
from pgops.tui.screens.job import JobRoom
from pgops.tui.screens.outbox import OutboxRoom
from pgops.tui.screens.pgmq_messages import MessagesRoom
from pgops.tui.screens.session import SessionNote
from pgops.tui.screens.subscription import SubscriptionRoom
from pgops.tui.widgets.ledger import Ledger

ACT_KEYS = {key.id for group in GROUPS if group.title.startswith("Act") for key in group.keys} - {
    "confirm",
    "stop",
    "cure",
}
ROOMS = {"overview": "1", "queues": "2", "vectors": "3", "connections": "4", "outbox": "5", "stores": "6",
         "documents": "7", "server": "8"}  # fmt: skip
# By the key of an act: what the palette calls it elsewhere, and the acts that it leads to.
REACHED: dict[str, tuple[str, set[str]]] = {
    "requeue": ("Requeue jobs", {"requeue_stuck", "requeue_dead", "requeue_ladder"}),
    "redrive": ("Dead letters of pgmq", {"pgmq_redrive", "pgmq_dead"}),
    "empty": ("Empty a queue of pgmq", {"pgmq_purge"}),
    "cancel_jobs": ("Cancel a stuck job", {"cancel_jobs"}),
    "discard": ("Discard dead letters", {"discard_dead"}),
    "edit_job": ("Edit a job's payload", {"edit_job"}),
    "edit_queue": ("Change a queue's settings", {"set_queue"}),
    "purge": ("Purge the cache", {"purge_expired"}),
    "purge_stores": ("Purge a store", {"purge_expired", "purge_kv", "purge_limits"}),
    "invalidate": ("Discard a cache namespace", {"invalidate"}),
    "hold": ("Pause or resume a queue", {"pause", "resume"}),
    "rebuild": ("Build or rebuild a vector index", {"build_index", "rebuild_index"}),
    "hold_events": ("Pause or resume a subscription", {"outbox_pause", "outbox_resume"}),
    "replay": ("Deliver events again", {"outbox_replay"}),
    "keep": ("How long events are kept", {"outbox_keep"}),
    "purge_events": ("Purge the event log", {"outbox_purge", "outbox_rebase"}),
    "unpark": ("Try events again that were put aside", {"outbox_unpark"}),
    "discard_parked": ("Give a parked event up", {"outbox_discard"}),
    "hold_key": ("Hold a key of a subscription back", {"outbox_park"}),
    "unsubscribe": ("Drop a subscription", {"unsubscribe"}),
    "drop": ("Drop a vector collection", {"drop_collection"}),
    "drop_documents": ("Drop a document collection", {"drop_documents"}),
    "drop_index": ("Drop a document index", {"drop_index"}),
    "cancel": ("Cancel a statement", {"cancel_backend"}),
    "terminate": ("Terminate a session", {"terminate_backend"}),
    "vacuum": ("Vacuum or tune tables, or reset counters", {"vacuum_table", "tune_queue_tables", "reset_stats"}),
    "mend_index": ("Build an index anew, or drop a failed one", {"reindex_index", "drop_invalid_index"}),
    "undo": ("Undo an act", {"undo"}),
    "prompt": ("Search by likeness", {"search"}),
    "hold_cron": ("Pause or resume a recurring job", {"cron_pause", "cron_resume"}),
    "run_cron": ("Run a recurring job now", {"cron_run"}),
    "remove_cron": ("Remove a recurring job", {"cron_remove"}),
}
# What one opens first, since the snapshot does not hold it.
# Of a collection without an index, a paused subscription and an index that is not valid; WITH_PGMQ has none.
OF_OTHERS = {"build_index", "outbox_resume", "drop_invalid_index"}
IN_THEIR_ROOM = {"drop_index", "edit_job", "undo", *CRON_ACTS, *PARKED_ACTS}


def test_every_act_and_every_key_of_one_is_offered() -> None:
    assert set(REACHED) == ACT_KEYS | {"prompt"}
    assert set(OFFERS) == ACT_KEYS - IN_THEIR_ROOM
    assert set().union(*(acts for _, acts in REACHED.values())) == set(get_args(ActionName)) - {"cron_add"}
    for key, offer in OFFERS.items():
        assert {choice.action.name for choice in offer.choices(WITH_PGMQ)} == REACHED[key][1] - OF_OTHERS, key
        assert all(choice.words.isprintable() for choice in offer.choices(WITH_PGMQ))


async def choose(pilot: Story, words: str) -> None:
    """Open the palette, type the words, and take the first that is found."""
    await pilot.press("colon")
    await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
    await pilot.press(*({" ": "space", ":": "colon"}.get(letter, letter) for letter in words))
    await until(pilot, lambda: words in screen(pilot).partition("\n")[2].replace(words, "", 1))
    await pilot.pause(0.3)
    await pilot.press("enter")


@pytest.mark.parametrize("key", [*OFFERS], ids=str)
async def test_from_the_overview_each_act_is_reached_and_asks_on_what(key: str) -> None:
    source, wanted = LiteralSource(WITH_PGMQ), len(OFFERS[key].choices(WITH_PGMQ))
    async with dashboard(source, USUAL) as pilot:
        here = {"requeue": "Requeue", "purge": "Purge cache"}.get(key, REACHED[key][0])
        await choose(pilot, here)
        if wanted > 1:
            await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
            await pilot.press("enter")
        first = OFFERS[key].choices(WITH_PGMQ)[0].action
        if key in ("edit_queue", "keep"):
            await until(pilot, lambda: isinstance(pilot.app.screen, Editor) and "lease_s" in screen(pilot))
            await pilot.press("ctrl+s")
            first = replace(first, given='{"lease_s": 60}')
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        await until(pilot, lambda: bool(source.previewed))
        assert source.previewed[-1] == first
        assert source.ran == [], "nothing is done unasked"


async def test_a_search_is_reached_where_one_types_it() -> None:
    async with dashboard(LiteralSource(WITH_PGMQ), USUAL) as pilot:
        await choose(pilot, "Search by likeness")
        await until(pilot, lambda: pilot.app.focused is not None and pilot.app.focused.id == "prompt")


async def test_a_document_index_is_reached_in_its_collection() -> None:
    source = LiteralSource(WITH_PGMQ)
    async with dashboard(source, USUAL) as pilot:
        await choose(pilot, "Drop a document index")
        await until(pilot, lambda: isinstance(pilot.app.screen, DocumentsRoom))
        await until(pilot, lambda: "Open a collection" in screen(pilot))
        await choose(pilot, "Documents: orders")
        await until(pilot, lambda: isinstance(pilot.app.screen, CollectionRoom) and "customer.name" in screen(pilot))
        await pilot.press("D")
        await until(pilot, lambda: "index doc_orders_77ab" in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "pgops doc index orders --drop doc_orders_77ab" in screen(pilot))
    assert [(one.name, one.target) for one in source.previewed] == [("drop_index", "orders.doc_orders_77ab")]


async def test_a_recurring_job_is_reached_in_their_room() -> None:
    async with dashboard(LiteralSource(WITH_PGMQ), USUAL) as pilot:
        await choose(pilot, "Run a recurring job now")
        await until(pilot, lambda: isinstance(pilot.app.screen, CronsRoom) and "nightly" in screen(pilot))


async def test_what_was_put_aside_is_reached_in_its_subscription() -> None:
    async with dashboard(LiteralSource(WITH_PGMQ), USUAL) as pilot:
        await choose(pilot, "Hold a key of a subscription back")
        await until(pilot, lambda: isinstance(pilot.app.screen, OutboxRoom) and "Open a subscription" in screen(pilot))
        name = items(WITH_PGMQ.outbox)[0].name
        await choose(pilot, f"Subscription: {name}")
        await until(pilot, lambda: isinstance(pilot.app.screen, SubscriptionRoom) and "customer-7" in screen(pilot))


async def test_the_messages_of_a_queue_of_pgmq_are_opened_by_name() -> None:
    async with dashboard(LiteralSource(WITH_PGMQ), USUAL) as pilot:
        await choose(pilot, "pgmq: wms_orders")
        await until(pilot, lambda: isinstance(pilot.app.screen, MessagesRoom) and "user9@" in screen(pilot))


async def test_where_there_is_one_collection_it_is_opened() -> None:
    one = replace(WITH_PGMQ, documents=WITH_PGMQ.documents[:1] if isinstance(WITH_PGMQ.documents, tuple) else ())
    async with dashboard(LiteralSource(one), SMALL) as pilot:
        await choose(pilot, "Drop a document index")
        await until(pilot, lambda: isinstance(pilot.app.screen, CollectionRoom))


@pytest.mark.parametrize("room", ROOMS)
async def test_from_every_room_every_act_stands_in_the_palette_once(room: str) -> None:
    async with dashboard(LiteralSource(WITH_PGMQ)) as pilot:
        await pilot.press(ROOMS[room])
        await until(pilot, lambda: isinstance(pilot.app.screen, Room) and pilot.app.screen.room == room)
        await pilot.pause()
        told = [hit.help async for hit in Palette(pilot.app.screen).discover()]
    for key in REACHED:
        tooltip = KEYS[key].tooltip
        assert len([one for one in told if one in (tooltip, f"{tooltip}  ({KEYS[key].key_display})")]) == 1, key


@pytest.mark.parametrize(
    "known", [replace(EMPTY, session_list=()), UnreachableError("connection refused", "")], ids=["empty", "unreachable"]
)
async def test_where_there_is_nothing_to_act_on_it_says_so(known: object) -> None:
    source = LiteralSource(known)  # type: ignore[arg-type]
    async with dashboard(source, USUAL) as pilot:
        assert isinstance(pilot.app, PgopsApp)
        for key in sorted(set(OFFERS) - {"purge", "purge_stores"}):
            pilot.app.offer_any(key)
            await until(pilot, lambda key=key: OFFERS[key].nothing in screen(pilot))
            pilot.app.clear_notifications()
    assert source.previewed == []


async def at_rest(pilot: Story, kind: type) -> None:
    await until(pilot, lambda: isinstance(pilot.app.screen, kind))


async def test_every_kind_of_row_is_opened_by_name() -> None:
    source = LiteralSource(WITH_PGMQ)
    async with dashboard(source, USUAL) as pilot:
        for words, kind, there in (
            ("Finding: docs has", FindingNote, "outgrown its lists"),
            ("Session: 4713", SessionNote, "session 4713"),
            ("Recurring job: nightly", CronsRoom, ""),
            ("Job 91204", JobRoom, "91204"),
        ):
            await choose(pilot, words)
            await at_rest(pilot, kind)
            await until(pilot, lambda there=there: there in screen(pilot))
            await pilot.press("escape")
        for words, mode, table, key in (
            ("Vectors: products", "vectors", "indexes", "products"), ("Cache: sessions", "stores", "namespaces", ""),
        ):  # fmt: skip
            await choose(pilot, words)
            await until(pilot, lambda mode=mode: pilot.app.current_mode == mode)
            held = pilot.app.screen.query_one(f"#{table}", Ledger)
            wanted = key or "sessions"
            await until(pilot, lambda held=held, wanted=wanted: wanted in (held.current or ""))
        await choose(pilot, "Job 123456")
        await until(pilot, lambda: "No queue has a job 123456" in screen(pilot))
        await choose(pilot, "Theme: day")
        await until(pilot, lambda: pilot.app.theme == "pgops-day")

"""Key stories of the rooms outbox, stores and documents, and the acts that are done from them."""

import asyncio
from dataclasses import replace

import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, foot_fits, say_yes, screen, until
from snapshots_literal import BUSY, EMPTY, NO_SCHEMA, LiteralSource, collection
from textual.widgets import Static

from pgops.config import Target
from pgops.errors import NotFoundError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot import CachePart, OutboxSubscription, PubsubPart
from pgops.services.client import AsyncPgops
from pgops.services.models import VectorRow
from pgops.tui.app import PgopsApp
from pgops.tui.live import LiveSource
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.collection import CollectionRoom
from pgops.tui.widgets.ledger import Ledger

SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)


# --- what is seen ----------------------------------------------------------------------------------------------


@SIZES
async def test_the_outbox_room_tells_who_is_behind_and_what_pubsub_holds(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "● 2 relays deliver" in screen(pilot))
        seen = screen(pilot)
        for words in (
            "5 Outbox", "search-index", "214", "~10.0k", "13m 32s", "◆4", "✕0", "https://search.internal/hook",
            "1,204,551", "214 events", "3.2s waited", "55 a second", "3 listeners", "on 2 channels",
            "0% of the queue filled", "4 by reference", "120 kB  oldest 15m 12s",
        ):  # fmt: skip
            assert words in seen, words
        await pilot.press("down")
        await until(pilot, lambda: "pgops outbox relay --subscription warehouse" in screen(pilot))
        assert "◆ 4 parked" in screen(pilot)
        assert "~10.0k events" in screen(pilot)


@SIZES
async def test_the_stores_room_tells_of_cache_limits_and_keys(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: "~518k entries" in screen(pilot))
        seen = screen(pilot)
        for words in (
            "6 Stores", "95.7% app hit ratio", "hits 812/s", "misses 40/s", "in all 912k / 41.2k", "384 MB",
            "◆ expired 212k", "99.9% in memory", "12.8k keys", "1.8 MB", "◆ expired 3,100", "41.2k keys", "9.0 MB",
            "expired 210", "8,100 keys", "2.0 MB", "◆ expired 1,900",
            "cache namespace", "sessions", "96.1%", "822k", "33.1k", "~498k", "500k", "fragments", "2,000",
        ):  # fmt: skip
            assert words in seen, words


@SIZES
async def test_the_documents_room_tells_sizes_updates_and_indexes(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await pilot.press("7")
        await until(pilot, lambda: "22.5%" in screen(pilot))
        seen = screen(pilot)
        for words in (
            "7 Docs", "~8,120", "9,400", "50.0 MB", "✕3", "96.0%", "pgops.doc_carts", "● 1 never used",
            "22.5% of 40,000 updates touched no index", "~8,120 documents", "21 a second",
        ):  # fmt: skip
            assert words in seen, words
        await pilot.press("down")
        await until(pilot, lambda: "✕ 1 of its indexes invalid" in screen(pilot))
        assert "no update yet" in screen(pilot)


@SIZES
async def test_from_a_collection_to_its_indexes_and_back(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(BUSY), size) as pilot:
        await pilot.press("7", "down", "down", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, CollectionRoom) and "customer.name" in screen(pilot))
        seen = screen(pilot)
        for words in ("› orders", "(whole)", "4.0 MB", "88.1k", "never used", "jsonb_path_ops"):
            assert words in seen, words
        await pilot.press("down", "y")
        await until(pilot, lambda: "customer,name" in pilot.app.clipboard)
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, CollectionRoom))
        await pilot.press("up", "up", "enter")
        await until(pilot, lambda: "pgops doc index carts PATH" in screen(pilot))


@SIZES
async def test_an_empty_database_tells_the_first_command_of_each(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(EMPTY), size) as pilot:
        for key, words in (
            ("5", ("No subscription yet.", "pgops outbox subscribe billing", "3 listeners")),
            ("6", ("not used yet", "no limit yet", "no key yet", "pgops kv set user:1 Ann")),
            ("7", ("No collection yet.", "pgops doc create orders")),
        ):
            await pilot.press(key)
            await until(pilot, lambda words=words: all(one in screen(pilot) for one in words))
            await pilot.press("D", "enter")
            assert not isinstance(pilot.app.screen, Question)


@SIZES
async def test_without_the_schema_each_says_what_to_run(size: tuple[int, int]) -> None:
    async with dashboard(LiteralSource(NO_SCHEMA), size) as pilot:
        for key in ("5", "6", "7"):
            await pilot.press(key)
            await until(pilot, lambda: "→ run: pgops migrate" in screen(pilot))
            await pilot.press("D", "P")
            assert not isinstance(pilot.app.screen, Question | Choose)


async def test_terminal_sequences_in_names_are_only_text() -> None:
    evil = "[red]x[/red]\x1b[2J"
    hostile = replace(
        BUSY,
        outbox=(OutboxSubscription(evil, evil, 1, 1.0, 1, 1),),
        documents=(replace(collection(evil), table=evil),),
    )
    async with dashboard(LiteralSource(hostile), USUAL) as pilot:
        for key in ("5", "7", "enter"):
            await pilot.press(key)
            await until(pilot, lambda: "[red]x[/red]␛[2J" in screen(pilot))
            assert "\x1b" not in screen(pilot)


async def test_a_notify_queue_that_fills_and_a_crash_are_said_aloud() -> None:
    cache = BUSY.cache
    assert isinstance(cache, CachePart)
    pubsub = PubsubPart(1, 1, 0.8, 0, None, 0, {"listeners": False, "channels": False})
    bad = replace(BUSY, pubsub=pubsub, cache=replace(cache, emptied_by_crash=True))
    async with dashboard(LiteralSource(bad), USUAL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "80.0% of the queue filled" in screen(pilot))
        assert "◆ a listener sits in a transaction" in screen(pilot)
        assert "~1 listener" in screen(pilot)
        assert "not all seen" in screen(pilot)
        await pilot.press("6")
        await until(pilot, lambda: "◆ emptied by a crash" in screen(pilot))


@pytest.mark.parametrize("key", ["1", "2", "3", "5", "6", "7"])
async def test_the_foot_and_the_names_fit_a_small_terminal(key: str) -> None:
    async with dashboard(LiteralSource(BUSY), SMALL) as pilot:
        await pilot.press(key)
        await until(pilot, lambda: "q Quit" in screen(pilot).splitlines()[-1])
        assert foot_fits(pilot)
        top = screen(pilot).splitlines()[0]
        assert "…" not in top
        assert "03:12:45 UTC" in top
        await pilot.resize_terminal(*USUAL)
        await until(pilot, lambda: "7 Docs" in screen(pilot).splitlines()[0])


async def test_the_subscription_that_is_chosen_stays_chosen_when_others_come() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("5", "down")
        table = pilot.app.screen.query_one("#outbox-subscriptions", Ledger)
        await until(pilot, lambda: table.current == "warehouse")
        assert isinstance(BUSY.outbox, tuple)
        source.script[:] = [replace(BUSY, outbox=(replace(BUSY.outbox[0], name="audit"), *BUSY.outbox))]
        await pilot.press("ctrl+r")
        await until(pilot, lambda: "audit" in screen(pilot))
        assert table.current == "warehouse"


# --- acts, on literal snapshots --------------------------------------------------------------------------------


ONE_THING = (
    ("2 P", Action("pause", "billing"), "pgops queue pause billing"),
    ("2 down down down P", Action("resume", "webhooks"), "pgops queue resume webhooks"),
    ("3 D", Action("drop_collection", "docs"), "pgops vector drop docs"),
    ("5 down D", Action("unsubscribe", "warehouse"), "pgops outbox unsubscribe warehouse"),
    ("6 D", Action("invalidate", "pages"), "pgops cache invalidate pages"),
    ("6 down down D", Action("invalidate", "fragments"), "pgops cache invalidate fragments"),
    ("7 down down D", Action("drop_documents", "orders"), "pgops doc drop orders"),
    ("7 enter D", Action("drop_documents", "carts"), "pgops doc drop carts"),
)


async def test_an_act_of_one_thing_shows_what_it_hits_and_is_done_once_it_was_confirmed() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        for keys, action, command in ONE_THING:
            room, *rest = keys.split()
            for key in (room, "ctrl+home", *rest):
                await pilot.press(key)
                await pilot.pause(0.05)
            await until(pilot, lambda: "matches" in screen(pilot))
            assert source.previewed[-1] == action
            await until(pilot, lambda words=command: words in plain_words(pilot))
            await pilot.press("enter")
            if isinstance(pilot.app.screen, Question):
                await pilot.press("escape")
            await until(pilot, lambda: not isinstance(pilot.app.screen, Question))
            assert action not in source.ran
            await pilot.press(keys[-1])
            await until(pilot, lambda: "matches" in screen(pilot))
            await say_yes(pilot)
            await until(pilot, lambda act=action: source.ran[-1:] == [act])
            while len(pilot.app.screen_stack) > 1:
                await pilot.press("escape")
                await pilot.pause(0.05)


def plain_words(pilot: Story) -> str:
    """All that the question says, also below its fold."""
    return str(pilot.app.screen.query_one("#told", Static).content)


@pytest.mark.parametrize(
    ("place", "name"), [(0, "purge_expired"), (1, "purge_kv"), (2, "purge_limits")], ids=["cache", "kv", "limits"]
)
async def test_purge_asks_which_store(place: int, name: ActionName) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("6", "P")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        seen = screen(pilot)
        for words in ("cache: 212k expired", "key-value stores: 2,110 expired", "rate limits: 3,100 expired"):
            assert words in seen, words
        await pilot.press(*["down"] * place, "enter")
        await until(pilot, lambda: "matches" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action(name, "")])


async def test_a_namespace_can_be_found_and_discarded_though_it_holds_nothing() -> None:
    source = LiteralSource(BUSY)
    source.matched = 0
    async with dashboard(source) as pilot:
        await pilot.press("6", "slash", *"sess", "enter")
        await until(pilot, lambda: "fragments" not in screen(pilot))
        await pilot.press("D")
        await until(pilot, lambda: "matches 0" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action("invalidate", "sessions")])


async def test_an_empty_collection_can_be_dropped() -> None:
    source = LiteralSource(BUSY)
    source.matched = 0
    async with dashboard(source) as pilot:
        await pilot.press("7", "D")
        await until(pilot, lambda: "matches 0" in screen(pilot))
        await pilot.press("y")
        await until(pilot, lambda: source.ran == [Action("drop_documents", "carts")])


@pytest.mark.parametrize(("room", "typed", "name"), [("2", "pause", "Pause a queue"), ("7", "drop", "Drop a coll")])
async def test_the_acts_of_a_room_stand_in_its_palette(room: str, typed: str, name: str) -> None:
    async with dashboard(LiteralSource(BUSY), USUAL) as pilot:
        await pilot.press(room, "colon")
        await pilot.pause(0.3)
        await pilot.press(*typed)
        await until(pilot, lambda: name in screen(pilot))


# --- acts, on a real database ----------------------------------------------------------------------------------


def live(dsn: str) -> PgopsApp:
    return PgopsApp(LiveSource(Target(dsn, "test")))


async def do(pilot: Story, key: str, matched: str) -> None:
    """Press the key of an act, read the preview, confirm, and see it done."""
    await pilot.press(key)
    await until(pilot, lambda: f"matches {matched}" in screen(pilot))
    await say_yes(pilot)
    await until(pilot, lambda: "✓ Done" in screen(pilot))


async def test_live_a_queue_is_paused_and_goes_on(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.queue.enqueue("email", {})
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("2")
            await until(pilot, lambda: "email" in screen(pilot))
            await do(pilot, "P", "1")
            await until(pilot, lambda: "‖ email paused" in screen(pilot))
            assert [one.paused for one in await pg.queue.queues()] == [True]
            await pilot.press("P")
            await until(pilot, lambda: "pgops queue resume email" in screen(pilot))
            await pilot.press("y")
            await until(pilot, lambda: "‖ email paused" not in screen(pilot) and "email" in screen(pilot))
            await until(pilot, lambda: "resumed email" in screen(pilot))
        assert [one.paused for one in await pg.queue.queues()] == [False]


async def test_live_a_subscription_is_dropped(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.events.subscribe("billing", start="beginning", sink="stdout")
        await pg.events.append("orders", {"id": 7})
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("5")
            await until(pilot, lambda: "✕ no relay" in screen(pilot) and "1 events" in screen(pilot))
            await do(pilot, "D", "1")
            await until(pilot, lambda: "No subscription yet." in screen(pilot))
        assert await pg.events.subscriptions() == []


async def test_live_a_namespace_is_discarded(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.cache.set_cap("pages", entries=1_234)
        await pg.cache.set_many({"a": b"1", "b": b"1"}, namespace="pages")
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("6")
            await until(pilot, lambda: "pages" in screen(pilot) and "1,234" in screen(pilot))
            await do(pilot, "D", "2")
            await until(pilot, lambda: "forgot 2 entries of pages" in screen(pilot))
            await until(pilot, lambda: "expired 2" in screen(pilot))
        assert await pg.cache.get("a", namespace="pages") is None


async def test_live_expired_keys_and_limits_are_purged(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        for store in (pg.kv, pg.kv.ephemeral):
            await store.set("short", b"1", ttl_s=0.01)
            await store.set("long", b"1")
        await pg.limits.hit("short", 1, 0.01)
        await asyncio.sleep(0.05)
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("6")
            await until(pilot, lambda: "2 keys" in screen(pilot))
            for place, matched in ((1, "2"), (2, "1")):
                await pilot.press("P")
                await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
                await pilot.press(*["down"] * place)
                await do(pilot, "enter", matched)
                pilot.app.clear_notifications()
        for store in (pg.kv, pg.kv.ephemeral):
            assert (await store.count_expired()).count == 0
            assert await store.get("long") == b"1"
        assert (await pg.limits.count_expired()).count == 0


async def test_live_a_document_collection_is_opened_and_dropped(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.documents.create("orders")
        await pg.documents.put("orders", {"customer": {"name": "Ann"}})
        await pg.documents.create_index("orders", "customer.name")
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("7")
            await until(pilot, lambda: "pgops.doc_orders" in screen(pilot))
            await pilot.press("enter")
            await until(pilot, lambda: "customer.name" in screen(pilot) and "CREATE INDEX" in screen(pilot))
            await pilot.press("D")
            await until(pilot, lambda: "collection orders with its documents" in screen(pilot))
            await do(pilot, "enter", "1")
            await until(pilot, lambda: "No index beside the primary key." in screen(pilot))
            assert await pg.documents.list_indexes("orders") == ()
            pilot.app.clear_notifications()
            await do(pilot, "D", "1")
            await until(pilot, lambda: "✕ there is no collection 'orders'" in screen(pilot))
            await pilot.press("escape")
            await until(pilot, lambda: "No collection yet." in screen(pilot))
        with pytest.raises(NotFoundError):
            await pg.documents.describe("orders")


@pytest.mark.vectors
async def test_live_a_vector_collection_is_dropped(dsn: str) -> None:
    async with AsyncPgops.open(dsn) as pg:
        await pg.vectors.create("docs", 3)
        await pg.vectors.add_many("docs", [VectorRow(f"row {n}", (1.0, n, 2.0)) for n in range(60)])
        await pg.vectors.build_index("docs", lists=1)
        async with live(dsn).run_test(size=USUAL, notifications=True) as pilot:
            await pilot.press("3")
            await until(pilot, lambda: "docs" in screen(pilot))
            await do(pilot, "D", "60")
            await until(pilot, lambda: "No vector index yet." in screen(pilot))
        with pytest.raises(NotFoundError):
            await pg.vectors.get("docs")

"""Key stories of pub/sub in room 5: who listens to which channel, and the probe."""

from dataclasses import replace

import psycopg
import pytest
from dashboard_story import LARGE, SMALL, USUAL, Story, dashboard, foot_fits, screen, until
from snapshots_literal import BUSY, EMPTY, NO_SCHEMA, UNPROBED, LiteralSource
from test_tui_palette import ROOMS, choose

from pgops.config import Target
from pgops.errors import UnreachableError
from pgops.ops.observe.snapshot import PubsubPart
from pgops.services.models import ChannelListener, QueueHolder
from pgops.tui.app import PgopsApp
from pgops.tui.keymap import KEYS
from pgops.tui.live import LiveSource
from pgops.tui.palette import Palette
from pgops.tui.screens.base import Room
from pgops.tui.screens.channels import ChannelsRoom
from pgops.tui.screens.probe import ProbeNote

SIZES = pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="80x24"),
        pytest.param(USUAL, id="120x40", marks=pytest.mark.slow),
        pytest.param(LARGE, id="200x50", marks=pytest.mark.slow),
    ],
)


def whole(pilot: Story) -> str:
    """What stands in the note, as one line, so that words are found where they wrap."""
    box = pilot.app.screen.query_one(".note").region
    lines = [line[box.x : box.right] for line in screen(pilot).splitlines()[box.y : box.bottom]]
    return " ".join(" ".join(lines).replace("│", " ").split())


@SIZES
async def test_the_probe_opens_over_room_5_and_tells_how_fast_messages_arrive(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        await pilot.press("5", "t")
        await until(pilot, lambda: "● messages arrive" in screen(pilot))
        seen = whole(pilot)
        for words in ("after 12.4 ms", "5 of 5, p50 0.4 ms, max 1.3 ms", "0% filled", "pgops pubsub probe"):
            assert words in seen, words
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.clipboard == "pgops pubsub probe")
        await pilot.press("t")
        await until(pilot, lambda: source.probed == [None, None])
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ProbeNote))


@SIZES
async def test_the_probe_names_the_cause_and_the_remedy(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    source.probe_gives = UNPROBED
    async with dashboard(source, size) as pilot:
        await pilot.press("5", "t")
        await until(pilot, lambda: "▲ messages do not arrive" in screen(pilot))
        seen = whole(pilot)
        for words in ("▲ pooler", "keeps notifications back", "→ listen over a direct DSN", "instead of the pooler's"):
            assert words in seen, words


async def test_a_probe_that_cannot_be_made_says_so() -> None:
    source = LiteralSource(BUSY)
    source.fails = UnreachableError("connection refused", "is it up?")
    async with dashboard(source) as pilot:
        await pilot.press("5", "t")
        await until(pilot, lambda: "✕ connection refused" in screen(pilot) and "is it up?" in screen(pilot))


@SIZES
async def test_channels_tell_who_listens_with_pid_and_application(size: tuple[int, int]) -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, size) as pilot:
        await pilot.press("5", "l")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChannelsRoom) and "4420" in screen(pilot))
        seen = screen(pilot)
        for words in ("› channels", "invoices", "orders", "4715", "billing", "shop web 1", "4433", "◆ transaction",
                      "● waits", "1m 35s", "● it waits for messages"):  # fmt: skip
            assert words in seen, words
        await pilot.press("down", "down", "down")
        await until(pilot, lambda: "hears nothing: commit after LISTEN" in screen(pilot))
        await pilot.press("t")
        await until(pilot, lambda: "● messages arrive" in screen(pilot))
        assert source.probed == ["orders"]
        assert "pgops pubsub probe orders" in screen(pilot)
        await pilot.press("escape", "c")
        await until(pilot, lambda: pilot.app.clipboard == "pgops pubsub channels")
        await pilot.press("slash", *"billing", "enter")
        await until(pilot, lambda: "shop web 1" not in screen(pilot))
        await pilot.press("K")
        await until(pilot, lambda: "pgops sessions terminate 4715" in screen(pilot))
        assert [one.target for one in source.previewed] == ["4715"]
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChannelsRoom))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ChannelsRoom))


async def test_many_channels_scroll_in_a_small_terminal() -> None:
    assert isinstance(BUSY.pubsub, PubsubPart)
    many = tuple(ChannelListener(f"channel_{n:03}", 5_000 + n, f"app {n}", "app", "idle", 1.0) for n in range(200))
    full = replace(BUSY, pubsub=replace(BUSY.pubsub, listening=many, exact={"listening": False}))
    async with dashboard(LiteralSource(full), SMALL) as pilot:
        await pilot.press("5", "l")
        await until(pilot, lambda: "channel_000" in screen(pilot) and "not all are seen" in screen(pilot))
        await pilot.press("ctrl+end")
        await until(pilot, lambda: "channel_199" in screen(pilot) and "● it waits for messages" in screen(pilot))
        assert "q Quit" in screen(pilot).splitlines()[-1]
        assert foot_fits(pilot)


@SIZES
async def test_where_nobody_listens_or_nothing_can_be_seen_it_says_so(size: tuple[int, int]) -> None:
    assert isinstance(EMPTY.pubsub, PubsubPart)
    quiet = replace(EMPTY, pubsub=replace(EMPTY.pubsub, listening=()))
    for snapshot, words in ((quiet, "pgops pubsub listen orders"), (NO_SCHEMA, "→ run: pgops migrate")):
        async with dashboard(LiteralSource(snapshot), size) as pilot:
            await pilot.press("5", "l")
            await until(pilot, lambda words=words: words in screen(pilot))
            await pilot.press("t")
            await until(pilot, lambda: "● messages arrive" in screen(pilot))


@pytest.mark.parametrize("room", ROOMS)
async def test_from_every_room_both_stand_in_the_palette_once(room: str) -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press(ROOMS[room])
        await until(pilot, lambda: isinstance(pilot.app.screen, Room) and pilot.app.screen.room == room)
        await pilot.pause()
        told = [hit.help async for hit in Palette(pilot.app.screen).discover()]
    for key in ("probe", "channels"):
        tooltip = KEYS[key].tooltip
        assert len([one for one in told if one in (tooltip, f"{tooltip}  ({KEYS[key].key_display})")]) == 1, key


async def test_from_the_overview_the_palette_probes_and_opens_channels() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source, USUAL) as pilot:
        await choose(pilot, "Probe pub/sub")
        await until(pilot, lambda: "● messages arrive" in screen(pilot))
        await pilot.press("escape")
        await choose(pilot, "Channels and who")
        await until(pilot, lambda: isinstance(pilot.app.screen, ChannelsRoom))


async def test_who_holds_the_notification_queue_is_named() -> None:
    assert isinstance(BUSY.pubsub, PubsubPart)
    holder = QueueHolder(4_433, "report", "app", "shop", "idle in transaction", 95.0)
    held = replace(BUSY, pubsub=replace(BUSY.pubsub, queue_usage=0.4, holders=(holder,)))
    async with dashboard(LiteralSource(held), USUAL) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "◆ pid 4433 sits in a transaction" in screen(pilot))


async def test_terminal_sequences_in_channels_and_applications_are_only_text() -> None:
    evil = "[red]x[/red]\x1b[2J"
    assert isinstance(BUSY.pubsub, PubsubPart)
    hostile = replace(BUSY, pubsub=replace(BUSY.pubsub, listening=(ChannelListener(evil, 7, evil, evil, "idle", 1.0),)))
    async with dashboard(LiteralSource(hostile), USUAL) as pilot:
        await pilot.press("5", "l")
        await until(pilot, lambda: "[red]x[/red]␛[2J" in screen(pilot))
        await pilot.press("t")
        await until(pilot, lambda: "● messages arrive" in screen(pilot))
        assert "\x1b" not in screen(pilot)


async def test_live_channels_and_the_probe_of_a_real_database(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True, application_name="billing") as other:
        other.execute("listen orders")
        async with PgopsApp(LiveSource(Target(dsn, "test"))).run_test(size=SMALL, notifications=True) as pilot:
            await pilot.press("5", "l")
            await until(pilot, lambda: str(other.info.backend_pid) in screen(pilot) and "billing" in screen(pilot))
            await pilot.press("t")
            await until(pilot, lambda: "● messages arrive" in screen(pilot))
            assert "5 of 5, p50" in whole(pilot)
            assert f"pid {other.info.backend_pid} billing idle" in whole(pilot)

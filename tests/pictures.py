"""Pictures of every screen and note, as text: what stands on it, and a short hash of each line's colours, by theme.

`python tests/pictures.py --update` draws them anew into tests/pictures/, `python tests/pictures.py` tells what differs.
All that could move stands still: one look at a literal snapshot, no second one, no blinking cursor.
"""

import asyncio
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import blake2s
from pathlib import Path
from time import monotonic

from dashboard_story import LARGE, SMALL, USUAL, Story, until
from server_literal import suffering
from snapshots_literal import BUSY, EMPTY, NO_SCHEMA, WITH_PGMQ, LiteralSource, history
from textual.geometry import Region
from textual.strip import Strip
from textual.widgets import Input, TextArea

from pgops.ops.act.actions import Action
from pgops.ops.observe.snapshot import Snapshot
from pgops.tui.app import PgopsApp
from pgops.tui.screens.modal import Note
from pgops.tui.screens.under_way import UnderWay
from pgops.tui.themes import THEMES
from pgops.tui.works import Work

KEPT = Path(__file__).with_name("pictures")
# The themes each size is drawn in: colours do not hang on the size, and each theme more costs as much again.
SHOWN_IN = {SMALL: ("night",), USUAL: ("night", "day"), LARGE: ("night",)}
SIZES = tuple(SHOWN_IN)
SEEN = replace(suffering(WITH_PGMQ), findings=BUSY.findings)
# How one comes to each from the overview. What is a note is cut out of what stands behind it.
ROOMS = {
    "overview": "1", "queues": "2", "vectors": "3", "connections": "4", "outbox": "5", "stores": "6",
    "documents": "7", "server": "8", "outgrow": "9", "jobs": "2 down enter", "dead jobs": "2 down enter left",
    "job": "2 down enter enter", "failures": "2 f", "recurring jobs": "2 t", "subscription": "5 enter",
    "channels": "5 l", "collection": "7 enter", "audit": "u",
}  # fmt: skip
NOTES = {
    "finding": "1 i", "question": "1 P", "question that has a name typed": "3 D", "choice": "2 down R",
    "editor": "2 E", "help": "1 question_mark", "session": "4 enter", "probe": "5 t", "trail": "u enter",
    "diagram": "2 down d",
}  # fmt: skip


class Still(LiteralSource):
    """Is looked at once; the second look never ends."""

    async def snapshot(self) -> Snapshot:
        if self.snapshots:
            await asyncio.Event().wait()
        return await super().snapshot()


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands on it, and the hash of each line's colours in each theme."""

    lines: tuple[str, ...]
    colours: Mapping[str, str]

    def text(self) -> str:
        told = [f"{theme}: {hashes}" for theme, hashes in self.colours.items()]
        return "\n".join([*self.lines, *told])


async def pictures(size: tuple[int, int]) -> dict[str, Picture]:
    """Every picture in this size, by name, from one dashboard."""
    app = PgopsApp(Still(SEEN))
    for look in history(SEEN):
        early = replace(look, taken_at=look.taken_at - timedelta(seconds=1))
        app.feed.took(early)
    found: dict[str, Picture] = {}
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.source.snapshots > 0 and not app.feed.looking)  # type: ignore[attr-defined]
        for name, keys in ROOMS.items():
            await back(pilot)
            await press(pilot, keys)
            found[name] = await taken(pilot, SHOWN_IN[size])
        for name, keys in NOTES.items() if size != LARGE else ():
            await back(pilot)
            await press(pilot, keys)
            found[name] = await taken(pilot, SHOWN_IN[size])
        await back(pilot)
        app.push_screen(UnderWay([Work(Action("vacuum_table", "pgops.job_dead"), 1e12, None, "scanning heap, 43%")]))
        found["under way"] = await taken(pilot, SHOWN_IN[size])
        await back(pilot)
        for name, snapshot in (("overview, empty", EMPTY), ("overview, no schema", NO_SCHEMA)):
            app.feed.took(snapshot)
            app.spread()
            found[name] = await taken(pilot, SHOWN_IN[size])
    return found


async def back(pilot: Story) -> None:
    """To the overview, with nothing open over any room."""
    app = pilot.app
    while len(app.screen_stack) > 1:
        await app.pop_screen()
    await app.switch_mode("overview")
    app.clear_notifications()


async def press(pilot: Story, keys: str) -> None:
    for key in keys.split():
        await pilot.press(key)
        await settled(pilot)
        if len(key) == 1 and key.isdigit():
            while len(pilot.app.screen_stack) > 1:
                await pilot.app.pop_screen()
            await pilot.press("ctrl+home")


async def settled(pilot: Story) -> list[Strip]:
    """What is drawn once nothing is fetched any more and two looks are alike."""
    before: list[str] | None = None
    end = monotonic() + 30
    while monotonic() < end:
        await pilot.pause()
        busy = any(one.is_running and one.group != "observe" for one in pilot.app.workers)
        strips = pilot.app.screen._compositor.render_strips()
        now = [strip.text for strip in strips]
        if not busy and now == before:
            return strips
        before = now
    raise AssertionError("it does not come to rest")


async def taken(pilot: Story, themes: Sequence[str]) -> Picture:
    """The open screen, or the note alone, in these themes."""
    app = pilot.app
    for kind in (Input, TextArea):
        for field in app.screen.query(kind):
            field.cursor_blink = False
    colours = {}
    lines: tuple[str, ...] = ()
    for theme in themes:
        if app.theme != THEMES[theme].name:
            app.theme = THEMES[theme].name
        strips = cut(await settled(pilot), note_of(pilot))
        colours[theme] = " ".join(hashed(strip) for strip in strips)
        lines = tuple(strip.text.rstrip() for strip in strips)
    if len(themes) > 1:
        app.theme = THEMES[themes[0]].name
    return Picture(lines, colours)


def note_of(pilot: Story) -> Region | None:
    screen = pilot.app.screen
    return screen.query_one(".note").region if isinstance(screen, Note) else None


def cut(strips: list[Strip], region: Region | None) -> list[Strip]:
    if region is None:
        return strips
    return [strip.crop(region.x, region.right) for strip in strips[region.y : region.bottom]]


def hashed(strip: Strip) -> str:
    """Of the colours alone: what is written is compared as it is."""
    drawn = "".join(f"{segment.cell_length} {segment.style}\n" for segment in strip.simplify())
    return blake2s(drawn.encode(), digest_size=2).hexdigest()


# --- on disk ---------------------------------------------------------------------------------------------------


def file_of(size: tuple[int, int]) -> Path:
    return KEPT / f"{size[0]}x{size[1]}.txt"


def written(found: Mapping[str, Picture]) -> str:
    return "".join(f"=== {name}\n{picture.text()}\n" for name, picture in found.items())


def differences(size: tuple[int, int], found: Mapping[str, Picture]) -> Iterator[str]:
    """What is drawn otherwise than it is kept, line by line; colours by the number of the line."""
    kept = file_of(size).read_text(encoding="utf-8") if file_of(size).exists() else ""
    before = dict(part.split("\n", 1) for part in kept.split("=== ")[1:])
    for name in [*found, *(name for name in before if name not in found)]:
        old = before.get(name, "").rstrip("\n").split("\n")
        new = found[name].text().split("\n") if name in found else []
        if old == new:
            continue
        yield f"--- {name} at {size[0]}x{size[1]}"
        themes = tuple(f"{theme}: " for theme in SHOWN_IN[size])
        was, now = ([line for line in side if not line.startswith(themes)] for side in (old, new))
        yield from (line for line in difflib.unified_diff(was, now, "kept", "drawn", lineterm="", n=1))
        for theme in themes:
            hashes = [next((line for line in side if line.startswith(theme)), theme).split()[1:] for side in (old, new)]
            other = [at for at, pair in enumerate(zip(*hashes, strict=False), 1) if pair[0] != pair[1]]
            if other and was == now:
                yield f"other colours in {theme}lines {', '.join(map(str, other))}"


def main(update: bool) -> int:
    told = []
    for size in SIZES:
        found = asyncio.run(pictures(size))
        told += [*differences(size, found)]
        if update:
            KEPT.mkdir(exist_ok=True)
            file_of(size).write_text(written(found), encoding="utf-8")
    sys.stdout.write("\n".join(told or ["all as they are kept"]) + "\n")
    return int(bool(told) and not update)


if __name__ == "__main__":
    sys.exit(main("--update" in sys.argv[1:]))

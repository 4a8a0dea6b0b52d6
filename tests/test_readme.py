"""The README tells the truth: its Python runs, its commands exist, and no command is left out."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from textwrap import indent

import psycopg
import pytest
import typer
from test_worker import until

from pgops import Registry, RunningJob
from pgops.cli.app import tree
from pgops.database import AsyncPool
from pgops.runtime.worker import Worker
from pgops.services.queue import AsyncQueue
from pgops.tui.keymap import KEYS, written

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = getattr(typer.main.get_command(tree()), "commands", {})


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_python_block_runs_and_all_of_it_is_one_transaction(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    block, _ = blocks("python")
    assert block.count("\n") <= 11
    subprocess.run([sys.executable, "-c", block], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    with psycopg.connect(dsn) as conn:
        rows = [
            conn.execute("select xmin::text from orders").fetchone(),
            conn.execute("select xmin::text from pgops.job_available where queue = 'billing'").fetchone(),
            conn.execute("select xmin::text from pgops.event_log where topic = 'orders'").fetchone(),
        ]
    assert None not in rows
    assert len(set(rows)) == 1, "written by one transaction"


async def test_the_handler_s_block_has_its_effect_and_completes_the_job(db: AsyncPool) -> None:
    _, block = blocks("python")
    names: dict[str, Callable[[RunningJob], Awaitable[None]]] = {}
    exec("async def effect(job):\n" + indent(block, "    "), names)
    registry = Registry()
    registry.job()(names["effect"])
    await db.execute(b"create table orders (id bigint, paid boolean)")
    await db.execute(b"insert into orders values (7), (8)")
    await AsyncQueue(db).enqueue("billing", {"order": 7})
    worker = Worker(db, registry, ["billing"])
    task = asyncio.create_task(worker.run())
    await until(lambda: worker.stats.completed + worker.stats.retried)
    worker.stop()
    assert (await task).completed == 1
    assert await db.all(b"select id, paid from orders order by id") == [(7, True), (8, None)]


def test_every_command_and_group_stands_in_the_table_and_every_verb_of_it() -> None:
    table = dict(re.findall(r"^\| `pgops ([a-z]+)` \| (.*) \|$", README, re.MULTILINE))
    assert set(table) == set(COMMANDS)
    for name, command in COMMANDS.items():
        verbs = getattr(command, "commands", {})
        missing = [verb for verb in verbs if verb not in table[name] and name != "audit"]
        assert missing == [], f"pgops {name}"


def test_every_command_line_in_the_readme_is_one_of_ours() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    calls = [call for line in lines for call in re.findall(r"(?:^|/|\()pgops ([^)\"&]+)", line)]
    assert len(calls) > 3
    for call in calls:
        at = COMMANDS
        for word in shlex.split(call):
            if word.startswith("-") or not at:
                break
            assert word in at, call
            at = getattr(at[word], "commands", {})


def test_every_key_in_the_readme_does_something() -> None:
    table = README.partition("## Keys")[2].partition("## How")[0]
    told = {key for line in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`([^`]+)`", line)}
    shown = {key.key_display for key in KEYS.values()}
    shown |= {written(one) for key in KEYS.values() for one in key.key.split(",")}
    assert told - shown == set()


def test_every_yes_of_ours_beside_other_queues_names_tests_that_exist() -> None:
    part = README.partition("## Beside other queues")[2].partition("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", part, re.MULTILINE)
    ]
    head, _, *rows = lines
    assert head[2] == "pgops"
    assert {len(row) for row in lines} == {len(head)}
    ours = {row[0]: row[1] for row in rows if row[2] == "yes"}
    assert all(row[2] == "no" and row[0] == "" for row in rows if row[0] not in ours)
    assert list(ours) == [str(n) for n in range(1, len(ours) + 1)]
    assert len(ours) > 20
    behind = {n: re.findall(r"`(\w+)`", names) for n, names in re.findall(r"^(\d+)\. (.*)$", part, re.MULTILINE)}
    assert list(behind) == list(ours)
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    tests = set(re.findall(r"^(?:async )?def (test_\w+)\(", text, re.MULTILINE))
    for n, names in behind.items():
        assert names, ours[n]
        assert set(names) <= tests, ours[n]


def test_every_yes_of_ours_beside_other_dashboards_names_tests_in_the_files_they_stand_in() -> None:
    part = README.partition("## Beside other dashboards")[2].partition("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", part, re.MULTILINE)
    ]
    head, _, *rows = lines
    assert head[2] == "pgops"
    assert {len(row) for row in lines} == {len(head)}
    assert "" not in {cell for row in rows for cell in row[1:]}, "what is not known is a ?"
    ours = [row[0] for row in rows if row[2] == "yes"]
    assert [row[0] for row in rows if row[0]] == ours == [str(n) for n in range(1, len(ours) + 1)]
    assert len(rows) > len(ours) > 15, "others do better in some"
    behind = {n: names.split(", ") for n, names in re.findall(r"^(\d+)\. (.*)$", part, re.MULTILINE)}
    assert list(behind) == ours
    for name in [name for names in behind.values() for name in names]:
        file, _, function = name.strip("`").partition("::")
        text = (Path(__file__).parent / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {function}\(", text, re.MULTILINE), name


def test_its_pictures_are_there() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()


def test_every_room_has_a_picture_for_those_who_show_no_svg_and_it_is_small() -> None:
    rooms = [picture for picture in (ROOT / "screenshots").glob("*.svg") if "-80x24" not in picture.name]
    assert {picture.stem for picture in rooms} >= {"overview", "queues", "vectors", "connections", "outbox", "server"}
    for picture in rooms:
        png = picture.with_suffix(".png")
        assert png.read_bytes().startswith(b"\x89PNG"), picture.name
        assert png.stat().st_size < 500_000, png.name


def test_words_of_a_picture_stand_in_their_cells_and_bars_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "screenshots")
    from picture import words

    one = '<text class="r1" x="12.2" y="20" textLength="97.6" clip-path="url(#c)">&#160;a&#160;&lt;b&#160;█▁</text>'
    assert words(one) == (
        '<text class="r1" x="24.40" y="20.0">a</text><text class="r1" x="48.80" y="20.0">&lt;b</text>'
        '<rect class="r1" x="85.40" y="1.50" width="12.2" height="24.40" shape-rendering="crispEdges"/>'
        '<rect class="r1" x="97.60" y="22.85" width="12.2" height="3.05" shape-rendering="crispEdges"/>'
    )

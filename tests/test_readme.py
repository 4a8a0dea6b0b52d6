"""The README tells the truth: its Python runs, its commands exist, and no command is left out."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import typer

from pgops.cli.app import tree
from pgops.tui.keymap import KEYS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = getattr(typer.main.get_command(tree()), "commands", {})


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_python_block_runs_and_all_of_it_is_one_transaction(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPS_DSN", dsn)
    (block,) = blocks("python")
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
    assert told - shown == set()


def test_its_pictures_are_there() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()

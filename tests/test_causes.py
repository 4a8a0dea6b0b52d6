"""From a finding to its cause in one key: every code has a room, and the cursor stands on what is meant."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from dashboard_story import SMALL, USUAL, dashboard, screen, until
from server_literal import suffering
from snapshots_literal import BUSY, LiteralSource

from pgops.ops import judge
from pgops.ops.act.actions import Action
from pgops.ops.judge.finding_codes import CODES
from pgops.ops.observe.snapshot import Finding
from pgops.tui.app import PgopsApp
from pgops.tui.causes import CAUSES, Cause, cause_of, sought
from pgops.tui.screens.ask import Question
from pgops.tui.screens.base import Room
from pgops.tui.screens.finding import ACT_WORDS, FindingNote
from pgops.tui.widgets.ledger import Ledger


def finding(code: str, target: str | None = None, **more: object) -> Finding:
    plain = Finding(code, "warning", f"about {code}", "so much", "it matters", "do something", target=target)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_every_code_has_a_room_of_its_own() -> None:
    for code in CODES:
        assert code in CAUSES or code.partition(".")[0] in CAUSES, code
    known = {*CODES, *(code.partition(".")[0] for code in CODES)}
    assert set(CAUSES) <= known, "no room for what no finding is about"


def test_every_act_that_a_finding_names_has_words_for_its_button() -> None:
    rules = "".join(path.read_text() for path in Path(judge.__file__).parent.glob("rules_*.py"))
    named = set(re.findall(r'action="(\w+)"', rules))
    assert len(named) > 5
    assert named <= set(ACT_WORDS)


@pytest.mark.parametrize(
    ("one", "cause", "to"),
    [
        (finding("queue.stuck", "email"), Cause("queues", "queues"), "email"),
        (finding("cache.expired", ""), Cause("stores", "namespaces", finds=False), None),
        (finding("outgrow.jobs_per_s"), Cause("outgrow", "outgrow"), "jobs_per_s"),
        (finding("vacuum.due", "pgops.job_running"), Cause("server", "tables"), "pgops.job_running"),
        (finding("vacuum.held", "4711"), Cause("server", "holders"), "4711"),
        (finding("locks.blocked", None), Cause("connections", "blocking"), None),
        (finding("new.code", "x"), Cause("overview", finds=False), None),
    ],
)
def test_what_a_finding_is_about(one: Finding, cause: Cause, to: str | None) -> None:
    assert (cause_of(one.code), sought(one)) == (cause, to)


FOUND = (
    ("queue.dead", "webhooks", "webhooks"),
    ("worker.gone", "7", "7"),
    ("locks.blocked", "4711", "4711"),
    ("sessions.idle_in_transaction", "4713", "4713"),
    ("outbox.parked", "warehouse", "warehouse"),
    ("vector.recall", "products", "pgops.vec_products\nvec_products_embedding_idx"),
    ("vector.invalid", "vec_products_embedding_idx", "pgops.vec_products\nvec_products_embedding_idx"),
    ("vacuum.due", "public.orders", "public.orders"),
    ("vacuum.held", "4711", "backend/billing/4711"),
    ("slots.inactive", "debezium", "replication slot/debezium/"),
    ("indexes.unused", "public.orders_note", "unused/public.orders_note"),
    ("cache.emptied", None, "pages"),
)


@pytest.mark.parametrize("size", [SMALL, pytest.param(USUAL, marks=pytest.mark.slow)])
async def test_enter_opens_the_room_with_the_cursor_on_what_is_meant(size: tuple[int, int]) -> None:
    findings = tuple(finding(code, target) for code, target, _ in FOUND)
    async with dashboard(LiteralSource(replace(suffering(BUSY), findings=findings)), size) as pilot:
        app = pilot.app
        assert isinstance(app, PgopsApp)
        for code, _, key in FOUND:
            await pilot.press("1")
            await until(pilot, lambda: isinstance(app.screen, Room) and app.screen.room == "overview")
            found = app.screen.query_one("#findings", Ledger)
            found.go_to(f"about {code}: so much")
            await until(pilot, lambda found=found, code=code: code in str(found.current))
            await pilot.press("enter")
            cause = cause_of(code)
            await until(pilot, lambda room=cause.room: isinstance(app.screen, Room) and app.screen.room == room)
            table = app.screen.query_one(f"#{cause.ledger}", Ledger)
            await until(pilot, lambda table=table: app.focused is table)
            await until(pilot, lambda table=table, key=key: table.current == key)
        await pilot.press("2", "slash", *"email", "enter", "1")
        await until(pilot, lambda: isinstance(app.screen, Room) and app.screen.room == "overview")
        app.look_into(findings[0])
        await until(pilot, lambda: isinstance(app.screen, Room) and app.screen.room == "queues")
        queues = app.screen.query_one("#queues", Ledger)
        await until(pilot, lambda: queues.current == "webhooks")


async def test_from_inside_a_queue_the_room_itself_is_opened_again() -> None:
    async with dashboard(LiteralSource(BUSY)) as pilot:
        await pilot.press("2", "enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        await pilot.press("1", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Room) and pilot.app.screen.room == "queues")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 1)
        assert pilot.app.screen.query_one("#queues", Ledger).current == "email"


async def test_one_key_says_why_and_one_does_what_cures_it() -> None:
    source = LiteralSource(replace(BUSY, findings=(*BUSY.findings, finding("wal.archive"))))
    async with dashboard(source) as pilot:
        await pilot.press("i")
        await until(pilot, lambda: isinstance(pilot.app.screen, FindingNote))
        assert "Their worker is gone" in screen(pilot)
        await pilot.press("escape", "M")
        await until(pilot, lambda: isinstance(pilot.app.screen, Question))
        assert source.previewed == [Action("requeue_stuck", "email")]
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, Room))
        pilot.app.screen.query_one("#findings", Ledger).go_to("about wal.archive: so much")
        await pilot.press("M")
        await until(pilot, lambda: "No act cures it: do something" in screen(pilot))
        assert len(source.previewed) == 1

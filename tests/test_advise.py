"""`pgops advise`: what a Markdown parser makes of it, whatever stands in the data."""

import re
from dataclasses import fields, replace

import psycopg
import pytest
from cli_call import Run, caller
from dashboard_story import dashboard, screen, until
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from server_literal import suffering
from snapshots_literal import BUSY, CALM, FINDINGS, NO_SCHEMA, WITH_PGMQ, LiteralSource, lock_backend, queue

from pgops.ops.observe.snapshot import Cost, Snapshot, Unavailable
from pgops.ops.observe.snapshot_jobs import Worker
from pgops.ops.observe.snapshot_outgrow import OutgrowLine, OutgrowPart
from pgops.ops.tell.advice import advise
from pgops.ops.tell.markdown import block, code, plain, prose, table
from pgops.tui.palette import ADVICE

LEDGER = OutgrowPart(
    (OutgrowLine("jobs_per_s", "jobs a second", "1/s", 5_000.0, 40.0, 0.008, 2, None, None, None, None, "a broker"),
     OutgrowLine("vectors", "rows", "rows", 1e7, None, None, 0, None, None, None, None, "Citus")),
    {}, 50,
)  # fmt: skip
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HARMLESS = {"text", "code_inline"}
EVIL = (
    "[click](javascript:alert(1))", "![x](http://evil/x.png)", "<img src=x onerror=alert(1)>", "<!-- hidden",
    "**bold**", "`tick", "``", "a | b", "\n# heading", "\n\n- item", "\n```\nfence", "_em_ __strong__", "~~gone~~",
    "&lt;b&gt;", "@everyone see #12", "http://evil.example/?a=1", "www.evil.example", "\x1b[2J\x1b]0;pwned\x07",
    "\u202eevil\u200b", "\\", "back\\`slash", "a`b``c", "1. one", "> quote", "---", "| --- | --- |", "$x^2$",
    ":smile:", "x" * 5_000,
)  # fmt: skip


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return caller(monkeypatch, capsys)


def inline(markdown: str) -> list[Token]:
    return [child for token in PARSER.parse(markdown) for child in token.children or ()]


def shape(markdown: str) -> list[str]:
    """The blocks of a text, without what stands in them."""
    return [f"{token.type} {token.tag}" for token in PARSER.parse(markdown)]


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_data_is_shown_and_is_no_markup(evil: str) -> None:
    for markdown in (f"- evidence: {prose(evil)}", f"### 1. critical: {prose(evil)}", f"- {code(evil)}"):
        assert {token.type for token in inline(markdown)} <= HARMLESS
        assert shape(markdown) == shape(markdown[: markdown.index(" ")] + " word")
        assert plain(evil) in "".join(token.content for token in inline(markdown))
    (fence,) = PARSER.parse(block(evil, "sh"))
    assert (fence.type, fence.content, fence.info) == ("fence", f"{plain(evil)}\n", "sh")
    grid = table(("a", "b"), [(evil, "last")])
    assert shape(grid) == shape(table(("a", "b"), [("word", "last")]))
    cells = [token.content for token in PARSER.parse(grid) if token.type == "inline"]
    assert cells[-1] == "last"


@given(st.text(alphabet="`*_[]()<>|~&@#\\ \n:/!-a1.", max_size=30))
@settings(max_examples=400, deadline=None)
def test_no_text_at_all_is_markup(said: str) -> None:
    markdown = f"- evidence: {prose(said)}"
    assert {token.type for token in inline(markdown)} <= HARMLESS
    assert "".join(token.content for token in inline(markdown)).rstrip() == f"evidence: {plain(said)}".rstrip()
    for token in inline(markdown):
        assert token.type == "code_inline" or not re.search(r"@|://|#|www\.", token.content)


def test_everything_hostile_at_once_changes_no_heading_and_steers_no_terminal() -> None:
    quiet = replace(
        CALM,
        queues=(queue("a"),),
        findings=(replace(FINDINGS[0], command="a"),),
        workers=(Worker(1, "a", 1, ("a",), 1, 1, 1.0, True, False),),
        locks=Unavailable("a", "a"),
        cost=Cost(1.0, 1, {"a": 1.0}),
    )
    for evil in EVIL:
        hostile = replace(
            quiet,
            target=evil,
            queues=(queue(evil),),
            findings=(replace(FINDINGS[0], title=evil, evidence=evil, why=evil, remedy=evil, command=evil, code=evil),),
            workers=(Worker(1, evil, 1, (evil, evil), 1, 1, 1.0, True, False),),
            locks=Unavailable(evil, evil),
            cost=Cost(1.0, 1, {evil: 1.0}),
        )
        text = advise(hostile)
        assert shape(text) == shape(advise(quiet)), evil
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e]", text)


def test_it_tells_what_a_ticket_needs() -> None:
    text = advise(suffering(replace(WITH_PGMQ, outgrow=LEDGER)))
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert headings == [
        "# pgops: 2 findings for a human", "## Findings", "### 1. critical: 3 jobs of email are stuck",
        "### 2. warning: 212,400 expired cache entries", "### 3. info: docs has outgrown its lists", "## State",
    ]  # fmt: skip
    for one in FINDINGS:
        for said in (one.title, one.evidence, one.why, one.remedy, f"```sh\n{one.command}\n```", f"`{one.code}`"):
            assert said in text
    assert "- target: `postgresql://app:***@db.internal:5432/shop`" in text
    assert "| email | 12,412 |" in text and "| `wms_orders` | 512 |" in text
    assert "| `jobs_per_s` | " in text and "2 of 7 days seen" in text
    assert "slot old inactive, keeps 8.8 GB" in text and "| `public.orders_note` | public.orders | unused |" in text
    assert text.rstrip().endswith("most of it: queues 1.9 ms, outbox 1.2 ms, cache 0.9 ms.")
    many = advise(replace(BUSY, queues=tuple(queue(f"q{n}") for n in range(50))))
    assert "And 30 more." in many and len(many) < 12_000


def test_what_could_not_be_seen_is_told_by_its_cause_with_the_remedy() -> None:
    text = advise(suffering(NO_SCHEMA))
    (part,) = re.findall(r"## What could not be seen\n\n(.*?)\n\n", text, re.DOTALL)
    ours, vectors = part.splitlines()
    assert ours.endswith("the pgops schema is missing here; remedy: `run: pgops migrate`")
    assert "queues, `stuck_jobs`, workers, outbox" in ours
    assert vectors.startswith("- vectors: the extension vector is not installed; remedy: ")
    for field in fields(Snapshot):
        if field.name not in ("taken_at", "target", "findings", "cost"):
            said = advise(replace(BUSY, **{field.name: Unavailable("it is hidden", "grant it")}))
            assert "it is hidden; remedy: `grant it`" in said, field.name
    assert "waiting, the longest for" in advise(replace(BUSY, locks=(lock_backend(1, 2),)))


def test_it_is_printed_also_where_something_is_wrong(command: Run, dsn: str, empty_dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("insert into pgops.cache_marker default values")
        conn.execute("insert into pgops.queues (queue) values ('[x](http://evil)')")
    done = command("advise", "--dsn", dsn)
    assert done.code == 0
    assert "### 1. warning: a crash emptied the cache" in done.out
    assert "| `[x](http://evil`) |" in done.out
    document = command("advise", "--json", "--dsn", dsn).document
    assert document["findings"][0]["code"] == "cache.emptied"
    assert document["markdown"].startswith("# pgops: ")
    without = command("advise", "--json", "--dsn", empty_dsn).document
    assert without["unseen"]["queues"]["unavailable"]["remedy"] == "run: pgops migrate"
    assert command("advise", "--dsn", "host=127.0.0.1 port=1 password=hunter2").code == 3


async def test_the_palette_copies_it() -> None:
    source = LiteralSource(BUSY)
    async with dashboard(source) as pilot:
        await pilot.press("colon")
        await pilot.press(*"advise")
        await until(pilot, lambda: ADVICE in screen(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "Copied" in screen(pilot))
        assert pilot.app.clipboard == advise(BUSY)

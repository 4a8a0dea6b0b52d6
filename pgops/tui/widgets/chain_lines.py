"""A running job, its session and whoever that waits for, as the rows of a table. Pure."""

from collections.abc import Iterator

from pgops.ops.observe.chain_words import xmin_words
from pgops.ops.observe.snapshot_jobs import JobChain
from pgops.services.models import JobRow
from pgops.tui import formats
from pgops.tui.theme import Tone
from pgops.tui.widgets.ink import ink, number
from pgops.tui.widgets.ledger import Column, Line

CHAIN = (
    Column("who", "who", 24, ranked=True),
    Column("doing", "doing", 26),
    Column("age", "for", 7, right=True),
    Column("query", "statement", 0),
)
JOB = "job"


def chain_lines(job: JobRow, chain: JobChain, age_s: float | None) -> Iterator[Line]:
    """The job, then its session, then its blockers, each keyed by its pid."""
    place = f"{formats.clean(chain.host, 30)}:{chain.pid}"
    living: tuple[str, Tone] = ("● its worker lives", "good") if chain.alive else ("✕ its worker is gone", "bad")
    yield _line(0, JOB, f"{formats.clean(job.kind, 20)} {job.id}", living, age_s, f"on {place}  {chain.note}")
    if chain.backend is None:
        return
    one = chain.backend
    vacuum = xmin_words(one)
    waits = f"◆ waits: {one.waits_for}" if one.waits_for else one.state or "hidden from this role"
    doing: tuple[str, Tone] = (waits, "bad" if one.waits_for else "plain")
    words = " ".join(filter(None, (f"{vacuum} ·" if vacuum else "", one.query)))
    yield _line(1, str(one.pid), f"{one.pid} its session", doing, one.waited_s or one.state_s, words)
    for depth, link in enumerate(one.chain, 2):
        tone: Tone = "bad" if not link.blocked_by else "plain"
        waits = f"◆ waits: {link.waits_for}" if link.blocked_by else f"■ {link.state or 'at work'}"
        who = f"{link.pid or 'prepared'} {formats.clean(link.application or link.user or '', 20)}"
        age = link.waited_s if link.blocked_by else link.transaction_s
        yield _line(depth, str(link.pid), who, (waits, tone), age, link.query or "")


def _line(depth: int, key: str, who: str, doing: tuple[str, Tone], age_s: float | None, query: str) -> Line:
    indent = "  " * min(depth - 1, 4) + "└ " if depth else ""
    said = formats.clean(" ".join(query.split()), 300)
    cells = (
        ink((indent, "quiet"), who), ink((formats.clean(doing[0], 80), doing[1])),
        number(formats.duration(age_s)), ink((said, "quiet")),
    )  # fmt: skip
    return Line(key, cells, (depth, doing[0], age_s or 0.0, said), key)

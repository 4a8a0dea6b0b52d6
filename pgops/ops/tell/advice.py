"""A Snapshot as Markdown for a ticket: what needs a human and what to do, then how everything stands.

Floor 3, pure. Whoever reads it has no access: each finding has its evidence, why it matters, the remedy and the
command; what could not be seen is said with what would show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from pgops.ops.observe.pgmq import ABSENT
from pgops.ops.observe.snapshot import Finding, Snapshot, Unavailable
from pgops.ops.tell import advice_tables
from pgops.ops.tell.markdown import block, code, prose
from pgops.ops.wording import duration, many, size
from pgops.version import __version__


def advise(snapshot: Snapshot) -> str:
    """The whole text."""
    gone = unseen(snapshot)
    parts = [_head(snapshot), _findings(snapshot.findings), *advice_tables.state(snapshot)]
    if gone:
        parts.append("## What could not be seen\n\n" + "\n".join(_gone(gone)))
    parts.append(_cost(snapshot))
    return "\n\n".join(parts) + "\n"


def unseen(snapshot: Snapshot) -> dict[str, Unavailable]:
    """The parts that could not be had; pgmq where there is none is not missed."""
    parts = {field.name: getattr(snapshot, field.name) for field in fields(snapshot)}
    return {name: part for name, part in parts.items() if isinstance(part, Unavailable) and part != ABSENT}


def _head(snapshot: Snapshot) -> str:
    urgent = [one for one in snapshot.findings if one.severity != "info"]
    server = snapshot.server
    lines = [f"# pgops: {many(len(urgent), 'finding') if urgent else 'nothing'} for a human", ""]
    lines.append(f"- target: {code(snapshot.target)}")
    lines.append(f"- observed: {snapshot.taken_at:%Y-%m-%d %H:%M:%S} UTC, by pgops {__version__}")
    if not isinstance(server, Unavailable):
        said = f"PostgreSQL {server.version}, database {server.database}"
        said += f" of {size(server.database_bytes)}" if server.database_bytes is not None else ""
        said += f", up {duration(server.uptime_s)}" if server.uptime_s is not None else ""
        said += ", a standby" if server.in_recovery else ""
        lines.append(f"- server: {prose(said)}")
    return "\n".join(lines)


def _findings(findings: Sequence[Finding]) -> str:
    told = [_finding(number, one) for number, one in enumerate(findings, 1)]
    return "\n\n".join(["## Findings", *told]) if told else "## Findings\n\nNone."


def _finding(number: int, one: Finding) -> str:
    said = f"### {number}. {one.severity}: {prose(one.title)}\n\n- finding: {code(one.code)}"
    for name, words in (("evidence", one.evidence), ("why", one.why), ("remedy", one.remedy)):
        said += f"\n- {name}: {prose(words)}" if words else ""
    return f"{said}\n\n{block(one.command, 'sh')}" if one.command else said


def _gone(parts: Mapping[str, Unavailable]) -> Iterator[str]:
    """A line a cause."""
    for cause in dict.fromkeys(parts.values()):
        names = ", ".join(name for name, part in parts.items() if part == cause)
        remedy = f"; remedy: {code(cause.remedy)}" if cause.remedy else ""
        yield f"- {prose(f'{names}: {cause.reason}')}{remedy}"


def _cost(snapshot: Snapshot) -> str:
    cost = snapshot.cost
    dearest = sorted(cost.parts_ms.items(), key=lambda part: -part[1])[:3]
    most = ", ".join(f"{name} {spent_ms:.1f} ms" for name, spent_ms in dearest)
    said = f"Observed in {cost.duration_ms:.1f} ms with {many(cost.statements, 'statement')}"
    return prose(f"{said}; most of it: {most}." if most else f"{said}.")

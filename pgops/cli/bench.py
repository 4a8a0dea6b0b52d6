"""`pgops bench`: what pgops can do on this machine, measured in scratch databases that are gone afterwards."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pgops.cli import output
from pgops.cli.acts import Yes, ask
from pgops.cli.command import command
from pgops.cli.context import Cli, at_terminal
from pgops.config import Target
from pgops.errors import RefusedError

if TYPE_CHECKING:
    from pgops.bench import Report

BAR = 20


def register(app: typer.Typer) -> None:
    command(app, "bench", example="pgops bench queue --json")(bench)


def bench(
    cli: Cli,
    name: Annotated[str | None, typer.Argument(help="Which scenario; leave it out for the list.")] = None,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="How many jobs, events, keys or rows.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=0, help="How many go together; 0 is all.")] = None,
    payload_bytes: Annotated[int | None, typer.Option("--payload-bytes", min=0, help="How large each is.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Of the worker; of limit, how many processes.")
    ] = None,
    runs: Annotated[int | None, typer.Option("--runs", min=1, help="How often; the figures are medians.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.01, help="How long what is repeated goes on.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Measure: queue, outbox, cache, kv, limit, vector or snapshot. Each figure is the median of some runs.

    It uses scratch databases of its own on the embedded server. Any other server needs --dsn and --yes.
    """
    from pgops.bench import SCENARIOS, find, run_bench

    if name is None:
        listed = [{"scenario": each.name, "what": each.what, "params": each.defaults} for each in SCENARIOS]
        cli.items(listed, ["scenario", "what it measures"], [[each.name, each.what] for each in SCENARIOS])
        return
    scenario = find(name)
    usual = scenario.defaults
    params = replace(
        usual,
        jobs=usual.jobs if jobs is None else jobs,
        batch=usual.batch if batch is None else batch,
        payload_bytes=usual.payload_bytes if payload_bytes is None else payload_bytes,
        concurrency=usual.concurrency if concurrency is None else concurrency,
        runs=usual.runs if runs is None else runs,
        seconds=usual.seconds if seconds is None else seconds,
    )
    if cli.read_only:
        raise RefusedError("the bench writes, and this session is read-only", "leave out --read-only")
    if cli.target.source == "--dsn":
        ask(f"measure in scratch databases on the server of {cli.target.display}", yes=yes)
    else:
        cli.turn_to(Target(None, "embedded"))
    try:
        report = run_bench(scenario, params, cli.target, _bar if at_terminal(sys.stderr) else _quiet)
    finally:
        if at_terminal(sys.stderr):
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
    show(cli, report)


def show(cli: Cli, report: "Report") -> None:
    """The report as a document, or as a table with where it was measured under it."""
    if cli.json:
        cli.document(report.document())
        return
    rows = [[one.name, one.median, one.low, one.high] for one in report.figures]
    cli.items(report.figures, [report.scenario, "median", "lowest", "highest"], rows)
    where, with_ = report.environment, report.params
    output.talk(
        f"{with_.jobs:,} jobs, batch {with_.batch or 'all'}, {with_.payload_bytes} bytes each, {with_.runs} runs; "
        f"PostgreSQL {where.versions['postgresql']}, fsync {where.settings['fsync']}, "
        f"synchronous_commit {where.settings['synchronous_commit']}, {where.cpus} CPUs ({where.machine})"
    )


def _bar(share: float, what: str) -> None:
    full = round(share * BAR)
    sys.stderr.write(f"\r\x1b[K[{'█' * full}{'·' * (BAR - full)}] {output.harmless(what)}")
    sys.stderr.flush()


def _quiet(share: float, what: str) -> None:
    """Nobody watches."""

"""The command line: `pgops …`. stdout is data, stderr is talk, the exit code is one of `errors.ExitCode`.

    app.py        the tree of commands; run(argv) -> exit code
    endings.py    how every error becomes one line and an exit code
    context.py    what a command is given: the target, and one answer as table or as JSON
    command.py    the decorator that makes a function a command, with --dsn, --json and an example
    output.py     values as JSON documents; talk; no terminal escapes
    tables.py     values as cells and tables
    report.py     a snapshot as a person reads it; report_server.py: what of it is PostgreSQL's own
    acts.py       preview, confirm, run: the one way in which a command changes data in bulk
    guard.py      a guarded profile: read-only, unless --unlock says why not
    job_match.py  which jobs a command is about; jobs.py: those of a queue, page by page
    lean.py       commands whose options cost nothing where they are not given
    inputs.py     payloads from arguments and from stdin
    running.py    the relay, and what runs until it is told to stop; worker.py: the worker, also in several processes
    schema.py status.py server.py queue.py pgmq.py cache.py limit.py kv.py doc.py vector.py outbox.py pubsub.py
                  audit.py sessions.py table.py index.py check.py demo.py bench.py: one group each

The rule: a command parses, calls a service or an act, and prints. It holds no SQL and no driver, and imports what
is heavy only when it runs, so that help is instant. The dashboard is imported only by the function that opens it.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper


def main() -> None:
    """The entry point of the `pgops` program.

    Until a command's event loop has taken over, ctrl-c ends the process at once: there is nothing to tidy up yet, and
    an exception in the middle of an import would only make noise.
    """
    signal.signal(signal.SIGINT, _leave)
    _prepare_streams()
    from pgops.cli.app import run

    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if any(thread.name.startswith("pgops-job") for thread in threading.enumerate()):
        _leave_threads(code)
    sys.exit(code)


def _leave_threads(code: int) -> None:
    """A blocking handler had its time, and its job is back in the queue; Python itself would wait for its thread."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _leave(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _prepare_streams() -> None:
    """Have all three, also where the process was started without one, and never fail for a character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

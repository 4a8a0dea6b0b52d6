"""Break one invariant at a time and see the suite go red for each: a test that cannot fail proves nothing.

    python .ci/break.py

Works on a copy of the tree; needs the `dev` extra. Exit 1 if a break goes unnoticed, or if the tests fail unbroken.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Break:
    """One invariant: where it stands, the text that holds it, what it is broken to, and the tests that must notice."""

    invariant: str
    path: str
    holds: str
    broken: str
    tests: str


COMPLETES = "  returning *\n), counted as (\n  insert into pgops.queue_delta (queue, running, completed)"
BREAKS = [
    Break(
        "SKIP LOCKED: a claim waits for nobody",
        "pgops/services/leases.sql",
        "limit coalesce((select room from queue), 0) for update skip locked",
        "limit coalesce((select room from queue), 0) for update",
        "tests/test_queue.py",
    ),
    Break(
        "token: only the living lease completes",
        "pgops/services/leases.sql",
        "and token = %(token)s\n" + COMPLETES,
        "and %(token)s::bigint is not null\n" + COMPLETES,
        "tests/test_queue.py",
    ),
    Break(
        "pgmq: a reader whose time ran out ends nothing",
        "pgops/services/pgmq.sql",
        "where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning msg_id\n",
        "where msg_id = %(msg_id)s and %(read_ct)s::integer is not null returning msg_id\n",
        "tests/test_pgmq.py",
    ),
    Break(
        "cursor: what committed late is read later",
        "pgops/services/events.sql",
        "and case when true then e.xid = any(a.ended) end",
        "and false and e.xid = any(a.ended)",
        "tests/test_events.py",
    ),
    Break(
        "sweeper: what lies below the floor is found",
        "pgops/runtime/feed.py",
        "        if not room:\n            return 0\n        self._owed.discard(queue)",
        "        if room:\n            return 0\n        self._owed.discard(queue)",
        "tests/test_worker.py",
    ),
    Break(
        "redaction: a DSN is never shown with its secret",
        "pgops/config.py",
        "return redact(self.dsn) or",
        "return self.dsn or",
        "tests/test_database.py",
    ),
    Break(
        "cron: whoever has moved an entry on has taken its ticks",
        "schema/0002_queue.sql",
        "where c.name = of_name and c.next_at = due and not c.paused",
        "where c.name = of_name and not c.paused",
        "tests/test_cron.py",
    ),
    Break(
        "cron: in the hour that comes twice a timetable never goes back",
        "pgops/services/cron_rules.py",
        "if at > last:",
        "if True:",
        "tests/test_cron_rules.py",
    ),
]


def run(tree: Path, tests: list[str]) -> tuple[bool, str]:
    """Whether the tests pass, and what they printed."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        *tests,
    ]
    env = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"the tests could not run:\n{done.stdout}{done.stderr}")
    return done.returncode == 0, done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pgops-break-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".venv", ".git", ".*cache", "__pycache__"))
        passed, said = run(tree, sorted({each.tests for each in BREAKS}))
        if not passed:
            sys.exit(f"the tests fail unbroken:\n{said}")
        unnoticed = 0
        for each in BREAKS:
            path = tree / each.path
            text = path.read_text(encoding="utf-8")
            if each.holds not in text:
                sys.exit(f"{each.path} does not hold the text of: {each.invariant}")
            path.write_text(text.replace(each.holds, each.broken), encoding="utf-8")
            red = not run(tree, [each.tests])[0]
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{'red, as it must be' if red else 'NOT NOTICED'}: {each.invariant}\n")
            unnoticed += not red
    sys.exit(1 if unnoticed else 0)


if __name__ == "__main__":
    main()

"""Break one invariant at a time and see its test go red: a test that cannot fail proves nothing.

    python .ci/break.py

Works on copies of the tree, some at a time; needs the `dev` extra. Exit 1 if a break goes unnoticed, or if the tests
fail unbroken.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_A_TIME = 3


@dataclass(frozen=True)
class Break:
    """One invariant: where it stands, the text that holds it, what it is broken to, and the test that must notice."""

    invariant: str
    path: str
    holds: str
    broken: str
    test: str


COMPLETES = "  returning *\n), counted as (\n  insert into pgops.queue_delta (queue, running, completed)"
BREAKS = [
    Break(
        "SKIP LOCKED: a claim waits for nobody",
        "pgops/services/leases.sql",
        "limit coalesce((select room from queue), 0) for update skip locked",
        "limit coalesce((select room from queue), 0) for update",
        "tests/test_queue.py::test_a_claim_steps_over_what_another_transaction_holds",
    ),
    Break(
        "token: only the living lease completes",
        "pgops/services/leases.sql",
        "and token = %(token)s\n" + COMPLETES,
        "and %(token)s::bigint is not null\n" + COMPLETES,
        "tests/test_queue.py::test_only_the_living_token_completes",
    ),
    Break(
        "pgmq: a reader whose time ran out ends nothing",
        "pgops/services/pgmq.sql",
        "where msg_id = %(msg_id)s and read_ct = %(read_ct)s returning msg_id\n",
        "where msg_id = %(msg_id)s and %(read_ct)s::integer is not null returning msg_id\n",
        "tests/test_pgmq.py::test_a_reader_whose_time_ran_out_changes_nothing_and_is_told",
    ),
    Break(
        "cursor: what committed late is read later",
        "pgops/services/event_cursors.sql",
        "and case when true then e.xid = any(a.ended) end",
        "and false and e.xid = any(a.ended)",
        "tests/test_events.py::test_an_event_that_commits_after_a_later_one_was_read_is_not_lost",
    ),
    Break(
        "replay: what is under way cannot move the cursor on",
        "pgops/services/events.sql",
        "\n    owner = null, token = null, lease_until = null\nfrom start",
        "\n    advanced_at = statement_timestamp()\nfrom start",
        "tests/test_event_log.py::test_a_replay_takes_the_leases_so_that_nothing_under_way_moves_the_cursor_on",
    ),
    Break(
        "sweeper: what lies below the floor is found",
        "pgops/runtime/feed.py",
        "        if not room:\n            return 0\n        self._owed.discard(queue)",
        "        if room:\n            return 0\n        self._owed.discard(queue)",
        "tests/test_worker.py::test_jobs_committed_late_below_the_floor_are_found_by_the_sweeper",
    ),
    Break(
        "redaction: a DSN is never shown with its secret",
        "pgops/config.py",
        "return redact(self.dsn) or",
        "return self.dsn or",
        "tests/test_database.py::test_the_target_is_found_in_order_and_never_shows_its_secret",
    ),
    Break(
        "cron: whoever has moved an entry on has taken its ticks",
        "schema/0002_queue.sql",
        "where c.name = of_name and c.next_at = due and not c.paused",
        "where c.name = of_name and not c.paused",
        "tests/test_cron.py::test_a_hundred_entries_and_thirty_lookers_each_tick_once",
    ),
    Break(
        "cron: in the hour that comes twice a timetable never goes back",
        "pgops/services/cron_rules.py",
        "if at > last:",
        "if True:",
        "tests/test_cron_rules.py::test_asked_in_the_hour_that_comes_again_it_never_goes_back",
    ),
]


def run(tree: Path, *tests: str) -> tuple[bool, str]:
    """Whether the tests pass, and what they printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *tests]
    env = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"the tests could not run:\n{done.stdout}{done.stderr}")
    return done.returncode == 0, done.stdout


def copied(folder: Path, name: str) -> Path:
    left_out = shutil.ignore_patterns(".venv", ".git", ".*cache", "__pycache__")
    return Path(shutil.copytree(ROOT, folder / name, ignore=left_out))


def noticed(each: Break, tree: Path) -> bool:
    """Whether its test goes red in this tree once it is broken there."""
    path = tree / each.path
    text = path.read_text(encoding="utf-8")
    if each.holds not in text:
        sys.exit(f"{each.path} does not hold the text of: {each.invariant}")
    path.write_text(text.replace(each.holds, each.broken), encoding="utf-8")
    return not run(tree, each.test)[0]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pgops-break-") as name:
        folder = Path(name)
        passed, said = run(copied(folder, "whole"), *(each.test for each in BREAKS))
        if not passed:
            sys.exit(f"the tests fail unbroken:\n{said}")
        trees = [copied(folder, str(number)) for number in range(len(BREAKS))]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            found = list(pool.map(noticed, BREAKS, trees))
        for each, red in zip(BREAKS, found, strict=True):
            sys.stdout.write(f"{'red, as it must be' if red else 'NOT NOTICED'}: {each.invariant}\n")
    sys.exit(0 if all(found) else 1)


if __name__ == "__main__":
    main()

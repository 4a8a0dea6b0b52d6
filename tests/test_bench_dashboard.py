"""tests/bench/dashboard.py, once on little work: the dashboard in a real terminal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "bench" / "dashboard.py"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_keys_are_answered_in_a_real_terminal() -> None:
    line = [sys.executable, str(SCRIPT), "keys", "--jobs", "2000", "--presses", "20", "--seed", "3"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr[-4_000:]
    report = json.loads(done.stdout)
    assert set(report["kinds"]) == {"room", "help", "cursor"}
    for of in ("", "draining_"):
        assert 0 < report[f"{of}key_to_paint_p50_ms"] <= report[f"{of}key_to_paint_p95_ms"]

"""A short run of the event log's stress harness; `python tests/stress/events.py` is the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent / "stress" / "events.py"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_event_of_a_short_stress_is_accounted_for() -> None:
    command = [sys.executable, str(HARNESS), "--seconds", "8", "--every", "0.7", "--seed", "12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=230)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["violations"] == {}
    assert done.returncode == 0
    assert sum(report["incidents"].values()) >= 8
    assert report["effects"] == report["told"] > 50
    assert report["deliveries"] > report["told"], "or nothing was hit"
    assert report["relays"] >= 3

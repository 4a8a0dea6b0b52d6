"""A short run of the stress harness; `python tests/stress/run.py` is the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parent / "stress" / "run.py"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_every_job_of_a_short_stress_is_accounted_for() -> None:
    command = [sys.executable, str(HARNESS), "--seconds", "15", "--every", "1", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=230)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["violations"] == {}
    assert done.returncode == 0
    assert sum(report["incidents"].values()) >= 8
    assert report["looks"] >= 8
    assert report["completed"] + report["dead"] == report["sent"] > 100
    assert report["runs"] > report["sent"], "or nothing was hit"
    assert report["effects"] > 10

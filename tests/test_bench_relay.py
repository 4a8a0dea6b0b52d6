"""tests/bench/relay.py: its table, and the script itself once on little work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "bench"))

import relay

BENCH = Path(relay.__file__).parent


def test_the_table_is_of_what_was_measured() -> None:
    runs = {
        "rabbitmq": {
            "relay_per_s": [6_000.0, 8_000.0], "latency_p50_ms": [3.0, 5.0], "latency_p95_ms": [9.0, 9.0],
            "latency_p99_ms": [11.0, 12.0],
        },
        "pika": {"relay_per_s": [1_500.0]},
    }  # fmt: skip
    assert relay.table(runs) == (
        "| relay to | events/s | commit to sink, ms: p50 / p95 / p99 |\n| --- | --- | --- |\n"
        "| rabbitmq | 7,000 (6,000–8,000) | 4.0 / 9.0 / 11.5 |\n"
        "| (pika's confirmed publisher, no relay) | 1,500 | – |"
    )


@pytest.mark.slow
def test_the_script_measures_and_leaves_nothing_behind(server_dsn: str, tmp_path: Path) -> None:
    out = tmp_path / "relay.json"
    line = [sys.executable, str(BENCH / "relay.py"), "--only", "notify", "webhook"]
    line += ["--dsn", server_dsn, "--events", "200", "--runs", "1", "--seconds", "0.2", "--json", str(out)]
    env = {**os.environ, "PYTHONPATH": str(BENCH.parent.parent)}
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=env, timeout=50)
    document = json.loads(out.read_text())
    assert list(document["runs"]) == line[3:5]
    for figures in document["runs"].values():
        assert all(value > 0 for values in figures.values() for value in values)
        assert figures.keys() == {"relay_per_s", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms"}
    assert "| notify |" in done.stdout and document["command"] in done.stdout

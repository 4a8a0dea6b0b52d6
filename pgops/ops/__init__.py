"""Observe, judge, act, tell. Async only; no dashboard and no command line in here.

observe/       what is known at one moment, part by part: the Snapshot
judge/         what of that needs a human: the findings
collector.py   Collector(db).collect() -> Snapshot, with its findings: one read-only transaction, a part that fails
               harms no other
act/           Action -> preview -> run -> Result, the same from key and from command; the trail and the way back
tell/          a Snapshot for others: Prometheus, Markdown, JSON schema; and what a role needs to look and to act
thresholds.py  the lines that findings draw; threshold_settings.py those that config.toml moves
wording.py     numbers as all of them say them
"""

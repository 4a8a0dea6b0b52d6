"""The bench: what pgops can do on this machine, in scratch databases of its own, through the public services only.

    contract.py   what a scenario is given, what it notes, and what comes out
    site.py       the scratch databases: one a run, dropped whatever happens
    measure.py    rates, quantiles, interleaved ratios
    run.py        the scenarios by name; all runs of one, and the machine they ran on
    queue.py outbox.py cache.py kv.py limit.py vector.py snapshot.py    a scenario each
    __main__.py   a process of limit.py

The rule: a figure is the median of its runs with the lowest and the highest beside it, never the best one. A new
scenario is a file and a line in run.py. Other queues are driven from tests/bench, so that no user installs them.
"""

from pgops.bench.contract import Figure, Params, Report, Scenario
from pgops.bench.run import SCENARIOS, find, run_bench

__all__ = ["SCENARIOS", "Figure", "Params", "Report", "Scenario", "find", "run_bench"]

"""A process that hits one key for a while: python limit_process.py DSN KEY LIMIT BURST SECONDS; says decisions, allowed
ones, and how long it took, when it gets a line on stdin."""

import json
import sys
from time import monotonic

from pgops.sync.database import Pool
from pgops.sync.services.limits import Limits

dsn, key, limit, burst, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
with Pool.open(dsn, max_size=1) as db:
    limits = Limits(db)
    limits.peek(key, limit, 1.0, burst=burst)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    decisions = allowed = 0
    began = monotonic()
    while monotonic() - began < seconds:
        decisions += 1
        allowed += limits.hit(key, limit, 1.0, burst=burst).allowed
    sys.stdout.write(json.dumps([decisions, allowed, monotonic() - began]))

"""A process that asks for one value once it gets a line on stdin: python cache_process.py DSN KEY COMPUTE_S WAIT_S.
To compute it is to note its pid in the table computed, to take some time, and to give its pid."""

import os
import sys
import time

from pgops.sync.database import Pool
from pgops.sync.services.cache import Cache

dsn, key, seconds, wait_s = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
with Pool.open(dsn) as db:
    cache = Cache(db)

    def compute() -> bytes:
        db.execute(b"insert into computed values (%(pid)s)", {"pid": os.getpid()})
        time.sleep(seconds)
        return str(os.getpid()).encode()

    cache.get("warm")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(cache.get_or_compute(key, compute, ttl_s=60, wait_s=wait_s).decode())

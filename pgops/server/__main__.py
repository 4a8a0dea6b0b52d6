"""`python -m pgops.server FOLDER LINGER`: the watcher of the server in FOLDER; Server starts it."""

import sys
from pathlib import Path

from pgops.server.watcher import watch

watch(Path(sys.argv[1]), linger=float(sys.argv[2]))

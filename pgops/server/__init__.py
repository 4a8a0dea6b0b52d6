"""The embedded PostgreSQL: started when needed, stopped when not, reachable by its owner alone.

Floor 2, beside `migrate`; it imports `pgops.errors` and nothing else of pgops.

    lifecycle.py   Server: start, stop, use, become_psql, status, destroy
    watcher.py     the detached process that stops a server nobody uses (`python -m pgops.server`)
    process.py     what postmaster.pid and the log say; pg_ctl and initdb
    places.py      who runs the server and where its folders are
    binaries.py    which PostgreSQL programs
    config.py      the text of postgresql.conf, pg_hba.conf and pg_ident.conf
    locks.py       file locks that die with their holder

Three locks keep it right. `start.lock` is held to change anything: init, start, stop, destroy, and to take
or look at the other two. `use.lock` is shared by everyone who uses the server and is left at any time, also
by a kill -9. `watch.lock` is held by the one watcher for its life.
"""

from pgops.server.lifecycle import Server, ServerStatus
from pgops.server.places import default_root

__all__ = ["Server", "ServerStatus", "default_root"]

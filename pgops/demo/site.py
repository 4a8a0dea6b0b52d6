"""Where the demo takes place: a scratch database on the embedded server, or a database that was named.

The rule: what somebody else owns is not touched. The scratch database is dropped and made anew, and one demo at a time
holds it; in a database that was named, everything the demo makes has a name that begins with `demo_`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from psycopg.conninfo import make_conninfo

from pgops import migrate
from pgops.config import Target
from pgops.database import AsyncPool
from pgops.errors import RefusedError
from pgops.queries import load
from pgops.server import Server
from pgops.sync.database import Pool

Q = load("pgops.demo", "site.sql")
SCRATCH = "pgops_demo"


@dataclass(frozen=True, slots=True)
class Site:
    """A database for the demo, what all names in it begin with, and the sink of its relay ("": one of its own)."""

    dsn: str = field(repr=False)
    prefix: str = ""
    sink: str = field(default="", repr=False)

    def name(self, name: str) -> str:
        """The name of a queue, subscription, namespace, topic, table or collection in this database."""
        return self.prefix + name


@contextmanager
def open_site(target: Target, sink: str = "") -> Iterator[Site]:
    """The database of `target`, as long as the block lasts; on the embedded server a fresh scratch database.

    Raises RefusedError while another demo runs on the embedded server.
    """
    if target.dsn is not None:
        yield Site(target.dsn, "demo_", sink)
        return
    with ExitStack() as held:
        server = held.enter_context(Server().use())
        pool = held.enter_context(Pool.open(server, application_name="pgops demo", max_size=1))
        session = held.enter_context(pool.session())
        dsn = make_conninfo(server, dbname=SCRATCH)
        claimed = session.one(Q["claim_demo"])
        if claimed is None or not claimed[0]:
            raise RefusedError("a demo is running already", f"leave that one first, or look at it: pgops --dsn '{dsn}'")
        session.execute(Q["drop_scratch"])
        session.execute(Q["create_scratch"])
        yield Site(dsn, "", sink)


async def prepare(site: Site) -> None:
    """Bring the schema up to date."""
    async with AsyncPool.open(site.dsn, application_name="pgops demo", max_size=1) as db:
        await migrate.apply(db)

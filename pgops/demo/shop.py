"""The shop: orders, each one transaction with its job and its events, or nothing of the three.

This is the application's side: its own table, its own driver, its own connection. So its SQL stands here, as it would
in any program that uses the library.
"""

from dataclasses import dataclass
from random import Random

from psycopg import AsyncConnection, Rollback, sql

from pgops.database import Connection
from pgops.demo.site import Site
from pgops.services.client import AsyncPgops

NAMES = (
    "ada",
    "alan",
    "barbara",
    "dennis",
    "donald",
    "edsger",
    "frances",
    "grace",
    "john",
    "ken",
    "leslie",
    "margaret",
)
ITEMS = {"lamp": 4_900, "desk": 24_900, "chair": 12_900, "kettle": 3_400, "bicycle": 89_000, "novel": 1_200}
CARDS = ("4242", "5556", "1117", "8431", "3220")
STOLEN_CARD, STOLEN_EVERY = "0002", 40
MAKE_ORDERS = sql.SQL(
    "create table if not exists {} (id bigint generated always as identity primary key, customer text not null, "
    "item text not null, cents bigint not null, placed_at timestamptz not null default now())"
)
PLACE_ORDER = sql.SQL("insert into {} (customer, item, cents) values (%s, %s, %s) returning id")
DECLINED_SHARE = 0.04


@dataclass(frozen=True, slots=True)
class Shop:
    """Places orders in `site`; `rng` decides who buys what."""

    pg: AsyncPgops
    site: Site
    rng: Random

    async def open(self) -> Connection:
        """The shop's own connection, with its table there."""
        conn = await AsyncConnection.connect(self.site.dsn, autocommit=True, application_name="shop")
        await conn.execute(MAKE_ORDERS.format(self._orders))
        return conn

    async def place_order(self, conn: Connection) -> None:
        """One order: the row, the job that charges for it and the event that tells of it, in one transaction. Now and
        then the customer walks away, and then none of them exists."""
        customer, item = self.rng.choice(NAMES), self.rng.choice(list(ITEMS))
        async with conn.transaction():
            cursor = await conn.execute(PLACE_ORDER.format(self._orders), [customer, item, ITEMS[item]])
            row = await cursor.fetchone()
            assert row is not None
            order = {"order": row[0], "customer": customer, "item": item, "cents": ITEMS[item]}
            card = STOLEN_CARD if row[0] % STOLEN_EVERY == 5 else self.rng.choice(CARDS)
            bound = self.pg.bind(conn)
            await bound.queue.enqueue(self.site.name("billing"), {**order, "card": card}, kind="charge_card")
            await bound.queue.enqueue(
                self.site.name("email"), {"to": _address(customer, self.rng), "order": row[0]}, kind="send_receipt"
            )
            await bound.events.append(self.site.name("orders"), order, key=customer, type="order.placed")
            if self.rng.random() < DECLINED_SHARE:
                raise Rollback

    @property
    def _orders(self) -> sql.Identifier:
        return sql.Identifier(self.site.name("shop_orders"))


def newsletter(rng: Random, size: int) -> list[dict[str, str]]:
    """The payloads of a mailing to `size` customers."""
    issue = rng.randrange(1, 53)
    return [{"to": _address(rng.choice(NAMES), rng), "issue": f"week {issue}"} for _ in range(size)]


def pictures(rng: Random, size: int) -> list[dict[str, str]]:
    """The payloads of an upload of `size` pictures; a few of them are broken."""
    return [
        {"file": f"{rng.choice(list(ITEMS))}-{rng.randrange(10_000):04}.{'tiff' if rng.random() < 0.01 else 'jpeg'}"}
        for _ in range(size)
    ]


def _address(name: str, rng: Random) -> str:
    return f"{name}@{'bounce' if rng.random() < 0.003 else 'mail'}.example"

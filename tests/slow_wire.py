"""A wire that is long: a TCP proxy before a server. Every byte is late, both ways, and none waits for another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


@asynccontextmanager
async def slow_wire(dsn: str, one_way_s: float) -> AsyncIterator[str]:
    """The DSN of the same database over the wire, while the block runs."""
    to = conninfo_to_dict(dsn)
    path = f"{to['host']}/.s.PGSQL.{to.get('port') or 5432}"
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What comes in leaves a while later; what comes meanwhile is on its way too."""
        loop = asyncio.get_running_loop()
        on_its_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def take() -> None:
            data = b"x"
            while data:
                data = await reader.read(65_536)
                on_its_way.put_nowait((loop.time() + one_way_s, data))

        taking = asyncio.create_task(take())
        try:
            while True:
                at, data = await on_its_way.get()
                await asyncio.sleep(max(at - loop.time(), 0))
                if not data:
                    return
                writer.write(data)
                await writer.drain()
        finally:
            taking.cancel()
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_unix_connection(path)
        for way in (carry(reader, theirs[1]), carry(theirs[0], writer)):
            task = asyncio.create_task(_quietly(lambda way=way: way))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _quietly(way: Callable[[], Awaitable[None]]) -> None:
    """A wire that is cut says nothing."""
    with suppress(OSError):
        await way()

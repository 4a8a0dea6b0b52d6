"""The embedded server, started beside the event loop: in a thread, so that every key works meanwhile.

A thread cannot be cancelled. One that nobody waits for any more lets go of the server as soon as it has it, and it
keeps nobody from leaving.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, asynccontextmanager, suppress
from threading import Thread

from pgops.server import Server

STARTING = "starting PostgreSQL …"


@asynccontextmanager
async def embedded_server(tell: Callable[[str], None]) -> AsyncIterator[str]:
    """Its URL, and it is used while the block runs. Where it has to be started first, `tell` is told so, from another
    thread, and "" afterwards. Raises PgopsError."""
    handed: Future[tuple[ExitStack, str]] = Future()
    Thread(target=_start, args=(handed, tell), name="pgops server", daemon=True).start()
    try:
        held, url = await asyncio.wrap_future(handed)
    except asyncio.CancelledError:
        if not handed.cancel() and handed.exception() is None:
            handed.result()[0].close()
        raise
    finally:
        tell("")
    with held:
        yield url


def _start(handed: "Future[tuple[ExitStack, str]]", tell: Callable[[str], None]) -> None:
    held = ExitStack()
    try:
        server = Server()
        if not server.status().running:
            tell(STARTING)
        url = held.enter_context(server.use())
        handed.set_result((held, url))
    except InvalidStateError:
        held.close()
    except BaseException as error:
        with suppress(InvalidStateError):
            handed.set_exception(error)

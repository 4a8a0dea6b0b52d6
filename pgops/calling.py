"""Calling what may block or may be async: like pausing, one of the few things in which the async floors and their
blocking twin differ by more than words.

Floor 0. The twin's generator turns `async_call` into `call`.
"""

import asyncio
import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from pgops.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


async def async_call(function: Callable[P, Awaitable[T] | T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What it gives: awaited here where it is async, else from a thread, so that the loop never waits for it."""
    if inspect.iscoroutinefunction(function):
        return cast(T, await function(*args, **kwargs))
    found = await asyncio.to_thread(function, *args, **kwargs)
    return await found if inspect.isawaitable(found) else found


def call(function: Callable[P, Awaitable[T] | T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What it gives, called here; what is async runs in a loop of its own, in a thread, as there may be a loop here."""
    found = function(*args, **kwargs)
    if not inspect.isawaitable(found):
        return found

    async def wait() -> T:
        return await found

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, cast(Coroutine[object, object, T], wait())).result()


def load_function(name: str) -> Callable[..., object]:
    """The function that `module:function` means; what is installed goes before what stands in the current folder.
    Raises UsageError."""
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{module_name} cannot be imported: {error}", "run it where python can import it") from error
    if not callable(found):
        raise UsageError(f"{module_name} has no function {attribute}", f"define {attribute}(texts) there")
    return cast(Callable[..., object], found)

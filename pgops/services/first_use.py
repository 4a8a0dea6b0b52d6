"""A property that is made when it is first asked for, and made once.

`functools.cached_property` may make two where two threads ask first; a service that counts or remembers must be one.
"""

from collections.abc import Callable
from typing import Generic, TypeVar, overload

Owner = TypeVar("Owner")
T = TypeVar("T")


class on_first_use(Generic[Owner, T]):
    """The decorator. What is made stands in the owner's `__dict__` from then on, and costs nothing more."""

    def __init__(self, make: Callable[[Owner], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> "on_first_use[Owner, T]": ...
    @overload
    def __get__(self, owner: Owner, kind: type) -> T: ...
    def __get__(self, owner: Owner | None, kind: type) -> "on_first_use[Owner, T] | T":
        if owner is None:
            return self
        made: T = owner.__dict__.setdefault(self._name, self._make(owner))
        return made

"""From texts to vectors: which embedder is meant, and whether what it gives fits the collection.

Floor 2, under vectors.py. A collection holds an embedder's name and nothing else; what the name means, config.toml
says. Whatever reads files, imports or blocks does so in a thread.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pgops.calling import async_call
from pgops.embedder_settings import HASHING
from pgops.errors import EmbedderError, PgopsError, UsageError
from pgops.profiles import find_embedder
from pgops.services.embedder_http import AsyncHttpEmbedder
from pgops.services.embedders import Embedder, FunctionEmbedder, HashingEmbedder
from pgops.services.vector_found import Found
from pgops.services.vector_wire import pack_vector

BATCH = 100


class AsyncEmbedding:
    """One embedder at work for one collection, for as long as a call lasts."""

    def __init__(self, found: Found, name: str, embedder: Embedder, batch: int = BATCH) -> None:
        self._found = found
        self._name = name
        self._embedder = embedder
        self._batch = batch

    @classmethod
    @asynccontextmanager
    async def open(cls, found: Found, given: str | Embedder | None) -> AsyncIterator["AsyncEmbedding"]:
        """With the embedder that was given, by name or as it is, or with the collection's own.

        Raises UsageError where there is none, for a name that config.toml does not know, and for what it says of it.
        """
        chosen = embedder_of(found.name, found.embedder) if given is None else given
        if not isinstance(chosen, str):
            if not callable(getattr(chosen, "embed", None)):
                raise UsageError(f"{type(chosen).__name__} is no embedder", "it has a method embed(texts), or a name")
            yield cls(found, type(chosen).__name__, chosen)
        elif chosen == HASHING:
            yield cls(found, HASHING, HashingEmbedder(found.dimensions))
        else:
            settings = await async_call(find_embedder, chosen, os.environ)
            if settings.function is not None:
                yield cls(found, chosen, await async_call(FunctionEmbedder, settings.function), settings.batch)
            else:
                async with await async_call(AsyncHttpEmbedder, settings) as http:
                    yield cls(found, chosen, http, settings.batch)

    async def pack(self, texts: Sequence[str]) -> list[bytes]:
        """The vectors of `texts`, in their order and as the collection takes them. Raises EmbedderError."""
        packed: list[bytes] = []
        for start in range(0, len(texts), self._batch):
            batch = texts[start : start + self._batch]
            packed += self._fit(await self._ask(batch), len(batch))
        return packed

    async def _ask(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return await async_call(self._embedder.embed, texts)
        except PgopsError:
            raise
        except Exception as error:
            first = str(error).strip().partition("\n")[0][:200]
            raise EmbedderError(
                f"embedder {self._name} failed: {type(error).__name__}: {first}", "nothing was changed"
            ) from error

    def _fit(self, vectors: Sequence[Sequence[float]], wanted: int) -> list[bytes]:
        """`vectors` packed, if there are as many as `wanted` and all of them fit."""
        found = self._found
        try:
            if len(vectors) != wanted:
                raise EmbedderError(
                    f"embedder {self._name} gave {len(vectors):,} vectors for {wanted:,} texts", "one a text is wanted"
                )
            return [pack_vector(vector, found.dimensions, found.metric, found.type) for vector in vectors]
        except TypeError as error:
            raise EmbedderError(
                f"embedder {self._name} gave {type(vectors).__name__}, which is no list of vectors",
                "one a text is wanted",
            ) from error
        except UsageError as error:
            raise EmbedderError(f"embedder {self._name}: {error}", error.hint) from error


def embedder_of(collection: str, own: str | None) -> str:
    """The collection's own embedder. Raises UsageError where it has none."""
    if own is None:
        raise UsageError(
            f"collection {collection!r} has no embedder, which a text needs",
            f"name one with --embedder, or for good: pgops vector set-embedder {collection} NAME",
        )
    return own


async def check_embedder(name: str | None, dimensions: int) -> str | None:
    """A name that a collection may hold: one that is known here, and gives what the collection takes."""
    if name is None or name == HASHING:
        return name
    if not isinstance(name, str):
        raise UsageError(f"a collection holds an embedder's name, not {type(name).__name__}", "pass it to each call")
    settings = await async_call(find_embedder, name, os.environ)
    if settings.dimensions not in (None, dimensions):
        raise UsageError(
            f"embedder {name} gives {settings.dimensions:,} dimensions, not {dimensions:,}",
            "make the collection with as many, or change dimensions in config.toml where the model can",
        )
    return name

"""What an embedder is, and two that need no network: a function of one's own, and feature hashing without a model.

Floor 2, pure. Hashing gives the same vector for the same text in every process and on every machine.
"""

import math
import re
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Protocol, cast

from pgops.calling import load_function
from pgops.errors import UsageError
from pgops.services.vector_rules import MAX_DIMENSIONS

_WORD = re.compile(r"\w+")
Vectors = Sequence[Sequence[float]]


class Embedder(Protocol):
    """Texts to vectors. `embed` may be async or not; one that is not runs in a thread where the caller is async."""

    def embed(self, texts: Sequence[str], /) -> Awaitable[Vectors] | Vectors:
        """A vector for each text, in their order."""


class FunctionEmbedder:
    """The function that config.toml names: it takes a list of texts and gives as many vectors; async or not."""

    def __init__(self, name: str) -> None:
        """Raises UsageError where `module:function` cannot be had."""
        self._function = load_function(name)

    def embed(self, texts: Sequence[str]) -> Awaitable[Vectors] | Vectors:
        return cast(Awaitable[Vectors] | Vectors, self._function([*texts]))


class HashingEmbedder:
    """Words and pairs of words, each hashed to a dimension and a sign (Weinberger et al., "Feature Hashing for Large
    Scale Multitask Learning", ICML 2009), weighted 1 + ln(count) and scaled to length 1.

    It finds texts that share words, not texts that share a meaning: a demonstration of the machinery, and no
    substitute for a trained model.
    """

    def __init__(self, dimensions: int = 384) -> None:
        """Raises UsageError where dimensions are not 1 to 16,000."""
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise UsageError(f"dimensions are 1 to {MAX_DIMENSIONS:,}, not {dimensions}", "384 is usual")
        self.dimensions = dimensions

    def embed(self, texts: Iterable[str]) -> list[list[float]]:
        """One vector of length 1 a text. A text without a word gets the first unit vector, since a zero vector has
        no direction. Raises UsageError for one text in place of a list of them."""
        if isinstance(texts, str):
            raise UsageError("embed takes a list of texts, not one text", "write embed([text])[0]")
        return [self._embed(text) for text in texts]

    def _embed(self, text: str) -> list[float]:
        words = _WORD.findall(text.lower())
        features = Counter(words)
        features.update(f"{one} {two}" for one, two in pairwise(words))
        vector = [0.0] * self.dimensions
        for feature, count in features.items():
            number = _hash(feature)
            vector[(number >> 1) % self.dimensions] += (1 + math.log(count)) * (1 if number & 1 else -1)
        length = math.sqrt(sum(value * value for value in vector))
        if length == 0:
            return [1.0] + [0.0] * (self.dimensions - 1)
        return [value / length for value in vector]


@lru_cache(maxsize=65_536)
def _hash(feature: str) -> int:
    return int.from_bytes(blake2b(feature.encode(errors="surrogatepass"), digest_size=8).digest(), "big")

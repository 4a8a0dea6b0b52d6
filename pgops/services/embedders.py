"""Text to vectors without a model: feature hashing, for the demo and for work offline.

Floor 2, pure: the same text gives the same vector in every process and on every machine.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

from pgops.errors import UsageError
from pgops.services.vector_rules import MAX_DIMENSIONS

_WORD = re.compile(r"\w+")


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

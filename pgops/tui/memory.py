"""What the dashboard does about its own memory, in the hours that it is open."""

import gc
from contextlib import suppress

EVERY_S = 20


def collect_seldom() -> None:
    """Every line that is drawn makes hundreds of short-lived objects: looked through as often as Python does by
    itself, with all that is imported, they take a fifth of the time to a paint."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 5)


def forget_drawn() -> None:
    """Textual remembers two colours of each of the last thousand boxes, and keeps with them all lines of widgets that
    are long gone: some 300 MB. They are worked out anew in microseconds."""
    with suppress(ImportError, AttributeError):
        from textual._styles_cache import StylesCache

        StylesCache.get_inner_outer.cache_clear()

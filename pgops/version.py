"""The version of pgops. Floor 0; everything may import it."""

__version__ = "0.1.0"

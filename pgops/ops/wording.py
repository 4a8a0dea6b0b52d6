"""Numbers as findings, previews, tables and tiles say them: short, with their unit. And text that steers no terminal.

Floor 3, pure.
"""

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def duration(seconds: float) -> str:
    """Seconds in at most seven cells: 350ms, 4.2s, 42s, 3m 12s, 2h 05m, 4d 3h."""
    seconds = max(seconds, 0.0)
    if seconds < 0.9995:
        return "0s" if seconds < 0.0005 else f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def size(bytes: int) -> str:
    """Bytes in powers of 1024: 512 B, 1.5 kB, 12.3 MB, 384 MB."""
    amount = float(bytes)
    for unit in _SIZES:
        if abs(amount) < 1023.95 or unit == _SIZES[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or abs(amount) >= 99.95 else f"{amount:.1f} {unit}"


def age(seconds: float | None) -> str:
    """45 s, 4 min, 2.5 h, 3.1 days."""
    if seconds is None:
        return "an unknown time"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172_800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86_400:.1f} days"


def figure(value: float | None, unit: str) -> str:
    """A figure with its unit: bytes as sizes, 1/s as a rate, small numbers with a digit."""
    if value is None:
        return "unknown"
    if unit.startswith("bytes"):
        return size(int(value)) + unit.removeprefix("bytes")
    number = f"{value:,.1f}" if abs(value) < 100 and value % 1 else f"{value:,.0f}"
    return f"{number}/s" if unit == "1/s" else f"{number} {unit}".rstrip()


def many(number: int, thing: str) -> str:
    """1 job, 2,000 jobs."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def at_least(number: int, exact: bool) -> str:
    """A number that was counted to a cap."""
    return f"{number:,}" if exact else f"at least {number:,}"


def harmless(text: str) -> str:
    """`text` with escape sequences and other steering characters made visible; tabs and line ends stay."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)

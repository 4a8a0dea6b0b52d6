"""Numbers as findings and previews say them: short, with their unit.

Floor 3, pure.
"""


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


def many(number: int, thing: str) -> str:
    """1 job, 2,000 jobs."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def at_least(number: int, exact: bool) -> str:
    """A number that was counted to a cap."""
    return f"{number:,}" if exact else f"at least {number:,}"

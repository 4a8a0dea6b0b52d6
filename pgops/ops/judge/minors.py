"""What is known of PostgreSQL's minor releases: the newest, and those with a bug in something pgops relies on.

Floor 3, values only, under rules_server.py. An entry names the release note that it stands in; what is not certain
is not told.
"""

from dataclasses import dataclass

KNOWN_ON = "2026-08-13"
NEWEST = {15: 19, 16: 15, 17: 11, 18: 6}


@dataclass(frozen=True, slots=True)
class Flaw:
    """`minors` of `major` have it, the release notes of `cured_in` tell of it."""

    major: int
    minors: range
    cured_in: str
    what: str
    then: str = ""


_GIN = "an index of the kind gin (documents, full text) could be corrupted by concurrent updates"
_REPLAY = "a standby could stop at a multixact truncation, and substring() refuse valid text that is stored out of line"

FLAWS = (
    Flaw(15, range(6), "15.6", _GIN, "; then reindex gin indexes that may be hit"),
    Flaw(16, range(2), "16.2", _GIN, "; then reindex gin indexes that may be hit"),
    Flaw(15, range(16, 17), "15.17", _REPLAY),
    Flaw(16, range(12, 13), "16.13", _REPLAY),
    Flaw(17, range(8, 9), "17.9", _REPLAY),
    Flaw(18, range(2, 3), "18.3", _REPLAY),
)


def flaws(version_num: int) -> tuple[Flaw, ...]:
    """Those of this server (its `server_version_num`)."""
    major, minor = divmod(version_num, 10_000)
    return tuple(one for one in FLAWS if one.major == major and minor in one.minors)


def behind(version_num: int) -> int | None:
    """The newest minor of this major that is known, where this server's is older."""
    major, minor = divmod(version_num, 10_000)
    newest = NEWEST.get(major)
    return newest if newest is not None and minor < newest else None

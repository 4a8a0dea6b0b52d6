"""Timetables: what an expression means in its time zone, and which ticks are due. No I/O, no clock of its own.

Below the service. Expressions are those of the package cronsim: five fields as in Debian's cron, with L, LW and #, or
six with the seconds first. When the clocks change, five fields whose minute and hour are both fixed mean once that day:
what falls into the hour that is left out comes right after it, what falls into the hour that comes twice, in its
first. Every other expression follows the clock on the wall: nothing in the hour left out, both times in the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from pgops.errors import UsageError
from pgops.services.arguments import check_kind, check_priority, check_queue, encode_json
from pgops.services.models import JsonValue, NewCron, Turn, WhenMissed

ALIASES = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}  # fmt: skip
FIELDS = "minute hour day month weekday, for example '0 3 * * *'; with six fields the first is the second"
GRACE_S = (5.0, 60.0)
MAX_COUNTED = 1_000
MAX_EXPRESSION_CHARS = 200
MAX_NAME_BYTES = 200
OF_THIS_HOST = ("localtime", "posixrules")
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timetable:
    """When an expression fires in a time zone."""

    expression: str
    timezone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The fires after `moment`, in order, in UTC. Raises UsageError for what is no timetable."""
        last = moment.astimezone(UTC)
        for fire in self._parsed(moment.astimezone(find_timezone(self.timezone))):
            at = fire.astimezone(UTC)
            if at > last:
                last = at
                yield at

    def check(self) -> "Timetable":
        """Itself. Raises UsageError for a bad field, an unknown time zone, and where it never fires."""
        if next(self.after(_SOME_DAY), None) is None:
            raise UsageError(f"{self.expression!r} never fires", "no year has such a day")
        return self

    def first_after(self, moment: datetime) -> datetime:
        """The next fire. Raises UsageError where there is none within 50 years."""
        for at in self.after(moment):
            return at
        raise UsageError(f"{self.expression!r} never fires after {moment:%Y-%m-%d}", "no year has such a day")

    def _parsed(self, start: datetime) -> CronSim:
        if len(self.expression) > MAX_EXPRESSION_CHARS:
            raise UsageError(f"an expression has at most {MAX_EXPRESSION_CHARS} characters", FIELDS)
        fields = ALIASES.get(self.expression.strip().lower(), self.expression)
        if fields.lstrip().startswith("@"):
            raise UsageError(f"{self.expression!r} is no timetable", f"of {', '.join(ALIASES)}, or {FIELDS}")
        try:
            return CronSim(fields, start)
        except CronSimError as error:
            if _fires_in_another_month(fields, start):
                raise UsageError(f"{self.expression!r} never fires", "no year has such a day") from error
            said = str(error)
            raise UsageError(f"{self.expression!r} is no timetable: {said[:1].lower()}{said[1:]}", FIELDS) from error


def _fires_in_another_month(fields: str, start: datetime) -> bool:
    """Whether a refused expression is well formed, and only its day not in its month."""
    try:
        words = fields.split()
        CronSim(" ".join([*words[:-2], "*", *words[-1:]]), start)
        CronSim(f"0 0 1 {words[-2]} *", start)
    except CronSimError:
        return False
    return True


def find_timezone(name: str) -> ZoneInfo:
    """The time zone of this name, of the IANA's. Raises UsageError, with near names."""
    try:
        if name.startswith(("posix/", "right/")) or name in OF_THIS_HOST:
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = {zone.lower(): zone for zone in available_timezones() if zone not in OF_THIS_HOST}
        cities = {zone.rpartition("/")[2]: zone for zone in known}
        asked = name.lower().replace(" ", "_")
        near = get_close_matches(asked, known, n=2, cutoff=0.75)
        near += [cities[city] for city in get_close_matches(asked.rpartition("/")[2], cities, n=2, cutoff=0.8)]
        names = list(dict.fromkeys(known[zone] for zone in near))
        hint = f"did you mean {' or '.join(names[:3])}?" if names else "use a name such as Europe/Berlin or UTC"
        raise UsageError(f"there is no time zone {name[:60]!r}", hint) from error


def new_cron(
    name: str,
    expression: str,
    queue: str,
    payload: JsonValue = None,
    *,
    kind: str = "default",
    priority: int = 2,
    timezone: str = "UTC",
    missed: WhenMissed = "skip",
    overlap: bool = False,
) -> NewCron:
    """A recurring job, checked. Raises UsageError."""
    check_name(name)
    if missed not in ("skip", "once"):
        raise UsageError(f"missed is skip or once, not {missed!r}", "leave it out for skip")
    Timetable(expression, timezone).check()
    return NewCron(
        name=name, expression=" ".join(expression.split()), queue=check_queue(queue), kind=check_kind(kind),
        payload_json=encode_json({} if payload is None else payload), priority=check_priority(priority),
        timezone=timezone, missed=missed, overlap=overlap,
    )  # fmt: skip


def check_name(name: str) -> str:
    if not name or len(name.encode()) > MAX_NAME_BYTES or "\0" in name:
        raise UsageError(
            f"a recurring job's name has 1 to {MAX_NAME_BYTES} bytes and no NUL", "use a short name such as nightly"
        )
    return name


def turn(timetable: Timetable, missed: WhenMissed, due: datetime, now: datetime) -> Turn:
    """What to do at `now` with an entry whose next tick stood at `due`.

    `skip` passes over what is older than a minute, or than the time to the tick after it where that is shorter, but
    never what is younger than 5 s; `once` makes one of all that are due. WhenMissed ticks are counted up to 1,000.
    """
    ticks = [due, *takewhile(lambda at: at <= now, islice(timetable.after(due), MAX_COUNTED))]
    if len(ticks) > MAX_COUNTED:
        recent = max(ticks[-1], now - timedelta(seconds=GRACE_S[1]))
        ticks += takewhile(lambda at: at <= now, timetable.after(recent))
    following = timetable.first_after(now)
    if missed == "once":
        return Turn((ticks[-1],), len(ticks) - 1, following)
    fresh = tuple(at for at, then in pairwise([*ticks, following]) if (now - at).total_seconds() <= _grace(then - at))
    return Turn(fresh, len(ticks) - len(fresh), following)


def _grace(interval: timedelta) -> float:
    least, most = GRACE_S
    return min(max(interval.total_seconds(), least), most)

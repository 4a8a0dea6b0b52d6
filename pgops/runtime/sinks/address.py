"""Where a sink is: its URL taken apart, and what of it may be shown.

Pure. The rule: a password, and whatever else of a URL may be a secret, goes to the broker and nowhere else. `shown` is
the form for errors, logs and documents.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from pgops.errors import UsageError
from pgops.services.models import Event

HIDDEN = "***"
_TELLING = re.compile(r"(exchange|routing_key|stream|maxlen|region|timeout|kind|group)=[^&]*")
_FIELD = re.compile(r"\{(\w*)\}")
_FIELDS: dict[str, Callable[[Event], str]] = {
    "topic": lambda event: event.topic,
    "type": lambda event: event.type,
    "key": lambda event: event.key or "",
}


@dataclass(frozen=True, slots=True)
class Address:
    """A sink's URL. `path` is without its first slash and decoded; `options` is what stands behind the `?`."""

    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    path: str
    options: dict[str, str] = field(repr=False)
    shown: str

    def number(self, option: str, default: float, lowest: float, highest: float) -> float:
        """An option that is a number. Raises UsageError."""
        text = self.options.get(option)
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = float("nan")
        if not lowest <= value <= highest:
            raise UsageError(
                f"{option} of {self.shown} is {lowest:g} to {highest:g}", f"for example {option}={default:g}"
            )
        return value

    def flag(self, option: str) -> bool:
        """An option that is 1 or 0, by default 0. Raises UsageError."""
        text = self.options.get(option, "0")
        if text not in ("0", "1"):
            raise UsageError(f"{option} of {self.shown} is 0 or 1", f"for example {option}=1")
        return text == "1"


def parse(name: str, example: str, options: Collection[str] = (), *, has_host: bool = True) -> Address:
    """`name` taken apart. Raises UsageError for what is no such URL, and for an option that is not one of `options`."""
    told = shown(name)
    try:
        parts = urlsplit(name)
        port = parts.port
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError(f"{told} is no URL", f"for example {example}") from error
    if has_host and not parts.hostname:
        raise UsageError(f"{told} names no host", f"for example {example}")
    if parts.fragment:
        raise UsageError(f"{told} has a #, which would cut it off", "write %23 where it belongs to a name or password")
    found = dict(given)
    if unknown := sorted(found.keys() - set(options)):
        raise UsageError(
            f"{told} has an option that this sink does not know: {', '.join(unknown)}",
            f"it knows {', '.join(sorted(options))}; for example {example}",
        )
    if len(found) < len(given):
        raise UsageError(f"{told} has an option twice", f"for example {example}")
    return Address(
        parts.scheme, parts.hostname or "", port, _decoded(parts.username), _decoded(parts.password),
        unquote(parts.path.removeprefix("/")), found, told,
    )  # fmt: skip


def local(name: str, example: str, options: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """The name and the options of a sink of the same database, such as queue:email?group=0. Raises UsageError."""
    place, _, query = name.partition(":")[2].partition("?")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if not place:
        raise UsageError(f"{name} names nothing", f"for example {example}")
    if unknown := sorted(given.keys() - set(options)):
        raise UsageError(
            f"{name} has an option that this sink does not know: {', '.join(unknown)}",
            f"it knows {', '.join(sorted(options)) or 'none'}; for example {example}",
        )
    return place, given


def taken_out(url: str, options: Collection[str]) -> tuple[str, dict[str, str]]:
    """A web address without `options` in its query, and those; the rest of the query is left as it is."""
    place, _, query = url.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    ours = [pair for pair in pairs if pair.partition("=")[0] in options]
    rest = "&".join(pair for pair in pairs if pair not in ours)
    return f"{place}?{rest}" if rest else place, dict(parse_qsl("&".join(ours), keep_blank_values=True))


def shown(name: str) -> str:
    """The name of a sink without its secrets: a web address down to its host, of any other URL all but the password,
    a user who has none (it may be a token), and options that may be one."""
    scheme, there, rest = name.partition("://")
    if not there:
        return name
    rest, _, query = rest.partition("?") if "@" not in rest.partition("?")[2] else (rest, "", "")
    credentials, at, place = rest.rpartition("@")
    user = f"{credentials.partition(':')[0]}:{HIDDEN}@" if ":" in credentials else f"{HIDDEN}@" if at else ""
    if scheme in ("http", "https"):
        host, slash, path = place.partition("/")
        return f"{scheme}://{_host(host)}{'/…' if path or query else slash}"
    host, slash, path = place.partition("/")
    told = [one if _TELLING.fullmatch(one) else f"{one.partition('=')[0]}={HIDDEN}" for one in query.split("&") if one]
    return f"{scheme}://{user}{_host(host)}{slash}{path}{'?' if told else ''}{'&'.join(told)}"


def template(text: str, sink: str) -> Callable[[Event], str]:
    """What `text` is for an event, with its {topic}, {type} and {key} filled in. Raises UsageError."""
    unknown = [name for name in _FIELD.findall(text) if name not in _FIELDS]
    if unknown or "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
        raise UsageError(f"{sink}: {text!r} cannot be filled in", "it may hold {topic}, {type} and {key}")
    if not _FIELD.search(text):
        return lambda event: text
    return lambda event: _FIELD.sub(lambda found: _FIELDS[found[1]](event), text)


def _host(host: str) -> str:
    """What stands behind the colon is a port, or else a password that lost its host."""
    name, colon, port = host.rpartition(":")
    return host if not colon or port.isdigit() or host.endswith("]") else f"{name}:{HIDDEN}"


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)

"""What goes over the wire of live pub/sub, and what a channel may be called: checks and codes, no I/O.

A message is `{"pgops":<id>,"text":"…"}`, `{"pgops":<id>,"json":…}`, or `{"pgops":<id>,"ref":true}`, whose body is a row
of pgops.pubsub_payloads. It is ASCII, so its bytes are the same in every server encoding. Whatever else arrives is
someone's plain NOTIFY, and its text is the payload.
"""

import json

from pgops.errors import UsageError
from pgops.listener import PING_PREFIX
from pgops.services.arguments import encode_json
from pgops.services.models import JsonValue, Message

MAX_CHANNEL_BYTES = 63
MAX_NOTIFY_BYTES = 7_999
ENVELOPE_BYTES = len('{"pgops":9223372036854775807,}')
_START = '{"pgops":'


def check_channel(channel: object) -> str:
    """A channel's name: what PostgreSQL keeps of an identifier, so that no name is cut to another one."""
    if not isinstance(channel, str):
        raise UsageError(f"a channel's name is a text, not {type(channel).__name__}", "for example orders")
    size = len(channel.encode(errors="surrogatepass"))
    if not 0 < size <= MAX_CHANNEL_BYTES or "\0" in channel:
        raise UsageError(f"a channel's name has 1 to 63 bytes and no NUL; this one has {size:,} bytes", "shorten it")
    if not channel.isprintable():
        raise UsageError("a channel's name is printable text", "use a short name such as orders")
    if channel.startswith(PING_PREFIX):
        raise UsageError(f"channels that begin with {PING_PREFIX} are pgops' own", "use another name")
    return channel


def check_channels(channels: tuple[str, ...]) -> tuple[str, ...]:
    """At least one, each once."""
    if not channels:
        raise UsageError("listening needs a channel", 'for example listen("orders")')
    return tuple(dict.fromkeys(check_channel(channel) for channel in channels))


def body_of(payload: JsonValue) -> str:
    """The inside of a message. Raises UsageError for what is no JSON, holds a NUL, or is over 1 MB."""
    return f'"{"text" if isinstance(payload, str) else "json"}":{encode_json(payload)}'


def fits(body: str) -> bool:
    """Whether it goes into a notification, whatever its id."""
    return len(body) + ENVELOPE_BYTES <= MAX_NOTIFY_BYTES


def reference(text: str) -> int | None:
    """The id of a message whose body is elsewhere."""
    found = _envelope(text)
    return found[0] if found is not None and "ref" in found[1] else None


def message(channel: str, text: str, pid: int, body: str | None = None) -> Message:
    """The message that a notification of `text` is; `body` is that of a reference."""
    found = _envelope(text if body is None else f"{_START}{reference(text) or 0},{body}}}")
    if found is None:
        return Message(channel, text, None, pid, raw=True)
    id, content = found
    return Message(channel, content["json"] if "json" in content else content["text"], id, pid)


def _envelope(text: str) -> tuple[int, dict[str, JsonValue]] | None:
    if not text.startswith(_START):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    id = content.pop("pgops")
    if type(id) is not int or len(content) != 1 or not content.keys() <= {"text", "json", "ref"}:
        return None
    return id, content

"""An event as a CloudEvents 1.0 JSON document (cloudevents.io, spec.md and json-format.md of 1.0.2).

Pure. id, source, type, subject, time and data are the standard's; topic and place in the log are the extensions
`pgopstopic` and `pgopsseq`, and `pgopsreplayed` is true where the subscription was set back. A header becomes an
extension where the standard allows its name and value.
"""

import json
import re
from datetime import UTC
from urllib.parse import quote

from pgops.services.models import Event

CONTENT_TYPE = "application/cloudevents+json"
_EXTENSION = re.compile(r"[a-z0-9]{1,20}")
_TAKEN = ("data", "data_base64", "pgopsreplayed")
_HEADER_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_encode = json.JSONEncoder(separators=(",", ":")).encode


def cloudevent(event: Event) -> str:
    """One line of JSON; the payload's text goes in as it is stored, so that no number changes."""
    attributes: dict[str, object] = {
        name: value
        for name, value in event.headers.items()
        if _EXTENSION.fullmatch(name) and isinstance(value, str | bool | int) and name not in _TAKEN
    }
    attributes |= {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": _source(event),
        "type": event.type,
        "time": event.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "pgopstopic": event.topic,
        "pgopsseq": str(event.id),
    }
    if event.key:
        attributes["subject"] = event.key
    else:
        attributes.pop("subject", None)
    if event.replayed:
        attributes["pgopsreplayed"] = True
    return f'{_encode(attributes)[:-1]},"data":{event.payload_json}}}'


def context(event: Event) -> dict[str, str]:
    """What a broker shows beside the document: who it is, and the trace it belongs to."""
    found = {"id": str(event.event_id), "source": _source(event), "type": event.type}
    traceparent = event.headers.get("traceparent") if "traceparent" in event.headers_json else None
    return {**found, "traceparent": traceparent} if isinstance(traceparent, str) else found


def headers(event: Event) -> dict[str, str]:
    """`context` as the headers of a message, named as the bindings for RabbitMQ, NATS and HTTP do; the trace as tracing
    libraries look for it."""
    return {name if name == "traceparent" else f"ce-{name}": value for name, value in context(event).items()}


def header_value(text: str) -> str:
    """An attribute as a header's value: what is not printable ASCII, and blank, quote and percent, percent-encoded
    (http-protocol-binding.md of 1.0.2, 3.1.3.2)."""
    return quote(text, safe=_HEADER_SAFE)


def _source(event: Event) -> str:
    return f"/pgops/{quote(event.topic, safe='')}"

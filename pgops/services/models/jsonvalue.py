"""JSON's edge: what comes from outside and is as it is."""

from typing import Any

JsonValue = Any

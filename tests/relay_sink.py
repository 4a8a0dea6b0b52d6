"""A sink for the tests that kill its process: appends to the file that RELAY_OUT names, slowly."""

import os
import time

from pgops.services.models import Event


def slow(event: Event) -> None:
    with open(os.environ["RELAY_OUT"], "a", encoding="utf-8") as out:
        out.write(f"{event.key} {event.payload}\n")
    time.sleep(0.02)


not_a_function = 1

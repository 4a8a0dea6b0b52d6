"""The filter: words that a line must have; `key:value` looks in one column, `!` before a word turns it round."""

from collections.abc import Mapping

from textual.widgets import Input


def matches(query: str, fields: Mapping[str, str]) -> bool:
    """Whether a line with these (lower case) fields passes. An unknown key is a word like any other."""
    everything = "\n".join(fields.values())
    for word in query.lower().split():
        wanted = not word.startswith("!")
        term = word.lstrip("!")
        key, colon, value = term.partition(":")
        found = value in fields[key] if colon and key in fields else term in everything
        if term and found != wanted:
            return False
    return True


class Filter(Input):
    """One line at the foot of a table; hidden while it is empty and not in use."""

    def __init__(self) -> None:
        super().__init__(placeholder="words · key:value · !not", id="filter", classes="-hidden")

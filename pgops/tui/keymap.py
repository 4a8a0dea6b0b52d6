"""Every key of the dashboard, once. Footer, help and palette are made from it.

The rule: upper case letters act on data and always ask; everything else looks. G alone only goes to the last line.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from textual.binding import Binding, BindingType
from textual.keys import format_key


@dataclass(frozen=True, slots=True)
class Group:
    """Keys that belong together in the help."""

    title: str
    keys: tuple[Binding, ...]


def _key(id: str, key: str, action: str, label: str, told: str, shown: str, *, footer: bool = False) -> Binding:
    return Binding(key, action, label, show=footer, key_display=shown, tooltip=told, id=id)


GROUPS = (
    Group(
        "Screens",
        (
            _key("overview", "1", "app.room('overview')", "Overview", "What needs a human, and all at a glance", "1"),
            _key("queues", "2", "app.room('queues')", "Queues", "Queues, their jobs, and the workers", "2"),
            _key("vectors", "3", "app.room('vectors')", "Vectors", "Vector indexes, and search by likeness", "3"),
            _key("connections", "4", "app.room('connections')", "Connections", "Sessions, and who waits for whom", "4"),
            _key("outbox", "5", "app.room('outbox')", "Outbox", "Outbox subscriptions, and pub/sub", "5"),
            _key("stores", "6", "app.room('stores')", "Stores", "Cache, rate limits, and key-value stores", "6"),
            _key("documents", "7", "app.room('documents')", "Docs", "Document collections and indexes", "7"),
            _key("server", "8", "app.room('server')", "Server", "Tables, WAL and vacuum", "8"),
            _key("outgrow", "9", "app.room('outgrow')", "Outgrow", "When one PostgreSQL will no longer do", "9"),
            _key("audit", "u", "audit", "Audit", "Who did what, and what of it can be undone", "u"),
            _key("explain", "i", "explain", "Why", "Why the finding under the cursor matters", "i", footer=True),
            _key("course", "d", "course", "Diagram", "How what the cursor is on went, as diagrams", "d"),
            _key("span", "d", "span", "Span", "In a diagram: lately, or since it was opened", "d"),
            _key("under_way", "w", "under_way", "Under way", "What is done from here, how far; C stops it", "w"),
            _key("crons", "t", "crons", "Cron", "Recurring jobs: when each runs next, and did last", "t", footer=True),
            _key("failures", "f", "failures", "Failures", "Why jobs died, grouped by error", "f"),
            _key("channels", "l", "channels", "Channels", "Who listens to which channel", "l", footer=True),
            _key("probe", "t", "probe", "Probe", "Try pub/sub: commit to receipt, or why none", "t", footer=True),
            _key("open", "enter", "select_cursor", "Open", "Open what the cursor is on", "enter", footer=True),
            _key("go_there", "o", "go_there", "Go there", "In a finding: to the room that it speaks of", "o"),
            _key("back", "escape", "back", "Back", "Close it, or go one screen back", "esc", footer=True),
            _key("help", "question_mark", "help", "Help", "All keys", "?", footer=True),
            _key("palette", "colon,ctrl+p", "command_palette", "Palette", "Everything one can do here, by name", ":"),
            _key("quit", "q", "leave", "Quit", "One screen back; at the top, leave the dashboard", "q", footer=True),
        ),
    ),
    Group(
        "Look",
        (
            _key("filter", "slash", "filter", "Filter", 'Filter lines: words, k:value, !not, age>5m', "/", footer=True),
            _key("filter_beside", "ampersand", "filter", "Filter", "Filter lines where / searches", "&"),
            _key("take", "tab", "take", "Go on", "In a filter: take what is proposed, as → does", "tab"),
            _key("prompt", "slash", "prompt", "Search", "Search the collection by likeness", "/", footer=True),
            _key("sort", "s", "sort", "Sort", "Sort by the next column", "s"),
            _key("reverse", "r", "reverse", "Reverse", "Turn the order round", "r"),
            _key("far_end", "end", "far(1)", "Far end", "To the very end of a long list", "end"),
            _key("far_start", "home", "far(-1)", "Start", "To the very beginning of a long list", "home"),
            _key("mark", "space", "mark", "Mark", "Mark this line, or unmark it", "space"),
            _key("mark_range", "v", "mark_range", "Mark to here", "Mark from the last mark to the cursor", "v"),
            _key("mark_all", "a", "mark_all", "Mark all", "Mark all that the filter leaves, or none", "a"),
            _key("state", "right,l", "state(1)", "State", "Jobs of the next state, as l", "→", footer=True),
            _key("state_back", "left,h", "state(-1)", "State", "Jobs of the state before, as h", "←"),
            _key("read_on", "down,pagedown", "read(1)", "Read on", "In a note: further down", "↓"),
            _key("read_back", "up,pageup", "read(-1)", "Read back", "In a note: back up", "↑"),
            _key("write_out", "ctrl+s", "write_out", "Go on", "In an editor: go on to the question", "ctrl+s"),
            _key("copy", "y", "copy", "Copy", "Copy the value here, or those marked", "y"),
            _key("export", "e", "export", "Export", "What is shown as a file: CSV or JSON", "e"),
            _key("command", "c", "copy_command", "As command", "Copy the same as a command line", "c"),
        ),
    ),
    Group(
        "Move, beside the arrows",
        (
            _key("down", "j", "move('down')", "Down", "One line down; in a note further down", "j"),
            _key("up", "k", "move('up')", "Up", "One line up", "k"),
            _key("top", "g", "move('top')", "Top", "To the first line", "g"),
            _key("bottom", "G", "move('bottom')", "Bottom", "To the last line", "G"),
            _key("half_down", "right_curly_bracket", "move('half_down')", "Half down", "Half a page down", "}"),
            _key("half_up", "left_curly_bracket", "move('half_up')", "Half up", "Half a page up", "{"),
        ),
    ),
    Group(
        "Time",
        (
            _key("pause", "p", "pause", "Pause", "Hold the view still, or let it go on", "p"),
            _key("now", "ctrl+r", "now", "Now", "Look again now", "ctrl+r"),
            _key("step", "full_stop", "now", "Step", "While the view is held: look once", "."),
            _key("faster", "plus,equals_sign", "faster", "Faster", "Look more often", "+"),
            _key("slower", "minus", "slower", "Slower", "Look less often", "-"),
        ),
    ),
    Group(
        "Guard",
        (
            _key("unlock", "ctrl+l", "unlock", "Unlock for 10 minutes…", "Let acts run here, or lock it", "ctrl+l"),
        ),
    ),
    Group(
        "Act (always asks)",
        (
            _key("requeue", "R", "requeue", "Requeue", "Make stuck or dead jobs available again", "R", footer=True),
            _key("redrive", "R", "redrive", "Redrive", "Dead letters of pgmq, back or aside", "R", footer=True),
            _key("empty", "X", "empty", "Empty", "Delete all messages of a pgmq queue", "X", footer=True),
            _key("cancel_jobs", "C", "cancel_jobs", "Cancel", "Cancel jobs, also running ones", "C", footer=True),
            _key("discard", "D", "discard", "Discard", "Give dead letters up", "D", footer=True),
            _key("edit_job", "E", "edit", "Edit", "Give a job another payload", "E", footer=True),
            _key("edit_queue", "E", "edit", "Edit", "Change a queue's settings and limits", "E", footer=True),
            _key("purge", "P", "purge", "Purge cache", "Remove cache entries that have expired", "P", footer=True),
            _key("purge_stores", "P", "purge", "Purge", "Purge the cache, key stores, or limits", "P", footer=True),
            _key("invalidate", "D", "invalidate", "Discard", "Discard all of a cache namespace", "D", footer=True),
            _key("hold", "P", "hold", "Pause", "Pause a queue, or let it go on", "P", footer=True),
            _key("hold_cron", "P", "hold", "Pause", "Pause a recurring job, or let it go on", "P", footer=True),
            _key("run_cron", "N", "run_cron", "Run now", "Add a recurring job's job now", "N", footer=True),
            _key("remove_cron", "D", "remove_cron", "Remove", "Remove a recurring job", "D", footer=True),
            _key("rebuild", "B", "rebuild", "Rebuild", "Build a vector index, blocking nobody", "B", footer=True),
            _key("hold_events", "P", "hold_events", "Pause", "Pause a subscription, or let it go on", "P", footer=True),
            _key("replay", "B", "replay", "Replay", "Deliver events of a subscription again", "B", footer=True),
            _key("keep", "E", "keep", "Keep", "Change how long events are kept", "E"),
            _key("purge_events", "X", "purge_events", "Purge", "Let old events go; rebase the log", "X"),
            _key("unpark", "R", "unpark", "Retry", "Try events that were put aside again", "R", footer=True),
            _key("discard_parked", "D", "discard_parked", "Discard", "Give an event up for good", "D", footer=True),
            _key("hold_key", "K", "hold_key", "Hold", "Hold a key back, or let it go", "K", footer=True),
            _key("unsubscribe", "D", "unsubscribe", "Drop", "Drop a subscription with its cursor", "D", footer=True),
            _key("drop", "D", "drop", "Drop", "Drop a vector collection with its rows", "D", footer=True),
            _key("drop_documents", "D", "drop", "Drop", "Drop a collection with its documents", "D", footer=True),
            _key("drop_index", "D", "drop", "Drop", "Drop an index of a collection, or all of it", "D", footer=True),
            _key("cancel", "C", "cancel_backend", "Cancel", "Cancel the statement of a session", "C", footer=True),
            _key("terminate", "K", "terminate", "Terminate", "End a session, and its transaction", "K", footer=True),
            _key("vacuum", "V", "vacuum", "Vacuum", "Vacuum a table of the queue, or tune all", "V"),
            _key("mend_index", "I", "mend_index", "Index", "Build an index anew, or drop a failed one", "I"),
            _key("undo", "U", "undo", "Undo", "Bring back what an act has changed", "U"),
            _key("cure", "M", "cure", "Mend", "Do what cures the finding under the cursor", "M", footer=True),
            _key("stop", "C", "stop", "Stop", "Under way: stop the act that the cursor is on", "C"),
            _key("confirm", "y", "confirm", "Do it", "In a question: yes, do it", "y"),
        ),
    ),
)  # fmt: skip

KEYS = {key.id: key for group in GROUPS for key in group.keys if key.id is not None}
ACTS = tuple(key.id for group in GROUPS if group.title.startswith("Act") for key in group.keys if key.id is not None)
MOVES = ("down", "up", "top", "bottom", "half_down", "half_up")

EVERYWHERE = (
    "overview", "queues", "vectors", "connections", "outbox", "stores", "documents", "server", "outgrow",
    "audit", "undo", "under_way", "course", "palette", "pause", "now", "step", "faster", "slower", "unlock", "help",
    "quit",
)  # fmt: skip


def shown(id: str, given: Mapping[str, str]) -> str:
    """How the key of this id is written, which may be one of `given`."""
    return written(given[id].split(",")[0]) if id in given else KEYS[id].key_display or KEYS[id].key


def written(key: str) -> str:
    """A key as one reads it: ctrl+y, ?, f5."""
    *modifiers, last = key.split("+") if len(key) > 1 else [key]
    return "+".join([*modifiers, format_key(last)])


def keys(*names: str) -> list[BindingType]:
    """The bindings of these ids, in this order."""
    return [KEYS[name] for name in names]

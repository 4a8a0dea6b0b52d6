"""The command line that does the same as an act or shows the same as a screen. Pure."""

import shlex

from pgops.ops.actions import Action

_OF_A_NAME = {
    "pause": ("queue", "pause"),
    "resume": ("queue", "resume"),
    "unsubscribe": ("outbox", "unsubscribe"),
    "drop_collection": ("vector", "drop"),
    "drop_documents": ("doc", "drop"),
}


def act_command(action: Action) -> str:
    """The command of an act; it asks before it does anything, as the dashboard does."""
    words = ["pgops", *_verbs(action)]
    return " ".join(shlex.quote(word) for word in words)


def _verbs(action: Action) -> list[str]:
    ids = [str(id) for id in action.ids]
    if action.name == "requeue_stuck":
        return ["queue", "requeue", action.target, *ids, "--stuck"]
    if action.name == "requeue_dead":
        return ["queue", "requeue", action.target, *ids, "--dead"]
    if action.name == "purge_expired":
        return ["cache", "purge"]
    if action.name == "purge_kv":
        return ["kv", "purge"]
    if action.name == "purge_limits":
        return ["limit", "purge"]
    if action.name == "rebuild_index":
        lists = ["--lists", str(action.lists)] if action.lists else []
        return ["vector", "rebuild", action.target, *lists]
    if action.name in _OF_A_NAME:
        return [*_OF_A_NAME[action.name], action.target]
    if action.name in ("cancel_backend", "terminate_backend"):
        return ["sessions", action.name.removesuffix("_backend"), action.target]
    if action.name.startswith("pgmq_"):
        reads = ["--more-than", str(action.more_than)] if action.name == "pgmq_dead" else []
        return ["queue", "pgmq", action.name.removeprefix("pgmq_"), action.target, *reads]
    exact = ["--exact"] if action.exact else []
    return ["vector", "search", action.target, action.query, "--limit", str(action.limit), *exact]


def jobs_command(queue: str, state: str | None = None) -> str:
    return f"pgops queue jobs {shlex.quote(queue)}" + (f" --state {state}" if state else "")


def job_command(queue: str, job: int) -> str:
    return f"pgops queue show {shlex.quote(queue)} {job}"


def peek_command(queue: str) -> str:
    return f"pgops queue pgmq peek {shlex.quote(queue)}"


def find_command(collection: str) -> str:
    return f"pgops doc find {shlex.quote(collection)}"

"""The command line that does the same as an act or shows the same as a screen. Pure."""

import json
import shlex
from collections.abc import Sequence

from pgops.ops.act.actions import Action
from pgops.services.models import JobMatch, JsonValue
from pgops.services.vector_rules import parse_filter

_OF_A_NAME: dict[str, tuple[str, ...]] = {
    "invalidate": ("cache", "invalidate"),
    "pause": ("queue", "pause"),
    "resume": ("queue", "resume"),
    "unsubscribe": ("outbox", "unsubscribe"),
    "drop_collection": ("vector", "drop"),
    "drop_documents": ("doc", "drop"),
    "cron_pause": ("queue", "cron", "pause"),
    "cron_resume": ("queue", "cron", "resume"),
    "cron_run": ("queue", "cron", "run"),
    "cron_remove": ("queue", "cron", "remove"),
    "reindex_index": ("index", "reindex"),
    "drop_invalid_index": ("index", "drop-invalid"),
    "undo": ("audit", "undo"),
}


_OF_JOBS = {"cancel_jobs": "cancel", "discard_dead": "discard", "edit_job": "edit", "set_queue": "set"}


def act_command(action: Action) -> str:
    """The command of an act; it asks before it does anything, as the dashboard does."""
    words = ["pgops", *_verbs(action)]
    return " ".join(shlex.quote(word) for word in words)


def _verbs(action: Action) -> list[str]:
    ids = [str(id) for id in action.ids] if action.match is None else _match_options(action.match)
    if action.name == "requeue_stuck":
        return ["queue", "requeue", action.target, *ids, "--stuck"]
    if action.name == "requeue_dead":
        return ["queue", "requeue", action.target, *ids, "--dead"]
    if action.name == "requeue_ladder":
        rate = [] if action.rate is None else ["--rate", f"{action.rate:g}"]
        return ["queue", "requeue", action.target, *ids, "--ladder", *rate]
    if action.name in _OF_JOBS:
        return ["queue", _OF_JOBS[action.name], action.target, *ids, *([action.given] if action.given else [])]
    if action.name == "purge_expired":
        return ["cache", "purge"]
    if action.name == "purge_kv":
        return ["kv", "purge"]
    if action.name == "purge_limits":
        return ["limit", "purge"]
    if action.name == "drop_index":
        collection, _, index = action.target.partition(".")
        return ["doc", "index", collection, "--drop", index]
    if action.name in ("build_index", "rebuild_index"):
        given = (("method", action.method), ("lists", action.lists), ("m", action.m),
                 ("ef-construction", action.ef_construction))  # fmt: skip
        options = [word for name, value in given if value for word in (f"--{name}", str(value))]
        return ["vector", action.name.removesuffix("_index"), action.target, *options]
    if action.name == "vacuum_table":
        return ["table", "vacuum", action.target, *(["--analyze-only"] if action.analyze_only else [])]
    if action.name == "tune_queue_tables":
        return ["table", "tune"]
    if action.name == "reset_stats":
        return ["table", "reset-stats", *([action.target] if action.target else [])]
    if action.name in _OF_A_NAME:
        return [*_OF_A_NAME[action.name], action.target]
    if action.name in ("cancel_backend", "terminate_backend"):
        return ["sessions", action.name.removesuffix("_backend"), action.target]
    if action.name.startswith("outbox_"):
        return ["outbox", action.name.removeprefix("outbox_"), *_of_the_outbox(action)]
    if action.name.startswith("pgmq_"):
        reads = ["--more-than", str(action.more_than)] if action.name == "pgmq_dead" else []
        return ["queue", "pgmq", action.name.removeprefix("pgmq_"), action.target, *reads]
    return ["vector", "search", action.target, action.query, "--limit", str(action.limit), *_search_options(action)]


def _of_the_outbox(action: Action) -> list[str]:
    if action.name in ("outbox_keep", "outbox_purge", "outbox_rebase"):
        return [action.given] if action.given else []
    words = [action.target, *(str(id) for id in action.ids)]
    if action.since is not None:
        words += ["--since", action.since.isoformat()]
    if action.key is not None:
        words += [action.key] if action.name == "outbox_park" else ["--key", action.key]
    return [*words, "--reason", action.given] if action.given else words


def _match_options(match: JobMatch) -> list[str]:
    found = ["--kind", match.kind] if match.kind else []
    found += ["--error", match.error] if match.error else []
    for option, words in (("--word", match.words), ("--not-kind", match.not_kinds), ("--not-word", match.not_words)):
        found += [part for word in words for part in (option, word)]
    for option, age_s in (("--older-than", match.older_than_s), ("--younger-than", match.younger_than_s)):
        found += [option, f"{age_s:g}s"] if age_s is not None else []
    return found if match.payload is None else [*found, "--payload", json.dumps(match.payload)]


def _search_options(action: Action) -> list[str]:
    filters = [_filter(name, value) for name, value in action.filter]
    found = [word for one in filters for word in ("--filter", one)]
    found += ["--embedder", action.embedder] if action.embedder else []
    return [*found, "--exact"] if action.exact else found


def _filter(name: str, value: JsonValue) -> str:
    plain = f"{name}={value}"
    return plain if isinstance(value, str) and parse_filter(plain) == (name, value) else f"{name}={json.dumps(value)}"


def trail_command(act: int | None = None) -> str:
    return "pgops audit list" if act is None else f"pgops audit show {act}"


def jobs_command(queue: str, state: str | None = None) -> str:
    return f"pgops queue jobs {shlex.quote(queue)}" + (f" --state {state}" if state else "")


def failures_command(queue: str | None) -> str:
    return "pgops queue failures" + (f" --queue {shlex.quote(queue)}" if queue else "")


def requeue_command(queue: str, ids: Sequence[int]) -> str:
    return f"pgops queue requeue {shlex.quote(queue)} {' '.join(map(str, ids))} --dead"


def job_command(queue: str, job: int) -> str:
    return f"pgops queue show {shlex.quote(queue)} {job}"


def peek_command(queue: str) -> str:
    return f"pgops queue pgmq peek {shlex.quote(queue)}"


def subscription_command(name: str) -> str:
    return f"pgops outbox show {shlex.quote(name)}"


def parked_command(subscription: str) -> str:
    return f"pgops outbox parked {shlex.quote(subscription)}"


def indexes_command(collection: str) -> str:
    return f"pgops doc index {shlex.quote(collection)}"


def probe_command(channel: str | None) -> str:
    return "pgops pubsub probe" + (f" {shlex.quote(channel)}" if channel else "")


def channels_command() -> str:
    return "pgops pubsub channels"


def find_command(collection: str) -> str:
    return f"pgops doc find {shlex.quote(collection)}"

"""A job, its session and whoever that waits for, in words and as rows of a tree.

Floor 3, pure, under job_chain.py and the rules.
"""

from pgops.ops.observe.snapshot_jobs import ChainLink, JobBackend
from pgops.ops.wording import age


def note(alive: bool) -> str:
    """Why a running job has no session that could be told."""
    if not alive:
        return "its worker is gone, and so are its sessions; the job is taken back when its lease ends"
    return "no session is named after it: its handler is not in job.connection(), nor names its own by job.session_name"


def chain_words(backend: JobBackend) -> str:
    """Session and blockers in one line, the job's own first."""
    at = f"pid {backend.pid}"
    if not backend.chain:
        doing = f" waits on {backend.wait}" if backend.wait and backend.state == "active" else f" is {backend.state}"
        return f"{at}{doing if backend.state else ''} for {age(backend.state_s)}" if backend.state else at
    behind = " behind ".join(
        f"pid {one.pid} ({one.application or one.user or 'unknown'}, "
        f"{'waits' if one.blocked_by else one.state or 'at work'})"
        for one in backend.chain
    )
    return f"{at} waits for {backend.waits_for or 'a lock'} behind {behind}"


def root_of(backend: JobBackend | None) -> ChainLink | None:
    """The one whose end would let the job go on; None where there is none, or several."""
    roots = [one for one in backend.chain if not one.blocked_by] if backend is not None else []
    return roots[0] if len(roots) == 1 and roots[0].pid else None


def xmin_words(backend: JobBackend) -> str:
    """Whether it keeps vacuum back; nothing where it has no snapshot."""
    if not backend.xmin_age:
        return ""
    first = "it holds vacuum back more than anybody" if backend.holds_xmin else "it holds vacuum back"
    return f"{first}: {backend.xmin_age:,} transactions"

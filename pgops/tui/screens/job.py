"""One job: where it stands, its payload as a tree, and the error of every attempt that failed."""

import json
from datetime import datetime

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.widgets import DataTable, Static, Tree
from textual.widgets.tree import TreeNode

from pgops.errors import NotFoundError, PgopsError
from pgops.ops.act.actions import Action, ActionName
from pgops.ops.observe.snapshot_jobs import JobChain
from pgops.services.models import JobRow, JobState, JsonValue
from pgops.tui import formats
from pgops.tui.commands import job_command
from pgops.tui.keymap import keys
from pgops.tui.screens.ask import failure
from pgops.tui.screens.base import Choice, Helm, Room
from pgops.tui.theme import ACCENT, BAD, GOOD, INK, QUIET, WARN
from pgops.tui.widgets.chain_lines import CHAIN, chain_lines
from pgops.tui.widgets.ledger import Ledger

NODES = 500


def facts(job: JobRow) -> Text:
    """Where the job stands."""
    attempt = str(job.attempt) if job.max_attempts is None else f"{job.attempt} of {job.max_attempts}"
    pairs = (
        ("state", job.state), ("kind", formats.clean(job.kind)), ("priority", str(job.priority)),
        ("attempt", attempt), ("created", formats.stamp(job.created_at)), ("run at", formats.stamp(job.run_at)),
        ("started", formats.stamp(job.started_at)), ("lease until", formats.stamp(job.lease_until)),
        ("group", formats.clean(job.group_key or formats.UNKNOWN, 60)),
        ("progress", formats.compact_json(job.progress) if job.progress is not None else formats.UNKNOWN),
        ("worker", formats.UNKNOWN if job.owner is None else str(job.owner)),
    )  # fmt: skip
    text = Text(no_wrap=True, overflow="ellipsis")
    for name, value in pairs:
        text.append(f"{name:<12}", QUIET)
        text.append(f"{value}\n", WARN if name == "state" and value == "dead" else INK)
    return text


def errors(job: JobRow) -> Text:
    """Every failed attempt, the last one first."""
    if not job.errors:
        return Text("✓ no attempt has failed", GOOD)
    text = Text()
    for number, entry in reversed(list(enumerate(job.errors, 1))):
        text.append(f"attempt {formats.clean(entry.get('attempt', number))}", f"bold {INK}")
        text.append(f"  {formats.clean(entry.get('at', ''))}\n", QUIET)
        text.append(f"✕ {formats.clean(entry.get('error', ''), 2_000)}\n", BAD)
        if entry.get("traceback"):
            text.append(f"{formats.clean_lines(entry['traceback'], 8_000).rstrip()}\n", QUIET)
        text.append("\n")
    return text


class JobRoom(Room):
    """Fetches its job after each snapshot. A job that is gone stays as it was last seen, and says so."""

    BINDINGS = keys("requeue", "cancel_jobs", "cancel", "terminate", "discard", "edit_job", "copy")
    room = "queues"

    def __init__(self, helm: Helm, queue: str, job: int) -> None:
        super().__init__(helm, f"{queue} › {job}")
        self._queue = queue
        self._job_id = job
        self._job: JobRow | None = None
        self._chain: JobChain | None = None
        self._fetching = False

    def furniture(self) -> ComposeResult:
        yield Static(id="empty", classes="-hidden", markup=False)
        with Container(id="job"):
            facts_panel = Static("looking…", id="facts", markup=False)
            facts_panel.border_title = "job"
            yield facts_panel
            tree: Tree[None] = Tree(Text("payload"), id="payload")
            tree.border_title = "payload"
            tree.show_root = False
            tree.guide_depth = 2
            yield tree
            with VerticalScroll(id="errors") as panel:
                panel.border_title = "errors"
                yield Static(id="attempts", markup=False)
            chain = Ledger(CHAIN, id="chain", sort="who", opens=False)
            chain.border_title = "who runs it, and whom that waits for"
            chain.add_class("-hidden")
            yield chain

    def observed(self) -> None:
        if not self._fetching:
            self._fetching = True
            self.run_worker(self._fetch(), exit_on_error=False)

    async def _fetch(self) -> None:
        empty = self.query_one("#empty", Static)
        try:
            job = await self.helm.source.job(self._queue, self._job_id)
            running = job.state == "running"
            self._chain = await self.helm.source.chain(self._queue, self._job_id) if running else None
        except NotFoundError as error:
            empty.remove_class("-hidden")
            gone = Text("○ no longer in the queue: completed, or removed", WARN)
            empty.update(gone if self._job is not None else failure(error))
        except PgopsError as error:
            empty.remove_class("-hidden")
            empty.update(failure(error))
        else:
            empty.add_class("-hidden")
            self._fill(job)
            self._fill_chain(job)
        finally:
            self._fetching = False

    def _fill(self, job: JobRow) -> None:
        before, self._job = self._job, job
        if before == job:
            return
        with self.app.batch_update():
            self.query_one("#facts", Static).update(facts(job))
            self.query_one("#attempts", Static).update(errors(job))
            if before is None or before.payload != job.payload:
                tree: Tree[None] = self.query_one("#payload", Tree)
                tree.clear()
                _grow(tree.root, job.payload, [NODES])
                tree.root.expand_all()

    def _fill_chain(self, job: JobRow) -> None:
        table, chain = self.query_one("#chain", Ledger), self._chain
        table.set_class(chain is None, "-hidden")
        self.query_one("#errors").set_class(chain is not None and not job.errors, "-hidden")
        self.query_one("#job").set_class(chain is not None and bool(job.errors), "-running")
        now = self.view.snapshot.taken_at if self.view and self.view.snapshot else None
        began = job.started_at
        age_s = (now - began).total_seconds() if now is not None and began is not None else None
        table.show(list(chain_lines(job, chain, age_s)) if chain is not None else [])
        self.refresh_bindings()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        self.refresh_bindings()

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    @property
    def _backend(self) -> tuple[str, datetime | None] | None:
        """The pid under the cursor of the chain, and when that session began."""
        table, chain = self.query_one("#chain", Ledger), self._chain
        if chain is None or chain.backend is None or self.app.focused is not table:
            return None
        known = {str(one.pid): one.started_at for one in chain.backend.chain if one.pid}
        known[str(chain.backend.pid)] = chain.backend.started_at
        return None if table.current not in known else (table.current, known[table.current])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """On a session of the chain C cancels its statement and K ends it; else C is for the job."""
        if not self.is_mounted:
            return super().check_action(action, parameters)
        if action in ("cancel_backend", "terminate"):
            return self._backend is not None
        if action == "cancel_jobs":
            return self._backend is None
        return super().check_action(action, parameters)

    def action_cancel_backend(self) -> None:
        self._on_backend("cancel_backend")

    def action_terminate(self) -> None:
        self._on_backend("terminate_backend")

    def _on_backend(self, act: ActionName) -> None:
        """On exactly the backend that is shown, also where its pid is given anew meanwhile."""
        if (found := self._backend) is not None:
            self.helm.act(Action(act, found[0], started_at=found[1]))

    def action_requeue(self) -> None:
        job, choices = self._job, []
        if job is not None and job.state == "dead":
            choices = [Choice(f"this job: {job.id}", Action("requeue_dead", self._queue, (job.id,)))]
        elif job is not None and job.state == "running":
            choices = [Choice(f"this job: {job.id}", Action("requeue_stuck", self._queue, (job.id,)))]
        self.helm.choose("Requeue", choices, "This job is neither running nor dead.")

    def action_cancel_jobs(self) -> None:
        self._on_this("Cancel", "cancel_jobs", self._is("available", "scheduled", "waiting", "running"))

    def action_discard(self) -> None:
        self._on_this("Discard", "discard_dead", self._is("dead"))

    def action_edit(self) -> None:
        self._on_this("Edit", "edit_job", self._is("available", "scheduled", "waiting", "dead"))

    def _is(self, *states: JobState) -> bool:
        return self._job is not None and self._job.state in states

    def _on_this(self, title: str, act: ActionName, possible: bool) -> None:
        choices = [Choice(f"this job: {self._job_id}", Action(act, self._queue, (self._job_id,)))] if possible else []
        said = f"{title} is not for a job that is {self._job.state}." if self._job else "There is no such job."
        self.helm.choose(title, choices, said)

    def action_copy(self) -> None:
        if self._job is not None:
            payload = json.dumps(self._job.payload, ensure_ascii=False)
            self.app.copy_to_clipboard(payload)
            self.notify(formats.clean(payload, 200), title="Copied the payload", markup=False, timeout=3)

    def as_command(self) -> str:
        return job_command(self._queue, self._job_id)


def _grow(node: TreeNode[None], value: JsonValue, left: list[int], name: str = "") -> None:
    """Add a JSON value under a node, until `left` nodes are used up."""
    left[0] -= 1
    label = Text(f"{formats.clean(name, 80)} " if name else "", QUIET)
    if left[0] < 0:
        if left[0] == -1:
            node.add_leaf(Text("… and more; y copies all of it", QUIET))
        return
    if isinstance(value, dict | list):
        pairs = list(value.items()) if isinstance(value, dict) else [(str(at), one) for at, one in enumerate(value)]
        label.append(f"{{{len(pairs)}}}" if isinstance(value, dict) else f"[{len(pairs)}]", QUIET)
        branch = node.add(label) if name else node
        for key, one in pairs:
            _grow(branch, one, left, key)
        return
    ink = ACCENT if isinstance(value, str) else GOOD if isinstance(value, bool | int | float) else QUIET
    label.append(formats.clean(json.dumps(value, ensure_ascii=False), 400), ink)
    node.add_leaf(label)

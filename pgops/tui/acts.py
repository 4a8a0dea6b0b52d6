"""The way of an act through the dashboard: which one, the question, doing it while all goes on, and what came of it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from pgops.errors import PgopsError, UnreachableError
from pgops.ops.act.actions import Action, Preview, Result
from pgops.ops.act.danger import meanwhile
from pgops.tui import formats
from pgops.tui.dressing import Dressed
from pgops.tui.feed import Feed, View
from pgops.tui.offers import OFFERS
from pgops.tui.screens.ask import Choose, Question
from pgops.tui.screens.base import Choice
from pgops.tui.screens.editor import BY_HAND, Editor
from pgops.tui.screens.under_way import UnderWay
from pgops.tui.screens.unlock import UnlockNote
from pgops.tui.source import Source
from pgops.tui.works import MOST, Work

WATCH_S = 1.0


class Acts(Dressed):
    """The app as far as it acts; app.py has the rest."""

    source: Source
    feed: Feed
    _undoable: int | None = None

    @property
    def now_view(self) -> View:
        return self.feed.view(monotonic())

    def spread(self) -> None:
        """Have the open room drawn anew."""
        raise NotImplementedError

    def action_now(self) -> None:
        """Look again now."""
        raise NotImplementedError

    def choose(self, title: str, choices: Sequence[Choice], nothing: str) -> None:
        if not choices:
            self.notify(nothing, markup=False, timeout=4)
        elif len(choices) == 1:
            self.act(choices[0].action)
        else:
            self.push_screen(Choose(title, choices), self._chosen)

    def offer(self, act: str, target: str | None) -> None:
        choices = [choice for choice in self._choices(act) if choice.action.target == target]
        self.choose(OFFERS[act].title, choices, OFFERS[act].nothing)

    def offer_any(self, act: str) -> None:
        self.choose(OFFERS[act].title, self._choices(act), OFFERS[act].nothing)

    def _choices(self, act: str) -> list[Choice]:
        snapshot = self.now_view.snapshot
        return [] if snapshot is None else OFFERS[act].choices(snapshot)

    def _chosen(self, action: Action | None) -> None:
        if action is not None:
            self.act(action)

    def act(self, action: Action) -> None:
        if action.name in BY_HAND and not action.given:
            self.push_screen(Editor(self.source, action), self._chosen)
            return
        if len(self.feed.busy) >= MOST:
            self.notify(f"{MOST} acts are under way: wait for one, or stop one with w.", markup=False, timeout=6)
            return
        question = Question(self.source, action)

        def go(yes: bool | None) -> None:
            if yes:
                self.run_worker(self._run(question.action, question.preview), group="act", exit_on_error=False)

        def answered(yes: bool | None) -> None:
            if yes and self.source.standing.mode == "locked":
                name = f"{question.action.name} {question.action.target}".replace("_", " ")
                self.push_screen(UnlockNote(self.source, name), go)
            else:
                go(yes)

        self.push_screen(question, answered)

    async def _run(self, action: Action, look: Preview | None) -> None:
        work = Work(action, monotonic(), asyncio.current_task())
        self.feed.busy.append(work)
        self.spread()
        watch = asyncio.create_task(self._watch(work))
        try:
            self._tell_done(await self.source.run(action), look)
        except PgopsError as error:
            words = formats.clean(f"{error}. {error.hint}" if error.hint else error)
            if isinstance(error, UnreachableError):
                words += ". Whether it was done, the trail tells: u"
            self.notify(words, title="✕ Not done", severity="error", markup=False, timeout=10)
        except Exception as error:
            self.log.error(error)
            words = f"{formats.clean(f'{type(error).__name__}: {error}')}. Please report this; u tells what was done"
            self.notify(words, title="✕ Not done", severity="error", markup=False, timeout=10)
        except asyncio.CancelledError:
            if not work.stopping:
                raise
            await self._tell_stopped(work)
        finally:
            watch.cancel()
            self.feed.busy.remove(work)
            self.action_now()
            self.spread()

    def _tell_done(self, result: Result, look: Preview | None) -> None:
        missed = meanwhile(look, result.changed) if look is not None else ""
        trail = f"; {missed}" if missed else ""
        trail += "" if result.audit_id is None else f" (audit {result.audit_id})"
        if result.undoable:
            self._undoable = result.audit_id
            trail += "; U undoes it"
        elif result.action.name == "undo" and str(self._undoable) == result.action.target:
            self._undoable = None
        self.notify(formats.clean(result.message) + trail, title="✓ Done", markup=False, timeout=6)

    async def _tell_stopped(self, work: Work) -> None:
        try:
            left = await self.source.left_of(work.action)
        except PgopsError as error:
            left = f"what is left of it cannot be seen: {error}"
        words = formats.clean(f"{work.name}: {left}")
        self.notify(words, title="■ Stopped", severity="warning", markup=False, timeout=10)

    async def _watch(self, work: Work) -> None:
        """Ask once a second how far it is; an act that takes less is never asked about."""
        while True:
            await asyncio.sleep(WATCH_S)
            with suppress(PgopsError):
                work.said = await self.source.how_far(work.action)
            self.spread()

    # --- keys ------------------------------------------------------------------------------------------------

    def action_under_way(self) -> None:
        if not self.screen.is_modal:
            self.push_screen(UnderWay(self.feed.busy))

    def action_undo(self) -> None:
        """What was done here last, of all that can be undone."""
        if self.screen.is_modal:
            return
        if self._undoable is None:
            self.notify("Nothing was done here that can be undone; u shows what others did.", markup=False, timeout=4)
        else:
            self.act(Action("undo", str(self._undoable)))

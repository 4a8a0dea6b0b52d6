"""Diagrams of what the cursor is on: how it went lately, or since the dashboard was opened."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Button, Static

from pgops.tui import formats
from pgops.tui.keymap import KEYS, keys
from pgops.tui.screens.modal import Note
from pgops.tui.tracks import Run, Tracks
from pgops.tui.widgets.plot import plot

EVERY_S = 1.0
ROOMY = 24
LATELY, WHOLE = "lately", "since it was opened"


def _per_s(value: float | None) -> str:
    return f"{formats.rate(value)}/s"


@dataclass(frozen=True, slots=True)
class Course:
    """A track, how its values are written, and the highest that they can be."""

    track: str
    write: Callable[[float | None], str] = formats.count
    most: float = 0


def of_queue(name: str) -> tuple[Course, ...]:
    return (Course(f"depth of {name}"), Course(f"into {name}", _per_s), Course(f"out of {name}", _per_s))


def of_subscription(name: str) -> tuple[Course, ...]:
    return (Course(f"lag of {name}"), Course(f"relayed by {name}", _per_s))


OF_ALL = (
    Course("connections"), Course("cache hit ratio", formats.ratio, 1.0), Course("outbox lag"),
)  # fmt: skip


class CourseNote(Note[None]):
    """As many diagrams as it is given, one over the other, drawn anew each second."""

    BINDINGS = keys("span")

    def __init__(self, title: str, tracks: Tracks, courses: Sequence[Course]) -> None:
        super().__init__(title)
        self._tracks = tracks
        self._courses = tuple(courses)
        self._lately = True

    def inside(self) -> ComposeResult:
        yield Static(id="plots", markup=False)
        with Horizontal(classes="buttons"):
            yield Button("Close", id="close", compact=True)

    def on_mount(self) -> None:
        self.query_one(".note").add_class("-plots")
        self.query_one(Button).focus()
        self.call_after_refresh(self.show)
        self.set_interval(EVERY_S, self.show)

    def on_resize(self) -> None:
        self.call_after_refresh(self.show)

    def show(self) -> None:
        plots = self.query_one("#plots", Static)
        width, height = plots.size
        between = "\n\n" if height >= ROOMY else "\n"
        each = max((height - (len(between) - 1) * (len(self._courses) - 1)) // len(self._courses), 4)
        texts = [self._plot(course, width, each) for course in self._courses]
        plots.update(Text(between).join(texts))
        key = KEYS["span"].key
        words, other = (LATELY, WHOLE) if self._lately else (WHOLE, LATELY)
        self.query_one(".note").border_subtitle = f"{words} · {key} {other}"

    def _plot(self, course: Course, width: int, height: int) -> Text:
        track = self._tracks.get(course.track)
        run = Run((), 1.0) if track is None else track.lately() if self._lately else track.whole()
        return plot(formats.clean(course.track, 60), run, width, height, course.write, most=course.most)

    def action_span(self) -> None:
        self._lately = not self._lately
        self.show()

    def on_button_pressed(self) -> None:
        self.dismiss(None)

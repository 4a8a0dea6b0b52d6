"""A window on a queue's jobs: a few pages in a row, read on at either end, never more than a bounded number. Pure.

The rule: pages lie one behind the other without a gap. What is read anew takes the place of its page and of all below
it; those are read again when one gets there.
"""

from collections.abc import Collection, Sequence

from pgops.services.models import JobPage, JobRow

PAGE = 100
MOST_PAGES = 3


class JobWindow:
    """The pages that are held, the first of them first."""

    def __init__(self) -> None:
        self.pages: list[JobPage] = []

    @property
    def jobs(self) -> list[JobRow]:
        """Their jobs, each once: one that has moved stands where it was read last."""
        found: dict[int, JobRow] = {}
        for job in (job for page in self.pages for job in page.jobs):
            found.pop(job.id, None)
            found[job.id] = job
        return list(found.values())

    @property
    def next(self) -> str | None:
        """Where to read on; None at the end of the queue."""
        return self.pages[-1].next if self.pages else None

    @property
    def previous(self) -> str | None:
        """Where to read back; None at the beginning."""
        return self.pages[0].previous if self.pages else None

    @property
    def whole(self) -> bool:
        """Whether it holds all that there is."""
        return bool(self.pages) and self.next is None and self.previous is None

    @property
    def searched(self) -> int:
        """How many rows were looked at for what it holds, where the search stopped at its bound; else 0."""
        return sum(page.searched for page in self.pages) if self.pages and self.pages[-1].cut else 0

    def begin(self, page: JobPage) -> None:
        """Hold this page alone."""
        self.pages = [page]

    def append(self, page: JobPage) -> None:
        """The page after the last; the first goes where there are too many. Where a search has found nothing yet, what
        it looked at is remembered, and not the empty page."""
        if self.pages and not self.pages[-1].jobs and self.pages[-1].cut:
            page = _joined(self.pages.pop(), page)
        self.pages = [*self.pages, page][-MOST_PAGES:]

    def prepend(self, page: JobPage) -> None:
        """The page before the first; the last goes where there are too many."""
        self.pages = [page, *self.pages][:MOST_PAGES]

    def renew(self, first: int, pages: Sequence[JobPage]) -> None:
        """Pages that were read again from the `first` on; what lay below them is let go."""
        self.pages = [*self.pages[:first], *pages]

    def span(self, ids: Collection[int]) -> tuple[int, int]:
        """The first and the last page with one of these jobs."""
        held = [at for at, page in enumerate(self.pages) if any(job.id in ids for job in page.jobs)]
        return (held[0], held[-1]) if held else (0, 0)


def _joined(empty: JobPage, page: JobPage) -> JobPage:
    return JobPage(
        page.jobs, page.next, empty.previous, page.after, empty.searched + page.searched, page.cut
    )  # fmt: skip

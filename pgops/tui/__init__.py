"""The dashboard. It shows Snapshots and runs Actions; it holds no SQL, no driver and no command line.

    app.py          PgopsApp: keys, screens, the heart beat; one view goes to the screen that is open
    feed.py         what is known now: last snapshot, history, lost or live, when to look again; pure
    source.py       Source: where snapshots, jobs and acts come from
    live.py         LiveSource: the one over a database
    starting.py     the embedded server, started in a thread
    acts.py         the way of an act: which one, the question, doing it, what came of it; works.py: one under way
    keymap.py       every key, once; footer, help and palette are made from it
    offers.py       what every act could hit; pure
    causes.py       where the cause of each finding is looked at; pure
    palette.py      the command palette; palette_names.py: what it opens by name
    messages.py     what goes between app and screens
    commands.py     an act or a look as the command line that does the same
    formats.py      numbers, durations, sizes, and text made harmless; pure
    theme.py        the colours and what they mean
    colorless.py    whether the terminal has any
    standing.py     what may be changed here: read-only, locked, unlocked; pure
    unlocking.py    the pool that may write, of a guarded profile
    news.py         what changed about the server, what its schema lacks; pure
    schema_watch.py when that is looked at
    themes.py       day and mono, in the night's place
    rebinding.py    the theme and the keys that config.toml gives
    dressing.py     the app in them
    filtering.py    the language of filters; job_terms.py: as the server can be asked it of jobs; pure
    job_window.py   a few pages in a row of however many jobs; pure
    tracks.py       how numbers went since the dashboard was opened, in bounded memory; pure
    export.py       a table as CSV or JSON
    moving.py       movement by letters
    memory.py       what it does about its own memory
    screens/        overview, queues, jobs, job, pgmq, vectors, outbox, stores, documents, server, audit;
                    help, questions
    widgets/        status line, banner, tiles, ledger (a table that is diffed), sparkline, filter
    *.tcss          how it looks

Whatever comes from the database is text, never markup, and passes `formats.clean` on its way to the screen.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgops.config import Target


def run_dashboard(target: "Target", *, read_only: bool = False) -> int:
    """Open the dashboard on `target` and return the exit code when it is left; another profile that is asked for there
    is opened anew, and is `read_only` too where that was said of the call. A database that cannot be reached is shown
    as lost and tried again; it is no error here. Raises UsageError for a config.toml that is wrong."""
    from pgops.config import resolve_target
    from pgops.ops.threshold_settings import thresholds_of
    from pgops.tui.app import PgopsApp
    from pgops.tui.colorless import colorless
    from pgops.tui.dressing import scopes
    from pgops.tui.live import LiveSource
    from pgops.tui.memory import collect_seldom
    from pgops.tui.rebinding import settings_of

    collect_seldom()
    while True:
        source = LiveSource(target, thresholds_of(target))
        app = PgopsApp(source, settings_of(scopes()), color=not colorless(os.environ))
        app.run()
        if app.wanted is None:
            return app.return_code or 0
        target = resolve_target(None, profile=app.wanted, read_only=read_only)

"""The demo: a small shop at work, in a database of its own, through the public services only.

    run.py        with the dashboard, or without it for some seconds
    site.py       which database: a scratch one, dropped and made anew at each start; any other only if it was named
    traffic.py    the loops: orders, newsletters, pages, searches, documents, the relay
    shop.py       orders and their outbox, as an application writes them: in its own transaction
    visitors.py   who comes by: limits, key-value store, documents, pub/sub
    handlers.py   what the shop's workers do, and how it goes wrong now and then
    content.py    documents to search: the standard library's docstrings, read and never imported
    process.py    parts of the demo as processes of their own (`python -m pgops.demo`), ended with their starter

The rule: nothing here is a special path. What the dashboard shows is what these calls leave behind.
"""

from pgops.demo.run import run_headless, run_interactive

__all__ = ["run_headless", "run_interactive"]

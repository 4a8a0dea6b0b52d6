"""The loops: what runs for hours over the services. Async only; nothing here speaks SQL.

    worker.py        claims jobs and runs their handlers       (registry, feed, floors, outcomes beside it)
    relay.py         hands a subscription's events to a sink   (delivery.py: retries, order in a key, parking)
    sinks/           where events go: stdout, a function, brokers, webhooks, a queue
    maintenance.py   promotes, reaps and folds; tidying.py purges cache and event log now and then
    parent.py        ends a process with the one that started it

The rule: every loop has a `run` that ends by `stop`, survives a database that goes away, and may be killed at any
moment: what it held is taken over when its lease ends.
"""

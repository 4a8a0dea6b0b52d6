"""The services: what an application calls, over one database object that is handed in.

    models.py    the values that go in and out
    queue.py     jobs: enqueue, claim, complete, fail, reap, requeue
    events.py    the outbox and its subscriptions
    cache.py     values that may be lost
    vectors.py   collections with a vector index
    client.py    joins them: AsyncPgops (and, generated, Pgops)

Siblings never import each other. Each method checks its arguments, runs one named statement of the .sql file
beside it, and returns a value. Everything here is async once; pgops/sync is generated from it.
"""

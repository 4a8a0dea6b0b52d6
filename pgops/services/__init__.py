"""The services: what an application calls, over one database object that is handed in.

    models/          the values that go in and out
    arguments.py     what a job's arguments may be
    leases.py        the worker's half of the queue: claim, complete, fail, take back
    queue.py         jobs: enqueue, look, requeue
    pgmq.py          queues of pgmq in the same database; pgmq_tables.py finds one, pgmq_rules.py holds its statements
    events.py        the outbox and its subscriptions
    pubsub.py        messages, live and durable; above events.py, with live.py and durable.py for its listeners,
                     messages.py for the wire and batches.py for how far a batch is done
    cache.py         values that may be lost
    limits.py        whether one more is allowed now; limit_rules.py has its arithmetic
    kv.py            values by key that stay; kv_rules.py has its patterns and bounds
    keys.py          what a key, a value and a time to live may be
    purging.py       removing what is over, in small slices
    documents.py     collections of JSON documents; document_find.py finds them, document_index.py makes their
                     indexes, document_query.py the statements, document_rules.py holds paths and checks
    vectors.py       collections with a vector index; vector_index.py builds and measures it,
                     vector_found.py and vector_rules.py hold its rows and its arithmetic
    embedders.py     text to vector without a model
    client.py        joins them: AsyncPgops (and, generated, Pgops)

Siblings never import each other. Each method checks its arguments, runs one named statement of the .sql file
beside it, and returns a value. Everything here is async once; pgops/sync is generated from it.
"""

"""The services: what an application calls, over one database object that is handed in.

    models/          the values that go in and out
    arguments.py     what a job's arguments may be
    leases.py        the worker's half of the queue: claim, complete, fail, take back
    queue.py         jobs: enqueue, look, requeue; job_pages.py shows however many page by page, job_match.py holds
                     what they have to match
    pgmq.py          queues of pgmq in the same database; pgmq_tables.py finds one, pgmq_rules.py holds its statements
    events.py        the outbox and its subscriptions
    pubsub.py        messages, live and durable; above events.py, with live.py and durable.py for its listeners,
                     messages.py for the wire and batches.py for how far a batch is done
    cache.py         values that may be lost; cache_flights.py computes what is missing once for all, cache_upkeep.py
                     counts, purges and evicts, cache_counts.py and cache_rules.py hold counts and checks
    limits.py        whether one more is allowed now; limit_rules.py has its arithmetic
    kv.py            values by key that stay; kv_rules.py has its patterns and bounds
    keys.py          what a key, a value and a time to live may be
    purging.py       removing what is over, in small slices
    documents.py     collections of JSON documents; document_find.py finds them, document_index.py makes their
                     indexes, document_query.py the statements, document_rules.py holds paths and checks
    vectors.py       collections with a vector index; vector_index.py builds it, vector_recall.py measures it,
                     vector_register.py and vector_found.py know them, vector_rules.py has their arithmetic and
                     vector_wire.py their binary form
    embedding.py     texts to vectors, by an embedder that config.toml names: embedder_http.py asks an endpoint,
                     embedder_answer.py reads what it says, embedders.py has those without a network
    client.py        joins them: AsyncPgops (and, generated, Pgops); first_use.py imports them one by one

Siblings never import each other. Each method checks its arguments, runs one named statement of the .sql file
beside it, and returns a value. Everything here is async once; pgops/sync is generated from it.
"""

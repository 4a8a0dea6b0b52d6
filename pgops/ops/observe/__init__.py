"""What is known at one moment.

snapshot*.py   frozen values, the contract of `pgops status --json`
part.py        one part: how often it is taken, what it cost, what forbids it
parts.py       what is asked for each part, and how its rows become values; catalog.sql its statements
connections.py the same for sessions and the blocking tree
job_chain.py   from a job to its session and whoever that waits for; chain_words.py says it
vector_parts.py, pgmq.py, failure_parts.py  the same for vector indexes, queues of pgmq, and why jobs died
server_parts.py the same for what PostgreSQL itself suffers from
outgrow.py     when one PostgreSQL will no longer do
rates.py       what two snapshots say together
"""

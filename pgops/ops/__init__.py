"""Observe, judge, act. Async only; no dashboard and no command line in here.

snapshot.py    what is known at one moment: frozen values, the contract of `pgops status --json`
collector.py   Collector(db).collect() -> Snapshot: one read-only transaction, a part that fails harms no other
part.py        one part: how often it is taken, what it cost, what forbids it
parts.py       what is asked for each part, and how its rows become values
job_chain.py   from a job to its session and whoever that waits for; job_chain.sql
connections.py the same for sessions and the blocking tree; connections.sql its statements
vector_parts.py, pgmq.py, failure_parts.py  the same for vector indexes, queues of pgmq, and why jobs died
server_parts.py the same for what PostgreSQL itself suffers from; server_parts.sql its statements
rates.py       what two snapshots say together; drain.py when a queue will be empty, from those of a minute
findings.py    judge(snapshot) -> what needs a human, with evidence and remedy; pure
rules_*.py     its rules, by subsystem; finding_codes.py all codes
thresholds.py  the lines they draw; threshold_settings.py those that config.toml moves
minors.py      what is known of PostgreSQL's minor releases
actions*.py    Action -> preview -> run -> Result; the same from key and from command
previews*.py   what an Action would hit; backends.py: one backend, and whether it may be hit
meters*.py     a Snapshot as Prometheus counts, pure; exposition.py: as text, and behind an endpoint
advice*.py     a Snapshot as Markdown for a ticket, pure; markdown.py: data in it, never as markup
grants.py      what a role needs to look and to act, as SQL; grants.sql its statements
acts_*.py      the same for tables and indexes of the database, preview and run together; relations.py: which one is
               meant, and who may; table_acts.sql their statements
audit.py       the trail of every act
keeping.py     what an act keeps of what it changes; undoing.py brings it back; undo.sql their statements
embedded.py    what the embedded server holds, before it is removed
wording.py     numbers as findings and previews say them
catalog.sql    the statements, as one can paste them into psql
"""

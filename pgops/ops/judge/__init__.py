"""What of a Snapshot needs a human, with evidence and remedy. Pure: nothing here asks the database.

findings.py    judge(snapshot) -> findings; finding_codes.py all codes
rules_*.py     its rules, by subsystem
drain.py       when a queue will be empty, from the snapshots of a minute
minors.py      what is known of PostgreSQL's minor releases
"""

"""A Snapshot for others.

meters*.py     as Prometheus counts, pure; exposition.py: as text, and behind an endpoint
advice*.py     as Markdown for a ticket, pure; markdown.py: data in it, never as markup
status.schema.json  what `pgops status --json` promises; made by pgops/cli/status_schema.py
grants.py      what a role needs to look and to act, as SQL
"""

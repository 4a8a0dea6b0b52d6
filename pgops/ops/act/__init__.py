"""What an operator does: shown first, done once, written down, and brought back where that is possible.

actions*.py    Action -> preview -> run -> Result; acting.py what all of them share
danger.py      what has to be typed before an act is done, and why it cannot be undone; pure
progress.py    how far a long act is, and what is left of one that was stopped
ladder.py      one dead letter starts over, then ten, then the rest; ladder_rules.py judges it, pure
payloads.py    a payload that a person edits: every digit is kept
previews*.py   what an Action would hit; previews.sql its statements
acts_*.py      the same for tables and indexes of the database, preview and run together; relations.py: which one is
               meant, and who may
crons.py       recurring jobs; backends.py: one backend, and whether it may be hit
audit.py       the trail of every act; unlocking.py: why a guarded database may be changed, before it is
keeping.py     what an act keeps of what it changes; undoing.py brings it back; undo.sql their statements
embedded.py    what the embedded server holds, before it is removed
"""

"""What an operator does: shown first, done once, written down, and brought back where that is possible.

actions*.py    Action -> preview -> run -> Result; acting.py what all of them share
previews*.py   what an Action would hit; previews.sql its statements
acts_*.py      the same for tables and indexes of the database, preview and run together; relations.py: which one is
               meant, and who may
crons.py       recurring jobs; backends.py: one backend, and whether it may be hit
audit.py       the trail of every act
keeping.py     what an act keeps of what it changes; undoing.py brings it back; undo.sql their statements
embedded.py    what the embedded server holds, before it is removed
"""

"""Who runs the server and where its folders are.

PostgreSQL refuses to run as root, so for root a system user runs it. The rule for every folder: those that
pgops makes get the modes it needs; no mode or owner of any other folder is ever changed.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pgops.errors import RefusedError, UnavailableError

ROOTS_HOME = Path("/var/lib/pgops")
SYSTEM_USER = "pgops"
SYSTEM_UIDS = range(1, 1000)
LONGEST_SOCKET_PATH = 103


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system user that runs the server."""

    name: str
    uid: int
    gid: int


def default_root() -> Path:
    """The server's folder: in `PGOPS_HOME`; else in the user's data folder, for root in /var/lib/pgops."""
    chosen = os.environ.get("PGOPS_HOME")
    if chosen:
        return Path(chosen).absolute() / "server"
    return (ROOTS_HOME if os.geteuid() == 0 else Path(platformdirs.user_data_dir("pgops"))) / "server"


def home_of(root: Path) -> Path:
    """The folder that really holds the server of `root`.

    That is `root`, except as root where other users cannot enter it (a folder below /root, say): the server's
    user could not either, and so its home is /var/lib/pgops/at-<hash of the path>.
    """
    root = Path(os.path.realpath(root))
    if os.geteuid() != 0:
        return root
    stand_in = ROOTS_HOME / f"at-{_hash(root)}"
    if stand_in.exists() or not ((root / "data").exists() or enterable(root)):
        return stand_in
    return root


def enterable(path: Path) -> bool:
    """Whether every user can enter (a file: read and run) this path, or may once it is made."""
    path = Path(os.path.realpath(path))
    try:
        here = path.stat().st_mode
    except FileNotFoundError:
        return enterable(path.parent)
    needed = 0o1 if stat.S_ISDIR(here) else 0o5
    return here & needed == needed and all(above.stat().st_mode & 0o1 for above in path.parents)


def sockets_of(home: Path) -> Path:
    """The folder of the server's socket: in its home, or in /tmp where the path would be too long."""
    inside = home / "run"
    plain = all(letter.isascii() and (letter.isalnum() or letter in "/._-") for letter in str(inside))
    if plain and len(f"{inside}/.s.PGSQL.5432.lock") <= LONGEST_SOCKET_PATH:
        return inside
    return Path("/tmp") / f"pgops-{os.geteuid()}-{_hash(home)}"


def make_home(home: Path) -> None:
    """Make the home and what is missing above it: for root enterable by the server's user, else private.

    Raises RefusedError for a home of someone else, who could change what is in it.
    """
    missing = [path for path in [home, *home.parents] if not path.exists()]
    for path in reversed(missing):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise UnavailableError(
                f"cannot make the folder {path}: {error.strerror}",
                "set PGOPS_HOME to a folder where you may write",
            ) from error
        path.chmod(0o755 if os.geteuid() == 0 else 0o700)
    if home.exists() and home.stat().st_uid != os.geteuid():
        raise RefusedError(f"{home} belongs to another user", "run pgops as that user, or set PGOPS_HOME")


def make_private(folder: Path, account: Account) -> None:
    """Make a folder that only the server's user (and root) can enter; refuse one that someone else made."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or stat.S_IMODE(found.st_mode) & 0o077:
            raise RefusedError(
                f"{folder} is not a private folder of the user {account.name}",
                "look who made it; remove it, or set PGOPS_HOME to another folder",
            ) from None
    else:
        if account.uid != os.geteuid():
            os.chown(folder, account.uid, account.gid)


def account(data: Path) -> Account:
    """The user that runs the server: oneself; for root the owner of the data folder, and while there is none
    the system user `pgops` (made if need be) or else `postgres`.
    """
    uid = data.stat().st_uid if data.exists() else os.geteuid()
    if uid != 0:
        try:
            return _account(pwd.getpwuid(uid))
        except KeyError:
            raise UnavailableError(
                f"the user id {uid} has no name on this machine, and PostgreSQL needs one",
                "add the user to /etc/passwd, or point pgops at another server with --dsn",
            ) from None
    found = _system_account(SYSTEM_USER) or _made_account() or _system_account("postgres")
    if found is None:
        raise UnavailableError(
            "PostgreSQL does not run as root, and there is no other user for it",
            f"make one (useradd --system {SYSTEM_USER}), or run pgops as a normal user",
        )
    return found


def own_name() -> str:
    """The name of the user that runs this program."""
    return pwd.getpwuid(os.geteuid()).pw_name


def _made_account() -> Account | None:
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is not None:
        options = "--system --user-group --no-create-home --home-dir /nonexistent --shell /bin/false"
        subprocess.run([useradd, *options.split(), SYSTEM_USER], capture_output=True, check=False)
    return _system_account(SYSTEM_USER)


def _system_account(name: str) -> Account | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return _account(found) if found.pw_uid in SYSTEM_UIDS else None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]

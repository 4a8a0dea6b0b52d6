"""Which database is meant, and from where we know it.

Floor 0. The order: --dsn, PGOPS_DSN, DATABASE_URL, libpq's own environment, the embedded server. A DSN is
passed to libpq untouched; what a person sees of it is `Target.display`, which never holds a secret.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE", "PGPORT")
_SECRET_PARAM = re.compile(
    r"(?i)\b((?:ssl|oauth_client_)?(?:password|secret|passfile|sslkey))(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)"
)
_URI_USERINFO = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)([^/?#\s]*)@")


def redact(text: str) -> str:
    """`text` without the passwords of the DSNs and URLs in it. What cannot be told apart is masked."""
    return _SECRET_PARAM.sub(r"\1\2***", _URI_USERINFO.sub(_mask_userinfo, text))


def _mask_userinfo(found: re.Match[str]) -> str:
    user, colon, _ = found[2].partition(":")
    return f"{found[1]}{user}{':***' if colon else ''}@"


@dataclass(frozen=True, slots=True)
class Target:
    """A database to work on. `dsn` None means the embedded server, which is started when it is opened."""

    dsn: str | None = field(repr=False)
    source: str

    @property
    def embedded(self) -> bool:
        return self.dsn is None

    @property
    def display(self) -> str:
        """The DSN without secrets, for people and for logs."""
        if self.dsn is None:
            return "embedded server"
        return redact(self.dsn) or "libpq defaults"


def resolve_target(dsn: str | None = None, env: Mapping[str, str] = os.environ) -> Target:
    """The database that `--dsn` or the environment names; without any, the embedded server."""
    if dsn is not None:
        return Target(dsn, "--dsn")
    for name in ("PGOPS_DSN", "DATABASE_URL"):
        if env.get(name):
            return Target(env[name], name)
    for name in _LIBPQ:
        if env.get(name):
            return Target("", name)
    return Target(None, "embedded")

"""Which database is meant, and from where we know it.

Floor 0. The order: --dsn, --profile, PGOPS_DSN, DATABASE_URL, libpq's own environment, the default profile, the
embedded server. A DSN is passed to libpq untouched; what a person sees of it is `Target.display`, which never holds a
secret. Profiles stand in config.toml (profiles.py), which is read only where one can be meant.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pgops.errors import UsageError
from pgops.profiles import Color, Profile, default_profile, find_profile

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
    """A database to work on. `dsn` None means the embedded server, which is started when it is opened; `read_only` that
    its sessions must not change data; `profile` the one that named it, which gave it its `color`. A `guard` is
    read-only until somebody says why it must not be: that is `unlocked`."""

    dsn: str | None = field(repr=False)
    source: str
    read_only: bool = False
    profile: str | None = None
    guard: bool = False
    color: Color | None = None

    @property
    def embedded(self) -> bool:
        return self.dsn is None

    @property
    def display(self) -> str:
        """The DSN without secrets, for people and for logs."""
        if self.dsn is None:
            return "embedded server"
        return redact(self.dsn) or "libpq defaults"

    @property
    def unlocked(self) -> "Target":
        """The same, and data may be changed, if only a guard forbids it. Who asks for it notes the reason."""
        return replace(self, read_only=False) if self.guard else self


def resolve_target(
    dsn: str | None = None,
    env: Mapping[str, str] = os.environ,
    *,
    profile: str | None = None,
    read_only: bool = False,
) -> Target:
    """The database that `dsn`, `profile` or the environment names; without any, the default profile's, or the embedded
    server. `read_only` holds whatever a profile says.

    Raises UsageError for both of `dsn` and `profile`, for an unknown profile, and for a config.toml that is wrong.
    """
    if dsn is not None and profile is not None:
        raise UsageError("--dsn and --profile exclude each other", "a profile may name its dsn in config.toml")
    if dsn is not None:
        return Target(dsn, "--dsn", read_only)
    if profile is not None:
        return _of_profile(find_profile(profile, env), env, read_only)
    found = _of_environment(env)
    if found is not None:
        return Target(*found, read_only)
    chosen = default_profile(env)
    return _of_profile(chosen, env, read_only) if chosen is not None else Target(None, "embedded", read_only)


def _of_profile(profile: Profile, env: Mapping[str, str], read_only: bool) -> Target:
    """A profile without a DSN is about the database that is meant without it. What is read-only needs no guard."""
    read_only = read_only or profile.read_only
    guard = profile.guard and not read_only
    dsn, source = profile.dsn, f"profile {profile.name}"
    if dsn is None:
        dsn, source = _of_environment(env) or (None, "embedded")
    return Target(dsn, source, read_only or guard, profile.name, guard, profile.color)


def _of_environment(env: Mapping[str, str]) -> tuple[str, str] | None:
    for name in ("PGOPS_DSN", "DATABASE_URL"):
        if env.get(name):
            return env[name], name
    return next((("", name) for name in _LIBPQ if env.get(name)), None)

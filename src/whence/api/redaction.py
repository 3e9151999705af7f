"""Secrets that a client put into an address by mistake, where they would be logged or recorded."""

import re
from urllib.parse import unquote

__all__ = ["without_secrets"]

_SECRET = re.compile(r"wh[kslt]_[0-9A-Za-z_-]+|[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}")
"""Keys, sessions, sign-in codes and operators' tokens by their prefixes, and JWTs."""


def without_secrets(address: str) -> str:
    """A path or query without keys, sessions and tokens. One that has none is returned as it is."""
    plain = unquote(address)
    return _SECRET.sub("…", plain) if _SECRET.search(plain) else address

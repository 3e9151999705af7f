"""One SSL context for all clients of a process that name no certificates.

To read the certificates that the system trusts takes 30 ms of processor time a client. Many tests take no longer than
that, and nearly all of them speak plain HTTP.
"""

import functools
import os
import ssl
from typing import Any

import httpx2
from httpx2._transports import default as transports

__all__ = ["share_ssl_context"]

_create = httpx2.create_ssl_context
_shared = functools.cache(_create)


def _create_or_share(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """As `httpx2.create_ssl_context`. A context for other certificates is always a new one."""
    is_plain = verify is True and cert is None and not os.environ.keys() & {"SSL_CERT_FILE", "SSL_CERT_DIR"}
    return _shared(trust_env=trust_env) if is_plain else _create(verify=verify, cert=cert, trust_env=trust_env)


def share_ssl_context() -> None:
    """Let the clients of this process, and of its forks, share the context. It is made now, before there are forks."""
    transports.create_ssl_context = _create_or_share  # type: ignore[attr-defined]  # the only place to do so
    _shared(trust_env=True)

"""One SSL context for all clients of a process that name no certificates, or the same ones in the environment.

To read the certificates that are trusted takes 30 ms of processor time a client. Many tests take no longer than that,
and nearly all of them speak plain HTTP.
"""

import functools
import os
import ssl
from typing import Any

import httpx2
from httpx2._transports import default as transports

__all__ = ["CERTIFICATES", "share_ssl_context"]

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""The variables that name the certificates which are trusted."""

_create = httpx2.create_ssl_context


@functools.cache
def _shared(trust_env: bool, *_certificates: str | None) -> ssl.SSLContext:
    return _create(trust_env=trust_env)


def _create_or_share(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    """As `httpx2.create_ssl_context`. A context for other certificates is always a new one."""
    if verify is True and cert is None:
        return _shared(trust_env, *map(os.environ.get, CERTIFICATES))
    return _create(verify=verify, cert=cert, trust_env=trust_env)


def share_ssl_context() -> None:
    """Let the clients of this process, and of its forks, share the context. It is made now, before there are forks."""
    transports.create_ssl_context = _create_or_share  # type: ignore[attr-defined]  # the only place to do so
    _create_or_share()

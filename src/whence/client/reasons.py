"""Why no connection came about, in words. Pure: it only reads errors."""

import os
import socket
import ssl
from collections.abc import Iterator

import httpx2

__all__ = ["Reason", "reason_of"]

Reason = tuple[str, str]
"""A slug (refused, dns, tls, proxy, timeout, network) and the end of a sentence."""


def reason_of(error: Exception, proxied: bool) -> Reason:
    """Why a connection failed. `proxied` says that it should have gone through a proxy.

    The sentence holds no URL and no text that another machine sent, but for the status of a proxy.
    """
    if isinstance(error, httpx2.ProxyError):
        status = str(error)[:3]
        return "proxy", f"the proxy refused the connection{f' with {status}' if status.isdecimal() else ''}"
    kind, sentence = _reason(error)
    if proxied and kind != "tls":
        return "proxy", f"the connection to the proxy failed: {sentence}"
    return kind, sentence


def _reason(error: Exception) -> Reason:
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "tls",
                f"its TLS certificate was not accepted ({cause.verify_message}); the option `ca` names a CA bundle",
            )
        if isinstance(cause, ssl.SSLError):
            words = (cause.reason or "unknown error").replace("_", " ").lower()
            return "tls", f"TLS failed ({words}); check http and https in the URL"
        if isinstance(cause, socket.gaierror):
            return "dns", "its host name was not found"
    if isinstance(error, httpx2.TimeoutException):
        return "timeout", "the time limit was reached"
    numbers = [cause.errno for cause in causes if isinstance(cause, OSError) and cause.errno]
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "refused", "the connection was refused"
    return "network", os.strerror(numbers[0]).lower() if numbers else "the connection failed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it, each once; the nearest come first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions

"""Requests to addresses that tenants choose, which must not reach what only this server can.

A name is resolved here, every address of it is checked, and the connection is made to a checked address: what the name
resolves to a moment later does not matter. TLS is verified against the name. No redirect is followed, no proxy of the
environment is used, and time, answer and connections are bounded.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore2
import msgspec

from whence.addresses import PORTS, Address, Allowed, OutboundTarget
from whence.errors import WhenceError
from whence.fairness import FairQueue

__all__ = ["ANSWER_KEPT", "TIMEOUT_S", "Answer", "Resolve", "Sender", "TargetRefused", "resolve"]

TIMEOUT_S = 15.0
"""The longest time from the lookup of a name to the end of the answer, in seconds."""

ANSWER_KEPT = 1024
"""The bytes of an answer that are kept."""

_ANSWER_READ = 64 * 1024
_CONNECT_S = 6.0
_CHECK_S = 3.0
_ADDRESSES_TRIED = 3
_LOOKUPS = 16
_KEEP_ALIVE_S = 10.0
_KEPT_ALIVE = 64

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a name and port; may block, and raises OSError."""

_tenant: ContextVar[str] = ContextVar("whence_outbound_tenant", default="")


class TargetRefused(Exception):
    """A URL may not be called. The sentence says why, and names no address that a name resolves to."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request. `status` is None when no answer came; `error` then says why. `body` is the beginning of
    the answer, `media` its content type without parameters, and `retry_after_s` what its header asks for."""

    status: int | None = None
    error: str = ""
    body: bytes = b""
    media: str = ""
    retry_after_s: float | None = None
    duration_ms: int = 0


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system finds them. Blocks, and raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class Sender:
    """Sends requests within the rules above. Belongs to one event loop."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        resolve: Resolve = resolve,
        timeout_s: float = TIMEOUT_S,
        ssl_context: ssl.SSLContext | None = None,
        kept: int = ANSWER_KEPT,
    ) -> None:
        """`kept` is how many bytes of an answer are kept."""
        self._guard = _Guard(allowed, resolve)
        self._kept = kept
        self._timeout_s = timeout_s
        self._ssl_context = ssl_context
        self._pools: dict[bool, httpcore2.AsyncConnectionPool] = {}

    async def check(self, target: OutboundTarget, tenant: str) -> None:
        """Raise TargetRefused if the URL may not be called as things are. A name that does not resolve is no reason: it
        may later."""
        _tenant.set(tenant)
        with contextlib.suppress(OSError, TimeoutError, WhenceError):
            async with asyncio.timeout(_CHECK_S):
                await self._guard.addresses(target.host, target.port, is_https=target.is_https)

    async def post(self, target: OutboundTarget, tenant: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request, and return what came of it. Raises nothing but CancelledError."""
        began = time.monotonic()
        _tenant.set(tenant)
        head = _Head()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._post(target, headers, body, head)
        except TimeoutError:
            if head.status is None:
                head.error = f"There was no answer within {self._timeout_s:g} s."
        except (TargetRefused, WhenceError) as error:
            head.error = str(error)
        except socket.gaierror:
            head.error = "The name of the host does not resolve."
        except Exception as error:  # of TLS, of the protocol, of the system
            if head.status is None:
                head.error = _sentence(error)
        return Answer(
            status=head.status,
            error=head.error,
            body=bytes(head.body[: self._kept]),
            media=head.media,
            retry_after_s=head.retry_after_s,
            duration_ms=round((time.monotonic() - began) * 1000),
        )

    async def close(self) -> None:
        """Close the connections. Further requests open new ones."""
        pools, self._pools = self._pools, {}
        self._guard.close()
        for pool in pools.values():
            await pool.aclose()

    async def _post(self, target: OutboundTarget, headers: Mapping[str, str], body: bytes, head: "_Head") -> None:
        url = httpcore2.URL(
            scheme=b"https" if target.is_https else b"http",
            host=target.host.encode(),
            port=target.port,
            target=target.path.encode(),
        )
        sent = {"Host": target.authority, **headers, "Accept-Encoding": "identity", "Content-Length": str(len(body))}
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
        async with self._pool(target.is_https).stream("POST", url, headers=pairs, content=body) as response:
            head.status = response.status
            head.retry_after_s = _retry_after(response.headers)
            head.media = _media(response.headers)
            async for part in response.aiter_stream():
                head.body += part
                if len(head.body) >= _ANSWER_READ:
                    return

    def _pool(self, is_https: bool) -> httpcore2.AsyncConnectionPool:
        """The connections of one scheme: what plain text may reach is less."""
        if is_https not in self._pools:
            if is_https and self._ssl_context is None:
                self._ssl_context = httpcore2.default_ssl_context()
            self._pools[is_https] = httpcore2.AsyncConnectionPool(
                ssl_context=self._ssl_context if is_https else None,
                max_connections=None,  # the callers bound how many requests run
                max_keepalive_connections=_KEPT_ALIVE,
                keepalive_expiry=_KEEP_ALIVE_S,
                network_backend=_GuardedBackend(self._guard, is_https),
            )
        return self._pools[is_https]


class _Head:
    """What is known of an answer so far."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.error = ""
        self.body = bytearray()
        self.media = ""
        self.retry_after_s: float | None = None


class _Guard:
    """Finds the addresses of hosts that may be called."""

    def __init__(self, allowed: Allowed, resolve: Resolve) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._lookups = FairQueue(_LOOKUPS, wait_s=TIMEOUT_S)
        self._threads: ThreadPoolExecutor | None = None

    async def addresses(self, host: str, port: int, *, is_https: bool) -> list[Address]:
        """The addresses of a host, each of which may be connected to. Raises TargetRefused unless all may, and
        OSError when the name does not resolve."""
        target = OutboundTarget(is_https, host, port, "/")
        named = self._allowed.has_host(target)
        written = target.address
        addresses = await self._looked_up(host, port) if written is None else [written]
        if not addresses:
            raise socket.gaierror
        if named:
            return addresses
        if not all(self._allowed.permits(address) for address in addresses):
            raise TargetRefused(
                "The host is at an address that is not public. The operator of the server can allow it with "
                "WHENCE_WEBHOOK_ALLOW."
            )
        if all(self._allowed.has_address(address) for address in addresses):
            return addresses
        if not is_https:
            raise TargetRefused("The URL must begin with https.")
        if port not in PORTS:
            raise TargetRefused(f"The port must be one of {', '.join(map(str, sorted(PORTS)))}.")
        return addresses

    async def _looked_up(self, host: str, port: int) -> list[Address]:
        """The addresses of a name. A lookup cannot be interrupted, and holds its place to its end, so that names that
        hang use up the places of their own tenant only."""
        tenant = _tenant.get()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="whence-lookup")
        await self._lookups.enter(tenant)
        try:
            looking = asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, host, port)
        except BaseException:
            self._lookups.leave(tenant)
            raise

        def ended(looked_up: asyncio.Future[Sequence[str]]) -> None:
            self._lookups.leave(tenant)
            if not looked_up.cancelled():
                looked_up.exception()  # nobody may be waiting for it any more

        looking.add_done_callback(ended)
        return [ipaddress.ip_address(text) for text in await asyncio.shield(looking)]

    def close(self) -> None:
        """End the threads that look names up."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Opens connections to addresses that the guard has checked, and to nothing else."""

    def __init__(self, guard: _Guard, is_https: bool) -> None:
        self._guard = guard
        self._is_https = is_https
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (the interface is httpcore2's)
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._guard.addresses(host, port, is_https=self._is_https)
        return await _first_that_works(
            [
                lambda address=address: self._inner.connect_tcp(  # type: ignore[misc]  # its type cannot be inferred
                    str(address), port, timeout or _CONNECT_S, local_address, socket_options
                )
                for address in addresses[:_ADDRESSES_TRIED]
            ]
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  (as above)
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        raise TargetRefused("No socket of this machine may be called.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def _first_that_works(
    attempts: Sequence[Callable[[], Awaitable[httpcore2.AsyncNetworkStream]]],
) -> httpcore2.AsyncNetworkStream:
    """The first connection that is made. Raises what the last attempt raised."""
    for attempt in attempts[:-1]:
        with contextlib.suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
            return await attempt()
    return await attempts[-1]()


def _sentence(error: Exception) -> str:
    """What went wrong, without what the other side sent."""
    cause = error.__cause__ or error.__context__
    if isinstance(error, ssl.SSLError) or isinstance(cause, ssl.SSLError):
        found = error if isinstance(error, ssl.SSLCertVerificationError) else cause
        if isinstance(found, ssl.SSLCertVerificationError):
            return "The certificate of the host is not valid for it."
        return "TLS could not be agreed on with the host."
    if isinstance(error, httpcore2.ConnectTimeout):
        return f"No connection was made within {_CONNECT_S:g} s."
    if isinstance(error, httpcore2.ConnectError):
        return "The host refused the connection, or cannot be reached."
    if isinstance(error, httpcore2.ProtocolError):
        return "The host ended the connection without an answer, or did not answer in HTTP."
    if isinstance(error, httpcore2.NetworkError):
        return "The connection was lost before the answer."
    return f"The request failed: {type(error).__name__}."


def _media(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The content type of an answer, in lower case and without its parameters; empty if it has none."""
    for name, value in headers:
        if name.lower() == b"content-type":
            return value.decode("latin-1").partition(";")[0].strip().lower()
    return ""


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """The seconds that a Retry-After header asks for, given as such or as a date."""
    for name, value in headers:
        if name.lower() == b"retry-after":
            text = value.decode("latin-1").strip()
            if text.isascii() and text.isdigit():
                return min(float(text), 1e9)
            with contextlib.suppress(ValueError, OverflowError, TypeError):
                return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None

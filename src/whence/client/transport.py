"""Sends one request over HTTP, sync and async. The errors of the HTTP library are translated here and nowhere else."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping

import httpx2

from whence.client.errors import Unreachable
from whence.client.fork_safety import register_fork_safe, reset_if_forked
from whence.client.requests import JSON, ApiRequest
from whence.client.responses import NOT_A_WHENCE_SERVER, ApiResponse
from whence.errors import WhenceError

__all__ = ["AsyncTransport", "Transport", "api_key_headers", "base_url"]

_UNUSABLE = "The URL or the key cannot be sent in a request; check both."


def base_url(url: str) -> str:
    """The URL without trailing slashes.

    Raises WhenceError unless it is an http(s) address with an optional path: a password would appear in error messages,
    and a query or fragment would swallow the path of the request.
    """
    stripped = url.rstrip("/")
    try:
        if not stripped.startswith(("http://", "https://")):
            raise ValueError("not http")
        parsed = httpx2.URL(stripped + "/livez")
        if parsed.userinfo or parsed.query or parsed.fragment or not parsed.host:
            raise ValueError("more than an address")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise WhenceError(_UNUSABLE) from None
    return stripped


def api_key_headers(key: str) -> dict[str, str]:
    """The headers that carry an API key; none for an empty key. Raises WhenceError for an invalid header value."""
    if not key.isascii() or (key and not key.isprintable()) or key != key.strip():
        raise WhenceError(_UNUSABLE)
    return {"X-API-Key": key} if key else {}


class Transport:
    """A connection pool to one server, shared by threads and tenants."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self.reset_after_fork()
        register_fork_safe(self)

    def exchange(self, request: ApiRequest, headers: Mapping[str, str]) -> ApiResponse:
        """Send the request once.

        Raises Unreachable when no response came, and WhenceError when its encoding is broken.
        """
        reset_if_forked()
        url = self.url + request.target  # outside the block: a UnicodeError of the target is the caller's mistake
        with _translated_errors(self.url):
            response = self._http.request(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            )
        return _api_response(response)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def reset_after_fork(self) -> None:
        """Open connections of its own: on a shared one, two processes would read each other's responses."""
        self._http = httpx2.Client(timeout=self._timeout_s)


class AsyncTransport:
    """As `Transport`, with connections for each event loop: a second `asyncio.run` cannot use those of the first."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self.reset_after_fork()
        register_fork_safe(self)

    async def exchange(self, request: ApiRequest, headers: Mapping[str, str]) -> ApiResponse:
        """As `Transport.exchange`."""
        reset_if_forked()
        url = self.url + request.target
        with _translated_errors(self.url):
            response = await self._http().request(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            )
        return _api_response(response)

    async def close(self) -> None:
        """Close the connections of the running event loop. Those of one that has ended were closed with it."""
        http = self._by_loop.pop(asyncio.get_running_loop(), None)
        if http is not None:
            await http.aclose()

    def reset_after_fork(self) -> None:
        """As `Transport.reset_after_fork`."""
        self._by_loop: dict[asyncio.AbstractEventLoop, httpx2.AsyncClient] = {}

    def _http(self) -> httpx2.AsyncClient:
        loop = asyncio.get_running_loop()
        http = self._by_loop.get(loop)
        if http is None:
            for other in [other for other in list(self._by_loop) if other.is_closed()]:
                self._by_loop.pop(other, None)
            http = self._by_loop[loop] = httpx2.AsyncClient(timeout=self._timeout_s)
        return http


def _headers(request: ApiRequest, headers: Mapping[str, str]) -> dict[str, str]:
    content = {"Content-Type": request.content_type} if request.content_type else {}
    return {"Accept": JSON} | content | dict(headers)


def _api_response(response: httpx2.Response) -> ApiResponse:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return ApiResponse(status=response.status_code, headers=headers, body=response.content)


@contextlib.contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.DecodingError:
        raise WhenceError(NOT_A_WHENCE_SERVER) from None
    except UnicodeError:  # a host name that IDNA cannot encode
        raise Unreachable(f"Nothing answers at {url}.") from None
    except httpx2.TransportError as error:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            raise Unreachable(f"Nothing answers at {url}.") from None
        raise Unreachable(f"The connection to {url} broke before a response came.", connected=True) from None

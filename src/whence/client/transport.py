"""Sends one request over HTTP, sync and async. The errors of the HTTP library are translated here and nowhere else.

The library takes as long to import as the rest of the client. So the constructors of the clients import this module:
early enough, since no thread of a client exists yet.

A module that one thread is importing while another forks stays half imported in the child. So this module also imports
what a client's thread would otherwise be the first to import: the codec `idna`, with which Python looks up a name, the
parser of a `Date` header, the folders of a user, and `json`.
"""

import asyncio
import contextlib
import email.utils  # noqa: F401  (see the docstring)
import encodings.idna  # noqa: F401  (see the docstring)
import json  # noqa: F401  (see the docstring)
import os
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
from platformdirs import user_state_dir

from whence.client.deprecations import log_deprecation
from whence.client.errors import Unreachable
from whence.client.fork_safety import register_fork_safe, reset_if_forked
from whence.client.options import ClientCert
from whence.client.reasons import reason_of
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.requests import JSON, ApiRequest
from whence.client.responses import NOT_A_WHENCE_SERVER, ApiResponse
from whence.errors import Invalid, WhenceError

__all__ = ["AsyncTransport", "HttpOptions", "Transport", "api_key_headers", "base_url", "user_state_dir"]

_NO_SCHEME = "The URL of the server must begin with its scheme, http:// or https://."
_BAD_URL = "The URL of the server must be like https://log.example:8700/path, without user, query and fragment."
_BAD_KEY = "The API key cannot be sent: it must be ASCII text without control characters, and without blanks around it."


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is reached; see `ClientOptions`."""

    ca: Path | str | None = None
    client_cert: ClientCert | None = None
    proxy: str | None = None
    http_client: Callable[[], httpx2.Client] | None = None
    async_http_client: Callable[[], httpx2.AsyncClient] | None = None

    def ssl_context(self) -> ssl.SSLContext | bool:
        """What the HTTP library verifies servers with. Raises WhenceError for a file that cannot be used."""
        if self.ca is None and self.client_cert is None:
            return True
        try:
            context = httpx2.create_ssl_context()
            if self.ca is not None:
                path = os.fspath(self.ca)
                is_folder = os.path.isdir(path)
                context = ssl.create_default_context(
                    cafile=None if is_folder else path, capath=path if is_folder else None
                )
        except (OSError, ValueError) as error:
            _raise_if_of_signal_handler(error)
            raise WhenceError("The option ca must name a PEM file, or a folder, of certificates.") from None
        if self.client_cert is not None:
            files = self.client_cert if isinstance(self.client_cert, tuple) else (self.client_cert,)
            try:
                context.load_cert_chain(*files)
            except (OSError, ValueError, TypeError) as error:
                _raise_if_of_signal_handler(error)
                raise WhenceError(
                    "The option client_cert must name a PEM file with certificate and key, or be a pair of two files, "
                    "with the password as a third item if the key has one."
                ) from None
        return context

    def is_proxied(self, url: str) -> bool:
        """Whether a request to this URL should go through a proxy, as far as can be said."""
        if self.proxy is not None:
            return True
        parts = urlsplit(url)
        proxies = urllib.request.getproxies()
        return bool(proxies.get(parts.scheme) or proxies.get("all")) and not urllib.request.proxy_bypass(
            parts.hostname or ""
        )


def base_url(url: str) -> str:
    """The URL without trailing slashes.

    Raises Invalid unless it is an http(s) address with an optional path: a password would appear in error messages,
    and a query or fragment would swallow the path of the request.
    """
    stripped = url.rstrip("/")
    if not url.lower().startswith(("http://", "https://")):
        raise Invalid.at(("url",), _NO_SCHEME)
    try:
        parsed = httpx2.URL(stripped + "/livez")
        if parsed.userinfo or parsed.query or parsed.fragment or not parsed.host:
            raise ValueError("more than an address")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise Invalid.at(("url",), _BAD_URL) from None
    return stripped


def api_key_headers(key: str) -> dict[str, str]:
    """The headers that carry an API key; none for an empty key. Raises WhenceError for an invalid header value."""
    if not key.isascii() or (key and not key.isprintable()) or key != key.strip():
        raise WhenceError(_BAD_KEY)
    return {"X-API-Key": key} if key else {}


_NO_OPTIONS = HttpOptions()
_ERROR_MIN = 400
_RESPONSE_BYTES_MAX = 64 * 1024 * 1024  # after decompression

Client = TypeVar("Client", httpx2.Client, httpx2.AsyncClient)


class Transport:
    """A connection pool to one server, shared by threads and tenants."""

    def __init__(self, url: str, timeout_s: float, options: HttpOptions = _NO_OPTIONS) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._options = options
        self._verify = options.ssl_context()
        self.reset_after_fork()
        register_fork_safe(self)

    def exchange(self, request: ApiRequest, headers: Mapping[str, str]) -> ApiResponse:
        """Send the request once.

        Raises Unreachable when no response came, and WhenceError when its encoding is broken or it is over 64 MiB.
        """
        reset_if_forked()
        url = self.url + request.target  # outside the block: a UnicodeError of the target is the caller's mistake
        with (
            _translated_errors(self.url, self._options),
            self._http.stream(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            ) as response,
        ):
            body = bytearray()
            for part in response.iter_bytes():
                _extend(body, part)
        return _api_response(self.url, request, response, bytes(body))

    @contextlib.contextmanager
    def open(self, request: ApiRequest, headers: Mapping[str, str]) -> Iterator[tuple[ApiResponse, Iterator[bytes]]]:
        """Send the request once, for a response that is read while it comes: its head, and the parts of its body. The
        body of an error is read at once, and stands in the head. Raises as `exchange`, also when the response breaks
        off."""
        reset_if_forked()
        url = self.url + request.target
        with (
            _translated_errors(self.url, self._options),
            self._http.stream(request.method, url, headers=_headers(request, headers)) as response,
        ):
            body = bytearray()
            if response.status_code >= _ERROR_MIN:
                for part in response.iter_bytes():
                    _extend(body, part)
            yield _api_response(self.url, request, response, bytes(body)), response.iter_bytes()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def reset_after_fork(self) -> None:
        """Open connections of its own: on a shared one, two processes would read each other's responses."""
        options = self._options
        if options.http_client is not None:
            self._http = options.http_client()
        else:
            self._http = _new_client(httpx2.Client, self._verify, options, self._timeout_s)


class AsyncTransport:
    """As `Transport`, with connections for each event loop: a second `asyncio.run` cannot use those of the first."""

    def __init__(self, url: str, timeout_s: float, options: HttpOptions = _NO_OPTIONS) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._options = options
        self._verify = options.ssl_context()
        self.reset_after_fork()
        register_fork_safe(self)

    async def exchange(self, request: ApiRequest, headers: Mapping[str, str]) -> ApiResponse:
        """As `Transport.exchange`."""
        reset_if_forked()
        url = self.url + request.target
        with _translated_errors(self.url, self._options):
            async with self._http().stream(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            ) as response:
                body = bytearray()
                async for part in response.aiter_bytes():
                    _extend(body, part)
        return _api_response(self.url, request, response, bytes(body))

    @contextlib.asynccontextmanager
    async def open(
        self, request: ApiRequest, headers: Mapping[str, str]
    ) -> AsyncIterator[tuple[ApiResponse, AsyncIterator[bytes]]]:
        """As `Transport.open`."""
        reset_if_forked()
        url = self.url + request.target
        with _translated_errors(self.url, self._options):
            async with self._http().stream(request.method, url, headers=_headers(request, headers)) as response:
                body = bytearray()
                if response.status_code >= _ERROR_MIN:
                    async for part in response.aiter_bytes():
                        _extend(body, part)
                yield _api_response(self.url, request, response, bytes(body)), response.aiter_bytes()

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
            http = self._by_loop[loop] = self._new_client()
        return http

    def _new_client(self) -> httpx2.AsyncClient:
        options = self._options
        if options.async_http_client is not None:
            return options.async_http_client()
        return _new_client(httpx2.AsyncClient, self._verify, options, self._timeout_s)


def _headers(request: ApiRequest, headers: Mapping[str, str]) -> dict[str, str]:
    content = {"Content-Type": request.content_type} if request.content_type else {}
    return {"Accept": JSON} | content | dict(headers)


def _extend(body: bytearray, part: bytes) -> None:
    """Add a part of a response. Raises WhenceError when it gets longer than those of Whence are."""
    if len(body) + len(part) > _RESPONSE_BYTES_MAX:
        raise WhenceError(NOT_A_WHENCE_SERVER)
    body += part


def _api_response(url: str, request: ApiRequest, response: httpx2.Response, body: bytes) -> ApiResponse:
    headers = {name.lower(): value for name, value in response.headers.items()}
    if "deprecation" in headers:
        log_deprecation(url, request, headers)
    return ApiResponse(status=response.status_code, headers=headers, body=body)


def _new_client(kind: type[Client], verify: ssl.SSLContext | bool, options: HttpOptions, timeout_s: float) -> Client:
    try:
        return kind(timeout=timeout_s, verify=verify, proxy=options.proxy)
    except (httpx2.InvalidURL, ValueError, ImportError):
        raise WhenceError("The option proxy must be a URL like http://proxy.example:3128.") from None


def _raise_if_of_signal_handler(error: BaseException) -> None:
    """Raise what a signal handler raised during the request, such as a time limit. It may be a TimeoutError, for which
    the HTTP library has an error of its own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if is_raised_by_signal_handler(cause):
            raise cause from None
        cause = cause.__cause__ or cause.__context__


@contextlib.contextmanager
def _translated_errors(url: str, options: HttpOptions) -> Iterator[None]:
    try:
        yield
    except httpx2.DecodingError:
        raise WhenceError(NOT_A_WHENCE_SERVER) from None
    except UnicodeError:  # a host name that IDNA cannot encode
        raise Unreachable(f"Nothing answers at {url}: its host name was not found.", reason="dns") from None
    except httpx2.TransportError as error:
        _raise_if_of_signal_handler(error)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            reason, sentence = reason_of(error, options.is_proxied(url))
            raise Unreachable(f"Nothing answers at {url}: {sentence}.", reason=reason) from None
        raise Unreachable(f"The connection to {url} broke before a response came.", connected=True) from None

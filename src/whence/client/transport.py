"""One try of one request over HTTP, sync and async. What goes wrong on the way is translated here, nowhere else."""

import contextlib
from collections.abc import Iterator, Mapping

import httpx2

from whence.client.answers import STRANGER, Answer
from whence.client.errors import Unreachable
from whence.client.forks import survive_forks
from whence.client.requests import JSON, Request
from whence.errors import WhenceError

__all__ = ["AsyncTransport", "Transport", "checked_headers", "checked_url"]


def checked_url(url: str) -> str:
    """The address without a slash at its end. Raises WhenceError for what is more or less than one: a password would
    be told in errors, and a query would hide the path.
    """
    plain = url.rstrip("/")
    try:
        if not plain.startswith(("http://", "https://")):
            raise ValueError("not http")
        parsed = httpx2.URL(plain + "/livez")
        if parsed.userinfo or parsed.query or parsed.fragment or not parsed.host:
            raise ValueError("more than an address")
    except (httpx2.InvalidURL, UnicodeError, ValueError):
        raise WhenceError("The URL or the key cannot be sent in a request; check both.") from None
    return plain


def checked_headers(key: str) -> dict[str, str]:
    """The headers that carry an API key; none for an empty one. Raises WhenceError for what is no header's value."""
    if not key.isascii() or (key and not key.isprintable()) or key != key.strip():
        raise WhenceError("The URL or the key cannot be sent in a request; check both.")
    return {"X-API-Key": key} if key else {}


class Transport:
    """Connections to one server, for many threads and many tenants."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self.renew()
        survive_forks(self)

    def exchange(self, request: Request, headers: Mapping[str, str]) -> Answer:
        """Send it once. Raises Unreachable when no answer came, WhenceError for an answer that cannot be read."""
        url = self.url + request.target  # here, since text that cannot be encoded is no matter of the connection
        with _translated(self.url):
            response = self._http.request(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            )
        return _answer(response)

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def renew(self) -> None:
        """Other connections than the parent's: two processes on one would read each other's answers."""
        self._http = httpx2.Client(timeout=self._timeout_s)


class AsyncTransport:
    """The same for one event loop."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self.renew()
        survive_forks(self)

    async def exchange(self, request: Request, headers: Mapping[str, str]) -> Answer:
        """As `Transport.exchange`."""
        url = self.url + request.target
        with _translated(self.url):
            response = await self._http.request(
                request.method, url, content=request.content or None, headers=_headers(request, headers)
            )
        return _answer(response)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    def renew(self) -> None:
        """As `Transport.renew`."""
        self._http = httpx2.AsyncClient(timeout=self._timeout_s)


def _headers(request: Request, headers: Mapping[str, str]) -> dict[str, str]:
    content = {"Content-Type": request.content_type} if request.content_type else {}
    return {"Accept": JSON} | content | dict(headers)


def _answer(response: httpx2.Response) -> Answer:
    lower = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=lower, body=response.content)


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx2.DecodingError:
        raise WhenceError(STRANGER) from None
    except UnicodeError:  # a name that no name server can be asked for
        raise Unreachable(f"Nothing answers at {url}.") from None
    except httpx2.TransportError as error:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            raise Unreachable(f"Nothing answers at {url}.") from None
        raise Unreachable(f"The connection to {url} broke before an answer came.", connected=True) from None

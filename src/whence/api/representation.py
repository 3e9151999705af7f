"""How an answer is represented: compressed if the client accepts that, with an ETag, or as a 304 if the client has it.

All answers pass here, on their way through the middleware. An answer of at least 1 KiB is compressed with zstd or gzip,
whichever `Accept-Encoding` prefers. Never compressed are event streams, which must not wait for a block to fill, and
answers that are marked `no-transform`: those contain a secret next to text that somebody else may have chosen, and the
size of the compressed answer would tell about the secret (the attack is known as BREACH).

Routes whose `opt` has `etag` get an ETag on each whole 200. It is a hash of the uncompressed bytes, with a suffix for
the coding. Large bodies are hashed and compressed by threads, in slices, which tenants get in turns.
"""

import asyncio
import threading
import zlib
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import zstandard

from whence.api.headers import header
from whence.errors import Busy, Throttled
from whence.fairness import FairQueue

__all__ = [
    "COMPRESSED_MIN",
    "AnswerThreads",
    "StreamEncoder",
    "accepted_coding",
    "accepts_gzip",
    "is_compressible",
    "is_event_stream",
    "represent",
    "represent_now",
    "stream_encoder",
]

COMPRESSED_MIN = 1024
"""Smaller answers are never compressed."""

_ON_LOOP_MAX = 64 * 1024
"""Larger answers are hashed and compressed outside the event loop. This many bytes take half a millisecond."""

_SLICE = 64 * 1024  # bytes that a thread compresses in its turn: a millisecond or two
_HASHED_SLICE = 1024 * 1024
_LEVEL = 1  # of both: on JSON the next levels take twice the time and save a twentieth
_GZIP_WBITS = 31
_ETAG_DIGITS = 32
_TEXT_TYPES = ("text/", "application/json", "application/x-ndjson")
_EVENT_STREAM = "text/event-stream"
_VARY = (b"vary", b"Accept-Encoding")
_OF_THE_BODY = frozenset({b"content-type", b"content-length", b"content-encoding"})
"""Headers that a 304 does not repeat."""

Headers = list[tuple[bytes, bytes]]
Scope = MutableMapping[str, Any]

THREADS = 2
"""Threads of the process that hash and compress large answers."""

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="whence-compress")

Result = TypeVar("Result")


class AnswerThreads:
    """The threads that hash and compress large answers. Tenants use them in turns. Belongs to one event loop."""

    def __init__(self) -> None:
        self.turns = FairQueue(THREADS, brief=True)

    async def run(self, scope: Scope, function: Callable[[Any], Result], data: Any) -> Result:
        """The result of a function in a thread, for the tenant of this request. Raises Busy and Throttled."""
        principal = scope["state"].get("principal")
        async with self.turns.place("" if principal is None else principal.tenant):
            return await asyncio.get_running_loop().run_in_executor(_threads, function, data)


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Zstd(threading.local):
    """A compressor for each thread: to make one takes longer than to compress a small answer."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL)


_zstd = _Zstd()


def _zstd_of(body: bytes) -> bytes:
    return _zstd.compressor.compress(body)


def _gzip_of(body: bytes) -> bytes:
    return zlib.compress(body, _LEVEL, _GZIP_WBITS)


_AT_ONCE: dict[str, Callable[[bytes], bytes]] = {"zstd": _zstd_of, "gzip": _gzip_of}
"""The codings, the preferred one first, each with its function for a small body."""

_IN_PARTS: dict[str, Callable[[], _Compressor]] = {
    "zstd": lambda: zstandard.ZstdCompressor(level=_LEVEL).compressobj(),
    "gzip": lambda: zlib.compressobj(_LEVEL, wbits=_GZIP_WBITS),
}


Forms = dict[str | None, tuple[bytes, bytes]]
"""What a body was made into: its ETag and the bytes to send, by coding. None is no coding; an ETag may be empty."""


async def represent(
    scope: Scope, threads: AnswerThreads, status: int, headers: Headers, body: bytes, forms: Forms | None = None
) -> tuple[int, Headers, bytes]:
    """Status, headers and body to send for a whole answer. `forms` are those of a body that is sent again and again;
    new ones are added."""
    try:
        return await _represented(scope, threads, status, headers, body, forms)
    except (Busy, Throttled):  # no turn came, so the answer is sent as it is
        return status, headers, body


async def _represented(
    scope: Scope, threads: AnswerThreads, status: int, headers: Headers, body: bytes, forms: Forms | None
) -> tuple[int, Headers, bytes]:
    at_once = represent_now(scope, status, headers, body, forms)
    if at_once is not None:
        return at_once
    coding = _coding(scope, headers, body)
    etag, encoded = (b"", b"") if forms is None else forms.get(coding, (b"", b""))
    if _is_tagged(scope, status):
        etag = etag or _etag_of(await _digest(scope, threads, body), coding)
        if _is_known(etag, header(scope, b"if-none-match")):
            return _in_form(scope, status, headers, coding, (etag, b""))
    if not encoded:
        encoded = body
        if coding is not None:
            encoded = await StreamEncoder(scope, threads, coding, promised=False).encode(body, last=True)
        if forms is not None:
            forms[coding] = etag, encoded
    return _in_form(scope, status, headers, coding, (etag, encoded))


def represent_now(
    scope: Scope, status: int, headers: Headers, body: bytes, forms: Forms | None = None
) -> tuple[int, Headers, bytes] | None:
    """As `represent`, for a body that is small enough to be hashed and compressed on the event loop; else None."""
    tagged = _is_tagged(scope, status)
    if not tagged and (len(body) < COMPRESSED_MIN or not is_compressible(headers)):
        return status, headers, body
    if len(body) > _ON_LOOP_MAX:
        return None
    coding = _coding(scope, headers, body)
    form = None if forms is None else forms.get(coding)
    if form is None:
        etag = _etag_of(sha256(body), coding) if tagged else b""
        if tagged and _is_known(etag, header(scope, b"if-none-match")):
            return _in_form(scope, status, headers, coding, (etag, b""))
        form = etag, body if coding is None else _AT_ONCE[coding](body)
        if forms is not None:
            forms[coding] = form
    return _in_form(scope, status, headers, coding, form)


def _in_form(
    scope: Scope, status: int, headers: Headers, coding: str | None, form: tuple[bytes, bytes]
) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an answer in this form: a 304 if the client has it."""
    etag, body = form
    headers = [*headers, _VARY]
    if etag:
        headers.append((b"etag", etag))
        if _is_known(etag, header(scope, b"if-none-match")):
            return 304, [each for each in headers if each[0] not in _OF_THE_BODY], b""
    if coding is None:
        return status, headers, body
    headers = [each for each in headers if each[0] != b"content-length"]
    return status, [*headers, *_coded(coding), (b"content-length", str(len(body)).encode())], body


def stream_encoder(scope: Scope, threads: AnswerThreads, headers: Headers) -> tuple[Headers, "StreamEncoder | None"]:
    """The headers of an answer that is sent in parts, and what compresses the parts; None if nothing does."""
    if not is_compressible(headers):
        return headers, None
    headers = [*headers, _VARY]
    coding = accepted_coding(header(scope, b"accept-encoding"), COMPRESSED_MIN)
    if coding is None:
        return headers, None
    headers = [each for each in headers if each[0] != b"content-length"]
    return [*headers, *_coded(coding)], StreamEncoder(scope, threads, coding, promised=True)


class StreamEncoder:
    """Compresses an answer part by part. `promised`: the head was sent, so the rest has to follow in this coding."""

    def __init__(self, scope: Scope, threads: AnswerThreads, coding: str, *, promised: bool) -> None:
        self._scope, self._threads, self._promised = scope, threads, promised
        self._compressor = _IN_PARTS[coding]()

    async def encode(self, part: bytes, *, last: bool) -> bytes:
        """What can be sent of this part and of those before it. Raises Busy and Throttled if nothing is promised."""
        if len(part) <= _ON_LOOP_MAX:
            done = [self._compressor.compress(part)]
        else:
            done = [await self._feed(part[at : at + _SLICE]) for at in range(0, len(part), _SLICE)]
        if last:
            done.append(self._compressor.flush())
        return b"".join(done)

    async def _feed(self, data: bytes) -> bytes:
        try:
            return await self._threads.run(self._scope, self._compressor.compress, data)
        except (Busy, Throttled):
            if not self._promised:
                raise
            await asyncio.sleep(0)
            return self._compressor.compress(data)


def is_event_stream(headers: Headers) -> bool:
    """Whether the answer is a stream of events, whose head is sent before there is any event."""
    return any(name == b"content-type" and value.startswith(_EVENT_STREAM.encode()) for name, value in headers)


def is_compressible(headers: Headers) -> bool:
    """Whether an answer with these headers may be compressed: text that is neither a stream of events, nor compressed
    already, nor marked `no-transform`."""
    media = ""
    for name, value in headers:
        if name == b"content-type":
            media = value.decode("latin-1")
        elif name == b"content-encoding" or (name == b"cache-control" and b"no-transform" in value):
            return False
    return media.startswith(_TEXT_TYPES) and not media.startswith(_EVENT_STREAM)


def accepted_coding(accepted: bytes | None, size: int) -> str | None:
    """The coding for a body of this size: the one that `Accept-Encoding` weighs most, zstd before gzip. None means
    uncompressed, as for a small body and without the header."""
    return None if accepted is None or size < COMPRESSED_MIN else _preferred(accepted)


_ACCEPT_MAX = 1_024
"""Bytes of an Accept-Encoding. A longer one is ignored, since it would take long to read."""


def accepts_gzip(accepted: bytes | None) -> bool:
    """Whether a client with this Accept-Encoding takes gzip, for bodies that are kept in it."""
    if accepted is None:
        return False
    weights = _weights(accepted)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


@lru_cache(256)
def _preferred(accepted: bytes) -> str | None:
    """The coding that a value of Accept-Encoding prefers; None if it prefers `identity`."""
    weights = _weights(accepted)
    others = weights.get("*", 0.0)
    best = max(_AT_ONCE, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _weights(accepted: bytes) -> dict[str, float]:
    """The weight of each coding in a value of Accept-Encoding; `*` stands for those without one."""
    weights: dict[str, float] = {}
    if len(accepted) <= _ACCEPT_MAX:
        for item in accepted.decode("latin-1").lower().split(","):
            name, *parameters = (part.strip() for part in item.split(";"))
            weights["gzip" if name == "x-gzip" else name] = _weight(parameters)
    return weights


def _weight(parameters: Iterable[str]) -> float:
    """The weight `q` of an item, from 0 to 1; 0 for one that is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            digits = value.strip()
            is_number = digits.isascii() and digits.replace(".", "", 1).isdigit() and len(digits) <= 5
            return min(float(digits), 1.0) if is_number else 0.0
    return 1.0


async def _digest(scope: Scope, threads: AnswerThreads, body: bytes) -> Any:
    """The SHA-256 of a large body."""
    digest, view = sha256(), memoryview(body)
    for at in range(0, len(body), _HASHED_SLICE):
        await threads.run(scope, digest.update, view[at : at + _HASHED_SLICE])
    return digest


def _etag_of(digest: Any, coding: str | None) -> bytes:
    suffix = "" if coding is None else f"-{coding}"
    return f'"{digest.hexdigest()[:_ETAG_DIGITS]}{suffix}"'.encode()


def _is_tagged(scope: Scope, status: int) -> bool:
    """Whether the answer gets an ETag."""
    return status == 200 and bool(_opt(scope).get("etag", False))


def _coding(scope: Scope, headers: Headers, body: bytes) -> str | None:
    """The coding in which an answer is sent."""
    return accepted_coding(header(scope, b"accept-encoding"), len(body)) if is_compressible(headers) else None


def _is_known(etag: bytes, asked: bytes | None) -> bool:
    """Whether an If-None-Match names this ETag. Weak ETags compare like strong ones, as RFC 9110 has it."""
    return asked is not None and any(one.strip().removeprefix(b"W/") in (etag, b"*") for one in asked.split(b","))


def _coded(coding: str) -> Headers:
    return [(b"content-encoding", coding.encode())]


def _opt(scope: Scope) -> Mapping[str, Any]:
    """What the route of this request declares; nothing where there is no route."""
    route = scope.get("route_handler")
    return {} if route is None else route.opt

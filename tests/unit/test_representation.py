"""Which coding a client gets, what is never compressed, and that every coding keeps the bytes."""

import asyncio
import threading
import zlib
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence.api import middleware, representation
from whence.api.middleware import HTTPMiddleware
from whence.api.representation import (
    COMPRESSED_MIN,
    AnswerThreads,
    StreamEncoder,
    accepted_coding,
    is_compressible,
    represent,
)
from whence.errors import Throttled
from whence.fairness import FairQueue
from whence.settings import Settings

JSON = (b"content-type", b"application/json")
LARGE = b'{"a":1}' * 1_000
SCOPE: dict[str, Any] = {"headers": [(b"accept-encoding", b"gzip")], "state": {}}

CODINGS = {
    None: None,
    b"": None,
    b"gzip": "gzip",
    b"x-gzip": "gzip",
    b"zstd": "zstd",
    b"gzip, deflate, br, zstd": "zstd",
    b"GZIP ; Q=0.8,zstd;q=0.5": "gzip",
    b"gzip;q=0.001": "gzip",
    b"gzip;q=0": None,
    b"gzip;q=0.000, zstd;q=0": None,
    b"deflate, br": None,
    b"identity": None,
    b"identity, gzip;q=0.5": None,
    b"identity;q=0.5, gzip;q=0.5": "gzip",
    b"*": "zstd",
    b"*;q=0": None,
    b"zstd;q=0, *": "gzip",
    b"gzip, *;q=0": "gzip",
    b"gzip;q=nan": None,
    b"gzip;q=1e5": None,
    b"gzip;q=-1": None,
    b"gzip;level=9": "gzip",
}


def drop_weights(_parameters: Any) -> float:
    return 1.0


@catches(
    replaced(representation, "_weight", drop_weights, "weights_ignored"),
    replaced(representation, "_AT_ONCE", {"gzip": zlib.compress}, "no_zstd"),
)
def test_the_coding_is_the_one_that_the_client_prefers() -> None:
    """RFC 9110: the largest weight wins, 0 refuses, `*` stands for what is not named; zstd comes before gzip."""
    representation._preferred.cache_clear()
    found = {accepted: accepted_coding(accepted, COMPRESSED_MIN) for accepted in CODINGS}
    representation._preferred.cache_clear()
    assert found == CODINGS


def test_a_small_answer_is_never_compressed() -> None:
    """Below 1 KiB an answer stays as it is, whatever is accepted."""
    for accepted in (b"gzip", b"identity;q=0, gzip", b"zstd, *;q=0"):
        assert accepted_coding(accepted, COMPRESSED_MIN - 1) is None


@catches(
    replaced(representation, "_EVENT_STREAM", "text/other", "event_streams_are_compressed"),
    replaced(representation, "_TEXT_TYPES", ("",), "everything_is_text"),
)
def test_what_is_never_compressed() -> None:
    """Event streams, answers with a secret (`no-transform`), what is compressed already, and what is no text."""
    assert is_compressible([JSON])
    assert is_compressible([(b"content-type", b"text/html; charset=utf-8")])
    for headers in (
        [(b"content-type", b"text/event-stream; charset=utf-8")],
        [JSON, (b"cache-control", b"no-store, no-transform")],
        [JSON, (b"content-encoding", b"gzip")],
        [(b"content-type", b"image/png")],
        [],
    ):
        assert not is_compressible(headers)
        assert asyncio.run(represent(SCOPE, AnswerThreads(), 200, headers, LARGE)) == (200, headers, LARGE)


def inflated(coding: str, body: bytes) -> bytes:
    source = zlib.decompressobj(wbits=31) if coding == "gzip" else zstandard.ZstdDecompressor().decompressobj()
    found: bytes = source.decompress(body)
    assert source.eof and not source.unused_data
    return found


def without_flush(self: StreamEncoder, part: bytes, *, last: bool) -> Any:
    async def encode() -> bytes:
        return self._compressor.compress(part)

    return encode()


@catches(replaced(StreamEncoder, "encode", without_flush, "the_end_is_missing"))
@PROPERTY
@given(
    coding=st.sampled_from(("gzip", "zstd")),
    parts=st.lists(
        st.builds(lambda data, times: data * times, st.binary(max_size=50), st.integers(0, 9_000)), min_size=1
    ),
)
def test_a_compressed_answer_keeps_its_bytes(coding: str, parts: list[bytes]) -> None:
    """In parts of any size, small ones on the event loop and large ones by threads."""

    async def encoded() -> bytes:
        encoder = StreamEncoder(SCOPE, AnswerThreads(), coding, promised=True)
        return b"".join([await encoder.encode(part, last=at == len(parts) - 1) for at, part in enumerate(parts)])

    assert inflated(coding, asyncio.run(encoded())) == b"".join(parts)


class NoThreads:
    """Mutant: the work of threads is done by the event loop."""

    def submit(self, function: Any, *of: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*of))
        return done


@catches(
    replaced(representation, "_threads", NoThreads(), "without_threads"),
    replaced(representation, "_ON_LOOP_MAX", 2**40, "everything_on_the_loop"),
)
def test_a_large_answer_leaves_the_event_loop() -> None:
    """It is hashed and compressed by other threads, a part at a time; a small one is not worth that."""
    names: list[str] = []

    class Compressor:
        def compress(self, data: bytes) -> bytes:
            names.append(threading.current_thread().name)
            return data[:1]

        def flush(self) -> bytes:
            return b""

    async def compressed(size: int) -> bytes:
        encoder = StreamEncoder(SCOPE, AnswerThreads(), "gzip", promised=True)
        encoder._compressor = Compressor()
        return await encoder.encode(bytes(size), last=True)

    asyncio.run(compressed(64 * 1024))
    assert names == [threading.current_thread().name]
    names.clear()
    asyncio.run(compressed(1024 * 1024))
    assert len(names) == 16 and all(name.startswith("whence-compress") for name in names)


class NoTurns(AnswerThreads):
    async def run(self, _scope: Any, _function: Any, _data: Any) -> Any:
        raise Throttled("Too many requests of this tenant are waiting.")


def test_without_a_turn_an_answer_is_sent_as_it_is() -> None:
    """A whole answer is not compressed then. One whose head was sent goes on in the coding that the head names."""
    large, headers = bytes(1024 * 1024), [JSON]
    assert asyncio.run(represent(SCOPE, NoTurns(), 200, headers, large)) == (200, headers, large)
    encoder = StreamEncoder(SCOPE, NoTurns(), "gzip", promised=True)
    assert inflated("gzip", asyncio.run(encoder.encode(large, last=True))) == large


def test_tenants_compress_in_turns() -> None:
    """An answer of another tenant gets the next turn, however many of one tenant wait."""
    order: list[str] = []

    async def compress() -> None:
        threads = AnswerThreads()
        threads.turns = FairQueue(1, brief=True)
        scopes = [SCOPE | {"state": {"principal": SimpleNamespace(tenant=name)}} for name in ("a", "a", "a", "a", "b")]
        await asyncio.gather(
            *[threads.run(scope, order.append, scope["state"]["principal"].tenant) for scope in scopes]
        )

    asyncio.run(compress())
    assert order == ["a", "a", "b", "a", "a"]


Messages = list[dict[str, Any]]


def answered(app: Any, messages: Messages, *headers: tuple[bytes, bytes]) -> None:
    """Ask an ASGI application through the middleware; `messages` gets what the client is sent."""

    async def send(message: dict[str, Any]) -> None:
        messages.append(message)

    scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"", "http_version": "1"}
    asyncio.run(HTTPMiddleware(app, Settings())(scope | {"headers": list(headers)}, None, send))


def body_of(messages: Messages) -> bytes:
    return b"".join(message.get("body", b"") for message in messages)


@catches(
    replaced(middleware, "is_event_stream", lambda _headers: False, "its_head_is_held_back"),
    replaced(representation, "_EVENT_STREAM", "text/other", "event_streams_are_compressed"),
)
def test_an_event_stream_begins_at_once() -> None:
    """The head of an event stream is sent before its first event, and each event is sent as it is."""
    messages: Messages = []
    before: list[int] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"Content-Type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        before.append(len(messages))
        await send({"type": "http.response.body", "body": b"data: 1\n\n" * 500, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": False})

    answered(app, messages, (b"accept-encoding", b"gzip, *;q=0"))
    assert before == [1]
    assert body_of(messages) == b"data: 1\n\n" * 500 + b"data: 2\n\n"
    assert b"content-encoding" not in dict(messages[0]["headers"])


def test_a_stream_in_parts_is_compressed() -> None:
    """An answer of unknown length is compressed part by part, and its length is left out."""
    messages: Messages = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [JSON, (b"content-length", b"40000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(4):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": at < 3})

    answered(app, messages, (b"accept-encoding", b"gzip"))
    head = dict(messages[0]["headers"])
    assert (head[b"content-encoding"], head[b"vary"], b"content-length" in head) == (b"gzip", b"Accept-Encoding", False)
    assert inflated("gzip", body_of(messages)) == b"x" * 40_000


def test_an_error_before_the_body_is_a_500() -> None:
    """The head waits for the body, so an application that fails in between is answered with a whole 500."""
    messages: Messages = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        raise RuntimeError("broken")

    answered(app, messages)
    assert [message.get("status") for message in messages] == [500, None]
    assert b'"code":"internal"' in body_of(messages)

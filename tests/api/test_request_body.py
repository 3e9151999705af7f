"""Bodies are read within their limits, whatever is sent."""

import asyncio
import gzip
import zlib
from typing import Any

import pytest
import zstandard
from litestar import Request
from litestar.exceptions import HTTPException

from whence.api import request_body
from whence.api.request_body import MemoryBudget
from whence.errors import Busy, Invalid, TooLarge, UnsupportedMedia

LIMIT = 64 * 1024
TEXT = bytes(range(256)) * 100


def request_of(*parts: bytes, encoding: str = "", length: int | None = None) -> Request[Any, Any, Any]:
    """A request whose body arrives in these parts."""
    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    left = list(parts)

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"}
        part = left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    scope: Any = {"type": "http", "method": "POST", "headers": headers, "path": "/", "query_string": b"", "state": {}}
    return Request(scope, receive=receive)  # type: ignore[arg-type]  # a scope made by hand, with only what is read


def read(request: Request[Any, Any, Any], limit: int = LIMIT, budget: MemoryBudget | None = None) -> bytes:
    async def run() -> bytes:
        async with (budget or MemoryBudget(1 << 26)).read(request, limit) as body:
            return body

    return asyncio.run(run())


def zstd(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


def zstd_of_unknown_size(text: bytes) -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return stream.compress(text) + stream.flush()


PACKERS = {"gzip": gzip.compress, "zstd": zstd}


def test_a_body_in_parts_is_whole() -> None:
    assert read(request_of(b"a" * 10, b"", b"b" * 10)) == b"a" * 10 + b"b" * 10


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_packed_body_is_inflated(encoding: str) -> None:
    packed = PACKERS[encoding](TEXT)
    assert read(request_of(packed[:7], packed[7:], encoding=encoding)) == TEXT
    assert read(request_of(packed + packed, encoding=encoding)) == TEXT * 2, "members and frames follow each other"


def test_a_zstd_frame_may_keep_its_size_to_itself() -> None:
    assert read(request_of(zstd_of_unknown_size(TEXT), encoding="zstd")) == TEXT


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_body_at_the_limit_passes_and_one_byte_more_does_not(encoding: str) -> None:
    assert len(read(request_of(PACKERS[encoding](b"x" * LIMIT), encoding=encoding))) == LIMIT
    with pytest.raises(TooLarge):
        read(request_of(PACKERS[encoding](b"x" * (LIMIT + 1)), encoding=encoding))


@pytest.mark.parametrize("encoding", PACKERS)
def test_a_bomb_is_never_inflated_beyond_the_limit(encoding: str) -> None:
    """Of 64 MiB, at most the limit and one chunk are ever taken into memory."""
    budget = MemoryBudget(1 << 20)
    with pytest.raises(TooLarge):
        read(request_of(PACKERS[encoding](b"\0" * (1 << 26))[:LIMIT], encoding=encoding), budget=budget)
    assert budget.used == 0


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("cut", [1, 4, 12])
def test_a_packed_body_that_is_cut_off_is_invalid(encoding: str, cut: int) -> None:
    with pytest.raises(Invalid):
        read(request_of(PACKERS[encoding](TEXT)[:-cut], encoding=encoding))


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("raw", [b"{}", b"\0" * 100, b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
def test_what_is_not_packed_is_invalid(encoding: str, raw: bytes) -> None:
    with pytest.raises(Invalid):
        read(request_of(raw, encoding=encoding))


@pytest.mark.parametrize("encoding", PACKERS)
def test_garbage_behind_a_packed_body_is_invalid(encoding: str) -> None:
    with pytest.raises(Invalid):
        read(request_of(PACKERS[encoding](TEXT) + b"garbage", encoding=encoding))


def test_a_declared_length_is_refused_before_a_byte_is_read() -> None:
    with pytest.raises(TooLarge):
        read(request_of(length=LIMIT + 1))


def test_a_body_that_grows_too_large_is_refused_while_it_arrives() -> None:
    with pytest.raises(TooLarge):
        read(request_of(*[b"x" * LIMIT] * 3))


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "gzip,zstd"])
def test_other_encodings_are_unsupported(encoding: str) -> None:
    with pytest.raises(UnsupportedMedia):
        read(request_of(zlib.compress(TEXT), encoding=encoding))


@pytest.mark.parametrize("encoding", ["", "identity", "gzip"])
def test_an_empty_body_is_invalid(encoding: str) -> None:
    with pytest.raises(Invalid):
        read(request_of(gzip.compress(b"") if encoding == "gzip" else b"", encoding=encoding))


def test_bodies_in_flight_share_one_budget() -> None:
    """What one request holds is missing to the next, and comes back when it ends, also when it failed."""
    budget = MemoryBudget(100)

    async def run() -> None:
        async with budget.read(request_of(b"x" * 60), LIMIT):
            with pytest.raises(Busy):
                async with budget.read(request_of(b"y" * 30, b"y" * 11), LIMIT):
                    pass
            async with budget.read(request_of(b"z" * 40), LIMIT):
                assert budget.used == 100

    asyncio.run(run())
    assert budget.used == 0


def test_what_is_inflated_counts_in_the_budget() -> None:
    with pytest.raises(Busy):
        read(request_of(gzip.compress(b"x" * 5000), encoding="gzip"), budget=MemoryBudget(4000))


def test_a_sender_that_goes_away_ends_the_request() -> None:
    with pytest.raises(HTTPException):
        read(request_of())


def test_a_sender_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "_GRACE_S", 0.05)
    request = request_of()

    async def never() -> Any:
        await asyncio.sleep(30)

    monkeypatch.setattr(request, "receive", never)
    with pytest.raises(HTTPException) as caught:
        read(request)
    assert caught.value.status_code == 408

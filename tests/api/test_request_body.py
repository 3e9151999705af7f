"""Bodies are read within their limits, whatever is sent."""

import asyncio
import codecs
import gzip
import threading
import time
import zlib
from collections.abc import Iterator
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from litestar import Request
from litestar.exceptions import HTTPException

from tests.contract.model import ModelStore
from tests.unit.mutants import catches, replaced
from whence.api import decompress, request_body
from whence.api.admission import Admission
from whence.api.decompress import DECOMPRESSORS, Damaged, gunzip, unzstd
from whence.api.request_body import read_body
from whence.errors import Busy, Invalid, Throttled, TooLarge, UnsupportedMedia
from whence.fairness import FairBudget
from whence.settings import Settings

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


def admission_of(bodies: int = 1 << 26) -> Admission:
    """With room for this many bytes of bodies."""
    admission = Admission(Settings(), ModelStore())
    admission.bodies = FairBudget(bodies, "request bodies")
    return admission


def read(request: Request[Any, Any, Any], limit: int = LIMIT, admission: Admission | None = None) -> bytes:
    async def run() -> bytes:
        async with read_body(request, admission or admission_of(), "acme", limit) as body:
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
    admission = admission_of(1 << 20)
    with pytest.raises(TooLarge):
        read(request_of(PACKERS[encoding](b"\0" * (1 << 26))[:LIMIT], encoding=encoding), admission=admission)
    assert admission.bodies.used == 0


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


EMPTY = {
    "gzip": gzip.compress(b"", mtime=0),
    "zstd": bytes.fromhex("28b52ffd2000010000"),
    "zstd, skippable": b"\x5f\x2a\x4d\x18" + (2).to_bytes(4, "little") + b"xx",
}
NO_LIMIT = replaced(decompress, "EMPTY_MAX", 10**9, "any_number_of_empty_ones")


@catches(NO_LIMIT, replaced(decompress, "_count_empty", lambda empty, _yielded: empty, "empty_ones_are_not_counted"))
@pytest.mark.parametrize("kind", EMPTY)
def test_at_most_sixteen_members_or_frames_may_be_empty(kind: str) -> None:
    """Wherever they stand. Those that yield output are not counted."""
    encoding = kind.partition(",")[0]
    one = PACKERS[encoding](b"x")
    assert read(request_of(one * 20 + EMPTY[kind] * 8 + one * 20 + EMPTY[kind] * 8, encoding=encoding)) == b"x" * 40
    with pytest.raises(Invalid, match="empty"):
        read(request_of(EMPTY[kind] * 9 + one * 20 + EMPTY[kind] * 8, encoding=encoding))


@pytest.mark.parametrize(("kind", "times"), [("gzip", 250_000), ("zstd", 582_500), ("zstd, skippable", 500_000)])
def test_a_body_of_empty_members_or_frames_costs_nothing(kind: str, times: int) -> None:
    """Batches of 5 MiB that took 19 to 42 seconds."""
    raw = EMPTY[kind] * times
    began = time.thread_time()
    with pytest.raises(Damaged):
        list(DECOMPRESSORS[kind.partition(",")[0]](raw))
    assert time.thread_time() - began < 0.1


def _unzstd_by_copying(raw: bytes) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor()
    while raw:
        frame = context.decompressobj()
        yield frame.decompress(raw)
        raw = frame.unused_data


@catches(
    replaced(decompress, "_FIRST_FEED", 1 << 30, "members_are_fed_all_that_follows"),
    replaced(decompress, "unzstd", _unzstd_by_copying, "a_walk_by_copying"),
)
def test_many_members_or_frames_are_walked_in_linear_time() -> None:
    """Ten times as many take ten times as long; a walk that copies what follows takes a hundred times as long."""
    for name, one in (("gunzip", gzip.compress(b"x", mtime=0)), ("unzstd", zstd(b"x"))):
        walk, cost_s = getattr(decompress, name), {}
        for times in (6_000, 60_000):
            began = time.thread_time()
            assert sum(map(len, walk(one * times))) == times
            cost_s[times] = time.thread_time() - began
        assert cost_s[60_000] < 30 * cost_s[6_000], (name, cost_s)


def _frames(text: bytes) -> Iterator[bytes]:
    """The text as zstd frames of every form: by level, checksum, known size, and blocks that were flushed."""
    for level in (-5, 1, 3, 19):
        for checksum in (False, True):
            for known in (False, True):
                packer = zstandard.ZstdCompressor(level=level, write_checksum=checksum, write_content_size=known)
                yield packer.compress(text)
    stream = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    parts = [stream.compress(text[at : at + 7]) + stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for at in (0, 7)]
    yield b"".join(parts) + stream.compress(text[14:]) + stream.flush()


@pytest.mark.parametrize("text", [b"", b"x", TEXT, b"\0" * 1_000_000, bytes(range(256)) * 2000, b"ab" * 200_000])
def test_zstd_frames_of_every_form_are_walked(text: bytes) -> None:
    """Each frame alone, with others around it, and cut off at its end."""
    for frame in _frames(text):
        around = zstd(b"around")
        parts = list(unzstd(around + frame + around))
        assert b"".join(parts) == b"around" + text + b"around"
        assert max(map(len, parts)) <= 128 * 1024
        for cut in (1, 2, 4):
            with pytest.raises(Damaged):
                list(unzstd(frame[:-cut]))


def test_a_wrong_checksum_is_damage() -> None:
    """Of a zstd frame with data and of one without, and of a gzip member."""
    packer = zstandard.ZstdCompressor(write_checksum=True)
    for text in (b"", b"x", TEXT * 20):
        for walk, packed in ((unzstd, packer.compress(text)), (gunzip, gzip.compress(text)[:-4])):
            with pytest.raises(Damaged):
                list(walk(packed[:-1] + bytes((packed[-1] ^ 1,))))


@catches(replaced(request_body, "_ON_LOOP_MAX", 1 << 30, "the_first_slice_of_a_large_body_is_inflated_on_the_loop"))
@pytest.mark.parametrize("encoding", PACKERS)
def test_a_large_body_is_inflated_by_other_threads(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a small one at once, by the event loop."""
    threads: list[str] = []
    inflate = DECOMPRESSORS[encoding]

    def noting(raw: bytes) -> Iterator[bytes]:
        for part in inflate(raw):
            threads.append(threading.current_thread().name)
            yield part

    monkeypatch.setattr(request_body, "DECOMPRESSORS", {encoding: noting})
    read(request_of(PACKERS[encoding](TEXT), encoding=encoding))
    assert set(threads) == {threading.current_thread().name}
    threads.clear()
    members = PACKERS[encoding](b"x") * 3000
    assert read(request_of(members, encoding=encoding)) == b"x" * 3000
    assert len(threads) == 3000
    assert all(name.startswith("whence-inflate") for name in threads)


def test_the_loop_is_free_between_the_slices_of_a_body() -> None:
    """Others run while a large body is inflated: at least once for each of its slices."""

    async def run() -> int:
        turns, request = 0, request_of(gzip.compress(b"x" * (4 << 20)), encoding="gzip")

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        async with read_body(request, admission_of(), "acme", 5 << 20) as body:
            assert len(body) == 4 << 20
        counting.cancel()
        return turns

    assert asyncio.run(run()) > 16


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
    admission = admission_of(200)

    async def size_of(tenant: str, *parts: bytes) -> int:
        async with read_body(request_of(*parts), admission, tenant, LIMIT) as body:
            return len(body)

    async def run() -> None:
        async with read_body(request_of(b"x" * 60), admission, "acme", LIMIT):
            with pytest.raises(Throttled):
                await size_of("acme", b"y" * 30, b"y" * 11)
            assert await size_of("acme", b"z" * 40) == 40
            async with read_body(request_of(b"z" * 100), admission, "globex", LIMIT):
                assert admission.bodies.used == 160
                with pytest.raises(Busy):
                    await size_of("initech", b"y" * 41)
                assert await size_of("initech", b"y" * 40) == 40

    asyncio.run(run())
    assert admission.bodies.used == 0


def test_what_is_inflated_counts_in_the_budget() -> None:
    with pytest.raises(Throttled):
        read(request_of(gzip.compress(b"x" * 5000), encoding="gzip"), admission=admission_of(8000))


def test_a_sender_that_goes_away_ends_the_request() -> None:
    with pytest.raises(HTTPException):
        read(request_of())


def sending(times_and_sizes: Iterator[tuple[float, int]]) -> Request[Any, Any, Any]:
    """A request whose body arrives in parts: each after some seconds, of some bytes. Size 0 is the end."""
    request = request_of()

    async def receive() -> dict[str, Any]:
        seconds, size = next(times_and_sizes)
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"x" * size, "more_body": size > 0}

    request.receive = receive  # type: ignore[assignment,method-assign]  # in place of the server
    return request


@catches(
    replaced(request_body, "_WINDOW_BYTES_MIN", 0, "any_rate_will_do"),
    replaced(request_body, "_WINDOW_S", 20.0, "patience_without_end"),
)
def test_a_sender_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it has sent before: the rate counts in each window of time."""
    if request_body._WINDOW_S != 20.0:
        monkeypatch.setattr(request_body, "_WINDOW_S", 0.1)
    monkeypatch.setattr(request_body, "_BODY_S", 2.0)
    began = time.monotonic()
    with pytest.raises(HTTPException) as caught:
        read(sending(chain([(0, LIMIT // 2)], repeat((0.02, 1)))))
    assert caught.value.status_code == 408
    assert time.monotonic() - began < 1.5, "only the longest time of a body ended it"


@catches(replaced(request_body, "_BODY_S", 30.0, "a_body_may_take_for_ever"))
def test_a_body_has_a_longest_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it comes. One that is slow and ends in time is read."""
    monkeypatch.setattr(request_body, "_WINDOW_S", 60.0)
    if request_body._BODY_S != 30.0:
        monkeypatch.setattr(request_body, "_BODY_S", 1.0)
    assert len(read(sending(iter([*[(0.01, 200)] * 5, (0, 0)])))) == 1000
    with pytest.raises(HTTPException) as caught:
        read(sending(chain([(0.01, 100)] * 300, [(0, 0)])))
    assert caught.value.status_code == 408


@catches(
    replaced(request_body, "codecs", SimpleNamespace(BOM_UTF8=b""), "it_is_left"),
    replaced(request_body, "codecs", SimpleNamespace(BOM_UTF8=codecs.BOM_UTF8 * 2), "two_of_them_are_skipped"),
)
def test_a_byte_order_mark_before_a_body_is_skipped() -> None:
    """The one of UTF-8, once, also when it was packed."""
    bom = codecs.BOM_UTF8
    assert read(request_of(bom[:1], bom[1:] + b"{}")) == b"{}"
    assert read(request_of(gzip.compress(bom + b"{}"), encoding="gzip")) == b"{}"
    assert read(request_of(bom + bom + b"{}")) == bom + b"{}"
    with pytest.raises(Invalid):
        read(request_of(bom))


@catches(replaced(request_body, "_UTF16", (), "utf_16_is_not_noticed"))
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["{}", "[{}]"])
def test_a_body_in_utf_16_is_named_as_such(encoding: str, text: str) -> None:
    """With and without a byte order mark; UTF-32 as well."""
    with pytest.raises(UnsupportedMedia, match="UTF-16"):
        read(request_of(text.encode(encoding)))

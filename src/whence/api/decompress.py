"""Inflating gzip and zstd bodies, in parts and in linear time.

A body may consist of several gzip members or zstd frames. Each one is walked by its offset, so that none of them copies
what follows it. At most 16 of them may yield no output; the limit on the output therefore limits the work too.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping

import zstandard

__all__ = ["DECOMPRESSORS", "EMPTY_MAX", "PART", "Damaged", "gunzip", "unzstd"]

PART = 64 * 1024
"""The largest part of the output, in bytes."""

EMPTY_MAX = 16
"""How many members or frames of a body may yield no output."""

_FIRST_FEED = 256
_ZSTD_WINDOW_MAX = 8 * 1024 * 1024
_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # after a byte from 0x50 to 0x5f
_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_ZSTD_BLOCK_MAX = 128 * 1024
_RLE, _COMPRESSED, _RESERVED = 1, 2, 3


class Damaged(ValueError):
    """The body is not what its encoding says, is cut off, or has too many members or frames without output."""

    def __init__(self, message: str = "The body cannot be inflated; it is damaged or cut off.") -> None:
        super().__init__(message)


def gunzip(raw: bytes) -> Iterator[bytes]:
    """The text of one or more gzip members, in parts of 1..64 KiB. Raises `Damaged`."""
    view, at, empty = memoryview(raw), 0, 0
    while at < len(view):
        member, feed, yielded = zlib.decompressobj(wbits=31), _FIRST_FEED, False
        while not member.eof:
            if at >= len(view):
                raise Damaged
            # What a member does not use is copied. It gets more at a time only as it grows, so this stays linear.
            data: memoryview | bytes = view[at : at + feed]
            at, feed = at + len(data), min(2 * feed, PART)
            for part in _drain(member, data):
                yielded = True
                yield part
        at -= len(member.unused_data)
        empty = _count_empty(empty, yielded)


def _drain(member: "zlib._Decompress", data: memoryview | bytes) -> Iterator[bytes]:
    """All that these bytes of a member yield."""
    while True:
        try:
            part = member.decompress(data, PART)
        except zlib.error:
            raise Damaged from None
        if part:
            yield part
        data = member.unconsumed_tail
        if member.eof or (not data and len(part) < PART):
            return


def unzstd(raw: bytes) -> Iterator[bytes]:
    """The text of one or more zstd frames, in parts of 1..128 KiB. Raises `Damaged`."""
    view, at, empty = memoryview(raw), 0, 0
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)
    while at < len(view):
        end, output_max = _frame_end(raw, at)
        yielded = False
        for part in _unzstd_frame(context, view[at:end], output_max):
            yielded = True
            yield part
        at = end
        empty = _count_empty(empty, yielded)


def _unzstd_frame(context: zstandard.ZstdDecompressor, frame: memoryview, output_max: int) -> Iterator[bytes]:
    """The parts of one whole frame that yields at most `output_max` bytes."""
    try:
        if output_max <= _ZSTD_BLOCK_MAX:
            # At once, which takes a tenth of the time that the reader takes to get started.
            whole = context.decompressobj().decompress(frame)
            if whole:
                yield whole
            return
        # The reader limits its output, but it tells neither where a frame ends nor that it is cut off.
        with context.stream_reader(frame) as reader:
            while part := reader.read(PART):
                yield part
    except zstandard.ZstdError:
        raise Damaged from None


def _frame_end(raw: bytes, start: int) -> tuple[int, int]:
    """Where the frame at `start` ends, and how many bytes it yields at most (RFC 8878, section 3.1).

    A skippable frame yields none. Raises `Damaged` for what is no frame, or is cut off.
    """
    magic, at = raw[start : start + 4], start + 4
    if magic[1:] == _SKIPPABLE and magic[0] & 0xF0 == 0x50:
        end, output_max = at + 4 + int.from_bytes(raw[at : at + 4], "little"), 0
    elif magic == _MAGIC and at < len(raw):
        end, output_max = _blocks_end(raw, at)
    else:
        raise Damaged
    if end > len(raw):
        raise Damaged
    return end, output_max


def _blocks_end(raw: bytes, at: int) -> tuple[int, int]:
    """`_frame_end` for a frame with data, whose header begins at `at`. The end may lie beyond what was sent."""
    descriptor, output_max, last = raw[at], 0, False
    single_segment, has_checksum = descriptor & 0x20, descriptor & 0x04
    size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or (1 if single_segment else 0)
    at += 1 + (0 if single_segment else 1) + _DICTIONARY_ID_BYTES[descriptor & 3] + size_bytes
    while not last:
        header = int.from_bytes(raw[at : at + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _RLE else size)
        if kind == _RESERVED or at > len(raw):
            raise Damaged
        output_max += _ZSTD_BLOCK_MAX if kind == _COMPRESSED else size
    return at + (4 if has_checksum else 0), output_max


def _count_empty(empty: int, yielded: bool) -> int:
    empty += not yielded
    if empty > EMPTY_MAX:
        raise Damaged(f"At most {EMPTY_MAX} gzip members or zstd frames of a body may be empty.")
    return empty


DECOMPRESSORS: Mapping[str, Callable[[bytes], Iterator[bytes]]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "zstd": unzstd,
}
"""By the name of the content coding."""

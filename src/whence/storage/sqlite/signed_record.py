"""What was last signed for each origin: a file beside the database, which a restore of the database leaves alone.

A line is added and synced before a checkpoint is published. It has the origin, the size, the root and a checksum. The
last line of an origin counts. A last line that was torn by a crash was never published, and is removed. Any other
damage is refused: without the record nothing could be signed safely.
"""

import asyncio
import contextlib
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.durable_files import sync_folder
from whence.errors import Unavailable, Unsound
from whence.storage.seals import Signed

__all__ = ["SignedRecord", "SignedRecordWriter"]

_LINES_MAX = 10_000
"""The file is written anew when it has so many lines more than origins."""


class SignedRecord:
    """The record of one store, which is read when it is first used. Only one process of a server uses it."""

    def __init__(self, path: str) -> None:
        """Name the record of the database at `path`."""
        self._path = Path(path + ".signed")
        self._lock = threading.Lock()
        self._known: dict[str, Signed] | None = None
        self._lines = 0

    def get(self, origin: str) -> Signed | None:
        """What was last signed for an origin. Raises Unavailable, and Unsound when the record is damaged."""
        with self._lock:
            return self._loaded().get(origin)

    def all(self) -> dict[str, Signed]:
        """What was last signed, by origin. Raises as `get`."""
        with self._lock:
            return dict(self._loaded())

    def put(self, origin: str, signed: Signed) -> bool:
        """See `Seals.record_signed`. Raises as `get`, and Unavailable when it cannot be written."""
        return self.put_all([(origin, signed)])[0]

    def put_all(self, wanted: Sequence[tuple[str, Signed]]) -> list[bool]:
        """As `put` for each, with one write for all of them."""
        with self._lock:
            known = dict(self._loaded())
            added: list[tuple[str, Signed]] = []
            allowed = []
            for origin, signed in wanted:
                last = known.get(origin)
                is_allowed = last is None or signed.size > last.size or signed == last
                if is_allowed and signed != last:
                    known[origin] = signed
                    added.append((origin, signed))
                allowed.append(is_allowed)
            if added:
                try:
                    self._add(added)
                except OSError as error:
                    self._known = None  # a part of a line may be there: it is read again before the next one
                    raise Unavailable(f"The record of what was signed cannot be written: {error.strerror}.") from None
                self._known = known
            return allowed

    def _add(self, added: Sequence[tuple[str, Signed]]) -> None:
        if self._lines > len(self._known or ()) + _LINES_MAX:
            self._rewrite()
        is_new = not self._path.exists()
        with self._path.open("ab") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(b"".join(_line(origin, signed) for origin, signed in added))
            file.flush()
            os.fdatasync(file.fileno())
        if is_new:
            sync_folder(str(self._path))
        self._lines += len(added)

    def _rewrite(self) -> None:
        """Keep the last line of each origin, whole or not at all."""
        known = self._known or {}
        partial = self._path.with_name(self._path.name + ".partial")
        with partial.open("wb") as file:
            file.writelines(_line(origin, signed) for origin, signed in known.items())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
        sync_folder(str(self._path))
        self._lines = len(known)

    def _loaded(self) -> dict[str, Signed]:
        if self._known is None:
            try:
                self._known = self._load()
            except OSError as error:
                raise Unavailable(f"The record of what was signed cannot be read: {error.strerror}.") from None
        return self._known

    def _load(self) -> dict[str, Signed]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            data = b""
        *lines, torn = data.split(b"\n")
        if torn:
            os.truncate(self._path, len(data) - len(torn))
        known: dict[str, Signed] = {}
        for line in lines:
            try:
                origin, size, root, check = line.decode().split(" ")
                if int(check, 16) != zlib.crc32(line.rpartition(b" ")[0]):
                    raise ValueError("The checksum differs.")
                known[origin] = Signed(int(size), bytes.fromhex(root))
            except ValueError:
                raise Unsound(
                    f"The record of what was signed, {self._path.name}, is damaged. Nothing is signed until it is put "
                    "back or removed. Compare the log with a checkpoint that was kept elsewhere first."
                ) from None
        self._lines = len(lines)
        return known


def _line(origin: str, signed: Signed) -> bytes:
    body = f"{origin} {signed.size} {signed.root.hex()}".encode()
    return body + f" {zlib.crc32(body):08x}\n".encode()


class _Wanted(NamedTuple):
    """What is to be recorded, and who waits for it."""

    origin: str
    signed: Signed
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[bool]"

    def resolve(self, is_allowed: bool, error: Exception | None) -> None:
        """Tell who waits. Only on the thread of the loop."""
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(is_allowed)


class SignedRecordWriter:
    """Writes a record in a thread. What is asked for while it writes is written together next."""

    def __init__(self, record: SignedRecord) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._waiting: list[_Wanted] = []
        self._is_writing = False

    async def put(self, origin: str, signed: Signed) -> bool:
        """See `SignedRecord.put`."""
        loop = asyncio.get_running_loop()
        wanted = _Wanted(origin, signed, loop, loop.create_future())
        with self._lock:
            self._waiting.append(wanted)
            begins, self._is_writing = not self._is_writing, True
        if begins:
            loop.run_in_executor(None, self._write_all)
        return await wanted.future

    def _write_all(self) -> None:
        """Write until nobody waits."""
        while True:
            with self._lock:
                group, self._waiting = self._waiting, []
                self._is_writing = bool(group)
            if not group:
                return
            allowed, error = [False] * len(group), None
            try:
                allowed = self._record.put_all([(each.origin, each.signed) for each in group])
            except Exception as failure:
                error = failure
            for loop in {each.loop for each in group}:
                with contextlib.suppress(RuntimeError):  # it has ended
                    loop.call_soon_threadsafe(_resolve_all, loop, group, allowed, error)


def _resolve_all(
    loop: asyncio.AbstractEventLoop, group: Sequence[_Wanted], allowed: Sequence[bool], error: Exception | None
) -> None:
    """Tell those who wait on a loop. One call for all of them wakes the loop once."""
    for each, is_allowed in zip(group, allowed, strict=True):
        if each.loop is loop:
            each.resolve(is_allowed, error)

"""What was last signed for each origin: a file beside the database, which a restore of the database leaves alone.

A line is added and synced before a checkpoint is published. It has the origin, the size, the root and a checksum. The
last line of an origin counts. A last line that was torn by a crash was never published, and is removed. Any other
damage is refused: without the record nothing could be signed safely.
"""

import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path

from whence.durable_files import sync_folder
from whence.errors import Unavailable, Unsound
from whence.storage.seals import Signed

__all__ = ["SignedRecord"]

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

    def put_all(self, wanted: Sequence[tuple[str, Signed]]) -> list[bool]:
        """See `Seals.record_signed`. Raises as `get`, and Unavailable when it cannot be written."""
        with self._lock:
            known = self._loaded()
            added: dict[str, Signed] = {}
            allowed = []
            for origin, signed in wanted:
                last = added.get(origin) or known.get(origin)
                is_allowed = last is None or signed.size > last.size or signed == last
                if is_allowed and signed != last:
                    added[origin] = signed
                allowed.append(is_allowed)
            if added:
                try:
                    self._add(added)
                except OSError as error:
                    self._known = None  # a part of a line may be there: it is read again before the next one
                    raise Unavailable(f"The record of what was signed cannot be written: {error.strerror}.") from None
                known |= added
            return allowed

    def _add(self, added: dict[str, Signed]) -> None:
        if self._lines > len(self._known or ()) + _LINES_MAX:
            self._rewrite()
        is_new = not self._path.exists()
        with self._path.open("ab") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(b"".join(_line(origin, signed) for origin, signed in added.items()))
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

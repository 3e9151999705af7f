"""What was erased: a file beside the database, which a restore of the database leaves alone.

A backup that was made before an erasure has what was erased. After it was restored, the ledger says what has to be
erased again. A line is synced before the erasure commits. It has the tenant, each position with the beginning of the
leaf of its event, for an actor also its new id, and a checksum. By its leaf an event is known to be the same one, also
where a restored log has gone on differently, and a tenant that was deleted by that of its first event. The ledger names
nobody, but for the names of tenants.

A line is an intent, and a second one says how it ended, since a process may be killed in between. An intent without an
end is undecided, and the file says how it ended: see `interrupted_removals`. Until then an erasure counts as done,
since nothing held what it names, and a deletion does not.
"""

import fcntl
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from whence.durable_files import sync_folder
from whence.errors import StoreRefused
from whence.storage.removals import Erased

__all__ = ["ErasureLedger"]

_LEAF_BYTES = 4

_DELETING, _DELETED, _ERASED, _KEPT = "deleting@", "deleted@", "erased@", "kept@"
"""Begin the second word of a line: a tenant is about to be deleted, it was, an erasure was done, and what was intended
was not done after all. No id of an actor that is erased begins so."""


class _Line(NamedTuple):
    """A line: its second word, what it names, and its checksum."""

    what: str
    entry: Erased
    check: str

    @property
    def intent(self) -> tuple[str, str]:
        """The intent that this line is, or ends: the tenant, and when it was to be deleted, or else the checksum of the
        line of the erasure. Two lines of the same erasure are one intent."""
        return self.entry.tenant, self.what.partition("@")[2] if self._is_marked() else self.check

    def _is_marked(self) -> bool:
        return self.what.startswith((_DELETING, _DELETED, _ERASED, _KEPT))


class ErasureLedger:
    """The ledger of one store. Only the process that writes to the store adds to it."""

    def __init__(self, path: str) -> None:
        """Name the ledger of the database at `path`."""
        self._path = Path(path + ".erased")

    def add(self, tenant: str, events: Sequence[tuple[int, bytes]], new_id: str | None = None) -> None:
        """Note that the payloads of these events are about to be erased, each a position and a leaf; with `new_id`,
        that it takes the place of the id of the actor of the one event. Durable on return. Raises OSError."""
        self._add(_body(tenant, new_id or "-", events))

    def intend_deletion(self, tenant: str, events: Sequence[tuple[int, bytes]], deleted_at: int) -> None:
        """Note that a tenant is about to be deleted, whose log begins with the one event, if any. Durable on return.
        Raises OSError."""
        self._add(_body(tenant, f"{_DELETING}{deleted_at}", events))

    def end(self, ended: Sequence[tuple[Erased, bool]]) -> None:
        """Note of some intents whether what was intended happened. Durable on return. Raises OSError."""
        if ended:
            self._add(*(_end_of(intent, happened=happened) for intent, happened in ended))

    def _add(self, *bodies: bytes) -> None:
        is_new = not self._path.exists()
        fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        try:
            # Also within this process: another thread may be in the middle of its lines, and its disk may get full.
            fcntl.flock(fd, fcntl.LOCK_EX)
            _end_torn_line(fd)
            _write_whole(fd, b"".join(body + f" {_check(body)}\n".encode() for body in bodies))
            os.fdatasync(fd)
        finally:
            os.close(fd)
        if is_new:
            sync_folder(str(self._path))

    def read(self) -> list[Erased]:
        """Every erasure that was not kept from happening, and every deletion that happened, oldest first. Raises
        StoreRefused for a damaged ledger."""
        found: dict[tuple[str, str], Erased] = {}
        done: set[tuple[str, str]] = set()
        for line in self._lines():
            if line.what.startswith(_ERASED):
                done.add(line.intent)
            elif not line.what.startswith((_DELETING, _KEPT)):
                found[line.intent] = line.entry
            elif line.intent not in done:  # else it was done before, and a restore was stopped while it did it again
                found.pop(line.intent, None)
        return list(found.values())

    def undecided(self) -> list[Erased]:
        """The erasures and deletions that were intended, of which no line says how they ended. Raises StoreRefused as
        `read`."""
        intended: dict[tuple[str, str], Erased] = {}
        for line in self._lines():
            if line.what.startswith((_DELETED, _ERASED, _KEPT)):
                intended.pop(line.intent, None)
            else:
                intended[line.intent] = line.entry
        return list(intended.values())

    def _lines(self) -> list[_Line]:
        """Every line. What a crash has torn was not acted on, and is passed over."""
        try:
            *lines, _ = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries = [_parsed(line) for line in lines if not line.endswith(b"torn")]
        found = [entry for entry in entries if entry is not None]
        if len(found) < len(entries):
            raise StoreRefused(
                f"The ledger of erasures, {self._path.name}, is damaged, so that nobody can say what has to be erased "
                "again. Put it back from a copy, or remove it to restore without it."
            )
        return found


def _body(tenant: str, what: str, events: Sequence[tuple[int, bytes]]) -> bytes:
    named = [f"{position}:{leaf[:_LEAF_BYTES].hex()}" for position, leaf in events]
    return " ".join([tenant, what, *named]).encode()


def _end_of(intent: Erased, *, happened: bool) -> bytes:
    if intent.deleted_at is not None:
        return _body(intent.tenant, f"{_DELETED if happened else _KEPT}{intent.deleted_at}", intent.events)
    check = _check(_body(intent.tenant, intent.new_id or "-", intent.events))
    return _body(intent.tenant, f"{_ERASED if happened else _KEPT}{check}", ())


def _check(body: bytes) -> str:
    return f"{zlib.crc32(body):08x}"


def _write_whole(fd: int, line: bytes) -> None:
    """Write a line or more. A disk that gets full takes a part, and only the next write fails. Raises OSError."""
    while line:
        line = line[os.write(fd, line) :]


def _end_torn_line(fd: int) -> None:
    """Mark a line that a crash or a full disk has cut off, so that the next one begins anew. Needs the lock."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"torn\n")


def _parsed(line: bytes) -> _Line | None:
    """A line; None for a damaged one."""
    body, _, check = line.rpartition(b" ")
    try:
        if int(check, 16) != zlib.crc32(body):
            return None
        tenant, what, *named = body.decode().split(" ")
        events = [name.split(":") for name in named]
        is_erasure = not what.startswith((_DELETING, _DELETED, _ERASED, _KEPT))
        entry = Erased(
            tenant=tenant,
            events=tuple((int(position), bytes.fromhex(leaf)) for position, leaf in events),
            new_id=what if is_erasure and what != "-" else None,
            deleted_at=int(what.partition("@")[2]) if what.startswith((_DELETING, _DELETED)) else None,
        )
        return _Line(what, entry, check.decode())
    except ValueError:
        return None

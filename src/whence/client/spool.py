"""Events on disk, for as long as the server does not accept them. They are read back in the order of writing.

A folder belongs to one server and tenant, and many processes may use it. Events lie in segment files. Each segment
belongs to the process and spool in its name (see `spool_lock`). A segment without an owner is taken over by renaming
it, so that only one process succeeds. No file stays open, so that a thousand tenants can spool at once.

The locks here are taken inside of `guard` only (see `reentrancy`).
"""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from whence.client.errors import SpoolFull
from whence.client.spool_lock import process_lock
from whence.counting import counted
from whence.durable_files import sync_file
from whence.errors import WhenceError

__all__ = ["REJECTED", "Segment", "Spool", "append_to_file", "default_root", "folder_name", "is_spool"]

REJECTED = "rejected.ndjson"
"""The file of refused events in the folder of a spool: a JSON object per line with `at`, `status`, `why`, `event`."""

_SEGMENT_BYTES_MAX = 4 * 1024 * 1024
_FIRST_NUMBER = 10**11
"""The number of a spool's first own segment. Segments that are taken over are older, and get lower numbers."""

_RELEASED = "x"
"""Appended to the process in a segment's name when its spool is closed. No process has that name, so it has no lock."""


class Segment(msgspec.Struct):
    """A file of events, one per line. `size` is in bytes. One that is `held` is not to be sent yet."""

    number: int
    path: Path
    events: int
    size: int
    held: bool = False


def default_root(state_dir: Callable[..., str]) -> Path:
    """The folder of all spools: `WHENCE_SPOOL_DIR`, or one in the user's state directory.

    `state_dir` is `platformdirs.user_state_dir`. This module does not load it, which takes long, and while Python shuts
    down it could not any more. Raises WhenceError for a user without a home directory.
    """
    named = os.environ.get("WHENCE_SPOOL_DIR")
    try:
        return Path(named) if named else Path(state_dir("whence", appauthor=False)) / "spool"
    except (RuntimeError, KeyError):
        raise WhenceError(
            "There is no spool, since this user has no home directory. Pass spool= or set WHENCE_SPOOL_DIR."
        ) from None


def folder_name(url: str, tenant: str | None, key: str) -> str:
    """The folder name for one server and tenant. Without a tenant, its API key identifies it."""
    owner = f"tenant {tenant}" if tenant else f"key {key}"
    return hashlib.sha256(f"{url}\n{owner}".encode()).hexdigest()[:32]


def is_spool(folder: Path) -> bool:
    """Whether a client spools here, or has spooled here. Of a spool that was sent, only the folder is left."""
    has_files = (folder / REJECTED).is_file() or any(folder.glob("*.segment"))
    return has_files or (folder.resolve().parent / "writers").is_dir()


class Spool:
    """The segments of one client in a folder. Safe to use from many threads.

    Every method that touches the disk raises OSError.
    """

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self.folder = folder
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()  # taken before `_lock`
        self._folder_ready = False
        self._segments: dict[int, Segment] = {}
        self._current: Segment | None = None
        self._unsynced: list[Segment] = []  # to which was appended since the last sync
        self._sent: list[Path] = []  # of segments that were sent, and are to be deleted
        self._next_number = _FIRST_NUMBER
        self._appended = 0
        self._synced = 0
        self._id = process_lock.open_spool()

    @property
    def events(self) -> int:
        """The number of events in the segments of this spool."""
        return sum(segment.events for segment in list(self._segments.values()))

    def reserve(self) -> int:
        """Reserve the next segment number, for events that may have to be written later, and keep their place."""
        with self._lock:
            self._next_number += 1
            return self._next_number - 1

    def append(self, *bodies: bytes) -> int:
        """Write events after all others. Returns a ticket for `sync`, which makes them durable. Raises SpoolFull."""
        lines = b"".join(body + b"\n" for body in bodies)
        with self._lock:
            if sum(segment.size for segment in self._segments.values()) + len(lines) > self._bytes_max:
                raise SpoolFull(
                    f"The spool in {self.folder} has reached its limit of {counted(self._bytes_max, 'byte')}."
                )
            segment = self._current
            if segment is None:
                self._next_number += 1
                segment = self._create(self._next_number - 1)
            try:
                append_to_file(segment.path, lines, segment.size)
            except OSError:
                if segment is not self._current:
                    _discard(segment.path)
                raise
            segment.size += len(lines)
            segment.events += len(bodies)
            self._current = self._segments[segment.number] = segment
            self._appended += len(bodies)
            return self._appended

    def sync(self, ticket: int) -> None:
        """Return when the event with this ticket is on disk. Threads that wait at the same time share one fsync."""
        with self._sync_lock:
            if self._synced < ticket:
                self._sync_current()

    def write(self, number: int, bodies: Sequence[bytes], *, held: bool = False) -> Segment:
        """Write these events durably, as the segment with a reserved number. `oldest` passes over one that is held.

        If it raises, there is no segment.
        """
        content = b"".join(body + b"\n" for body in bodies)
        with self._lock:
            segment = self._create(number)
        try:
            append_to_file(segment.path, content, 0)
            sync_file(segment.path)
        except BaseException:  # also of a signal handler
            _discard(segment.path)
            raise
        segment.size, segment.events, segment.held = len(content), len(bodies), held
        with self._lock:
            self._segments[number] = segment
        return segment

    def oldest(self) -> Segment | None:
        """The segment to send first, which no longer grows. None when all are sent, but for held ones."""
        with self._sync_lock:
            if self._current is not None and self._oldest() is self._current:
                with contextlib.suppress(OSError):  # it can be read all the same, and `sync` raises this again
                    self._sync_current(close=True)
            with self._lock:
                return self._oldest()

    def _oldest(self) -> Segment | None:
        numbers = [number for number, segment in self._segments.items() if not segment.held]
        return self._segments[min(numbers)] if numbers else None

    def read(self, segment: Segment) -> tuple[list[bytes], list[bytes]]:
        """The events of a segment in order, and the lines that hold none: they were damaged, or another program wrote
        them.

        An incomplete last line belongs to a process that was killed. It goes to the rejected events: `emit` had not
        returned for it.
        """
        *lines, incomplete = segment.path.read_bytes().split(b"\n")
        if incomplete:
            with contextlib.suppress(OSError, SpoolFull):
                self.reject(incomplete, 0, "The process was killed while it wrote this event.")
        damaged = [line for line in lines if not _is_event(line)]
        events = [line for line in lines if _is_event(line)] if damaged else lines
        segment.events = len(events)
        return events, damaged

    def remove(self, segment: Segment) -> None:
        """Delete a segment that was sent. It is no longer of this spool, also if this raises OSError.

        A file that cannot be deleted is tried again with the next one. If it stays, another process sends its events
        again, and the server stores them once.
        """
        with self._lock:
            self._segments.pop(segment.number, None)
            self._unsynced = [other for other in self._unsynced if other is not segment]
            self._sent.append(segment.path)
        while self._sent:
            self._sent[-1].unlink(missing_ok=True)
            self._sent.pop()

    def reject(self, body: bytes, status: int, why: str) -> None:
        """Write a refused event durably to the file of rejected events.

        Raises SpoolFull if the file would get larger than the spool may be.
        """
        event: object = msgspec.Raw(body)  # as it is: a number may be one that cannot be encoded
        try:
            msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = body.decode(errors="replace")
        line = msgspec.json.encode({"at": time.time(), "status": status, "why": why, "event": event}) + b"\n"
        self._prepare_folder()
        path = self.folder / REJECTED
        if path.exists() and path.stat().st_size + len(line) > self._bytes_max:
            raise SpoolFull(f"{path} has reached the limit of {counted(self._bytes_max, 'byte')}.")
        append_to_file(path, line)
        sync_file(path)

    def adopt(self) -> int:
        """Take over the segments of dead processes and closed clients; returns how many."""
        if not self.folder.is_dir():
            return 0
        segments = []
        for path in self.folder.glob("*.segment"):
            process, _, rest = path.name.partition("-")
            spool_id, _, number = rest.removesuffix(".segment").partition("-")
            if spool_id.isdecimal() and number.isdecimal():
                segments.append((process, int(spool_id), int(number), path))
        if not segments:
            return 0
        self._prepare_folder()
        root = self.folder.parent
        abandoned = sorted(segment for segment in segments if process_lock.is_abandoned(root, segment[0], segment[1]))
        with self._lock:
            first = min([_FIRST_NUMBER, *self._segments]) - len(abandoned)
            return sum(self._take_over(path, number) for number, (*_, path) in enumerate(abandoned, first))

    def close(self) -> int:
        """Release all segments to the next spool, in this process or another.

        Returns how many events were in segments that were removed from outside.
        """
        missing = 0
        try:
            with self._sync_lock:
                self._sync_current(close=True)
        finally:
            missing = self._release()
        return missing

    def _release(self) -> int:
        missing = 0
        with self._lock:
            for segment in list(self._segments.values()):
                released = self._path(segment.number, _RELEASED)
                try:
                    segment.path.rename(released)
                    segment.path = released
                except FileNotFoundError:
                    del self._segments[segment.number]
                    missing += segment.events
        process_lock.close_spool(self._id)
        return missing

    def reopen(self) -> None:
        """Accept events again after `close`. The released segments stay released."""
        self._id = process_lock.open_spool()

    def _take_over(self, path: Path, number: int) -> bool:
        own_path = self._path(number)
        try:
            path.rename(own_path)
        except FileNotFoundError:
            return False  # another process was faster
        content = own_path.read_bytes()
        self._segments[number] = Segment(number, own_path, content.count(b"\n"), len(content))
        return True

    def _create(self, number: int) -> Segment:
        self._prepare_folder()
        segment = Segment(number, self._path(number), 0, 0)
        try:
            segment.path.touch(mode=0o600)
            os.truncate(segment.path, 0)  # an attempt that failed may have left it
            sync_file(self.folder)
        except OSError:
            _discard(segment.path)
            raise
        return segment

    def _path(self, number: int, suffix: str = "") -> Path:
        return self.folder / f"{process_lock.process}{suffix}-{self._id}-{number:012d}.segment"

    def _prepare_folder(self) -> None:
        if not self._folder_ready:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            process_lock.acquire(self.folder.parent)
            self._folder_ready = True

    def _sync_current(self, *, close: bool = False) -> None:
        """Sync all that was appended, and start a new segment if asked to or if this one is full.

        The caller holds `_sync_lock`.
        """
        with self._lock:
            segment, appended = self._current, self._appended
            if segment is not None:
                self._unsynced = [*(other for other in self._unsynced if other is not segment), segment]
                if close or segment.size >= _SEGMENT_BYTES_MAX:
                    self._current = None
        for each in list(self._unsynced):
            try:
                sync_file(each.path)
            except FileNotFoundError:
                if each is segment and not close:
                    raise
                # The file was removed from outside. `read` or `close` notices the missing events.
            with self._lock:
                self._unsynced = [other for other in self._unsynced if other is not each]
        self._synced = appended


def _discard(path: Path) -> None:
    """Delete a file that could not be written, or at least empty it."""
    with contextlib.suppress(OSError):
        try:
            path.unlink(missing_ok=True)
        except OSError:
            os.truncate(path, 0)


def _is_event(line: bytes) -> bool:
    """Whether a line is a JSON object, so that the server has a result for it."""
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def append_to_file(path: Path, content: bytes, size: int | None = None) -> None:
    """Append all of the content or, if the current `size` of the file is given, nothing. Raises OSError."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(handle, content) != len(content):
            raise OSError(28, "No space left on device", str(path))
    except OSError:
        if size is not None:
            os.ftruncate(handle, size)
        raise
    finally:
        os.close(handle)

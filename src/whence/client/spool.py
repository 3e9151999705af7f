"""Events on disk, while the server does not take them: segments that are written, synced, and read back in order.

A folder belongs to one server and tenant, and may be used by many processes. A segment belongs to the process that its
name begins with; that process holds the lock `writers/<process>.lock` for as long as it lives. What a dead process left
is taken over by renaming, so that only one takes it. No file stays open, so that a thousand tenants may spool at once.
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from whence.client.errors import SpoolFull
from whence.client.forks import survive_forks
from whence.wire.ids import new_uuid7

__all__ = ["REJECTED", "Segment", "Spool", "default_root", "folder_name"]

REJECTED = "rejected.ndjson"
"""Where refused events go, in the folder of their spool: one JSON object a line with `at`, `status`, `why`, `event`."""

_SEGMENT_MAX = 4 * 1024 * 1024
_FIRST = 10**11
"""The number of a spool's first segment; what is taken over from others gets lower ones, since it is older."""

_FREE = "x"
"""Behind the name of a process: it has let go of the segment. There is no lock of that name, and the order stays."""


class Segment(msgspec.Struct):
    """A file of events, one a line."""

    number: int
    path: Path
    events: int
    size: int


def default_root() -> Path:
    """Where spools lie, in the user's own state directory."""
    return Path(platformdirs.user_state_dir("whence", appauthor=False)) / "spool"


def folder_name(url: str, tenant: str | None, key: str) -> str:
    """The name of the folder of one server and tenant. Where no tenant is named, its key stands for it."""
    whose = f"tenant {tenant}" if tenant else f"key {key}"
    return hashlib.sha256(f"{url}\n{whose}".encode()).hexdigest()[:32]


class _Process:
    """This process among the writers of a root: its name, and the lock that says that it lives."""

    def __init__(self) -> None:
        self.renew()
        survive_forks(self)

    def renew(self) -> None:
        """A child has a name of its own. Its copies of the parent's locks are closed, which does not let go of them."""
        for file in getattr(self, "_held", {}).values():
            file.close()
        self.name = new_uuid7().replace("-", "")
        self.lock = threading.Lock()
        self.alive: set[int] = set()
        self.instances = itertools.count(1)
        self._held: dict[Path, Any] = {}

    def hold(self, root: Path) -> None:
        """Hold the lock of this process under this root. Raises OSError."""
        with self.lock:
            if root in self._held:
                return
            writers = root / "writers"
            writers.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = writers / f"{self.name}.lock"
            while True:
                file = path.open("ab")
                fcntl.flock(file, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        break
                file.close()  # someone tidied it away between the two steps
            self._held[root] = file
            _tidy(writers)

    def is_dead(self, root: Path, name: str, instance: int) -> bool:
        """Whether nobody writes or reads segments of this name any more."""
        if name == self.name:
            return instance not in self.alive
        try:
            with (root / "writers" / f"{name}.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True


def _tidy(writers: Path) -> None:
    """Remove the locks of dead processes; a segment without a lock counts as a dead one's."""
    for path in writers.glob("*.lock"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


_process = _Process()


class Spool:
    """One client's part of a folder. Safe to use from many threads.

    Every method that touches the disk raises OSError.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._ready = False
        self._segments: dict[int, Segment] = {}
        self._current: Segment | None = None
        self._next = _FIRST
        self._written = 0
        self._synced = 0
        with _process.lock:
            self._instance = next(_process.instances)
            _process.alive.add(self._instance)

    @property
    def events(self) -> int:
        """How many events lie here, as far as this client answers for them."""
        return sum(segment.events for segment in list(self._segments.values()))

    def reserve(self) -> int:
        """A place in the order, for events that may have to be written later."""
        with self._lock:
            self._next += 1
            return self._next - 1

    def append(self, body: bytes) -> int:
        """Write one event behind all others; it is safe once `sync` was called with the ticket. Raises SpoolFull."""
        line = body + b"\n"
        with self._lock:
            if sum(segment.size for segment in self._segments.values()) + len(line) > self._max_bytes:
                raise SpoolFull(f"The spool in {self.folder} holds {self._max_bytes} bytes already.")
            if self._current is None:
                self._next += 1
                self._current = self._created(self._next - 1)
            _append(self._current.path, line, self._current.size)
            self._current.size += len(line)
            self._current.events += 1
            self._written += 1
            return self._written

    def sync(self, ticket: int) -> None:
        """Return once that event is on the disk. Many threads share one sync."""
        with self._sync_lock:
            if self._synced < ticket:
                self._sync_current()

    def write(self, number: int, bodies: Sequence[bytes]) -> None:
        """Write these events, synced, at the place in the order that was reserved for them."""
        content = b"".join(body + b"\n" for body in bodies)
        with self._lock:
            segment = self._created(number)
            _append(segment.path, content, 0)
            segment.size, segment.events = len(content), len(bodies)
        _sync(segment.path)

    def oldest(self) -> Segment | None:
        """The segment to be sent first; nothing is added to it any more. None when all is sent."""
        with self._sync_lock:
            if self._current is not None and len(self._segments) == 1:
                self._sync_current(close=True)
            with self._lock:
                return self._segments[min(self._segments)] if self._segments else None

    def read(self, segment: Segment) -> list[bytes]:
        """Its events in order. A last line that was torn when its writer was killed was never acknowledged; it is put
        with what was rejected.
        """
        *lines, torn = segment.path.read_bytes().split(b"\n")
        if torn:
            self.reject(torn, 0, "The process was killed while it wrote this.")
        segment.events = len(lines)
        return lines

    def done(self, segment: Segment) -> None:
        """Forget a segment that was sent."""
        segment.path.unlink(missing_ok=True)
        with self._lock:
            self._segments.pop(segment.number, None)

    def reject(self, body: bytes, status: int, why: str) -> None:
        """Keep a refused event, synced, apart from the others."""
        try:
            event: object = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            event = body.decode(errors="replace")
        line = msgspec.json.encode({"at": time.time(), "status": status, "why": why, "event": event}) + b"\n"
        self._prepare()
        path = self.folder / REJECTED
        _append(path, line)
        _sync(path)

    def adopt(self) -> int:
        """Take over what dead processes and closed clients left here; how many segments that were."""
        if not self.folder.is_dir():
            return 0
        left = []
        for path in self.folder.glob("*.segment"):
            name, _, rest = path.name.partition("-")
            instance, _, number = rest.removesuffix(".segment").partition("-")
            if instance.isdecimal() and number.isdecimal():
                left.append((name, int(instance), int(number), path))
        if not left:
            return 0
        self._prepare()
        with _process.lock:
            taken = [each for each in left if _process.is_dead(self.folder.parent, each[0], each[1])]
        with self._lock:
            lowest = min(self._segments, default=_FIRST) - len(taken)
            return sum(self._took(path, lowest + at) for at, (*_, path) in enumerate(sorted(taken)))

    def close(self) -> int:
        """Leave what is here to whoever comes next, in this process or another; the name says that nobody owns it. How
        many events were in files that somebody has removed.
        """
        with self._sync_lock:
            self._sync_current(close=True)
        gone = 0
        with self._lock:
            for segment in list(self._segments.values()):
                free = self._path(segment.number, _FREE)
                try:
                    segment.path.rename(free)
                    segment.path = free
                except FileNotFoundError:
                    del self._segments[segment.number]
                    gone += segment.events
        with _process.lock:
            _process.alive.discard(self._instance)
        return gone

    def _took(self, path: Path, number: int) -> bool:
        own = self._path(number)
        try:
            path.rename(own)
        except FileNotFoundError:
            return False  # another process was faster
        content = own.read_bytes()
        self._segments[number] = Segment(number, own, content.count(b"\n"), len(content))
        return True

    def _created(self, number: int) -> Segment:
        self._prepare()
        segment = Segment(number, self._path(number), 0, 0)
        segment.path.touch(mode=0o600)
        _sync(self.folder)
        self._segments[number] = segment
        return segment

    def _path(self, number: int, mark: str = "") -> Path:
        return self.folder / f"{_process.name}{mark}-{self._instance}-{number:012d}.segment"

    def _prepare(self) -> None:
        if not self._ready:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)
            _process.hold(self.folder.parent)
            self._ready = True

    def _sync_current(self, *, close: bool = False) -> None:
        """Sync what was written up to now; the caller holds the lock of syncing."""
        with self._lock:
            segment, upto = self._current, self._written
            if segment is not None and (close or segment.size >= _SEGMENT_MAX):
                self._current = None
        if segment is not None:
            try:
                _sync(segment.path)
            except FileNotFoundError:
                if not close:
                    raise
                # somebody removed it, which is told by whoever reads it or leaves it behind
        self._synced = upto


def _append(path: Path, content: bytes, size: int | None = None) -> None:
    """Append all of it or nothing; `size` is where the file ends."""
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


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

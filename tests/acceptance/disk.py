"""A simulated disk: records every change of a store's files in order, and derives what a power loss may leave.

Synced data stays. Of the writes since, any part may have reached the disk: none, a prefix, any subset, and of a single
write any of its sectors. The name of a new or deleted file is durable once its folder is synced.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

__all__ = ["MODES", "Change", "Disk", "Note", "Recording", "put", "recording"]

SECTOR = 512
_BASE = "unix"

Mode = Literal["none", "prefix", "random", "torn"]
MODES: tuple[Mode, ...] = ("none", "prefix", "random", "torn")
"""Which of the unsynced changes survive a power loss."""


class Change(msgspec.Struct, frozen=True):
    """One operation on a file, by its name in the folder: create, delete, write, truncate, sync, or sync of names."""

    kind: Literal["create", "delete", "write", "truncate", "sync", "names"]
    name: str
    offset: int = 0
    data: bytes = b""


class Note(msgspec.Struct, frozen=True):
    """An occurrence between the operations, such as an acknowledgement; `happen` applies it to a history."""

    happen: Callable[[], None]


class Recording:
    """The changes of one folder in the order of the calls, and the notes between them."""

    def __init__(self) -> None:
        self.steps: list[Change | Note] = []
        self.known: set[str] = set()

    def change(self, kind: Any, path: str, offset: int = 0, data: bytes = b"") -> None:
        """Record an operation. A -shm file is rebuilt after a crash, so its changes are not recorded."""
        name = os.path.basename(path)
        if not name.endswith("-shm"):
            self.steps.append(Change(kind, name, offset, data))

    def opened(self, path: str) -> None:
        """Record that a file was opened, and on its first open that it may have been created."""
        name = os.path.basename(path)
        if name not in self.known:
            self.known.add(name)
            self.change("create", path)

    def deleted(self, path: str) -> None:
        """Record that a file was deleted."""
        self.known.discard(os.path.basename(path))
        self.change("delete", path)


class _RecordingFile(apsw.VFSFile):
    def __init__(self, recording: Recording, name: Any, flags: list[int]) -> None:
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.recording = recording
        super().__init__(_BASE, name, flags)
        # The system's own VFS syncs the folder at a handle's first sync of a write-ahead log or journal.
        self.names_unsynced = not self.path.endswith(".db")
        recording.opened(self.path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  (the name that SQLite gives it)
        super().xWrite(data, offset)
        self.recording.change("write", self.path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  (as above)
        super().xTruncate(newsize)
        self.recording.change("truncate", self.path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802  (as above)
        super().xSync(flags)
        self.recording.change("sync", self.path)
        if self.names_unsynced:
            self.names_unsynced = False
            self.recording.change("names", self.path)


class _RecordingVFS(apsw.VFS):
    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        super().__init__("recording", _BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  (as above)
        if name is None:
            return apsw.VFSFile(_BASE, name, flags)
        return _RecordingFile(self.recording, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802  (as above)
        super().xDelete(filename, syncdir)
        self.recording.deleted(filename)
        if syncdir:
            self.recording.change("names", filename)


class _RecordingOs:
    """Stands in for the module `os` in code that writes files directly; executes and records writes and syncs."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._paths: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        self._paths[fd] = str(path)
        if not os.path.isdir(path):
            self._recording.opened(str(path))
        return fd

    def close(self, fd: int) -> None:
        self._paths.pop(fd)
        os.close(fd)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        written = os.pwrite(fd, data, offset)
        self._recording.change("write", self._paths[fd], offset, data[:written])
        return written

    def fdatasync(self, fd: int) -> None:
        self.fsync(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)
        path = self._paths[fd]
        self._recording.change("names" if os.path.isdir(path) else "sync", path)


@contextmanager
def recording(*modules: Any) -> Iterator[Recording]:
    """Record the file operations of SQLite during the block, and those of `modules` through their `os`."""
    steps = Recording()
    vfs = _RecordingVFS(steps)
    proxy = _RecordingOs(steps)
    for module in modules:
        module.os = proxy
    try:
        yield steps
    finally:
        for module in modules:
            module.os = os
        vfs.unregister()


class Disk:
    """The state of a folder while the operations of a recording are applied one by one."""

    def __init__(self) -> None:
        self._synced: dict[int, bytes] = {}
        self._pending: list[tuple[int, Change]] = []
        self._names: dict[str, int] = {}
        self._named_now: dict[str, int] = {}
        self._files = 0

    def do(self, change: Change) -> None:
        """Apply one operation, which is pending until a sync makes it durable."""
        if change.kind == "create":
            self._files += 1
            self._named_now[change.name] = self._files
            self._synced[self._files] = b""
        file = self._named_now[change.name] if change.kind != "names" else 0
        if change.kind == "sync":
            content = bytearray(self._synced[file])
            for _, earlier in self._of(file):
                _apply(content, earlier)
            self._synced[file] = bytes(content)
            self._pending = [(of, it) for of, it in self._pending if of != file or it.kind in ("create", "delete")]
        elif change.kind == "names":
            self._names = dict(self._named_now)
            self._pending = [(of, it) for of, it in self._pending if it.kind not in ("create", "delete")]
        else:
            self._pending.append((file, change))
            if change.kind == "delete":
                del self._named_now[change.name]

    def _of(self, file: int) -> Iterator[tuple[int, Change]]:
        return ((of, it) for of, it in self._pending if of == file and it.kind in ("write", "truncate"))

    def after_power_loss(self, mode: Mode, rng: random.Random) -> dict[str, bytes]:
        """The files, by name, that a power loss at this moment may leave."""
        kept = self._pending
        if mode == "none":
            kept = []
        elif mode == "prefix" or (mode == "torn" and rng.random() < 0.5):
            kept = kept[: rng.randint(0, len(kept))]
        else:
            share = rng.choice((0.1, 0.5, 0.9))
            kept = [it for it in kept if rng.random() < share]
        torn = -1
        if mode == "torn":
            torn = rng.choice([n for n, (_, it) in enumerate(kept) if it.kind == "write"] or [-1])
        names = dict(self._names)
        contents = {file: bytearray(self._synced[file]) for file in {*names.values(), *(of for of, _ in kept)}}
        for number, (file, change) in enumerate(kept):
            if change.kind == "create":
                names[change.name] = file
            elif change.kind == "delete":
                names.pop(change.name, None)
            else:
                _apply(contents[file], change, rng if number == torn else None)
        return {name: bytes(contents.get(file, b"")) for name, file in names.items()}


def _apply(content: bytearray, change: Change, tearing: random.Random | None = None) -> None:
    """Apply a write or truncation to the content of a file; a torn write changes only some of its sectors."""
    if change.kind == "truncate":
        del content[change.offset :]
        content.extend(bytes(max(0, change.offset - len(content))))
        return
    end = change.offset + len(change.data)
    if tearing is None:
        if len(content) < change.offset:
            content.extend(bytes(change.offset - len(content)))
        content[change.offset : end] = change.data
        return
    start = change.offset
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if tearing.random() < 0.5:
            _apply(content, Change("write", "", start, change.data[start - change.offset : stop - change.offset]))
        start = stop


def put(files: dict[str, bytes], folder: Path) -> None:
    """Replace the content of a folder with these files."""
    for entry in os.scandir(folder):
        if entry.name not in files:
            os.unlink(entry.path)
    for name, content in files.items():
        (folder / name).write_bytes(content)

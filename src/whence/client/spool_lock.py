"""Which process owns which spool files: each process holds a lock file for as long as it lives.

The lock of a process is `writers/<process>.lock` below the root of the spools. The kernel releases it when the process
dies, however that happens. A spool file whose process holds no lock may be taken over.

The name of a process is its id, `p`, and a UUIDv7, which begins with the time. A forked child has another name than its
parent, and so have processes with the same id in two containers that share a volume.
"""

import contextlib
import fcntl
import itertools
import os
import threading
from pathlib import Path
from typing import Any

from whence.client.fork_safety import register_fork_safe
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.wire.ids import new_uuid7

__all__ = ["ProcessLock", "process_lock"]


class ProcessLock:
    """The name and the lock files of this process, and which of its spools are open."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_fork_safe(self)

    def reset_after_fork(self) -> None:
        """Take a new name. Closing the child's copies of the lock files does not release the parent's locks."""
        for file in getattr(self, "_files", {}).values():
            file.close()
        self.process = f"{os.getpid()}p{new_uuid7().replace('-', '')}"
        self._lock = threading.Lock()
        self._open_spools: set[int] = set()
        self._spool_ids = itertools.count(1)
        self._files: dict[Path, Any] = {}

    def open_spool(self) -> int:
        """Register a spool of this process; returns its number."""
        with self._lock:
            spool_id = next(self._spool_ids)
            self._open_spools.add(spool_id)
            return spool_id

    def close_spool(self, spool_id: int) -> None:
        """Let other spools take over the files of this one."""
        with self._lock:
            self._open_spools.discard(spool_id)

    def acquire(self, root: Path) -> None:
        """Hold the lock of this process below this root until the process ends. Raises OSError."""
        with self._lock:
            if root in self._files:
                return
            writers = root / "writers"
            writers.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = writers / f"{self.process}.lock"
            while True:
                file = path.open("ab")
                fcntl.flock(file, fcntl.LOCK_EX)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        break
                file.close()  # another process removed the file before it was locked
            self._files[root] = file
            _remove_unlocked(writers)

    def is_abandoned(self, root: Path, process: str, spool_id: int) -> bool:
        """Whether no open spool owns the files that are named after this process and spool."""
        with self._lock:  # `acquire` locks the files of others for a moment, too
            if process == self.process:
                return spool_id not in self._open_spools
            try:
                with (root / "writers" / f"{process}.lock").open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except FileNotFoundError:
                return True
            except BlockingIOError:
                return False
            return True


def _remove_unlocked(writers: Path) -> None:
    """Remove the lock files of dead processes."""
    for path in writers.glob("*.lock"):
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
        except OSError as error:
            if is_raised_by_signal_handler(error):
                raise


process_lock = ProcessLock()
"""The lock of this process, shared by all its spools."""

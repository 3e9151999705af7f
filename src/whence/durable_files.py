"""Files that have to be there after a power loss."""

import os
from pathlib import Path

__all__ = ["sync_file", "sync_folder"]


def sync_file(path: str | Path) -> None:
    """Return once the content of a file, or the names in a folder, are on the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(path: str | Path) -> None:
    """Sync the folder of a file, which makes a new name durable. Raises OSError."""
    sync_file(Path(path).parent)

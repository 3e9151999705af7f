"""Files that are written as a whole or not at all, so that no reader finds half of one."""

import os
import secrets
from pathlib import Path

__all__ = ["replace_file"]


def replace_file(file: Path, data: bytes) -> None:
    """Write a file, in place of any that is there. Its folder is made if it is missing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.write_bytes(data)
        os.replace(partial, file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

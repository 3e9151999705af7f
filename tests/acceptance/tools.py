"""System programs and libraries that inject faults. Without one of them its tests are skipped, or fail in CI."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["in_memory", "libfaketime", "missing", "strace"]

ATTACHED_S = 20
_FAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


def missing(what: str) -> NoReturn:
    """Skip the test because this machine lacks something, or fail it in CI."""
    if os.environ.get("CI", "") not in ("", "0", "false"):
        pytest.fail(f"{what} is missing, and CI must have it", pytrace=False)
    pytest.skip(f"{what} is missing")


def libfaketime() -> str:
    """The path of the libfaketime for multithreaded programs."""
    for pattern in _FAKETIME:
        for path in Path("/").glob(pattern.lstrip("/")):
            return str(path)
    missing("libfaketime")


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A temporary folder, in memory if possible, so that thousands of states can be written quickly."""
    with tempfile.TemporaryDirectory(
        prefix="whence-test-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as name:
        yield Path(name)


@contextlib.contextmanager
def strace(thread: int, trace: Path, *options: str) -> Iterator[None]:
    """Attach strace to one thread of another process during the block. Its output is in the file `trace`."""
    program = shutil.which("strace")
    if program is None:
        missing("strace")
    process = subprocess.Popen(
        [program, "-y", "-o", str(trace), *options, "-p", str(thread)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.readline()
    if not re.search("attached", said):
        process.kill()
        process.wait()
        missing(f"the right to use strace ({said.strip()})")
    try:
        yield
    finally:
        process.terminate()
        _ended(process)


def _ended(process: subprocess.Popen[str]) -> None:
    """Wait until strace has detached. It ends by itself when its thread is dead."""
    until = time.monotonic() + ATTACHED_S
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)
    assert process.poll() is not None, "strace does not let go"
    assert process.stderr is not None
    process.stderr.close()

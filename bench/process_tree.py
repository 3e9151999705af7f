"""What the processes of a server use, as Linux shows it in /proc: the one that was started, and all its descendants."""

import contextlib
import os
import re
from pathlib import Path

__all__ = ["acceptors_of", "cpu_seconds", "processes_of", "pss_mb"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_ACCEPTOR = "acceptor-"  # how `whence serve` names its processes
_PPID, _UTIME, _STIME = 1, 11, 12  # in the fields of /proc/PID/stat that follow the name


def processes_of(pid: int) -> list[int]:
    """This process and its descendants, itself first. Raises ProcessLookupError when it has ended."""
    children: dict[int, list[int]] = {}
    for each in (int(path.name) for path in _PROC.iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):
            children.setdefault(int(_stat(each)[_PPID]), []).append(each)
    if not (_PROC / str(pid)).exists():
        raise ProcessLookupError(f"Process {pid} has ended.")
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def acceptors_of(pid: int) -> int:
    """How many processes of a Whence server answer requests. One that is alone does everything."""
    names = []
    for each in processes_of(pid):
        with contextlib.suppress(OSError):
            names.append((_PROC / str(each) / "comm").read_text(encoding="utf-8", errors="replace"))
    return max(1, sum(name.startswith(_ACCEPTOR) for name in names))


def cpu_seconds(pid: int) -> float:
    """The processor time of all these processes so far, in user and in kernel mode."""
    ticks = 0
    for each in processes_of(pid):
        with contextlib.suppress(OSError):
            stat = _stat(each)
            ticks += int(stat[_UTIME]) + int(stat[_STIME])
    return ticks / _TICKS


def pss_mb(pid: int) -> float:
    """The memory of all these processes in MB. A page that several processes share counts once, divided among them."""
    kilobytes = 0
    for each in processes_of(pid):
        with contextlib.suppress(OSError):
            text = (_PROC / str(each) / "smaps_rollup").read_text(encoding="ascii")
            found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
            kilobytes += int(found[1]) if found else 0
    return kilobytes / 1_000


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may itself have spaces and brackets."""
    return (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()

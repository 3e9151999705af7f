"""How many processors this process may use: those that it may run on, and what its control group allows."""

import math
import os
from pathlib import Path

__all__ = ["usable_processors"]


def usable_processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The number of processors, at least 1. `cgroup` is where control groups are mounted, of version 2 or 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """The processors that the control group allows, perhaps a fraction; None without a limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((cgroup / name).read_text() for name in files).split()
            allowed, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max"
            continue
        if allowed > 0 and period > 0:
            return allowed / period
    return None

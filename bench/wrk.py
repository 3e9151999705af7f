"""A closed loop by `wrk`, which takes less of the processor than the load generator in Python.

It runs for whole seconds and has no open loop. Its percentiles are corrected: a response that took long counts also for
the requests that the connection could not send meanwhile.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import msgspec

from bench.load import Result

__all__ = ["has_wrk", "run_wrk"]

_SCRIPT = Path(__file__).with_name("wrk.lua")
_trials = count(1)


class _Printed(msgspec.Struct, frozen=True):
    """What wrk.lua prints. Times are in µs. `status` counts answers of 400 and above."""

    duration: int
    requests: int
    status: int
    lost: int
    p50: float
    p95: float
    p99: float
    most: float


def has_wrk() -> bool:
    """Whether it is installed."""
    return shutil.which("wrk") is not None


def run_wrk(file: Path, port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Result:
    """Send these requests in turns; `file` is for them. Raises RuntimeError when wrk fails."""
    with file.open("wb") as out:
        for each in requests:
            out.write(b"%d\n" % len(each))
            out.write(each)
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "--script", str(_SCRIPT), f"http://127.0.0.1:{port}", "--", str(file)]
    process = subprocess.Popen(
        [*command, str(next(_trials))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    lines = [line for line in text.splitlines() if line.startswith(b"{")]
    if process.returncode or not lines:
        raise RuntimeError(f"wrk failed: {text[-2_000:].decode(errors='replace')}")
    return _result(msgspec.json.decode(lines[-1], type=_Printed), usage.ru_utime + usage.ru_stime)


def _result(printed: _Printed, cpu_s: float) -> Result:
    seconds = max(printed.duration / 1e6, 1e-9)
    good = printed.requests - printed.status
    return Result(
        answered=printed.requests,
        bad=printed.status + printed.lost,
        seconds=round(seconds, 4),
        rate=round(good / seconds, 2),
        p50_ms=round(printed.p50 / 1_000, 3),
        p95_ms=round(printed.p95 / 1_000, 3),
        p99_ms=round(printed.p99 / 1_000, 3),
        max_ms=round(printed.most / 1_000, 3),
        busy=round(cpu_s / seconds, 3),
        statuses={"below 400": good} | ({"400 and above": printed.status} if printed.status else {}),
        generator="wrk",
    )

"""What an export with proof takes: events per second, processor time and memory of the command, for each format, and of
its check without a server. Used by `bench.proofs`."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import servers

__all__ = ["measure_exports"]

_FORMATS = ("ndjson", "csv", "parquet")
_START_S = 600.0
_POLL_S = 0.5
_SAMPLE_S = 0.05


class _Ran(msgspec.Struct, frozen=True):
    """A command that has ended: what it printed, its seconds, its processor time and its largest resident set."""

    out: str
    seconds: float
    cpu_s: float
    rss_mib: float


def measure_exports(log: Path, events: int, say: Callable[[str, str], None]) -> None:
    """Export all events of the store in this file, which is served and sealed meanwhile, and check each export."""
    with tempfile.TemporaryDirectory(dir=log.parent) as name, servers.whence(log) as running:
        url = f"http://127.0.0.1:{running.port}"
        environment = {**servers.own_environment(log), "WHENCE_URL": url, "WHENCE_API_KEY": running.key}
        key = _key_of(environment)
        for format_ in _FORMATS:
            target = Path(name) / format_
            wanted = () if format_ == "ndjson" else ("--format", format_)
            exported = _run(environment, "export", "--proof", str(target), *wanted)
            checked = _run(environment, "verify", "--export", str(target), "--key", key)
            size = sum(path.stat().st_size for path in target.iterdir())
            say(f"export with proof, {format_}", f"{_described(exported, events)}; {size:,} bytes")
            say("its check without a server", _described(checked, events))


def _key_of(environment: dict[str, str]) -> str:
    """The key of the log, once it has a checkpoint."""
    end = time.monotonic() + _START_S
    while True:
        try:
            _run(environment, "checkpoint", "show")
            return _run(environment, "checkpoint", "key").out.strip()
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_S)


def _run(environment: dict[str, str], *words: str) -> _Ran:
    """Run a command of Whence. Raises CalledProcessError if it fails."""
    began, highest = time.monotonic(), 0.0
    command = [sys.executable, "-m", "whence", *words]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        while True:
            highest = max(highest, _high_water_mib(process.pid))
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            time.sleep(_SAMPLE_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
        out.seek(0)
        text = out.read()
    return _Ran(text, time.monotonic() - began, usage.ru_utime + usage.ru_stime, highest)


def _high_water_mib(pid: int) -> float:
    """The largest resident set of a process so far. That of `wait4` begins with the memory of this process."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def _described(ran: _Ran, events: int) -> str:
    rate = f"{events / ran.seconds:,.0f}/s"
    return f"{ran.seconds:.1f} s, {rate}; {1e6 * ran.cpu_s / events:.0f} us CPU an event, {ran.rss_mib:.0f} MiB"

"""One line in the log for each request: never a query string, a header or a body.

Where the log is JSON, the line is encoded at once instead of passing through the processors of structlog, since every
request pays for it. It has the same keys, in the same order, and goes to the same stream.
"""

import time
from collections.abc import Callable

import msgspec
import structlog

from whence.api.redaction import without_secrets
from whence.wire.times import format_time_fixed

__all__ = ["RequestLog", "request_log"]

_PATH_MAX = 512
_PROBES = ("/livez", "/readyz", "/metrics")
_LEVELS = {"debug": 10, "info": 20}

_log = structlog.get_logger("whence.http")
_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct, omit_defaults=True):
    method: str
    path: str
    status: int
    ms: float
    request_id: str
    tenant: str | None
    event: str
    level: str
    timestamp: str
    process: str | None = None


class RequestLog:
    """The lines of a process. Until `write_json` is called, they go through structlog. `process` is the name of the
    process, where a server has several."""

    def __init__(self) -> None:
        self.process: str | None = None
        self._write: Callable[[bytes], None] | None = None
        self._level = 0

    def write_json(self, write: Callable[[bytes], None] | None, level: int) -> None:
        """Write lines of this level and above as JSON by `write`, which takes a whole line. With None, they go through
        structlog again, which has a level of its own."""
        self._write, self._level = write, level

    def add(self, method: str, path: str, status: int, seconds: float, request_id: str, tenant: str | None) -> None:
        """Log a request that was answered after so many seconds. Probes and scrapes that succeed are of level debug."""
        level = "debug" if path.endswith(_PROBES) and status < 400 else "info"
        if self._write is not None and _LEVELS[level] < self._level:
            return
        path, ms = without_secrets(path)[:_PATH_MAX], round(seconds * 1000, 2)
        if self._write is None:
            fields = {"status": status, "ms": ms, "request_id": request_id, "tenant": tenant}
            getattr(_log, level)("request", method=method, path=path, **fields)
            return
        timestamp = format_time_fixed(time.time_ns() // 1000)
        line = _Line(method, path, status, ms, request_id, tenant, "request", level, timestamp, self.process)
        self._write(_encode(line) + b"\n")


request_log = RequestLog()
"""The log of this process. Like structlog's configuration, there is one."""

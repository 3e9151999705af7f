"""The line of a request is the one that structlog would write, and only what its level asks for."""

import json
from typing import Any

import pytest
import structlog

from tests.unit.mutants import catches, replaced
from whence.api import request_log
from whence.api.request_log import RequestLog

LINES: list[tuple[str, str, int, float, str, str | None]] = [
    ("GET", "/api/v1/events", 200, 0.0123456, "a1", "acme"),
    ("POST", '/"\\\n\u2028é', 401, 1.0, "b2", None),
    ("GET", "/" + "x" * 600, 404, 0.0, "c3", None),
    ("GET", "/x/livez", 200, 0.0, "d4", None),
    ("GET", "/readyz", 503, 0.0, "e5", None),
]


def by_structlog(level: str) -> list[dict[str, Any]]:
    """The same lines by structlog, in its order of keys, but for the time."""
    written: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, entry: dict[str, Any]) -> str:
        written.append(dict(entry))
        raise structlog.DropEvent

    before = structlog.get_config()
    wrapper = structlog.make_filtering_bound_logger(level)
    structlog.configure(processors=[structlog.processors.add_log_level, keep], wrapper_class=wrapper)
    try:
        log = RequestLog()
        for line in LINES:
            log.add(*line)
    finally:
        structlog.configure(**before)
    return written


@catches(
    replaced(request_log, "_PATH_MAX", 600, "longer_paths"),
    replaced(request_log, "_PROBES", (), "probes_are_info"),
)
def test_a_line_is_that_of_structlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every level, with the keys in the same order."""
    expected = {"debug": ["a1", "b2", "c3", "d4", "e5"], "info": ["a1", "b2", "c3", "e5"], "error": []}
    for level, number in (("debug", 10), ("info", 20), ("error", 40)):
        monkeypatch.setattr(request_log, "_log", structlog.get_logger("fresh"))
        written: list[bytes] = []
        log = RequestLog()
        log.write_json(written.append, number)
        for line in LINES:
            log.add(*line)
        assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in written)
        found = [json.loads(line) for line in written]
        assert [entry["request_id"] for entry in found] == expected[level]
        assert all(entry.pop("timestamp").endswith("Z") and len(entry["path"]) <= 512 for entry in found)
        assert [list(entry.items()) for entry in found] == [list(entry.items()) for entry in by_structlog(level)]

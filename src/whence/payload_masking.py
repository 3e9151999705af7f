"""Masking: values at some paths of payloads are replaced before an event is hashed and stored. Pure.

Unlike the paths of filters, these lead through arrays, into each of their elements, and end at values of any kind.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

__all__ = ["MARKER", "MASKED_PATHS_MAX", "PayloadMask"]

MARKER = b'"[redacted]"'
"""What stands in the place of a value, as JSON."""

MASKED_PATHS_MAX = 32
"""The most paths that are masked."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode

_Steps = Mapping[str, Any]
"""What follows a key: the path that ends with it, or further keys."""


class PayloadMask:
    """Replaces the values at some paths."""

    def __init__(self, paths: Iterable[str]) -> None:
        """`paths` must be in the grammar of `whence.payload_fields`. One that continues another is part of it."""
        self._steps: dict[str, Any] = {}
        for path in sorted(paths, key=lambda path: path.count(".")):
            steps: Any = self._steps
            *before, last = path.split(".")
            for key in before:
                steps = steps if isinstance(steps, str) else steps.setdefault(key, {})
            if not isinstance(steps, str):
                steps.setdefault(last, path)
        self._keys = [_encode(key) for key in self._steps]

    def apply(self, payload: bytes) -> tuple[bytes, tuple[str, ...]]:
        """The payload with its masked values replaced, and the paths at which there were any, in order. All other
        values stay as they are. A payload without such values is returned as it is."""
        # A key is in the payload as it is written here, unless an escape is in it.
        if not self._keys or (b"\\" not in payload and not any(key in payload for key in self._keys)):
            return payload, ()
        found: set[str] = set()
        masked = _mask(payload, self._steps, found)
        return (masked, tuple(sorted(found))) if found else (payload, ())


def _mask(value: bytes, steps: _Steps, found: set[str]) -> bytes:
    if value[:1] == b"[":
        if value == b"[]":
            return value
        return _encode([msgspec.Raw(_mask(bytes(element), steps, found)) for element in _elements(value)])
    if value[:1] != b"{":
        return value
    members = _members(value)
    for key, step in steps.items():
        if key not in members:
            continue
        if isinstance(step, str):
            found.add(step)
            members[key] = msgspec.Raw(MARKER)
        else:
            members[key] = msgspec.Raw(_mask(bytes(members[key]), step, found))
    return _encode(members)

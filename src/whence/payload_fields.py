"""Payload fields: paths into payloads, and the values that an event has there. Pure.

A path is object keys joined by dots, such as `tool` or `order.currency`. The values at it are texts: a string as it is,
and a number, `true`, `false` or `null` as it stands in the payload. An array there has the values of its elements. An
object has none, and neither has a path that leads through an array.

What cannot be asked for is no value: an empty string, one of more than 255 characters or with control characters, and
every element of an array that has more than 100.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from whence.events import TEXT_MAX

__all__ = [
    "ELEMENTS_MAX",
    "FIELDS_MAX",
    "LEVELS_MAX",
    "PATH_MAX",
    "PATH_RULE",
    "VALUE_RULE",
    "PayloadReader",
    "is_path",
    "is_value",
    "split_value",
    "values_by_path",
]

FIELDS_MAX = 8
"""The most paths that a store indexes, and that one query has."""

LEVELS_MAX, PATH_MAX = 4, 128
"""The most keys of a path, and characters of it."""

ELEMENTS_MAX = 100
"""An array of more elements has no values."""

PATH_RULE = (
    f"A payload path is up to {LEVELS_MAX} object keys joined by dots, such as order.currency, with at most {PATH_MAX} "
    'characters and without blanks, control characters and any of : = " \\ in it.'
)
VALUE_RULE = f"A payload value has 1 to {TEXT_MAX} characters, and no control characters."

_KEY = r'[^\s.:="\\\x00-\x1f\x7f-\x9f]+'
_PATH = re.compile(rf"{_KEY}(?:\.{_KEY}){{0,{LEVELS_MAX - 1}}}")
_VALUE = re.compile(rf"[^\x00-\x1f\x7f-\x9f]{{1,{TEXT_MAX}}}")

_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_string = msgspec.json.Decoder(str).decode


def is_path(text: str) -> bool:
    """Whether a text is a payload path."""
    return len(text) <= PATH_MAX and _PATH.fullmatch(text) is not None


def is_value(text: str) -> bool:
    """Whether a text can be a value of a payload field."""
    return _VALUE.fullmatch(text) is not None


def split_value(text: str) -> tuple[str, str]:
    """The path and the value in `path=value`, the form that a query keeps.

    >>> split_value("order.note=a=b")
    ('order.note', 'a=b')
    """
    path, _, value = text.partition("=")
    return path, value


def values_by_path(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values in texts like `path=value`, by their path."""
    found: dict[str, dict[str, None]] = {}
    for path, value in map(split_value, texts):
        found.setdefault(path, {})[value] = None
    return {path: tuple(values) for path, values in found.items()}


class _Object:
    """What is read of an object: its members with some keys, each with the path that ends there and what is read of it.

    It is decoded as a struct of these members, so that no others are made.
    """

    def __init__(self, paths: Iterable[tuple[str, Sequence[str]]]) -> None:
        """`paths` come with those of their keys that are left."""
        members: dict[str, tuple[list[str], list[tuple[str, Sequence[str]]]]] = {}
        for path, (key, *below) in paths:
            ends, longer = members.setdefault(key, ([], []))
            if below:
                longer.append((path, below))
            else:
                ends.append(path)
        self.members = [
            (f"m{number}", ends[0] if ends else None, _Object(longer) if longer else None)
            for number, (ends, longer) in enumerate(members.values())
        ]
        self.keys = [msgspec.json.encode(key) for key in members]
        fields: list[Any] = [(name, msgspec.Raw | UnsetType, UNSET) for name, _, _ in self.members]
        names = dict(zip((name for name, _, _ in self.members), members, strict=True))
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Members", fields, rename=names, gc=False)).decode

    def read(self, raw: bytes, found: dict[str, tuple[str, ...]]) -> None:
        """Add the values at each path that has any."""
        decoded = self._decode(raw)
        for name, path, below in self.members:
            member = getattr(decoded, name)
            if member is UNSET:
                continue
            text = bytes(member)
            if text[:1] == b"{":
                if below is not None:
                    below.read(text, found)
            elif path is not None and (values := _values(text)):
                found[path] = values


class PayloadReader:
    """Finds the values at some paths in payloads."""

    def __init__(self, paths: Iterable[str]) -> None:
        """`paths` must be in the grammar of paths."""
        self._root = _Object([(path, path.split(".")) for path in dict.fromkeys(paths)])

    def values(self, payload: bytes) -> Mapping[str, tuple[str, ...]]:
        """The values at each path that has any, each once. Bytes that are no JSON object have none."""
        # A key is in the payload as it is written here, unless an escape is in it.
        if b"\\" not in payload and not any(key in payload for key in self._root.keys):
            return {}
        found: dict[str, tuple[str, ...]] = {}
        try:
            self._root.read(payload, found)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}
        return found


def _values(text: bytes) -> tuple[str, ...]:
    if text[:1] != b"[":
        return tuple(_scalar(text))
    elements = [] if text == b"[]" else _array(text)
    if len(elements) > ELEMENTS_MAX:
        return ()
    return tuple(dict.fromkeys(value for element in elements for value in _scalar(bytes(element))))


def _scalar(text: bytes) -> Iterable[str]:
    """The value that a JSON text is, if it is one."""
    if text[:1] not in (b"{", b"["):
        value = _string(text) if text[:1] == b'"' else text.decode()
        if is_value(value):
            yield value

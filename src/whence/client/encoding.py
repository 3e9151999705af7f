"""Encodes events as JSON. Pure: no input or output.

Beside what JSON has, these can be encoded: dataclasses, attrs classes, msgspec and pydantic models, enumerations,
UUIDs, times, paths, decimals (as text), bytes (as base64), sets, and the numbers and arrays of numpy. A client's option
`default` adds types. A value that JSON cannot hold is found with its path; the search runs only after encoding failed,
or when the result may hide a NaN, which msgspec encodes as null.

Whatever a conversion raises makes the event Invalid, but for what a signal handler raised meanwhile: that is for the
program, and is raised again.
"""

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, ClassVar, Protocol
from uuid import UUID

import msgspec

from whence.client.reentrancy import Nesting, is_raised_by_signal_handler
from whence.errors import Invalid, TooLarge
from whence.wire.fields import Broken
from whence.wire.payload import DEPTH_MAX, PAYLOAD_MAX, check_compact, compact_json
from whence.wire.problems import shown_name

__all__ = ["Default", "EventEncoder", "Payload"]

Default = Callable[[Any], Any]
"""Given a value that JSON has no form for, returns one that it has; raises TypeError for any other value."""


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


class _Model(Protocol):
    def model_dump(self, *, mode: str) -> Any: ...


Payload = Mapping[str, Any] | _Dataclass | _Model | msgspec.Struct | msgspec.Raw
"""A JSON object: a mapping, an instance with named fields, or JSON that is already encoded."""

Loc = tuple[str | int, ...]

_PLAIN = (
    str,
    int,
    float,
    Decimal,
    Enum,
    bytes,
    bytearray,
    memoryview,
    dt.date,
    dt.time,
    dt.timedelta,
    UUID,
    msgspec.Raw,
)
"""Types without members that can be encoded as they are."""

_SEARCHED_MAX = 1_000_000
_SMALL_ITEMS_MAX = 100
_INT_MAX = 2**63 - 1
_DEFAULT_DEPTH_MAX = 3
"""How deep calls of `default` may lie inside each other, if it emits events with values that it is called for."""


class EventEncoder:
    """Encodes events, with a function for further types."""

    def __init__(self, default: Default | None = None) -> None:
        self._default = default
        self._nesting = Nesting(_DEFAULT_DEPTH_MAX)
        self._encode = msgspec.json.Encoder(enc_hook=self._converted).encode

    def __call__(self, event: Mapping[str, Any]) -> bytes:
        """The event as one line of JSON, given with the keys of the API.

        Raises Invalid for a value that JSON cannot hold and for a payload that no server accepts, and TooLarge. `loc`
        is the path from `body` on.
        """
        if "payload" in event:
            event = {**event, "payload": msgspec.Raw(self.payload(event["payload"]))}
        try:
            return self._encode(event)
        except Exception as error:
            if is_raised_by_signal_handler(error):
                raise
            raise self._invalid(event, ("body",)) from error

    def payload(self, payload: Any) -> bytes:
        """The payload as compact JSON. Raises as a call does."""
        loc = ("body", "payload")
        try:
            encoded = self._encode(payload)
        except Exception as error:
            if is_raised_by_signal_handler(error):
                raise
            raise self._invalid(payload, loc) from error
        if _is_surely_accepted(payload, encoded):
            return encoded
        if _may_hide_nan(payload, encoded):
            problem = next(self._problems(payload, loc), None)
            if problem is not None:
                raise problem
        try:
            if b"\n" in encoded or b"\r" in encoded or type(payload) is msgspec.Raw:  # a text has neither
                encoded = compact_json(encoded)
            check_compact(encoded)
        except TooLarge as error:
            raise TooLarge(f"{str(error)[:-1]}; this one has {len(encoded)}.") from None
        except Broken as error:
            raise Invalid.at(loc, str(error), error.type) from None
        return encoded

    def members(self, payload: Payload | None) -> Mapping[str, Any]:
        """The members of a payload, so that more can be added. Number literals of encoded JSON stay as they are.

        Raises as a call does.
        """
        if payload is None or isinstance(payload, Mapping):
            return payload or {}
        return msgspec.json.decode(self.payload(payload), type=dict[str, msgspec.Raw])

    def _converted(self, value: Any) -> Any:
        """The value as a type that JSON has. Raises TypeError for an unknown type, and what `default` raises."""
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, Sequence | Set):
            return list(value)
        kind = type(value)
        if hasattr(kind, "model_dump"):
            return value.model_dump(mode="json")
        for method in ("tolist", "item"):  # numpy's arrays and numbers, and what follows them
            if hasattr(kind, method) and hasattr(kind, "dtype"):
                return getattr(value, method)()
        if self._default is None or not self._nesting.enter():
            raise TypeError
        try:
            return self._default(value)
        finally:
            self._nesting.leave()

    def _invalid(self, value: Any, loc: Loc) -> Invalid:
        """Why the value could not be encoded."""
        found = next(self._problems(value, loc), None)
        return found or Invalid.at(loc, "JSON cannot hold this event.", "json_type")

    def _problems(self, value: Any, loc: Loc) -> Iterator[Invalid]:
        """What JSON cannot hold, in order."""
        stack: list[tuple[Loc, Any]] = [(loc, value)]
        for _ in range(_SEARCHED_MAX):
            if not stack:
                return
            path, item = stack.pop()
            sentence = _sentence(item)
            if sentence is None and len(path) > DEPTH_MAX + len(loc):
                sentence = (
                    f"JSON nests at most {DEPTH_MAX} levels here, and this value contains itself or more of them."
                )
            if sentence is not None:
                yield _at(path, sentence)
                continue
            members = _members(item)
            if members is None and not (item is None or isinstance(item, _PLAIN)):
                try:
                    stack.append((path, self._readable(item)))
                except Exception as error:
                    if is_raised_by_signal_handler(error):
                        raise
                    yield _at(path, f"JSON cannot hold a value of the type {type(item).__name__}{_reason(error)}")
                continue
            stack += [((*path, name), member) for name, member in reversed(members or [])]

    def _readable(self, value: Any) -> Any:
        """The value as it is searched. A model is searched before pydantic may turn a NaN into null."""
        return value.model_dump() if hasattr(type(value), "model_dump") else self._converted(value)


def _is_surely_accepted(payload: Any, encoded: bytes) -> bool:
    """Whether a small payload has only what JSON has, so that it breaks no rule. Cheaper than to check the rules."""
    if type(payload) is not dict or len(encoded) > PAYLOAD_MAX:
        return False
    if encoded.count(b"{") + encoded.count(b"[") > DEPTH_MAX:
        return False
    items: list[Any] = [payload]
    for item in items:  # and what is appended meanwhile
        kind = type(item)
        if kind is dict:
            for key, member in item.items():
                if type(key) is not str:
                    return False
                if type(member) is not str:
                    items.append(member)
        elif kind is list or kind is tuple:
            items += item
        elif kind is int:
            if not -_INT_MAX <= item <= _INT_MAX:
                return False
        elif kind is float:
            if not math.isfinite(item):
                return False
        elif not (kind is str or kind is bool or item is None):
            return False
        if len(items) > _SMALL_ITEMS_MAX:
            return False
    return True


def _may_hide_nan(payload: Any, encoded: bytes) -> bool:
    """Whether the search for a NaN is needed. It is much slower than this."""
    if b"NaN" in encoded or b'nan":' in encoded or b'inf":' in encoded or b'Infinity"' in encoded:  # decimals and keys
        return True
    if b"null" not in encoded:
        return False
    stack = [payload]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is dict:
            stack += item.values()
        elif kind is list or kind is tuple:
            stack += item
        elif not (
            item is None or kind is str or kind is int or kind is bool or (kind is float and math.isfinite(item))
        ):
            return True
    return False


def _sentence(item: Any) -> str | None:
    """What is wrong with a value itself, apart from its members and its type."""
    if isinstance(item, str):
        return None if _is_utf8(item) else "JSON cannot represent a text with a lone surrogate."
    if (isinstance(item, float) and not math.isfinite(item)) or (isinstance(item, Decimal) and not item.is_finite()):
        return "JSON cannot represent NaN and Infinity."
    if isinstance(item, Mapping):
        for key in item:
            if isinstance(key, str) and not _is_utf8(key):
                return "JSON cannot represent a key with a lone surrogate."
            if isinstance(key, float) and not math.isfinite(key):
                return "JSON cannot represent NaN and Infinity."
            if not isinstance(key, str | int | float | Decimal | Enum | UUID | dt.date | bytes) or isinstance(
                key, bool
            ):
                return f"A key of a JSON object is text, and here one is of the type {type(key).__name__}."
    return None


def _members(item: Any) -> list[tuple[str | int, Any]] | None:
    """The members of a container with their names or numbers; None for anything else."""
    if isinstance(item, Mapping):
        return [(key if type(key) in (str, int) else str(key), member) for key, member in item.items()]
    if isinstance(item, Sequence | Set) and not isinstance(item, str | bytes | bytearray | memoryview):
        return list(enumerate(item))
    if isinstance(item, Enum):
        return None if isinstance(item, str | int) else [("value", item.value)]
    if isinstance(item, type):
        return None
    if isinstance(item, msgspec.Struct):
        return [(name, getattr(item, name)) for name in item.__struct_fields__]
    if hasattr(type(item), "__dataclass_fields__"):
        from dataclasses import fields  # noqa: PLC0415  (slow to load; the module of this class has loaded it)

        return [(field.name, getattr(item, field.name)) for field in fields(item)]
    if hasattr(type(item), "__attrs_attrs__"):
        return [(each.name, getattr(item, each.name)) for each in type(item).__attrs_attrs__]
    return None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, TypeError):
        return ". Convert it, or pass a function for its type as the client's option `default`."
    return f": converting it raised {type(error).__name__}."


def _at(path: Loc, sentence: str) -> Invalid:
    """The error for one place, with the path in the sentence too, as in `payload.a[3]`."""
    named = tuple(shown_name(part) if isinstance(part, str) else part for part in path)
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named[1:]).lstrip(".")
    return Invalid.at(named, f"{shown}: {sentence}" if shown else sentence, "json_type")

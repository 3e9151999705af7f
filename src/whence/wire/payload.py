r"""Payloads: which are refused, and when two are equal.

The bytes that are checked are the bytes that are stored, hashed and answered. Only white space is removed; every token
stays as it was sent (`1E2`, `-0`, 2^53+1, a `\u0000`).
"""

import re
from itertools import accumulate
from typing import Any

import msgspec

from whence.errors import TooLarge
from whence.json_decoding import decode_json
from whence.wire.fields import Broken

__all__ = [
    "DEPTH_MAX",
    "LITERAL_MAX",
    "PAYLOAD_MAX",
    "check_compact",
    "check_payload",
    "compact_json",
    "count_keys",
    "refuse_repeated_keys",
    "same_json",
]

PAYLOAD_MAX = 256 * 1024
"""The largest payload, in bytes without white space."""

DEPTH_MAX = 64
"""The deepest nesting of objects and arrays in a payload, the outermost object included."""

LITERAL_MAX = 128
"""The longest number, in characters."""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LONG_LITERAL = re.compile(rb"[0-9+\-.eE]{%d}" % (LITERAL_MAX + 1))
# A run of 129 number characters covers at least 8 consecutive ones of every 16th byte. Checking those first clears
# nearly all payloads in a sixteenth of the time.
_STRIDE = 16
_MAYBE_LONG_LITERAL = re.compile(rb"[0-9+\-.eE]{%d}" % ((LITERAL_MAX + 1) // _STRIDE))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"{}[]"))
_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


def compact_json(data: bytes) -> bytes:
    """The same JSON without white space, token by token. Raises `Broken` when it is not JSON or nested too deeply.

    This checks only the syntax; `check_compact` does the rest.
    """
    try:
        return msgspec.json.format(data, indent=-1)
    except RecursionError:
        raise Broken("The JSON is nested too deeply.", "json_depth") from None
    except (msgspec.DecodeError, ValueError) as error:
        place = re.search(r"\(byte [0-9]+\)", str(error))
        where = f" {place[0]}" if place else ""
        raise Broken(f"This is not valid JSON{where}.", "json_invalid") from None


def check_payload(raw: bytes | msgspec.Raw) -> bytes:
    """The payload without white space, checked by every rule.

    Raises `TooLarge`, or `Broken` for anything but an object, invalid syntax or UTF-8, lone surrogates, a number that
    overflows a double or is longer than 128 characters, more than 64 levels, and a repeated key.
    """
    compact = compact_json(bytes(raw))
    check_compact(compact)
    return compact


def check_compact(compact: bytes) -> None:
    """Check a payload from `compact_json`. Raises as `check_payload`."""
    refuse_repeated_keys(compact, count_keys(compact))


def refuse_repeated_keys(compact: bytes, keys: int) -> None:
    """Raise Broken if an object of the payload has a key twice. `keys` is what `count_keys` returned."""
    if not has_keys(compact, keys) and _has_duplicates(compact):
        raise Broken("No object in the payload may have the same key twice.", "duplicate_key")


def count_keys(compact: bytes) -> int:
    """How many keys the objects of a payload from `compact_json` have, repeated ones counted once. Raises as
    `check_payload`, but not for repeated keys."""
    if compact == b"{}":
        return 0
    if len(compact) > PAYLOAD_MAX:
        raise TooLarge(f"A payload has at most {PAYLOAD_MAX} bytes.")
    if not compact.startswith(b"{"):
        raise Broken("A payload is a JSON object.", "dict_type")
    try:
        value = decode_json(compact)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise Broken("A payload is UTF-8.", "string_unicode") from None
    except msgspec.ValidationError:
        raise Broken("A number in the payload does not fit a 64-bit float.", "number_out_of_range") from None
    except (msgspec.DecodeError, ValueError):
        raise Broken("A payload is valid JSON, without lone surrogates.", "json_invalid") from None
    if _MAYBE_LONG_LITERAL.search(compact[::_STRIDE]) and _LONG_LITERAL.search(_STRING.sub(b'""', compact)):
        raise Broken(f"A number in the payload has at most {LITERAL_MAX} characters.", "number_too_long")
    brackets = compact.count(b"{") + compact.count(b"[")
    if brackets == 1:
        return len(value)
    if brackets > DEPTH_MAX and _depth(compact) > DEPTH_MAX:
        raise _too_deep()
    return _count_keys(value)


def has_keys(compact: bytes, keys: int) -> bool:
    """Whether the JSON certainly has exactly this many keys, repeated ones counted. False means that it may have."""
    colons = compact.count(b'":')
    if colons == keys:
        return True
    # A quote inside a string has a backslash before it, so those before a colon can be subtracted, unless some key ends
    # with a backslash itself.
    return b'\\\\":' not in compact and colons - compact.count(b'\\":') == keys


def _too_deep() -> Broken:
    return Broken(f"A payload has at most {DEPTH_MAX} levels of objects and arrays.", "json_depth")


def _depth(compact: bytes) -> int:
    brackets = _STRING.sub(b"", compact).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)))


def _count_keys(value: Any) -> int:
    """The keys of a decoded object or array and of all that are in it."""
    keys = 0
    containers = [value]
    for container in containers:  # which grows meanwhile
        items = container
        if container.__class__ is dict:
            keys += len(container)
            items = container.values()
        containers += [item for item in items if item and (item.__class__ is dict or item.__class__ is list)]
    return keys


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise LookupError


def _has_duplicates(compact: bytes) -> bool:
    from json import loads  # noqa: PLC0415  (slow to load, and hardly ever needed)

    try:
        loads(compact.decode(), object_pairs_hook=_refuse_duplicates, parse_int=len, parse_float=len)
    except LookupError:
        return True
    return False


def same_json(a: bytes, b: bytes) -> bool:
    r"""Whether two checked payloads are equal by value: the order of keys and the spelling of strings do not matter,
    numbers are compared as text.

    >>> same_json(b'{"a":1,"b":"\\u0041"}', b'{"b":"A","a":1}'), same_json(b'{"a":1}', b'{"a":1.0}')
    (True, False)
    """
    return a == b or _exact(a) == _exact(b)


def _exact(data: bytes) -> object:
    from json import loads  # noqa: PLC0415  (as above)

    # Numbers become bytes, which equal no other JSON value.
    return loads(data.decode(), parse_int=str.encode, parse_float=str.encode)

"""The headers of a request, from its ASGI scope, where all names are in lower case."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["header", "header_values", "media_type"]

Scope = Mapping[str, Any]

_BY_NAME = "whence.headers"
"""The key of a scope under which the list of its headers is kept, with the values by name."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, or None without it. Several are joined by commas, as RFC 9110 has it."""
    values = _values(scope, name)
    return b",".join(values) if values else None


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Every value of a header, as Latin-1 text without white space around it."""
    return [value.strip(b" \t").decode("latin-1") for value in _values(scope, name)]


def media_type(scope: Scope) -> str:
    """The content type without its parameters, empty if there is none. Two of them are joined, which makes a type that
    no route knows."""
    return ",".join([value.partition(";")[0].strip().lower() for value in header_values(scope, b"content-type")])


def _values(scope: Scope, name: bytes) -> Sequence[bytes]:
    """Every value of a header. The list is read once, since each request asks for a dozen headers."""
    sent = scope["headers"]
    kept = scope.get(_BY_NAME)
    if kept is None or kept[0] is not sent:
        by_name: dict[bytes, list[bytes]] = {}
        for each, value in sent:
            by_name.setdefault(each, []).append(value)
        kept = cast(dict[str, Any], scope)[_BY_NAME] = sent, by_name
    found: Sequence[bytes] = kept[1].get(name, ())
    return found

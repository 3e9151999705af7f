"""The headers of a request, from its ASGI scope, where all names are in lower case."""

from collections.abc import Mapping
from typing import Any

__all__ = ["header", "header_names", "header_values", "media_type"]

Scope = Mapping[str, Any]


def header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header, or None without it. Several are joined by commas, as RFC 9110 has it."""
    values = [value for each, value in scope["headers"] if each == name]
    return b",".join(values) if values else None


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Every value of a header, as Latin-1 text without white space around it."""
    return [value.decode("latin-1").strip() for each, value in scope["headers"] if each == name]


def header_names(scope: Scope) -> frozenset[str]:
    """The names of all headers."""
    return frozenset(name.decode("latin-1") for name, _ in scope["headers"])


def media_type(scope: Scope) -> str:
    """The content type without its parameters, empty if there is none. Two of them are joined, which makes a type that
    no route knows."""
    return (header(scope, b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()

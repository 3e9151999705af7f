"""Identities: texts that name an event, an actor, a resource or a flow. A UUID is the same in any case. Pure."""

import re

__all__ = ["canonical", "earlier_spelling", "is_uuid", "spellings"]

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_UUID_LENGTH = 36


def is_uuid(text: str) -> bool:
    """Whether this is a hyphenated UUID: 8-4-4-4-12 hexadecimal digits, any case, any version."""
    return len(text) == _UUID_LENGTH and _UUID.fullmatch(text) is not None


def canonical(text: str) -> str:
    """The one form of an identity: a hyphenated UUID in lower case, any other text as it is."""
    return text.lower() if is_uuid(text) else text


def spellings(text: str) -> tuple[str, ...]:
    """The texts under which a store may have an identity: its canonical form first.

    Earlier releases kept a UUID in a correlationId or actorId as it was sent. So one with letters may be stored in
    upper case too, or as given here.
    """
    return tuple(dict.fromkeys((text.lower(), text.upper(), text))) if is_uuid(text) else (text,)


def earlier_spelling(text: str) -> str | None:
    """The upper case of a UUID in canonical form that has letters; None for any other text."""
    return text.upper() if is_uuid(text) and text.islower() else None

"""Identities: texts that name an event, an actor, a resource or a flow. A UUID is the same in any case. Pure."""

import re
import uuid
from functools import lru_cache

__all__ = ["RESOURCE_NAMESPACE", "canonical", "earlier_spelling", "is_uuid", "resource_uuid", "spellings"]

RESOURCE_NAMESPACE = uuid.UUID("b24da17f-e6a5-4f30-8eed-6f91f1a5b0a4")
"""The namespace of ids that are derived from a text. It never changes, since stored events have such ids."""

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_UUID_LENGTH = 36


def is_uuid(text: str) -> bool:
    """Whether this is a hyphenated UUID: 8-4-4-4-12 hexadecimal digits, any case, any version."""
    return len(text) == _UUID_LENGTH and _UUID.fullmatch(text) is not None


def canonical(text: str) -> str:
    """The one form of an identity: a hyphenated UUID in lower case, any other text as it is."""
    return text.lower() if is_uuid(text) else text


def resource_uuid(resource_type: str, text: str) -> str:
    """The id of a resource that the program names by this text: a hyphenated UUID in lower case, and for any other text
    the UUIDv5 of type, slash and text in UTF-8.

    The text is taken as it is: case, spaces and Unicode forms count. Raises ValueError for a lone surrogate.

    >>> resource_uuid("order", "8841")
    '871ef41f-022e-5e11-83a9-ff85500842c7'
    """
    return text.lower() if is_uuid(text) else str(uuid.uuid5(RESOURCE_NAMESPACE, f"{resource_type}/{text}"))


def spellings(text: str) -> tuple[str, ...]:
    """The texts under which a store may have an identity: its canonical form first.

    Earlier releases kept a UUID in a correlationId or actorId as it was sent. So one with letters may be stored in
    upper case too, or as given here.
    """
    return tuple(dict.fromkeys((text.lower(), text.upper(), text))) if is_uuid(text) else (text,)


@lru_cache(4_096)  # an append asks several times for the texts of its events, many of which are alike
def earlier_spelling(text: str) -> str | None:
    """The upper case of a UUID in canonical form that has letters; None for any other text."""
    return text.upper() if is_uuid(text) and text.islower() else None

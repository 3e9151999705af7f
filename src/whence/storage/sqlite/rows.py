"""Between rows and nouns: keys, UUIDs and events as SQLite keeps them."""

import re
from functools import lru_cache
from typing import Any

from whence.events import Event

__all__ = [
    "KEY_BITS",
    "POSITION_MASK",
    "cause_from",
    "cause_text",
    "event_from",
    "key_of",
    "number_of",
    "uuid_bytes",
    "uuid_text",
]

KEY_BITS = 40
"""A key is tenant_no << KEY_BITS | number, so that one integer orders a tenant's rows and tells tenants apart."""

POSITION_MASK = (1 << KEY_BITS) - 1


def key_of(tenant_no: int, number: int) -> int:
    """The key of an event's position or of a name's number."""
    return tenant_no << KEY_BITS | number


def number_of(key: int) -> int:
    """The position or the number in a key."""
    return key & POSITION_MASK


_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID in canonical text."""
    return bytes.fromhex(text.replace("-", ""))


@lru_cache(8_192)
def uuid_text(value: bytes) -> str:
    """The canonical text of a UUID's 16 bytes. The newest events, their causes and resources are asked for again and
    again, so most texts are made already."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def cause_from(text: str | None) -> bytes | str | None:
    """A causationId as the column keeps it: 16 bytes when it is a UUID in canonical text, else the text."""
    if text is None or _CANONICAL.fullmatch(text) is None:
        return text
    return uuid_bytes(text)


def cause_text(value: bytes | str | None) -> str | None:
    """The causationId that `cause_from` took in."""
    return uuid_text(value) if isinstance(value, bytes) else value


def event_from(tenant: str, row: tuple[Any, ...]) -> Event:
    """The event of a `full_event` row."""
    key, id_, event_type, actor_type, actor_id, resource_type, resource_id, correlation_id, cause = row[:9]
    outcome, occurred_at, recorded_at, payload = row[9:]
    return Event(
        tenant_id=tenant,
        position=key & POSITION_MASK,
        id=uuid_text(id_),
        event_type=event_type,
        actor_type=actor_type,
        actor_id=actor_id,
        resource_type=resource_type,
        resource_id=uuid_text(resource_id),
        correlation_id=correlation_id,
        causation_id=cause_text(cause),
        outcome=outcome,
        occurred_at=occurred_at,
        recorded_at=recorded_at,
        payload=payload,
    )

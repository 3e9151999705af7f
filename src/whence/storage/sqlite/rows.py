"""Conversions between events and their rows: keys, UUIDs and columns as SQLite keeps them."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import apsw

from whence.events import Event
from whence.storage.base import HashedEvent
from whence.storage.rows import HeadRow
from whence.storage.sequencing import Batch
from whence.storage.sql import load_blocks

__all__ = [
    "EVENT_COLUMNS",
    "KEY_BITS",
    "POSITION_MASK",
    "SQLiteHeadRow",
    "cause_from",
    "cause_text",
    "event_from",
    "event_values",
    "head_row",
    "key_of",
    "number_of",
    "uuid_bytes",
    "uuid_text",
]

_SQL = load_blocks("whence.storage.sqlite")

KEY_BITS = 40
"""A key is tenant_no << KEY_BITS | number: one integer that keeps tenants apart and orders the rows of each."""

EVENT_COLUMNS = (
    "key",
    "tenant_no",
    "id",
    "occurred_at",
    "recorded_at",
    "kind",
    "actor",
    "flow",
    "resource",
    "cause",
    "leaf",
    "salt",
    "payload_hash",
    "payload",
    "envelope_version",
    "erased_at",
)
"""The columns of an event, in the order in which `event_values` gives them and `add_event` takes them."""

POSITION_MASK = (1 << KEY_BITS) - 1


def key_of(tenant_no: int, number: int) -> int:
    """The key of an event's position or of a name's number."""
    return tenant_no << KEY_BITS | number


def number_of(key: int) -> int:
    """The position or the number in a key."""
    return key & POSITION_MASK


_UUIDS_CACHED = 8_192

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@lru_cache(_UUIDS_CACHED)
def uuid_bytes(text: str) -> bytes:
    """The 16 bytes of a UUID in canonical text. Cached, since an id is looked up, stored, and named as a cause."""
    return bytes.fromhex(text.replace("-", ""))


@lru_cache(_UUIDS_CACHED)
def uuid_text(value: bytes) -> str:
    """The canonical text of a UUID's 16 bytes. Cached, since most requests ask for the newest events."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(_UUIDS_CACHED)
def cause_from(text: str | None) -> bytes | str | None:
    """A causationId as the column keeps it: 16 bytes when it is a UUID in canonical text, else the text."""
    if text is None or _CANONICAL.fullmatch(text) is None:
        return text
    return uuid_bytes(text)


def cause_text(value: bytes | str | None) -> str | None:
    """The causationId that `cause_from` converted."""
    return uuid_text(value) if isinstance(value, bytes) else value


def event_from(tenant: str, row: tuple[Any, ...]) -> Event:
    """The event of a `full_event` row."""
    (
        key,
        id_,
        event_type,
        actor_type,
        actor_id,
        resource_type,
        resource_id,
        correlation_id,
        cause,
        outcome,
        occurred_at,
        recorded_at,
        payload,
        erased_at,
        *_,
    ) = row
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
        erased_at=erased_at,
    )


def event_values(tenant_no: int, batch: Batch, hashed: Sequence[HashedEvent]) -> list[tuple[Any, ...]]:
    """The values of `EVENT_COLUMNS` for the events of a batch, whose flows and resources have their numbers."""
    flows, resources, before_first = batch.flows, batch.resources, key_of(tenant_no, 0)
    return [
        (
            before_first + event.position,
            tenant_no,
            uuid_bytes(event.id),
            event.occurred_at,
            event.recorded_at,
            kind,
            actor,
            flows[event.correlation_id].flow,
            resources[event.resource_id, event.resource_type].resource,
            cause_from(event.causation_id),
            each.leaf,
            each.salt,
            each.payload_hash if each.salt is None else None,  # kept only once the payload is erased
            event.payload,
            each.envelope_version,
            event.erased_at,
        )
        for event, (_, kind, actor), each in zip(batch.events, batch.occurrences, hashed, strict=True)
    ]


class SQLiteHeadRow(HeadRow, frozen=True):
    """A tenant's head. `flows_removed` of the flows are gone."""

    flows_removed: int = 0


def head_row(connection: apsw.Connection, tenant: str) -> SQLiteHeadRow | None:
    """A tenant's head, or None when it has none."""
    row: Any = connection.execute(_SQL["head"], (tenant,)).fetchone()
    return None if row is None else SQLiteHeadRow(*row)

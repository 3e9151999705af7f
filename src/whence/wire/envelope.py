"""The envelope: the bytes of an event that its leaf in the Merkle tree commits to. They must never change."""

from functools import lru_cache

import msgspec

from whence.events import Event
from whence.wire.times import format_time_fixed

__all__ = ["ENVELOPE_VERSION", "envelope"]

ENVELOPE_VERSION = 1
"""The `v` of an envelope."""


class _Envelope(msgspec.Struct, rename="camel", kw_only=True, gc=False):
    # In code-point order of the keys, as RFC 8785 has it.
    actor_id: str
    actor_type: str
    causation_id: str | None
    correlation_id: str
    event_type: str
    id: str
    occurred_at: str
    outcome: str
    payload_hash: str
    recorded_at: str
    resource_id: str
    resource_type: str
    tenant_id: str
    v: int = ENVELOPE_VERSION


_encode = msgspec.json.Encoder().encode
_recorded = lru_cache(64)(format_time_fixed)  # events of one request are recorded at one time


def envelope(event: Event, payload_hash: str) -> bytes:
    """A compact JSON object with the keys in code-point order and strings escaped as in RFC 8785.

    `payload_hash` is the lower-case hex of SHA-256(salt ‖ payload). Times have six digits of fraction always.
    """
    return _encode(
        _Envelope(
            actor_id=event.actor_id,
            actor_type=event.actor_type,
            causation_id=event.causation_id,
            correlation_id=event.correlation_id,
            event_type=event.event_type,
            id=event.id,
            occurred_at=format_time_fixed(event.occurred_at),
            outcome=event.outcome,
            payload_hash=payload_hash,
            recorded_at=_recorded(event.recorded_at),
            resource_id=event.resource_id,
            resource_type=event.resource_type,
            tenant_id=event.tenant_id,
        )
    )

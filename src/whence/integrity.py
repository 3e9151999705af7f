"""What makes an event provable: its envelope, the hash of its payload, its leaf, and what counts as the same event.

The leaf of an event in its tenant's Merkle tree is the RFC 6962 leaf hash of its envelope. The envelope holds every
field but the position, which is the leaf's place in the tree, and the payload, of which it holds a salted hash.

The bytes of an envelope never change once events were hashed with them, and each stored event keeps the version that
its leaf was made with. A new field of `Event` takes a new version: an encoder in `ENVELOPES`, its fields in
`ENVELOPE_FIELDS`, and `ENVELOPE_VERSION`. An event of an earlier version cannot have that field, since its leaf would
not protect it.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import sha256
from typing import Annotated, Literal

import msgspec

from whence.events import Event, NewEvent
from whence.identities import canonical
from whence.merkle import leaf_hash
from whence.wire.payload import same_json
from whence.wire.times import format_time_fixed, parse_time

__all__ = [
    "ENVELOPES",
    "ENVELOPE_FIELDS",
    "ENVELOPE_VERSION",
    "SALT_SIZE",
    "EnvelopeV1",
    "decode_envelope",
    "differing_fields",
    "envelope_of",
    "envelope_parts",
    "envelope_v1",
    "hash_payload",
    "leaf_of",
    "parse_envelope",
]

ENVELOPE_VERSION = 1
"""The version with which new events are hashed."""

SALT_SIZE = 16
"""Random bytes that are hashed with each payload, so that an erased payload cannot be guessed from its hash."""


_TimeText = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]
_HexText = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class EnvelopeV1(msgspec.Struct, rename="camel", kw_only=True, gc=False, forbid_unknown_fields=True):
    """The fields of an envelope of version 1, as texts."""

    # In code-point order of the keys, as RFC 8785 has it.
    actor_id: str
    actor_type: str
    causation_id: str | None
    correlation_id: str
    event_type: str
    id: str
    occurred_at: _TimeText
    outcome: str
    payload_hash: _HexText
    recorded_at: _TimeText
    resource_id: str
    resource_type: str
    tenant_id: str
    v: Literal[1] = 1


_encode = msgspec.json.Encoder().encode
_format_recorded_at = lru_cache(64)(format_time_fixed)  # the events of one request share their time


def envelope_v1(event: Event, payload_hash: str) -> bytes:
    """A compact JSON object with the keys in code-point order and strings escaped as in RFC 8785.

    `payload_hash` is in lower-case hex. Times always have six digits of fraction.
    """
    return _encode(
        EnvelopeV1(
            actor_id=event.actor_id,
            actor_type=event.actor_type,
            causation_id=event.causation_id,
            correlation_id=event.correlation_id,
            event_type=event.event_type,
            id=event.id,
            occurred_at=format_time_fixed(event.occurred_at),
            outcome=event.outcome,
            payload_hash=payload_hash,
            recorded_at=_format_recorded_at(event.recorded_at),
            resource_id=event.resource_id,
            resource_type=event.resource_type,
            tenant_id=event.tenant_id,
        )
    )


def decode_envelope(data: bytes) -> EnvelopeV1:
    """The fields of an envelope, which another program may have made. Raises ValueError for every other spelling of
    them: duplicate keys or another order could show two readers different events under one hash."""
    envelope = msgspec.json.decode(data, type=EnvelopeV1)
    if _encode(envelope) != data:
        raise ValueError("The envelope is not in its canonical form.")
    return envelope


ENVELOPES: dict[int, Callable[[Event, str], bytes]] = {1: envelope_v1}
"""The encoder of each version that this release knows."""

ENVELOPE_FIELDS: dict[int, frozenset[str]] = {1: frozenset(EnvelopeV1.__struct_fields__) - {"payload_hash", "v"}}
"""The fields of `Event` that each version hashes."""

_HASHED_BESIDE = frozenset({"position", "payload", "erased_at"})
"""The index of the leaf, what `payload_hash` stands for, and when that took its place."""


def hash_payload(salt: bytes, payload: bytes) -> bytes:
    """SHA-256(salt || payload)."""
    return sha256(salt + payload).digest()


def leaf_of(event: Event, payload_hash: bytes, version: int) -> bytes:
    """The leaf hash of an event under a version of the envelope.

    Raises KeyError for a version not in `ENVELOPES`, and ValueError for an event with a field that the version does not
    hash.
    """
    return leaf_hash(envelope_of(event, payload_hash, version))


def envelope_parts(event: Event, payload_hash: bytes, version: int) -> tuple[bytes, bytes, bytes] | None:
    """The envelope of an event whose correlation and time of recording are not known yet: what comes before, between
    and after the JSON string of the one and the text of the other. None if the version has another order of fields.

    Raises as `leaf_of`. A quotation mark within a value is escaped, so no value can be taken for a key.
    """
    envelope = envelope_of(event, payload_hash, version)
    before, key, rest = envelope.partition(b',"correlationId":"')
    _, next_key, rest = rest.partition(b'","eventType":')
    between, last_key, rest = rest.partition(b',"recordedAt":"')
    _, quote, after = rest.partition(b'"')
    if not (key and next_key and last_key and quote):
        return None
    return before + key[:-1], next_key[1:] + between + last_key, quote + after


def envelope_of(event: Event, payload_hash: bytes, version: int) -> bytes:
    """The envelope of an event, from which its leaf is made. Raises as `leaf_of`."""
    for name in _unhashed_fields(type(event), version):
        if getattr(event, name) is not None:
            raise ValueError(f"Version {version} of the envelope does not hash {name}.")
    return ENVELOPES[version](event, payload_hash.hex())


def parse_envelope(data: bytes, position: int) -> tuple[Event, bytes]:
    """The event of an envelope, without its payload, and the hash of the payload. `position` is that of the leaf.

    Raises ValueError for bytes that are no envelope of a version that this release knows.
    """
    found = _decode_v1(data)
    event = Event(
        tenant_id=found.tenant_id,
        position=position,
        id=found.id,
        event_type=found.event_type,
        actor_type=found.actor_type,
        actor_id=found.actor_id,
        resource_type=found.resource_type,
        resource_id=found.resource_id,
        correlation_id=found.correlation_id,
        causation_id=found.causation_id,
        outcome=found.outcome,
        occurred_at=parse_time(found.occurred_at),
        recorded_at=parse_time(found.recorded_at),
        payload=None,
    )
    if found.v not in ENVELOPES or ENVELOPES[found.v](event, found.payload_hash) != data:
        raise ValueError("The bytes are not those of an envelope.")
    return event, bytes.fromhex(found.payload_hash)


_decode_v1 = msgspec.json.Decoder(EnvelopeV1).decode


@cache
def _unhashed_fields(struct: type[Event], version: int) -> tuple[str, ...]:
    hashed = ENVELOPE_FIELDS[version] | _HASHED_BESIDE
    return tuple(name for name in struct.__struct_fields__ if name not in hashed)


def differing_fields(sent: NewEvent, stored: Event) -> list[str]:
    """The names, as sent, of the fields in which a repeated event differs from the stored one; empty for a replay.

    A `correlationId` or `outcome` that was left out matches whatever was derived; a `causationId` that was left out
    matches only null, a payload that was left out only `{}`. The payload of an event whose own was erased is not
    compared. Texts are compared in canonical form, since earlier releases kept a UUID in any case.
    """
    pairs: tuple[tuple[str, object, object], ...] = (
        ("eventType", sent.event_type, stored.event_type),
        ("actorType", sent.actor_type, stored.actor_type),
        ("actorId", canonical(sent.actor_id), canonical(stored.actor_id)),
        ("resourceType", sent.resource_type, stored.resource_type),
        ("resourceId", sent.resource_id, stored.resource_id),
        ("occurredAt", sent.occurred_at, stored.occurred_at),
        ("correlationId", canonical(sent.correlation_id or stored.correlation_id), canonical(stored.correlation_id)),
        ("causationId", sent.causation_id, stored.causation_id),
        ("outcome", sent.outcome or stored.outcome, stored.outcome),
    )
    names = [name for name, a, b in pairs if a != b]
    if stored.payload is not None and not same_json(sent.payload, stored.payload):
        names.append("payload")
    return names

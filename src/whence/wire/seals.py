"""What is asked about the checkpoints of a log, and answered; and the evidence that a proof carries of its event."""

import base64
import binascii
from collections.abc import Iterable
from hashlib import sha256

import msgspec

from whence.checkpoints import Checkpoint, parse_proof, verify_proof
from whence.merkle import leaf_hash
from whence.notes import BadNote, VerifierKey
from whence.wire.bodies import TimeText, WireBody
from whence.wire.parameters import INT_MAX, LISTING_DEFAULT, LISTING_MAX
from whence.wire.query import QueryReader

__all__ = [
    "CheckpointBody",
    "CheckpointsBody",
    "CheckpointsRequest",
    "ConsistencyBody",
    "EvidenceBody",
    "LogKeyBody",
    "LogKeysBody",
    "ProvenEvent",
    "decode_evidence",
    "encode_evidence",
    "parse_checkpoints",
    "parse_consistency",
    "verify_event",
]


class CheckpointBody(WireBody, frozen=True, kw_only=True):
    """A signed checkpoint: `note` is its whole text, and `root` is in base64."""

    epoch: int
    note: str
    origin: str
    root: str
    signed_at: TimeText
    size: int


class CheckpointsBody(WireBody, frozen=True, kw_only=True):
    """Checkpoints, the newest first."""

    checkpoints: list[CheckpointBody]


class LogKeyBody(WireBody, frozen=True, kw_only=True):
    """The key that verifies the checkpoints of an origin, as text."""

    epoch: int
    key: str
    origin: str


class LogKeysBody(WireBody, frozen=True, kw_only=True):
    """The keys of a log by epoch. The last one is in use."""

    keys: list[LogKeyBody]


class ConsistencyBody(WireBody, frozen=True, kw_only=True):
    """The hashes, in base64, which prove that the tree of `from` leaves is the beginning of that of `to` leaves."""

    from_: int = msgspec.field(name="from")
    hashes: list[str]
    to: int


class EvidenceBody(WireBody, frozen=True, kw_only=True):
    """What the leaf of an event is made of, each part in base64. Salt and payload are null once they are erased."""

    envelope: str
    payload: str | None
    salt: str | None


class CheckpointsRequest(msgspec.Struct, frozen=True):
    """Which checkpoints are asked for: those smaller than `before`, at most `limit`."""

    before: int | None
    limit: int


def parse_checkpoints(query_string: bytes) -> CheckpointsRequest:
    """Which checkpoints are asked for. Raises `Invalid` with every problem."""
    reader = QueryReader("checkpoints")
    values = reader.split(query_string)
    before = reader.number("before", values, 1, INT_MAX, None)
    limit = reader.number("limit", values, 1, LISTING_MAX, LISTING_DEFAULT)
    reader.finish()
    return CheckpointsRequest(before, limit or LISTING_DEFAULT)


def parse_consistency(query_string: bytes) -> tuple[int, int | None]:
    """Between which sizes consistency is to be proven; None stands for the newest. Raises `Invalid` with every
    problem."""
    reader = QueryReader("consistency")
    values = reader.split(query_string)
    old = reader.number("from", values, 0, INT_MAX, 0) or 0
    new = reader.number("to", values, 0, INT_MAX, None)
    if new is not None and old > new:
        reader.refuse("from", "The size in from is larger than the size in to.", "size_range")
    reader.finish()
    return old, new


def encode_evidence(envelope: bytes, salt: bytes | None, payload: bytes | None) -> bytes:
    """The evidence of an event as JSON, without spaces and with its keys in order."""
    return msgspec.json.encode(
        EvidenceBody(
            envelope=base64.b64encode(envelope).decode(),
            payload=None if payload is None else base64.b64encode(payload).decode(),
            salt=None if salt is None else base64.b64encode(salt).decode(),
        )
    )


def decode_evidence(data: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """Envelope, salt and payload. Raises ValueError for what is none."""
    body = msgspec.json.decode(data, type=EvidenceBody)
    try:
        envelope, *rest = (
            None if text is None else base64.b64decode(text, validate=True)
            for text in (body.envelope, body.salt, body.payload)
        )
    except binascii.Error:
        raise ValueError("The evidence is not in base64.") from None
    return envelope or b"", rest[0], rest[1]


class ProvenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is proven to be in a log. `payload` is None when it was erased: then only its hash is proven."""

    checkpoint: Checkpoint
    position: int
    id: str
    tenant_id: str
    envelope: bytes
    payload: bytes | None


class _ProvenEnvelope(msgspec.Struct, rename="camel"):
    id: str
    payload_hash: str
    tenant_id: str


def verify_event(text: str, keys: Iterable[VerifierKey]) -> ProvenEvent:
    """The event of a proof, as `GET /api/v1/events/{id}/proof` answers with it. Everything is recomputed: the hash of
    the payload, the leaf, and the root that one of the keys signed.

    Raises BadNote for what proves nothing.
    """
    proof = parse_proof(text)
    if proof.extra is None:
        raise BadNote("The proof lacks what the leaf of its event is made of.")
    try:
        envelope, salt, payload = decode_evidence(proof.extra)
        claimed = msgspec.json.decode(envelope, type=_ProvenEnvelope)
    except ValueError:
        raise BadNote("The proof has an event that cannot be read.") from None
    checkpoint = verify_proof(proof, leaf_hash(envelope), keys).checkpoint
    if (salt is None) != (payload is None):
        raise BadNote("The proof has a payload without its salt, or a salt alone.")
    if salt is not None and payload is not None and sha256(salt + payload).hexdigest() != claimed.payload_hash:
        raise BadNote("The payload is not the one that was stored: its hash is not the one in the envelope.")
    return ProvenEvent(
        checkpoint=checkpoint,
        position=proof.index + 1,
        id=claimed.id,
        tenant_id=claimed.tenant_id,
        envelope=envelope,
        payload=payload,
    )

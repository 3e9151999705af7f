"""What is asked about the checkpoints of a log, and answered; and the evidence that a proof carries of its event."""

import msgspec

from whence.notes import decode_base64, encode_base64
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
    "ProofRequest",
    "decode_evidence",
    "encode_evidence",
    "parse_checkpoints",
    "parse_consistency",
    "parse_cosigned",
    "parse_proof_request",
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
    """The keys that verify the checkpoints of an origin, as text: by Ed25519, and by ML-DSA-44 if the server signs by
    that too, else null."""

    epoch: int
    key: str
    ml_dsa_key: str | None = None
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


class ProofRequest(msgspec.Struct, frozen=True):
    """By which checkpoint an event is to be proven: the newest, the newest with a quorum, or the newest of an epoch."""

    cosigned: bool
    epoch: int | None


def parse_cosigned(query_string: bytes) -> bool:
    """Whether a checkpoint with a quorum is asked for. Raises `Invalid` with every problem."""
    reader = QueryReader("checkpoint")
    cosigned = reader.flag("cosigned", reader.split(query_string))
    reader.finish()
    return cosigned


def parse_proof_request(query_string: bytes) -> ProofRequest:
    """By which checkpoint an event is to be proven. Raises `Invalid` with every problem."""
    reader = QueryReader("proof")
    values = reader.split(query_string)
    asked = ProofRequest(reader.flag("cosigned", values), reader.number("epoch", values, 1, INT_MAX, None))
    if asked.cosigned and asked.epoch is not None:
        reader.refuse("epoch", "An epoch is not given together with cosigned.", "epoch_with_cosigned")
    reader.finish()
    return asked


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
            envelope=encode_base64(envelope),
            payload=None if payload is None else encode_base64(payload),
            salt=None if salt is None else encode_base64(salt),
        )
    )


def decode_evidence(data: bytes) -> tuple[bytes, bytes | None, bytes | None]:
    """Envelope, salt and payload. Raises ValueError for what is none, and for another spelling of it."""
    body = msgspec.json.decode(data, type=EvidenceBody)
    envelope, salt, payload = (
        None if text is None else decode_base64(text) for text in (body.envelope, body.salt, body.payload)
    )
    if envelope is None or encode_evidence(envelope, salt, payload) != data:
        raise ValueError("The evidence is not in its canonical form.")
    return envelope, salt, payload

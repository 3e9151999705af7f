"""Events whose proof was verified: offline, with nothing but the file of the proof and the key of the log. Pure."""

from collections.abc import Iterable
from hashlib import sha256

import msgspec

from whence.checkpoints import Checkpoint, parse_proof, verify_proof
from whence.integrity import decode_envelope
from whence.merkle import leaf_hash
from whence.notes import BadNote, VerifierKey
from whence.wire.seals import decode_evidence

__all__ = ["ProvenEvent", "is_object", "verify_event"]


class ProvenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is proven to be in a log. `payload` is None if the proof has none: then only its hash is proven."""

    checkpoint: Checkpoint
    position: int
    id: str
    tenant_id: str
    envelope: bytes
    payload: bytes | None


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
        claimed = decode_envelope(envelope)
    except ValueError:
        raise BadNote("The proof has an event that cannot be read.") from None
    checkpoint = verify_proof(proof, leaf_hash(envelope), keys).checkpoint
    if (salt is None) != (payload is None):
        raise BadNote("The proof has a payload without its salt, or a salt alone.")
    if salt is not None and payload is not None and sha256(salt + payload).hexdigest() != claimed.payload_hash:
        raise BadNote("The payload is not the one that was stored: its hash is not the one in the envelope.")
    if payload is not None and not is_object(payload):
        raise BadNote("The payload is no JSON object.")
    return ProvenEvent(
        checkpoint=checkpoint,
        position=proof.index + 1,
        id=claimed.id,
        tenant_id=claimed.tenant_id,
        envelope=envelope,
        payload=payload,
    )


def is_object(payload: bytes) -> bool:
    """Whether these bytes are a JSON object in UTF-8."""
    try:
        payload.decode()
        msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True

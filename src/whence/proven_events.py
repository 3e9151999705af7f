"""Events whose proof was verified: offline, with nothing but the file of the proof and the key of the log. Pure."""

from collections.abc import Iterable, Sequence
from hashlib import sha256

import msgspec

from whence.checkpoints import Checkpoint, parse_proof, verify_proof
from whence.events import EVENT_LOG
from whence.integrity import decode_envelope
from whence.merkle import leaf_hash
from whence.notes import BadNote, KeyType, VerifierKey, parse_verifier_key
from whence.wire.epochs import KEY_ROTATED
from whence.wire.seals import decode_evidence
from whence.witness_policy import WitnessPolicy

__all__ = ["ProvenEvent", "followed_keys", "is_object", "verify_event", "verify_rotation"]


class ProvenEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is proven to be in a log. `payload` is None if the proof has none: then only its hash is proven.
    `signers` are the keys of the log that signed the checkpoint, and `witnesses` those of the policy that cosigned it.
    """

    checkpoint: Checkpoint
    position: int
    id: str
    tenant_id: str
    envelope: bytes
    payload: bytes | None
    signers: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...] = ()


class _Rotation(msgspec.Struct, rename="camel"):
    """What the payload of an announcement has for a verifier."""

    new_key: str
    new_origin: str
    origin: str
    new_ml_dsa_key: str | None = None


def verify_event(text: str, keys: Iterable[VerifierKey], policy: WitnessPolicy | None = None) -> ProvenEvent:
    """The event of a proof, as `GET /api/v1/events/{id}/proof` answers with it. Everything is recomputed: the hash of
    the payload, the leaf, and the root that one of the keys signed. With a policy, its quorum has to have cosigned.

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
    verified = verify_proof(proof, leaf_hash(envelope), keys, () if policy is None else policy.keys)
    if policy is not None:
        policy.demand(verified.witnesses)
    if (salt is None) != (payload is None):
        raise BadNote("The proof has a payload without its salt, or a salt alone.")
    if salt is not None and payload is not None and sha256(salt + payload).hexdigest() != claimed.payload_hash:
        raise BadNote("The payload is not the one that was stored: its hash is not the one in the envelope.")
    if payload is not None and not is_object(payload):
        raise BadNote("The payload is no JSON object.")
    return ProvenEvent(
        checkpoint=verified.checkpoint,
        position=proof.index + 1,
        id=claimed.id,
        tenant_id=claimed.tenant_id,
        envelope=envelope,
        payload=payload,
        signers=verified.signers,
        witnesses=verified.witnesses,
    )


def verify_rotation(text: str, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """The keys that follow those of `keys` that signed the proof of an event, which announced them: each is followed by
    one of its own type, so that a key by ML-DSA-44 never rests on one by Ed25519 alone. Only a rotation is followed: a
    key that somebody else may have vouches for nothing.

    Raises BadNote unless the event is proven by a former key, is an announcement of a rotation, ends the origin of that
    key, and names the next one of its type.
    """
    proven = verify_event(text, keys)
    claimed = decode_envelope(proven.envelope)
    if (claimed.event_type, claimed.resource_type) != (KEY_ROTATED, EVENT_LOG):
        raise BadNote("The event does not announce the rotation of a key.")
    if proven.payload is None:
        raise BadNote("The proof of a rotation has the payload of its event.")
    try:
        rotation = msgspec.json.decode(proven.payload, type=_Rotation)
    except ValueError:
        raise BadNote("The event does not name the next key.") from None
    if rotation.origin != proven.checkpoint.origin:
        raise BadNote("The event is about another key than the one that signed it.")
    found = tuple(key for former in proven.signers for key in _following(rotation, former))
    if not found:
        raise BadNote("The event does not name the next key of this type.")
    return found


def followed_keys(keys: Iterable[VerifierKey], rotations: Sequence[str]) -> tuple[VerifierKey, ...]:
    """These keys, and those that followed them by the proofs of their announcements, in the order of the rotations.
    Raises BadNote."""
    found = tuple(keys)
    for text in rotations:
        found += verify_rotation(text, found)
    return found


def _following(rotation: _Rotation, former: VerifierKey) -> tuple[VerifierKey, ...]:
    """The key that an announcement names to follow this one, if it does."""
    named = rotation.new_ml_dsa_key if former.type is KeyType.COSIGNATURE_MLDSA44 else rotation.new_key
    if named is None:
        return ()
    key = parse_verifier_key(named)
    if key.type is not former.type or key.name != rotation.new_origin or key.name == rotation.origin:
        raise BadNote("The next key is not that of the next origin.")
    return (key,)


def is_object(payload: bytes) -> bool:
    """Whether these bytes are a JSON object in UTF-8."""
    try:
        payload.decode()
        msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return False
    return True

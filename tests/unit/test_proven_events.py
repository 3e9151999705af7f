"""What a proof of an event must show before it is believed."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.test_merkle import root_of
from whence import proven_events
from whence.checkpoints import Checkpoint, LogProof, sign_checkpoint, verify_proof
from whence.merkle import leaf_hash
from whence.notes import BadNote, NoteSigner
from whence.proven_events import verify_event
from whence.wire.seals import decode_evidence, encode_evidence

SIGNER = NoteSigner("log.example/acme/1", sha256(b"whence test vector key 1").digest())
SALT, PAYLOAD = bytes(range(16)), b'{"n":1}'


def envelope(number: int, payload: bytes = PAYLOAD) -> bytes:
    """An envelope, written without the code that writes them."""
    members = {"actorId": "ana", "actorType": "user", "causationId": None, "correlationId": "c", "eventType": "a.done"}
    members |= {"id": f"event-{number}", "occurredAt": "2026-01-02T03:04:05.000000Z", "outcome": "none"}
    members |= {"payloadHash": sha256(SALT + payload).hexdigest(), "recordedAt": "2026-01-02T03:04:05.120000Z"}
    members |= {"resourceId": "r", "resourceType": "decision", "tenantId": "acme", "v": 1}
    return json.dumps(members, separators=(",", ":")).encode()


ENVELOPES = [envelope(number) for number in range(3)]
LEAVES = [leaf_hash(each) for each in ENVELOPES]
NOTE = sign_checkpoint(Checkpoint(SIGNER.key.name, 3, root_of(LEAVES)), SIGNER)


def proof(number: int = 1, of: int = 1, salt: bytes | None = SALT, payload: bytes | None = PAYLOAD) -> LogProof:
    """The proof of an event, with the evidence of perhaps another one."""
    hashes = {0: (LEAVES[1], LEAVES[2]), 1: (LEAVES[0], LEAVES[2])}[number]
    return LogProof(number, hashes, NOTE, encode_evidence(ENVELOPES[of], salt, payload))


def _unhashed(_data: bytes = b"") -> Any:
    class Digest:
        @staticmethod
        def hexdigest() -> str:
            return sha256(SALT + PAYLOAD).hexdigest()

    return Digest()


_real_verify = verify_proof


def _any_event(proof_: LogProof, _leaf: bytes, keys: Any, witnesses: Any) -> Any:
    """Mutant: the proof is checked for the leaf of the event that it should be about."""
    return _real_verify(proof_, LEAVES[proof_.index], keys, witnesses)


def test_a_proven_event_is_shown() -> None:
    """With its place, its checkpoint, and the payload that was stored."""
    found = verify_event(str(proof()), [SIGNER.key])
    assert (found.id, found.tenant_id, found.position, found.payload) == ("event-1", "acme", 2, PAYLOAD)
    assert found.checkpoint == (SIGNER.key.name, 3, root_of(LEAVES))
    assert decode_evidence(encode_evidence(b"e", None, None)) == (b"e", None, None)
    assert verify_event(str(proof(salt=None, payload=None)), [SIGNER.key]).payload is None


@catches(replaced(proven_events, "verify_proof", _any_event, "accepts_a_proof_of_another_event"))
def test_the_proof_of_another_event_is_refused() -> None:
    """The evidence has to be that of the leaf which is proven."""
    for other in (0, 2):
        with pytest.raises(BadNote, match="not in the log"):
            verify_event(str(proof(of=other)), [SIGNER.key])


@catches(replaced(proven_events, "sha256", _unhashed, "accepts_any_payload"))
def test_another_payload_is_refused() -> None:
    """And another salt, or one without the other."""
    with pytest.raises(BadNote, match="payload is not the one"):
        verify_event(str(proof(payload=b'{"n":2}')), [SIGNER.key])
    for salt, payload in ((SALT, None), (None, PAYLOAD)):
        with pytest.raises(BadNote, match="without its salt"):
            verify_event(str(proof(salt=salt, payload=payload)), [SIGNER.key])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("extra ", "extra e"), "base64"),
        (lambda text: text.replace("index 1", "index 0"), "not in the log"),
        (lambda text: text.replace("\n3\n", "\n4\n"), "not valid"),
        (lambda _: str(LogProof(1, (), NOTE)), "lacks"),
        (lambda _: str(LogProof(1, (), NOTE, b"[]")), "cannot be read"),
        (lambda _: str(LogProof(1, (), NOTE, encode_evidence(b"no JSON", None, None))), "cannot be read"),
        (lambda _: str(LogProof(1, (), NOTE, b'{"envelope":"?","payload":null,"salt":null}')), "cannot be read"),
    ],
)
def test_whatever_proves_nothing_is_refused(change: Callable[[str], str], sentence: str) -> None:
    """With a sentence that says why."""
    with pytest.raises(BadNote, match=sentence):
        verify_event(change(str(proof())), [SIGNER.key])


def test_an_unknown_key_proves_nothing() -> None:
    """Only the given keys count."""
    with pytest.raises(BadNote):
        verify_event(str(proof()), [NoteSigner(SIGNER.key.name, bytes(32)).key])


def test_every_flipped_bit_is_refused() -> None:
    """No bit of index, hash, evidence, size, root or signature can be changed without the claim being refused."""
    text = str(proof())
    accepted = []
    for at in range(len(text)):
        for bit in (0, 3, 5):
            changed = text[:at] + chr(ord(text[at]) ^ (1 << bit)) + text[at + 1 :]
            try:
                found = verify_event(changed, [SIGNER.key])
            except BadNote:
                continue
            if (found.id, found.position, found.payload, found.checkpoint.size) != ("event-1", 2, PAYLOAD, 3):
                accepted.append(changed)
    assert not accepted

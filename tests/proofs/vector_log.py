"""The log of the test vectors in `verifier/vectors`: its events, leaves and proofs, by the definitions of docs/proof.md
and RFC 6962 alone. Nothing here uses the code that is tested, but the signer of notes."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256

from whence.notes import KeyType, NoteSigner, VerifierKey

ORIGIN = "log.example/acme/1"
SIGNER = NoteSigner(ORIGIN, sha256(b"whence test vector key 1").digest())
KEY = str(SIGNER.key)
SIZE = 70_000
COSIGNED_AT_S = 1_767_323_045
START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True)
class MadeEvent:
    """An event as it was stored: the members of its envelope without the hash, the salt, and the payload as JSON."""

    members: Mapping[str, str | None]
    salt: bytes
    payload: str

    @property
    def envelope(self) -> bytes:
        """The bytes that the leaf is the hash of."""
        return envelope_text({**self.members, "payloadHash": self.payload_hash, "v": 1}).encode()

    @property
    def payload_hash(self) -> str:
        return sha256(self.salt + self.payload.encode()).hexdigest()


def envelope_text(members: Mapping[str, str | int | None]) -> str:
    return json.dumps(dict(sorted(members.items())), ensure_ascii=False, separators=(",", ":"))


SPECIAL: dict[int, tuple[dict[str, str | None], str]] = {
    1: ({"actorId": "Ana 👩🏽‍💻", "correlationId": "bestellung-🧾"}, '{"text":"👍 naïve Ω","line":"a\u2028b\u2029c"}'),
    2: ({"actorId": 'the "quoted" \\ one', "causationId": None}, '{"quote":"\\"","slash":"\\/","unit":"\\u0000"}'),
    3: (
        {"causationId": "a cause that is a text, and no UUID", "outcome": "failure"},
        '{"big":9007199254740993,"e":1E2}',
    ),
    4: ({"actorId": "C:\\ud800", "correlationId": "\x7f \u0085 \ufeff"}, "{}"),
    5: ({"actorType": "user", "eventType": "decision.approved"}, '{"person":"erased later"}'),
    6: ({"actorId": "<img src=x onerror=alert(1)>"}, '{"a":"<script>alert(1)</script>","b":"\u202eright to left"}'),
}
"""What differs in some of the events, by index. Number 5 is the one whose payload is erased."""

ERASED = 5


def time_of(index: int, more_us: int = 0) -> str:
    """Events are a millisecond apart."""
    return (START + timedelta(milliseconds=index, microseconds=more_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def id_of(index: int) -> str:
    return f"01941f29-0000-7000-8000-{index:012x}"


def made_event(index: int) -> MadeEvent:
    """The event with this index, from 0."""
    members: dict[str, str | None] = {
        "actorId": f"agent-{index % 7}",
        "actorType": "agent",
        "causationId": id_of(index - 1) if index % 2 else None,
        "correlationId": f"run-{index // 10}",
        "eventType": "action_run.completed",
        "id": id_of(index),
        "occurredAt": time_of(index),
        "outcome": "success",
        "recordedAt": time_of(index, 120_000),
        "resourceId": f"5b0c3bd0-6f5d-4ef4-8d0c-{index:012x}",
        "resourceType": "action_run",
        "tenantId": "acme",
    }
    changed, payload = SPECIAL.get(index, ({}, f'{{"n":{index}}}'))
    salt = sha256(f"salt {index}".encode()).digest()[:16]
    return MadeEvent({**members, **changed}, salt, payload)


def leaf_of(envelope: bytes) -> bytes:
    return sha256(b"\x00" + envelope).digest()


class Tree:
    """The Merkle tree of leaves, by the recursive definition of RFC 6962, section 2.1."""

    def __init__(self, leaf: Callable[[int], bytes]) -> None:
        """`leaf` returns the leaf at an index. It is called for those alone that are asked about."""
        self.leaf = cache(leaf)
        self.root = cache(self._root)

    def _root(self, first: int, end: int) -> bytes:
        if first == end:
            return sha256().digest()
        if end - first == 1:
            return self.leaf(first)
        split = first + _split(end - first)
        return sha256(b"\x01" + self.root(first, split) + self.root(split, end)).digest()

    def path(self, index: int, first: int, end: int) -> list[bytes]:
        """PATH of section 2.1.1."""
        if end - first <= 1:
            return []
        split = first + _split(end - first)
        if index < split:
            return [*self.path(index, first, split), self.root(split, end)]
        return [*self.path(index, split, end), self.root(first, split)]

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """PROOF of section 2.1.2."""
        return self._subproof(older, 0, newer, whole=True) if 0 < older < newer else []

    def _subproof(self, older: int, first: int, end: int, *, whole: bool) -> list[bytes]:
        if older == end:
            return [] if whole else [self.root(first, end)]
        split = first + _split(end - first)
        if older <= split:
            return [*self._subproof(older, first, split, whole=whole), self.root(split, end)]
        return [*self._subproof(older, split, end, whole=False), self.root(first, split)]


def _split(size: int) -> int:
    """The largest power of two that is less than the size."""
    return 1 << ((size - 1).bit_length() - 1)


@cache
def whole_tree() -> Tree:
    """The tree of all 70,000 events."""
    return Tree(lambda index: leaf_of(made_event(index).envelope))


def checkpoint_text(size: int, root: bytes, origin: str = ORIGIN) -> str:
    return f"{origin}\n{size}\n{b64(root)}\n"


def signed(text: str, signer: NoteSigner = SIGNER) -> str:
    """A text as a note."""
    return f"{text}\n{line_of(signer, text)}"


def line_of(signer: NoteSigner, text: str) -> str:
    """The signature line of a text."""
    made = signer.sign(text)
    return f"— {made.name} {b64(made.key_id + made.signature)}\n"


def note_of(size: int) -> str:
    """The checkpoint of the first events."""
    return signed(checkpoint_text(size, whole_tree().root(0, size)))


def extra_of(envelope: bytes, salt: bytes | None, payload: bytes | None) -> str:
    parts = {"envelope": envelope, "payload": payload, "salt": salt}
    return json.dumps({k: None if v is None else b64(v) for k, v in parts.items()}, separators=(",", ":"))


def proof_text(index: int, hashes: list[bytes], note: str, extra: str) -> str:
    lines = ["c2sp.org/tlog-proof@v1", f"extra {b64(extra.encode())}", f"index {index}", *map(b64, hashes), "", note]
    return "\n".join(lines)


def proof_of(index: int, size: int, *, note: str | None = None) -> str:
    """The proof of an event in the log of this size, as the server would answer with it."""
    event = made_event(index)
    is_erased = index == ERASED
    extra = extra_of(event.envelope, *((None, None) if is_erased else (event.salt, event.payload.encode())))
    return proof_text(index, whole_tree().path(index, 0, size), note or note_of(size), extra)


class Witness:
    """A witness that cosigns by Ed25519 (0x04), with the key of a seed."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._signer = NoteSigner(name, seed)
        self.key = VerifierKey(name, KeyType.COSIGNATURE_ED25519, self._signer.key.public)

    def line(self, text: str) -> str:
        """The line under the text of a checkpoint."""
        message = f"cosignature/v1\ntime {COSIGNED_AT_S}\n{text}"
        signature = COSIGNED_AT_S.to_bytes(8) + self._signer.sign(message).signature
        return f"— {self.key.name} {b64(self.key.id + signature)}\n"


WITNESS = Witness("witness.example/w1", sha256(b"whence test vector witness 1").digest())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()

"""Checkpoints of a log, the cosignatures of witnesses, and proofs that can be checked offline. Pure.

A checkpoint is a note of three lines: the origin, the size and the root. A proof is a text that carries one, with the
place of an event and the hashes from its leaf to the root.

Sources: C2SP tlog-checkpoint 1.0.0, tlog-cosignature 1.0.1 and tlog-proof, https://c2sp.org/tlog-checkpoint
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from whence.merkle import HASH_SIZE
from whence.merkle_proofs import is_included
from whence.notes import (
    ED25519_BYTES,
    BadNote,
    KeyType,
    Note,
    NoteSignature,
    NoteSigner,
    VerifierKey,
    check_name,
    decode_base64,
    encode_base64,
    parse_note,
    verified_keys,
    verify_bytes,
)

__all__ = [
    "COSIGNED_NAME_BYTES_MAX",
    "PROOF_BYTES_MAX",
    "Checkpoint",
    "Cosigner",
    "LogProof",
    "VerifiedCheckpoint",
    "cosignature_of",
    "cosigned_at",
    "cosigned_message",
    "parse_checkpoint",
    "parse_proof",
    "sign_checkpoint",
    "verify_checkpoint",
    "verify_proof",
]

PROOF_BYTES_MAX = 1024 * 1024
"""The longest proof that is read, in bytes. The largest payload fits, and a note of the largest size."""

COSIGNED_NAME_BYTES_MAX = 255
"""The longest name of a witness, and of a log that it cosigns by ML-DSA-44, in bytes."""

_COSIGNING = (KeyType.COSIGNATURE_ED25519, KeyType.COSIGNATURE_MLDSA44)
_PROOF_HEAD = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_SIZE_MAX = 2**63 - 1
_PATH_MAX = 63
_TIME_BYTES = 8
_MLDSA44_BYTES = 2420
_MLDSA_LABEL = b"subtree/v1\n\x00"


class Checkpoint(NamedTuple):
    """The state of a log: its origin, how many leaves it has, and its root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"


class VerifiedCheckpoint(NamedTuple):
    """A checkpoint, with the keys of the log that signed it and the witnesses that cosigned it, of those that were
    known."""

    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...]


class LogProof(msgspec.Struct, frozen=True):
    """That a leaf is number `index`, from 0, of the log whose checkpoint is `note`; see `verify_proof`.

    `extra` is what the leaf is made from. It is not authenticated by itself.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def __str__(self) -> str:
        """The proof as it is sent and kept."""
        extra = [] if self.extra is None else [f"extra {encode_base64(self.extra)}"]
        lines = [_PROOF_HEAD, *extra, f"index {self.index}", *map(encode_base64, self.hashes), "", self.note]
        return "\n".join(lines)


class Cosigner:
    """Cosigns checkpoints as a witness, by Ed25519 (type 0x04) or by ML-DSA-44 (type 0x06). A log signs its own by the
    latter in the same way."""

    def __init__(self, name: str, seed: bytes, type_: KeyType = KeyType.COSIGNATURE_ED25519) -> None:
        """Load the key of a 32-byte seed. Raises BadNote for an unusable name."""
        check_name(name)
        if len(name.encode()) > COSIGNED_NAME_BYTES_MAX:
            raise BadNote(f"The name of a witness has at most {COSIGNED_NAME_BYTES_MAX} bytes.")
        self._seed = seed
        self._private: Ed25519PrivateKey | MLDSA44PrivateKey
        if type_ is KeyType.COSIGNATURE_MLDSA44:
            self._private = MLDSA44PrivateKey.from_seed_bytes(seed)
        else:
            self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = VerifierKey(name, type_, self._private.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> "Cosigner":
        """The cosigner of `PRIVATE+KEY+name+id+base64`, as Go's package note writes private keys. Raises BadNote."""
        prefix, private, name, key_id, encoded = (*text.split("+", 4), "", "", "", "")[:5]
        seed = decode_base64(encoded)
        if (prefix, private) != ("PRIVATE", "KEY") or len(seed) != 33 or seed[0] not in _COSIGNING:
            raise BadNote("This is not the private key of a witness.")
        found = cls(name, seed[1:], KeyType(seed[0]))
        if found.key.id.hex() != key_id:
            raise BadNote("The id of the key does not belong to it.")
        return found

    @property
    def private_text(self) -> str:
        """The private key as text; see `parse`."""
        encoded = encode_base64(bytes([self.key.type]) + self._seed)
        return f"PRIVATE+KEY+{self.key.name}+{self.key.id.hex()}+{encoded}"

    def cosign(self, checkpoint: Checkpoint, time_s: int) -> NoteSignature:
        """The cosignature of a checkpoint at a time in seconds since 1970."""
        message = cosigned_message(self.key, checkpoint, time_s)
        return NoteSignature(self.key.name, self.key.id, time_s.to_bytes(_TIME_BYTES) + self._private.sign(message))


def sign_checkpoint(
    checkpoint: Checkpoint, *signers: NoteSigner, cosigners: Iterable[Cosigner] = (), time_s: int = 0
) -> str:
    """The checkpoint as a note that each of the signers has signed, and each of the cosigners, at a time in seconds
    since 1970."""
    text = checkpoint.text
    signatures = [signer.sign(text) for signer in signers]
    signatures += [cosigner.cosign(checkpoint, time_s) for cosigner in cosigners]
    return str(Note(text, tuple(signatures)))


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in the text of a note. Raises BadNote for what is none, and for one with further lines."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise BadNote("A checkpoint has three lines: origin, size and root.")
    origin, size, root = lines[:3]
    if not origin:
        raise BadNote("The origin of a checkpoint is not empty.")
    if len(size) > len(str(_SIZE_MAX)) or not _NUMBER.fullmatch(size) or int(size) > _SIZE_MAX:
        raise BadNote("The size of a checkpoint is a decimal number.")
    decoded = decode_base64(root)
    if len(decoded) != HASH_SIZE:
        raise BadNote(f"The root of a checkpoint has {HASH_SIZE} bytes.")
    return Checkpoint(origin, int(size), decoded)


def verify_checkpoint(
    data: bytes, keys: Iterable[VerifierKey], witnesses: Iterable[VerifierKey] = ()
) -> VerifiedCheckpoint:
    """The checkpoint of a note that one of `keys` signed, which has the origin as its name.

    Raises BadNote if it is malformed, if none of the keys signed it, or if a line of a known key or witness does not
    verify.
    """
    note = parse_note(data)
    checkpoint = parse_checkpoint(note.text)
    own = [key for key in keys if key.name == checkpoint.origin]
    if not own:
        raise BadNote("The checkpoint is of another log, or of another epoch of it: no key is known for its origin.")
    signers = verified_keys(note, own, _is_signed_or_cosigned)
    others = tuple(witnesses)
    named = {(signature.name, signature.key_id) for signature in note.signatures}
    cosigned = any((key.name, key.id) in named for key in others)
    found = verified_keys(note, others, _is_signed_or_cosigned) if cosigned else []
    return VerifiedCheckpoint(checkpoint, tuple(signers), tuple(found))


def cosignature_of(checkpoint: Checkpoint, lines: bytes, key: VerifierKey) -> NoteSignature:
    """The cosignature by this key among signature lines, as a witness answers with them. Lines of other keys are passed
    over. Raises BadNote if there is none, if one by the key is not valid, or if it has no time."""
    note = parse_note(checkpoint.text.encode() + b"\n" + lines)
    if note.text != checkpoint.text:
        raise BadNote("The answer has more than signature lines.")
    verified_keys(note, [key], _is_signed_or_cosigned)
    own = [each for each in note.signatures if (each.name, each.key_id) == (key.name, key.id)]
    if not any(own[0].signature[:_TIME_BYTES]):
        raise BadNote("The cosignature has no time.")
    return own[0]


def cosigned_at(note: str, key: VerifierKey) -> int:
    """When a witness cosigned a checkpoint that was verified, in seconds since 1970, as it says: the latest time, if it
    did so more than once. Raises ValueError unless it did."""
    own = [each for each in parse_note(note.encode()).signatures if (each.name, each.key_id) == (key.name, key.id)]
    return max(int.from_bytes(each.signature[:_TIME_BYTES]) for each in own)


def cosigned_message(key: VerifierKey, checkpoint: Checkpoint, time_s: int) -> bytes:
    """The bytes that a witness with this key signs at this time, in seconds since 1970."""
    if key.type is KeyType.COSIGNATURE_ED25519:
        return f"cosignature/v1\ntime {time_s}\n{checkpoint.text}".encode()
    name, origin = key.name.encode(), checkpoint.origin.encode()
    if max(len(name), len(origin)) > COSIGNED_NAME_BYTES_MAX:
        raise BadNote(f"The name of a cosigner, and an origin, have at most {COSIGNED_NAME_BYTES_MAX} bytes.")
    return b"".join(
        (
            _MLDSA_LABEL,
            bytes([len(name)]) + name,
            time_s.to_bytes(_TIME_BYTES),
            bytes([len(origin)]) + origin,
            (0).to_bytes(8),
            checkpoint.size.to_bytes(8),
            checkpoint.root,
        )
    )


def parse_proof(text: str) -> LogProof:
    """The parts of a proof. Raises BadNote for what is none; nothing is verified."""
    if len(text) > PROOF_BYTES_MAX:
        raise BadNote(f"The proof is longer than {PROOF_BYTES_MAX:,} bytes.")
    head, blank, note = text.partition("\n\n")
    if not blank:
        raise BadNote("A proof has a blank line before its checkpoint.")
    first, *lines = head.split("\n")
    if first != _PROOF_HEAD:
        raise BadNote(f"A proof begins with {_PROOF_HEAD}.")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "))
    number = lines.pop(0).removeprefix("index ") if lines and lines[0].startswith("index ") else ""
    if len(number) > len(str(_SIZE_MAX)) or not _NUMBER.fullmatch(number):
        raise BadNote("A proof has the index of its event, as a decimal number.")
    if len(lines) > _PATH_MAX:
        raise BadNote(f"A proof has at most {_PATH_MAX} hashes.")
    hashes = tuple(decode_base64(line) for line in lines)
    if any(len(each) != HASH_SIZE for each in hashes):
        raise BadNote(f"Each hash of a proof has {HASH_SIZE} bytes.")
    return LogProof(int(number), hashes, note, extra)


def verify_proof(
    proof: LogProof, leaf: bytes, keys: Iterable[VerifierKey], witnesses: Sequence[VerifierKey] = ()
) -> VerifiedCheckpoint:
    """The checkpoint under which the leaf with this hash is proven to be in the log.

    Raises BadNote if the checkpoint is not signed by a known key, or if the hashes do not lead to its root.
    """
    verified = verify_checkpoint(proof.note.encode(), keys, witnesses)
    checkpoint = verified.checkpoint
    if not is_included(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root):
        raise BadNote(
            "The event is not in the log at this place: its hashes do not lead to the root of the checkpoint."
        )
    return verified


def _is_signed_or_cosigned(key: VerifierKey, note: Note, signature: bytes) -> bool:
    if key.type is KeyType.ED25519:
        return verify_bytes(key, note.text.encode(), signature)
    length = _MLDSA44_BYTES if key.type is KeyType.COSIGNATURE_MLDSA44 else ED25519_BYTES
    if len(signature) != _TIME_BYTES + length:
        return False
    time_s = int.from_bytes(signature[:_TIME_BYTES])
    if time_s > _SIZE_MAX:
        return False
    message = cosigned_message(key, parse_checkpoint(note.text), time_s)
    return verify_bytes(key, message, signature[_TIME_BYTES:])

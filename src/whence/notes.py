"""Signed notes: a text, and lines of signatures below it. Pure.

A signature line names its key by a name and a short id. Lines of unknown keys mean nothing and are passed over; a line
of a known key has to verify, or the whole note is refused. Base64 is accepted in its canonical form alone, so that a
note cannot be changed in any bit of a known signature.

Sources: C2SP signed-note 1.0.0, https://c2sp.org/signed-note; C2SP tlog-cosignature 1.0.1, for the types 0x04 and 0x06.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from enum import IntEnum
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

__all__ = [
    "ED25519_BYTES",
    "NOTE_BYTES_MAX",
    "BadNote",
    "KeyType",
    "Note",
    "NoteSignature",
    "NoteSigner",
    "VerifierKey",
    "check_name",
    "decode_base64",
    "encode_base64",
    "parse_note",
    "parse_verifier_key",
    "signature_line",
    "verified_keys",
    "verify_bytes",
]

NOTE_BYTES_MAX = 256 * 1024
"""The longest note that is read, in bytes. Forty signatures by ML-DSA-44 fit."""

ED25519_BYTES = 64
"""Bytes in a signature by Ed25519."""

_SIGNATURES_MAX = 100
_KEY_ID_BYTES = 4
_DASH = "\N{EM DASH} "
_SPACE = re.compile(r"\s")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class BadNote(ValueError):
    """A note or a key that is not well-formed, or that a known key did not sign. The message says which."""


class KeyType(IntEnum):
    """What a key signs, and by which algorithm; the byte is part of the key's id."""

    ED25519 = 0x01
    COSIGNATURE_ED25519 = 0x04
    COSIGNATURE_MLDSA44 = 0x06


_PUBLIC_BYTES = {KeyType.ED25519: 32, KeyType.COSIGNATURE_ED25519: 32, KeyType.COSIGNATURE_MLDSA44: 1312}


class VerifierKey(NamedTuple):
    """A public key with the name that it signs under."""

    name: str
    type: KeyType
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        """The key as text: `name+id+base64`."""
        return f"{self.name}+{self.id.hex()}+{encode_base64(bytes([self.type]) + self.public)}"


class NoteSignature(NamedTuple):
    """One signature line."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """A text, which ends with a newline, and its signatures. Nothing about it is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        """The note as it is sent and kept."""
        lines = (signature_line(each) for each in self.signatures)
        return f"{self.text}\n{''.join(lines)}"


class NoteSigner:
    """Signs notes by Ed25519 (type 0x01) under one name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """Load the key of a 32-byte seed. Raises BadNote for an unusable name."""
        check_name(name)
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = VerifierKey(name, KeyType.ED25519, self._private.public_key().public_bytes_raw())
        self._key_id = self.key.id

    def sign(self, text: str) -> NoteSignature:
        """The signature of a note's text, which ends with a newline."""
        _check_text(text)
        return NoteSignature(self.key.name, self._key_id, self._private.sign(text.encode()))


def signature_line(signature: NoteSignature) -> str:
    """A signature as the line that stands in a note, with its newline."""
    return f"{_DASH}{signature.name} {encode_base64(signature.key_id + signature.signature)}\n"


def parse_verifier_key(text: str) -> VerifierKey:
    """The key of `name+id+base64`. Raises BadNote if it is malformed, or of a type that is not known here."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    check_name(name)
    decoded = decode_base64(encoded)
    try:
        type_ = KeyType(decoded[0])
    except (IndexError, ValueError):
        raise BadNote("The key is of a type that is not known.") from None
    key = VerifierKey(name, type_, decoded[1:])
    if len(key.public) != _PUBLIC_BYTES[type_]:
        raise BadNote("The key has the wrong length for its type.")
    if key_id != key.id.hex():
        raise BadNote("The id of the key does not belong to it.")
    return key


def parse_note(data: bytes) -> Note:
    """The parts of a note. Raises BadNote for what is none; no signature is verified."""
    if len(data) > NOTE_BYTES_MAX:
        raise BadNote(f"The note is longer than {NOTE_BYTES_MAX:,} bytes.")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise BadNote("The note is not valid UTF-8.") from None
    if _CONTROL.search(whole):
        raise BadNote("The note has a control character.")
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n"):
        raise BadNote("The note has no signatures: a blank line, then a line for each.")
    lines = whole[at + 2 :].split("\n")[:-1]
    if not lines or len(lines) > _SIGNATURES_MAX:
        raise BadNote(f"A note has from 1 to {_SIGNATURES_MAX} signatures.")
    return Note(whole[: at + 1], tuple(_parse_line(line) for line in lines))


def verified_keys(
    note: Note, keys: Iterable[VerifierKey], verify: Callable[[VerifierKey, Note, bytes], bool] | None = None
) -> list[VerifierKey]:
    """Those of `keys` that signed the note, in the order of its lines.

    `verify` says whether a signature is that of a key; by default keys of type 0x01 sign the text. Raises BadNote if
    a line that names one of the keys does not verify, or if none of the keys has signed.
    """
    known = {(key.name, key.id): key for key in keys}
    signed = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not (verify or _signs_text)(key, note, signature.signature):
            raise BadNote("The note's signature by a known key is not valid.")
        if key not in signed:
            signed.append(key)
    if not signed:
        raise BadNote("None of the known keys has signed the note.")
    return signed


def verify_bytes(key: VerifierKey, message: bytes, signature: bytes) -> bool:
    """Whether the key signed these bytes."""
    try:
        if key.type is KeyType.COSIGNATURE_MLDSA44:
            MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes:
    """The bytes of canonical base64. Raises BadNote for every other spelling of them, too."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadNote("This is not valid base64.") from None
    if encode_base64(data) != text:
        raise BadNote("This is not canonical base64.")
    return data


def _signs_text(key: VerifierKey, note: Note, signature: bytes) -> bool:
    return key.type is KeyType.ED25519 and verify_bytes(key, note.text.encode(), signature)


def _parse_line(line: str) -> NoteSignature:
    dash, name, encoded = line[: len(_DASH)], *line[len(_DASH) :].partition(" ")[::2]
    if dash != _DASH:
        raise BadNote("A signature line begins with an em dash and a space.")
    check_name(name)
    decoded = decode_base64(encoded)
    if len(decoded) <= _KEY_ID_BYTES:
        raise BadNote("A signature line has the id of its key, and a signature.")
    return NoteSignature(name, decoded[:_KEY_ID_BYTES], decoded[_KEY_ID_BYTES:])


def check_name(name: str) -> None:
    """Raise BadNote for a text that is no name of a key."""
    if not name or "+" in name or _SPACE.search(name) or _CONTROL.search(name):
        raise BadNote("The name of a key is not empty, and has neither spaces nor a plus.")


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise BadNote("The text of a note ends with a newline, and has no other control character.")

"""What a log and a witness say to each other: the request for a cosignature, and how it is judged. Pure.

    old 20852014               the size that the witness cosigned last, as the log believes
    PlRNCrwHpqhGrupue0L7…      the consistency proof from that size, a hash a line
                               (an empty line)
    example.com/…              the checkpoint, signed by the log

Source: C2SP tlog-witness 1.0.0, https://c2sp.org/tlog-witness
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from whence.checkpoints import Checkpoint, parse_checkpoint, verify_checkpoint
from whence.merkle import EMPTY_ROOT, HASH_SIZE
from whence.merkle_proofs import is_consistent
from whence.notes import NOTE_BYTES_MAX, BadNote, VerifierKey, decode_base64, encode_base64, parse_note

__all__ = [
    "ADD_CHECKPOINT",
    "REQUEST_BYTES_MAX",
    "SIZE_MEDIA",
    "AddCheckpoint",
    "Refusal",
    "encode_request",
    "judge",
    "origin_hash",
    "parse_request",
    "parse_size",
]

ADD_CHECKPOINT = "/add-checkpoint"
"""What is added to the URL of a witness."""

SIZE_MEDIA = "text/x.tlog.size"
"""The content type of a 409, whose body is the size that the witness cosigned last."""

_HASHES_MAX = 63
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")

REQUEST_BYTES_MAX = NOTE_BYTES_MAX + 4096
"""The longest request, in bytes: a note, 63 hashes and a size."""


class AddCheckpoint(NamedTuple):
    """A request for a cosignature. Nothing about it is verified but its form."""

    old: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: bytes


class Refusal(NamedTuple):
    """Why a witness does not cosign: an HTTP status and a sentence. `size` is what it cosigned last, for a 409."""

    status: int
    sentence: str
    size: int | None = None


def encode_request(old: int, hashes: Iterable[bytes], note: str) -> bytes:
    """The request that this checkpoint be cosigned, with the proof that it extends the one of size `old`."""
    return "\n".join([f"old {old}", *map(encode_base64, hashes), "", note]).encode()


def parse_request(data: bytes) -> AddCheckpoint:
    """The parts of a request. Raises BadNote for what is none."""
    if len(data) > REQUEST_BYTES_MAX:
        raise BadNote("The request is too long.")
    head, blank, note = data.partition(b"\n\n")
    if not blank:
        raise BadNote("A request has an empty line before its checkpoint.")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadNote("The lines before the checkpoint are ASCII.") from None
    found = _OLD.fullmatch(first)
    if found is None:
        raise BadNote("A request begins with 'old' and a size.")
    if len(lines) > _HASHES_MAX:
        raise BadNote(f"A consistency proof has at most {_HASHES_MAX} hashes.")
    hashes = tuple(decode_base64(line) for line in lines)
    if any(len(each) != HASH_SIZE for each in hashes):
        raise BadNote(f"Each hash of a consistency proof has {HASH_SIZE} bytes.")
    return AddCheckpoint(int(found[1]), hashes, parse_checkpoint(parse_note(note).text), note)


def judge(asked: AddCheckpoint, keys: Sequence[VerifierKey], last: Checkpoint | None) -> Refusal | None:
    """Why a witness must not cosign what is asked for, or None. `keys` are those of the logs that it knows, and `last`
    is what it cosigned last for the origin."""
    new = asked.checkpoint
    own = [key for key in keys if key.name == new.origin]
    if not own:
        return Refusal(404, "This witness does not know the log.")
    try:
        verify_checkpoint(asked.note, own)
    except BadNote:
        return Refusal(403, "The checkpoint is not signed by a key of the log that this witness trusts.")
    if asked.old > new.size:
        return Refusal(400, "The old size is larger than that of the checkpoint.")
    size, root = (0, EMPTY_ROOT) if last is None else (last.size, last.root)
    if asked.old != size:
        return Refusal(409, "The old size is not that of the last checkpoint that this witness cosigned.", size)
    if new.size == 0 and new.root != EMPTY_ROOT:
        return Refusal(422, "The root of an empty log is another one.")
    if not is_consistent(size, new.size, asked.hashes, root, new.root):
        return Refusal(422, "The checkpoint is not proven to extend the last one that this witness cosigned.")
    return None


def parse_size(body: bytes) -> int | None:
    """The size in the body of a 409, or None for another body."""
    found = _SIZE.fullmatch(body)
    return None if found is None else int(found[1])


def origin_hash(origin: str) -> str:
    """The name of a log in the URL of its checkpoint at a witness."""
    return sha256(origin.encode()).hexdigest()

"""What a server says of its own log, checked: checkpoints by their signature, and that one extends another. `Watch`
finds out when they contradict each other, and what shows it."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from whence.checkpoints import Checkpoint, verify_checkpoint
from whence.client import ApiRequest, Whence, error_of, parse_body
from whence.errors import Invalid, NotFound, Unsound
from whence.merkle_proofs import is_consistent
from whence.notes import BadNote, KeyType, VerifierKey, decode_base64, encode_base64, parse_verifier_key
from whence.permissions import key_hash
from whence.tiles import Tile
from whence.wire.seals import ConsistencyBody, LogKeysBody

__all__ = [
    "KEY_AS_TEXT",
    "CheckedLog",
    "Contradiction",
    "ContradictionEvidence",
    "Seen",
    "Watch",
    "given_key",
    "verified",
]


class Seen(NamedTuple):
    """A checkpoint that was verified, its note, and the log that answered with it."""

    checkpoint: Checkpoint
    note: str
    log: "CheckedLog"


class CheckedLog:
    """A log over HTTP. Nothing that it answers is believed without a check."""

    def __init__(self, whence: Whence, name: str = "") -> None:
        """`name` is what the log is called in evidence, such as its URL."""
        self.name = name
        self._whence = whence

    def keys(self) -> list[VerifierKey]:
        """The keys of the log by epoch, and with each the one by ML-DSA-44, if the server signs by that too. Raises
        Unsound if they cannot be read."""
        answer = parse_body(self._whence.send(ApiRequest(method="GET", path="/api/v1/log/key")), LogKeysBody)
        texts = (text for each in answer.keys for text in (each.key, each.ml_dsa_key) if text is not None)
        try:
            return [parse_verifier_key(text) for text in texts]
        except BadNote as error:
            raise Unsound(f"The server's key cannot be read. {error}") from None

    def key(self, type_: KeyType = KeyType.ED25519) -> VerifierKey | None:
        """The key of this type that is in use, None if there is none."""
        keys = self.keys()
        return next((key for key in keys if key.name == keys[-1].name and key.type is type_), None)

    def note(self, *, cosigned: bool = False) -> str:
        """The newest checkpoint as it came, or the newest with a quorum. Raises NotSealedYet before the first."""
        return self._whence.checkpoint(cosigned=cosigned)

    def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile, as they came."""
        answer = self._whence.send(ApiRequest(method="GET", path=f"/api/v1/log/tile/{tile.path}"))
        if answer.status >= 400:
            raise error_of(answer)
        return answer.body

    def bundle(self, tile: Tile) -> bytes | None:
        """The envelopes of the events of a tile of level 0, as they came; None if they are not all kept."""
        answer = self._whence.send(ApiRequest(method="GET", path=f"/api/v1/log/tile/{tile.entries_path}"))
        if answer.status >= 400:
            error = error_of(answer)
            if type(error) is NotFound:
                return None
            raise error
        return answer.body

    def consistency(self, older: int, newer: int) -> list[bytes]:
        """The hashes with which the server shows that the log of `newer` events extends that of `older`; none if its
        answer cannot be read."""
        query = (("from", str(older)), ("to", str(newer)))
        answer = self._whence.send(ApiRequest(method="GET", path="/api/v1/log/consistency", query=query))
        try:
            return [decode_base64(each) for each in parse_body(answer, ConsistencyBody).hashes]
        except (BadNote, Invalid):
            return []


KEY_AS_TEXT = 'Pass its text, as in "$(cat acme.key)".'
"""What to do with a key that is kept in a file."""


def given_key(text: str, flag: str = "--key") -> VerifierKey:
    """The key of an option. Raises Invalid for a text that is none."""
    if key_hash(text.strip()) is not None:
        raise Invalid.at(
            (), f"{flag} is the key of a log, as 'whence checkpoint key' prints it, and this is an API key."
        )
    try:
        return parse_verifier_key(text.strip())
    except BadNote as error:
        raise Invalid.at((), f"{flag} is not the key of a log. {error} {KEY_AS_TEXT}") from None


def verified(note: bytes, keys: Sequence[VerifierKey], what: str) -> Checkpoint:
    """The checkpoint of a note. Raises Unsound, with `what` as its subject, unless one of the keys signed it."""
    try:
        return verify_checkpoint(note, keys).checkpoint
    except BadNote as error:
        raise Unsound(f"{what} is not valid. {error}") from None


class NoteOf(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, and the server that it came from."""

    note: str
    server: str


class ContradictionEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What shows that a log contradicts itself: two checkpoints, and the proof that should have joined them."""

    consistency: ConsistencyBody
    newer: NoteOf
    older: NoteOf
    why: str


class Contradiction(Unsound):
    """Two checkpoints of a log do not fit together. `evidence` shows it."""

    def __init__(self, why: str, older: Seen, newer: Seen, hashes: Sequence[bytes]) -> None:
        super().__init__(why)
        self.evidence = ContradictionEvidence(
            consistency=ConsistencyBody(
                from_=older.checkpoint.size,
                hashes=[encode_base64(each) for each in hashes],
                to=newer.checkpoint.size,
            ),
            newer=NoteOf(note=newer.note, server=newer.log.name),
            older=NoteOf(note=older.note, server=older.log.name),
            why=why,
        )


class Watch:
    """Compares the checkpoints of a log, from one server or from several that should have the same."""

    def __init__(self, keys: Sequence[VerifierKey]) -> None:
        """`keys` are the only ones that are believed."""
        self._keys = keys
        self._largest: Seen | None = None
        self._last: dict[str, int] = {}

    def poll(self, log: CheckedLog) -> Checkpoint | None:
        """The checkpoint of a log if it is a new one. Raises Contradiction if it does not fit those that were seen, and
        Unsound if it is not signed."""
        note = log.note()
        checkpoint = verified(note.encode(), self._keys, "A checkpoint of the server")
        new, largest = Seen(checkpoint, note, log), self._largest
        if largest is not None:
            self._compare(largest, new)
        if largest is None or checkpoint.size > largest.checkpoint.size:
            self._largest = new
        before = self._last.get(log.name)
        self._last[log.name] = checkpoint.size
        return None if before == checkpoint.size else checkpoint

    def _compare(self, seen: Seen, new: Seen) -> None:
        """Raise Contradiction unless one of the two extends the other."""
        if seen.checkpoint.origin != new.checkpoint.origin:
            raise Contradiction("The log has another origin than before: it began anew.", seen, new, [])
        if new.checkpoint.size < self._last.get(new.log.name, 0):
            raise Contradiction("The log is shorter than it was.", new, seen, [])
        older, newer = sorted((seen, new), key=lambda each: each.checkpoint.size)
        sizes, roots = (older.checkpoint.size, newer.checkpoint.size), (older.checkpoint.root, newer.checkpoint.root)
        hashes = newer.log.consistency(*sizes) if sizes[0] != sizes[1] else []
        if not is_consistent(*sizes, hashes, *roots):
            why = "The log does not extend what it was: events that were counted before were changed or removed."
            raise Contradiction(why, older, newer, hashes)

"""The entries of a log: what its leaves are made of, one a line, as they are exported to be proven."""

import binascii
from base64 import b64decode, b64encode

import msgspec
from msgspec import Raw

from whence.events import Query, Vocabulary
from whence.merkle import HASH_SIZE
from whence.wire.bodies import WireBody
from whence.wire.parameters import INT_MAX
from whence.wire.query import QueryReader

__all__ = [
    "COMPLETE_WITHOUT_PAYLOADS",
    "EntriesRequest",
    "Entry",
    "LeafEntry",
    "decode_entry",
    "encode_entry",
    "parse_entries",
]


class Entry(msgspec.Struct, frozen=True):
    """What the leaf at a position is made of. `salt` and `payload` are None when the payload was erased or was not
    asked for."""

    position: int
    envelope: bytes
    salt: bytes | None
    payload: bytes | None


class LeafEntry(msgspec.Struct, frozen=True):
    """The leaf at a position, in place of what it was made of: the id of the event's actor was replaced."""

    position: int
    leaf: bytes


class EntriesRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are asked for: of the events that match, with positions up to `as_of`, which is None for all that
    are sealed. With `complete` those of all other events too, without their payloads."""

    query: Query
    as_of: int | None
    complete: bool


class _EntryBody(WireBody, frozen=True, kw_only=True):
    envelope: Raw
    leaf: str | None = None
    payload: Raw  # null where there is none
    position: int
    salt: str | None


COMPLETE_WITHOUT_PAYLOADS = (
    "A complete export has no payloads of other events, so nobody could apply a filter on values in payloads again. "
    "Leave out the filter, or export without complete."
)
"""Why a complete export has no filter on payloads, as a sentence."""

_NULL = b"null"
_decode = msgspec.json.Decoder(_EntryBody).decode


def encode_entry(entry: Entry | LeafEntry) -> bytes:
    """The entry as a line of JSON. Envelope and payload keep the bytes that are hashed."""
    if isinstance(entry, LeafEntry):
        line = b'{"envelope":null,"leaf":"%b","payload":null,"position":%d,"salt":null}\n'
        return line % (b64encode(entry.leaf), entry.position)
    salt = _NULL if entry.salt is None else b'"%b"' % b64encode(entry.salt)
    payload = _NULL if entry.payload is None else entry.payload
    return b'{"envelope":%b,"payload":%b,"position":%d,"salt":%b}\n' % (entry.envelope, payload, entry.position, salt)


def decode_entry(line: bytes) -> Entry | LeafEntry:
    """The entry of a line. Raises ValueError for a line that `encode_entry` does not make."""
    body = _decode(line)
    try:
        salt, leaf = (None if text is None else b64decode(text, validate=True) for text in (body.salt, body.leaf))
    except binascii.Error:
        raise ValueError("The salt or the leaf is not in base64.") from None
    payload = bytes(body.payload)
    entry: Entry | LeafEntry
    if leaf is None:
        entry = Entry(body.position, bytes(body.envelope), salt, None if payload == _NULL else payload)
    elif len(leaf) == HASH_SIZE:
        entry = LeafEntry(body.position, leaf)
    else:
        raise ValueError("The leaf is no hash.")
    if encode_entry(entry) != line:
        raise ValueError("The line is not in the form of an entry.")
    return entry


def parse_entries(query_string: bytes, *, now: int, vocabulary: Vocabulary) -> EntriesRequest:
    """Which entries are asked for. `now` is in microseconds. Raises `Invalid` with every problem."""
    reader = QueryReader("entries", now, vocabulary)
    values = reader.split(query_string)
    fields = reader.filters(values, {})
    since, _ = reader.time("from", values)
    until, _ = reader.time("to", values)
    as_of = reader.number("as_of", values, 0, INT_MAX, None)
    complete = reader.flag("complete", values)
    if complete and ("payload_values" in fields or "excluded_payload_values" in fields):
        reader.refuse("complete", COMPLETE_WITHOUT_PAYLOADS, "payload_filter")
    reader.finish(since, until)
    return EntriesRequest(query=Query(**fields, since=since, until=until), as_of=as_of, complete=complete)

"""What an export with proof says of itself. Nothing in it is taken on trust: a verifier computes all of it.

A manifest is JSON with two spaces of indent and its keys in order, and no other spelling of it is accepted.
"""

import re
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from whence.errors import Invalid
from whence.events import ANY_RESOURCE_TYPE, WORD_PATTERN, Query, Vocabulary
from whence.wire.bodies import WireBody
from whence.wire.entries import parse_entries
from whence.wire.times import format_time

__all__ = [
    "FORMAT",
    "ExportFileBody",
    "ExportFilterBody",
    "ExportManifestBody",
    "decode_manifest",
    "encode_manifest",
    "filter_body",
    "query_of",
]

FORMAT = "whence-export/1"
"""The format of the folder, its files and its manifest."""

_SECOND_US = 1_000_000
_TIMES = ("since", "until")


class ExportFileBody(WireBody, frozen=True, kw_only=True):
    """A file beside the manifest: its size, and its SHA-256 in hexadecimal digits."""

    bytes: int
    name: str
    sha256: str


class ExportFilterBody(WireBody, frozen=True, kw_only=True):
    """The filter as a query string, and what it means: the fields of a query that are set."""

    meaning: dict[str, Any]
    text: str


class ExportManifestBody(WireBody, frozen=True, kw_only=True):
    """An export with proof.

    `as_of` is the size of the checkpoint. `events` counts those that match, `erased` those of them whose payload was
    erased, and the positions are of the first and the last. `entries` counts the lines of entries.ndjson. `leaf_only`
    counts those of events whose actor has another id by now: nothing shows whether they match, and no other count has
    them. With `complete_from`, every event from this position to `as_of` is among the entries, whether it matches or
    not. `boundary` is the position before, if the event there shows that no earlier one can match.
    """

    as_of: int
    boundary: int | None
    complete_from: int | None
    entries: int
    erased: int
    events: int
    files: list[ExportFileBody]
    filter: ExportFilterBody
    first_position: int | None
    format: str
    last_position: int | None
    leaf_only: int
    origin: str
    tenant_id: str


def encode_manifest(manifest: ExportManifestBody) -> bytes:
    """The bytes of manifest.json."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes) -> ExportManifestBody:
    """The manifest of these bytes. Raises ValueError unless `encode_manifest` makes them."""
    manifest = msgspec.json.decode(data, type=ExportManifestBody)
    if encode_manifest(manifest) != data:
        raise ValueError("The manifest is not in the form in which it was written.")
    return manifest


def filter_body(text: str) -> ExportFilterBody:
    """What a filter, as the query string of a request, means. Raises `Invalid`, also for a text with a relative time:
    that means something else at another time."""
    query = _parsed(text, 0)
    if query != _parsed(text, _SECOND_US):
        raise Invalid.at((), "The filter of an export with proof has no relative times, such as since:-1h.")
    meaning: dict[str, Any] = {
        name: format_time(value) if name in _TIMES else list(value)
        for name, value in msgspec.structs.asdict(query).items()
        if value not in ((), None)
    }
    return ExportFilterBody(meaning=meaning, text=text)


def query_of(body: ExportFilterBody) -> Query:
    """The query of a filter. Raises ValueError unless its text means what it says that it means."""
    try:
        if filter_body(body.text) != body:
            raise ValueError("The filter does not mean what the manifest says.")
    except Invalid as error:
        raise ValueError("The filter cannot be read.") from error
    return _parsed(body.text, 0)


def _parsed(text: str, now: int) -> Query:
    """The query of a text, in which every resource type and actor type is known: the server has checked them."""
    words = re.findall(WORD_PATTERN, unquote_plus(text))
    vocabulary = Vocabulary.extended((ANY_RESOURCE_TYPE,), words)
    return parse_entries(text.encode(), now=now, vocabulary=vocabulary).query

"""Exports that prove themselves: what their entries show, and whether that is what the manifest says. Pure.

The only signature is that of the checkpoint. Everything else is computed anew from the entries: each one makes a leaf,
and the leaves, with the hashes of the rest of the tree, make the root that was signed. The filter is applied again. So
a manifest is a table of contents, and a changed one contradicts the entries.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from whence.checkpoints import Checkpoint
from whence.events import Event, Query
from whence.integrity import SALT_SIZE, hash_payload, parse_envelope
from whence.matching import asks_for_payloads, matches
from whence.merkle import leaf_hash
from whence.merkle_proofs import root_over_parts
from whence.wire.entries import COMPLETE_WITHOUT_PAYLOADS, LeafEntry, decode_entry
from whence.wire.event import FUTURE_MAX_US
from whence.wire.export_manifests import FORMAT, ExportManifestBody, query_of

__all__ = ["BadExport", "EntryReader", "Found", "check_entries"]


class BadExport(ValueError):
    """An export that does not prove what it claims. The message names the first thing that is wrong."""


class Found(msgspec.Struct, frozen=True):
    """What the entries of an export show; the fields are those of a manifest."""

    boundary: int | None
    complete_from: int | None
    entries: int
    erased: int
    events: int
    first_position: int | None
    last_position: int | None
    leaf_only: int


class EntryReader:
    """Reads the entries of one tenant's export, in order, and checks each: that its payload is the one in its envelope,
    and that it belongs to the export. `on_match` gets every event that matches, with its payload or None.

    A complete export has no gap from some position on. Entries before that are of matching events which a hold kept
    when those around them were removed. `complete_from` is what a manifest says about that position; without it, it is
    taken from the entries.

    Whether an entry is in the log shows only the root over all leaves.
    """

    def __init__(
        self,
        tenant: str,
        query: Query,
        as_of: int,
        *,
        complete: bool,
        complete_from: int | None = None,
        on_match: Callable[[Event], None] | None = None,
    ) -> None:
        if complete and asks_for_payloads(query):
            raise BadExport(COMPLETE_WITHOUT_PAYLOADS)
        self._about_payloads = asks_for_payloads(query)
        self._tenant, self._query, self._as_of, self._complete = tenant, query, as_of, complete
        self._claimed_from, self._on_match = complete_from, on_match
        self._entries = self._erased = self._events = self._leaf_only = self._last = 0
        self._only_matches = True
        self._first_position: int | None = None
        self._last_position: int | None = None
        self._boundary: int | None = None
        self._complete_from: int | None = None

    def leaves(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The index and hash of each leaf. Raises BadExport for the first line that is wrong."""
        for line in lines:
            yield self._leaf(line)

    def found(self) -> Found:
        """What was read. Raises BadExport when entries are missing at the end."""
        complete_from = self._complete_from
        if self._complete:
            if complete_from is None:
                complete_from = self._as_of + 1
            elif self._last != self._as_of:
                raise BadExport(f"The entries end at position {self._last:,}, and have to go on to {self._as_of:,}.")
        return Found(
            boundary=self._boundary,
            complete_from=complete_from,
            entries=self._entries,
            erased=self._erased,
            events=self._events,
            first_position=self._first_position,
            last_position=self._last_position,
            leaf_only=self._leaf_only,
        )

    def _leaf(self, line: bytes) -> tuple[int, bytes]:
        self._entries += 1
        try:
            entry = decode_entry(line)
            if isinstance(entry, LeafEntry):
                self._check_place(entry.position, None)
                self._leaf_only += 1
                return entry.position - 1, entry.leaf
            event, payload_hash = parse_envelope(entry.envelope, entry.position)
        except BadExport:
            raise
        except ValueError:
            raise BadExport(f"Line {self._entries:,} of the entries is not an entry.") from None
        position = entry.position
        self._check_place(position, event)
        known = msgspec.structs.replace(event, payload=entry.payload) if self._about_payloads else event
        is_match = matches(known, self._query)
        if is_match:
            self._check_payload(position, entry.salt, entry.payload, payload_hash)
            self._events += 1
            self._erased += entry.payload is None
            self._first_position = position if self._first_position is None else self._first_position
            self._last_position = position
            if self._on_match is not None:
                self._on_match(msgspec.structs.replace(event, payload=entry.payload))
        elif not self._complete:
            raise BadExport(f"Position {position:,}: the event does not match the filter.")
        elif entry.salt is not None or entry.payload is not None:
            raise BadExport(f"Position {position:,}: the event does not match the filter, and still has a payload.")
        self._only_matches &= is_match
        return position - 1, leaf_hash(entry.envelope)

    def _check_place(self, position: int, event: Event | None) -> None:
        """Refuse an event of another log, or out of order. Take the first one without a gap after it as the boundary,
        if it is one. Of an entry with a leaf alone, there is no event."""
        if event is not None and event.tenant_id != self._tenant:
            raise BadExport(f"Position {position:,}: the event is of another tenant than the export.")
        if not self._last < position <= self._as_of:
            raise BadExport(f"Position {position:,}: the positions do not ascend from 1 to {self._as_of:,}.")
        if self._complete and (self._complete_from is None or position != self._last + 1):
            if self._complete_from is not None and not self._may_begin_at(position):
                raise BadExport(f"Position {self._last + 1:,} is missing.")
            since = self._query.since
            is_boundary = since is not None and event is not None and event.recorded_at + FUTURE_MAX_US < since
            self._boundary = position if is_boundary else None
            self._complete_from = position + 1 if is_boundary else position
        self._last = position

    def _may_begin_at(self, position: int) -> bool:
        """Whether there may be a gap before a position. Before it there are only events that match."""
        return self._only_matches and (self._claimed_from is None or position <= self._claimed_from)

    def _check_payload(self, position: int, salt: bytes | None, payload: bytes | None, payload_hash: bytes) -> None:
        if salt is None or payload is None:
            if salt is not None or payload is not None:
                raise BadExport(f"Position {position:,}: there is a payload without its salt, or a salt alone.")
        elif len(salt) != SALT_SIZE or hash_payload(salt, payload) != payload_hash:
            raise BadExport(f"Position {position:,}: the payload is not the one that was recorded.")


def check_entries(
    manifest: ExportManifestBody,
    checkpoint: Checkpoint,
    lines: Iterable[bytes],
    hashes: Iterable[bytes],
    on_match: Callable[[Event], None] | None = None,
) -> None:
    """Raise BadExport unless the entries show what the manifest says, and lead with the hashes to the root of the
    checkpoint, whose signature was verified before."""
    if manifest.format != FORMAT:
        raise BadExport("The manifest is of another format, perhaps of a later release.")
    if (manifest.origin, manifest.as_of) != (checkpoint.origin, checkpoint.size):
        raise BadExport("The manifest names another log or size than its checkpoint.")
    try:
        query = query_of(manifest.filter)
    except ValueError as error:
        raise BadExport(f"The manifest is not sound. {error}") from None
    complete = manifest.complete_from is not None
    reader = EntryReader(
        manifest.tenant_id,
        query,
        checkpoint.size,
        complete=complete,
        complete_from=manifest.complete_from,
        on_match=on_match,
    )
    leaves = reader.leaves(lines)
    root, problem = b"", ""
    try:
        root = root_over_parts(leaves, hashes, checkpoint.size)
    except BadExport:
        raise
    except ValueError as error:
        problem = str(error)
        for _ in leaves:  # what is wrong with an entry says more
            pass
    found = reader.found()
    for name in Found.__struct_fields__:
        if getattr(manifest, name) != getattr(found, name):
            wire_name = manifest.__struct_encode_fields__[manifest.__struct_fields__.index(name)]
            raise BadExport(f"The manifest says something else about {wire_name} than the entries show.")
    if problem:
        raise BadExport(f"The entries do not fit the checkpoint. {problem}")
    if root != checkpoint.root:
        raise BadExport(
            "The entries do not lead to the root of the checkpoint: one of them, or of the hashes, is not of this log."
        )

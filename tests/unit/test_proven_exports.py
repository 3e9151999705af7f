"""What the entries of an export must show before its manifest is believed."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from tests.unit.test_merkle import root_of
from whence import merkle_proofs, proven_exports
from whence.checkpoints import Checkpoint
from whence.errors import Invalid
from whence.events import Event, Query
from whence.integrity import envelope_v1, hash_payload, parse_envelope
from whence.merkle import leaf_hash, node_hash
from whence.merkle_proofs import LeafRange, root_over_parts, uncovered_ranges
from whence.proven_exports import BadExport, EntryReader, check_entries
from whence.wire.entries import Entry, LeafEntry, decode_entry, encode_entry
from whence.wire.event import FUTURE_MAX_US
from whence.wire.export_manifests import (
    FORMAT,
    ExportManifestBody,
    decode_manifest,
    encode_manifest,
    filter_body,
    query_of,
)

SALT = bytes(range(16))
SIZE = 6
SINCE = 2_000_000_000
ORIGIN = "log.example/acme/1"


def event(position: int, **fields: Any) -> Event:
    """One a minute, recorded when it occurred."""
    at = SINCE - FUTURE_MAX_US + (position - 3) * 60_000_000
    values: dict[str, Any] = {
        "tenant_id": "acme",
        "position": position,
        "id": f"00000000-0000-0000-0000-{position:012}",
        "event_type": "run.failed" if position % 2 else "run.completed",
        "actor_type": "user",
        "actor_id": 'ada "\u2028"',
        "resource_type": "decision",
        "resource_id": "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001",
        "correlation_id": '},"payload":',
        "causation_id": None,
        "outcome": "failure" if position % 2 else "success",
        "occurred_at": at + FUTURE_MAX_US,
        "recorded_at": at,
        "payload": b'{"n":1E2}',
    }
    return Event(**(values | fields))


EVENTS = [event(position) for position in range(1, SIZE + 1)]


def envelope(of: Event) -> bytes:
    return envelope_v1(of, hash_payload(SALT, of.payload or b"").hex())


LEAVES = [leaf_hash(envelope(each)) for each in EVENTS]
CHECKPOINT = Checkpoint(ORIGIN, SIZE, root_of(LEAVES))


def line(of: Event, *, shown: bool = True) -> bytes:
    salt, payload = (SALT, of.payload) if shown else (None, None)
    return encode_entry(Entry(of.position, envelope(of), salt, payload))


def export_of(text: str, *, complete_from: int | None = None) -> tuple[list[bytes], list[bytes], ExportManifestBody]:
    """The lines, hashes and manifest of an export."""
    query = query_of(filter_body(text))
    matching = [each for each in EVENTS if proven_exports.matches(each, query)]
    kept = matching if complete_from is None else EVENTS[complete_from - 1 :]
    lines = [line(each, shown=each in matching) for each in kept]
    ranges = uncovered_ranges([each.position - 1 for each in kept], SIZE)
    hashes = [root_of(LEAVES[first:end]) for first, end in ranges]
    reader = EntryReader("acme", query, SIZE, complete=complete_from is not None)
    for _ in reader.leaves(lines):
        pass
    manifest = ExportManifestBody(
        as_of=SIZE,
        files=[],
        filter=filter_body(text),
        format=FORMAT,
        origin=ORIGIN,
        tenant_id="acme",
        **msgspec.structs.asdict(reader.found()),
    )
    return lines, hashes, manifest


def check(lines: list[bytes], hashes: list[bytes], manifest: ExportManifestBody) -> None:
    check_entries(manifest, CHECKPOINT, lines, hashes)


def _of_none(_query: Query) -> bool:
    return False


@catches(replaced(proven_exports, "asks_for_payloads", _of_none, "claims_to_know_all_payloads"))
def test_a_filter_on_payloads_is_applied_again_but_proves_nothing_of_others() -> None:
    """An event is accepted by the values in its payload. With a claim about all events the export is refused, since the
    others come without theirs."""
    lines, hashes, manifest = export_of("payload.n=1E2")
    assert manifest.events > 0
    check(lines, hashes, manifest)
    excluding = msgspec.structs.replace(manifest, filter=filter_body("q=-payload.n%3A1E2"))
    with pytest.raises(BadExport, match="does not match the filter"):
        check(lines, hashes, excluding)
    _, all_hashes, complete = export_of("outcome=none", complete_from=1)
    everything = [line(each, shown=False) for each in EVENTS]
    claim = msgspec.structs.replace(complete, filter=filter_body("payload.n=5"), events=0)
    with pytest.raises(BadExport, match="has no payloads of other events"):
        check(everything, all_hashes, claim)


@pytest.mark.parametrize("text", ["", "outcome=failure", "q=type%3Arun.failed", "actor_type=user&from=1970-01-01"])
@pytest.mark.parametrize("complete_from", [None, 1])
def test_a_whole_export_is_accepted(text: str, complete_from: int | None) -> None:
    """With the events in order, each with its payload."""
    lines, hashes, manifest = export_of(text, complete_from=complete_from)
    found: list[Event] = []
    check_entries(manifest, CHECKPOINT, lines, hashes, found.append)
    assert found == [each for each in EVENTS if proven_exports.matches(each, query_of(manifest.filter))]
    assert decode_manifest(encode_manifest(manifest)) == manifest


FROM = "from=1970-01-01T00:33:20Z"  # SINCE


@catches(
    replaced(proven_exports, "FUTURE_MAX_US", 0, "takes_any_earlier_event_for_a_boundary"),
    replaced(proven_exports, "FUTURE_MAX_US", 10**12, "finds_no_boundary"),
)
def test_the_boundary_was_recorded_five_minutes_before() -> None:
    """Position 2 was; position 3 was recorded just five minutes before, and an event then may have occurred in time."""
    lines, hashes, manifest = export_of(FROM, complete_from=2)
    assert (manifest.boundary, manifest.complete_from, manifest.events) == (2, 3, 4)
    check(lines, hashes, manifest)
    late = export_of(FROM, complete_from=3)
    assert (late[2].boundary, late[2].complete_from) == (None, 3)
    moved = msgspec.structs.replace(late[2], boundary=2)
    with pytest.raises(BadExport, match="boundary"):
        check(late[0], late[1], moved)


def test_an_event_of_which_only_the_leaf_is_left() -> None:
    """Nothing is known of it, so it is counted apart; the others are proven as before."""
    lines, hashes, whole = export_of("outcome=failure", complete_from=1)
    lines[2] = encode_entry(LeafEntry(3, LEAVES[2]))
    manifest = msgspec.structs.replace(whole, events=2, leaf_only=1)
    found: list[Event] = []
    check_entries(manifest, CHECKPOINT, lines, hashes, found.append)
    assert [each.position for each in found] == [1, 5]
    assert decode_entry(lines[2]) == LeafEntry(3, LEAVES[2])
    with pytest.raises(BadExport, match="leafOnly"):
        check(lines, hashes, msgspec.structs.replace(manifest, leaf_only=0))
    with pytest.raises(BadExport, match="root"):
        check([*lines[:2], encode_entry(LeafEntry(3, LEAVES[3])), *lines[3:]], hashes, manifest)
    with pytest.raises(BadExport, match="Line 3"):
        check([*lines[:2], lines[2].replace(b'"leaf":"', b'"leaf":"AAAA'), *lines[3:]], hashes, manifest)


def anywhere(_self: EntryReader, _position: int) -> bool:
    """Mutant: a complete export may have any gap."""
    return True


@catches(replaced(EntryReader, "_may_begin_at", anywhere, "gaps_are_overlooked"))
def test_held_events_come_before_a_complete_export() -> None:
    """Those that match; after them, it has no gap. Without the manifest, that is where the last gap ends."""
    lines = [line(EVENTS[0]), *(line(each, shown=each.position % 2 == 1) for each in EVENTS[3:])]
    query = query_of(filter_body("outcome=failure"))
    for claimed in (None, 4):
        reader = EntryReader("acme", query, SIZE, complete=True, complete_from=claimed)
        assert [index for index, _ in reader.leaves(lines)] == [0, 3, 4, 5]
        found = reader.found()
        assert (found.complete_from, found.first_position, found.events, found.boundary) == (4, 1, 2, None)
    for bad, claimed in ((lines, 2), ([line(EVENTS[1], shown=False), *lines[1:]], None)):
        reader = EntryReader("acme", query, SIZE, complete=True, complete_from=claimed)
        with pytest.raises(BadExport, match="is missing"):
            list(reader.leaves(bad))


def unsound(lines: list[bytes], change: str) -> list[bytes]:
    """The lines with one thing that is wrong."""
    other = event(2, actor_id="eve")
    return {
        "dropped": [*lines[:1], *lines[2:]],
        "swapped": [lines[1], lines[0], *lines[2:]],
        "forged": [lines[0], line(other, shown=False), *lines[2:]],
        "payload": [lines[0].replace(b'{"n":1E2}', b'{"n":100}'), *lines[1:]],
        "cut": lines[:-1],
        "twice": [lines[0], *lines],
        "added": [*lines, line(event(SIZE + 1))],
        "tenant": [line(event(1, tenant_id="other")), *lines[1:]],
        "spaced": [lines[0].replace(b"{", b"{ ", 1), *lines[1:]],
        "hidden": [lines[0][: lines[0].index(b'"salt"')] + b'"salt":null}\n', *lines[1:]],
    }[change]


UNSOUND = {
    "dropped": "Position 2 is missing",
    "swapped": "do not ascend",
    "forged": "do not lead to the root",
    "payload": "Position 1: the payload is not the one",
    "cut": "The entries end at position 5",
    "twice": "do not ascend",
    "added": "do not ascend from 1 to 6",
    "tenant": "Position 1: the event is of another tenant",
    "spaced": "Line 1 of the entries is not an entry",
    "hidden": "without its salt",
}
"""What is wrong, and what is said of it."""


def _nothing(*_: object) -> None:
    """Mutant: a check that accepts everything."""


@catches(
    replaced(EntryReader, "_check_place", _nothing, "places_are_not_checked"),
    replaced(EntryReader, "_check_payload", _nothing, "payloads_are_not_checked"),
    replaced(proven_exports, "root_over_parts", lambda leaves, *_: [*leaves] and CHECKPOINT.root, "any_root_will_do"),
)
def test_what_is_unsound_is_named() -> None:
    """By line or position, whatever the manifest says."""
    lines, hashes, manifest = export_of("outcome=failure", complete_from=1)
    for change, sentence in UNSOUND.items():
        changed = unsound(lines, change)
        with pytest.raises(BadExport, match=sentence):
            check(changed, hashes, msgspec.structs.replace(manifest, entries=len(changed)))


@pytest.mark.parametrize("hashes", [[], [bytes(32)], [bytes(31)]])
def test_hashes_are_those_that_it_takes(hashes: list[bytes]) -> None:
    """Neither fewer nor more, and each of the right length."""
    lines, right, manifest = export_of("outcome=failure")
    with pytest.raises(BadExport, match="do not fit"):
        check(lines, right + hashes if hashes else right[:-1], manifest)


def test_a_filter_means_what_it_says() -> None:
    """Text and meaning belong together, and neither depends on the day."""
    body = filter_body("q=type%3Arun.%2A+-actor%3Arobot%2Fr2+since%3A2026-01-02&outcome=failure&outcome=none")
    assert body.meaning == {
        "type_patterns": ["run.*"],
        "excluded_actors": ["robot/r2"],
        "outcomes": ["failure", "none"],
        "since": "2026-01-02T00:00:00Z",
    }
    assert query_of(body).outcomes == ("failure", "none")
    for changed in ({"text": "outcome=failure"}, {"text": "%"}, {"meaning": {}}):
        with pytest.raises(ValueError, match="filter"):
            query_of(msgspec.structs.replace(body, **changed))
    for relative in ("from=-1d", "q=since%3A-1h", "to=-15m"):
        with pytest.raises(Invalid, match="relative"):
            filter_body(relative)
    assert query_of(filter_body("")) == Query()


@pytest.mark.parametrize("of", EVENTS[:2])
def test_an_entry_keeps_its_bytes(of: Event) -> None:
    """Those that were hashed, whatever is in them."""
    assert decode_entry(line(of)) == Entry(of.position, envelope(of), SALT, of.payload)
    assert decode_entry(line(of, shown=False)) == Entry(of.position, envelope(of), None, None)
    found, payload_hash = parse_envelope(envelope(of), of.position)
    assert found == msgspec.structs.replace(of, payload=None) and payload_hash == hash_payload(SALT, of.payload or b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"v":1', b'"v":2'),
        lambda data: data.replace(b'"v":1', b'"v":1,"x":1'),
        lambda data: data.replace(b".000000Z", b"Z"),
        lambda data: data.replace(b"\xe2\x80\xa8", b"\\u2028"),
        lambda data: data.replace(b'{"actorId"', b'{"actorId":"x","actorId"'),
        lambda data: data[:-1],
        lambda _: b"[]",
    ],
)
def test_an_envelope_has_one_spelling(change: Callable[[bytes], bytes]) -> None:
    """Any other bytes are none."""
    with pytest.raises(ValueError):
        parse_envelope(change(envelope(EVENTS[0])), 1)


SUBSETS = st.integers(0, 70).flatmap(
    lambda size: st.tuples(st.just(size), st.sets(st.integers(0, max(0, size - 1)), max_size=size))
)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(bytes([number])) for number in range(size)]


def parts(indexes: list[int], size: int) -> Iterator[LeafRange]:
    return uncovered_ranges(indexes, size)


def _swapped(left: bytes, right: bytes) -> bytes:
    return node_hash(right, left)


def _half(number: int) -> int:
    """Mutant: parts are divided in the middle."""
    return number // 2


@catches(
    replaced(merkle_proofs, "node_hash", _swapped, "swaps_the_halves"),
    replaced(merkle_proofs, "_largest_power_below", _half, "divides_in_the_middle"),
)
@PROPERTY
@given(drawn=SUBSETS)
def test_any_leaves_of_a_tree_are_proven_together(drawn: tuple[int, set[int]]) -> None:
    """The hashes of the parts without them make its root; the parts are as large as they can be, and in order."""
    size, chosen = drawn
    indexes = sorted(chosen) if size else []
    leaves = leaves_of(size)
    ranges = list(parts(indexes, size))
    hashes = [root_of(leaves[first:end]) for first, end in ranges]
    proven = [(index, leaves[index]) for index in indexes]
    assert root_over_parts(proven, hashes, size) == root_of(leaves)
    covered = sorted([*indexes, *(number for each in ranges for number in range(*each))])
    assert covered == list(range(size))
    if indexes:
        changed = [(index, bytes(32) if index == indexes[0] else leaf) for index, leaf in proven]
        assert root_over_parts(changed, hashes, size) != root_of(leaves)


@pytest.mark.parametrize("indexes", [[1, 0], [0, 0], [-1], [3], [4]])
def test_leaves_are_in_order_and_in_the_tree(indexes: list[int]) -> None:
    """All others are refused, by who makes a proof and by who checks it."""
    with pytest.raises(ValueError, match="ascend"):
        list(parts(indexes, 3))
    with pytest.raises(ValueError, match=r"ascend|hashes"):
        root_over_parts([(index, bytes(32)) for index in indexes], [bytes(32)] * 2, 3)

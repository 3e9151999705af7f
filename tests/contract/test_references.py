"""Short references name the right events: by position, and by the first digits of an id."""

from typing import Any

import msgspec

from tests.contract import mutants
from tests.contract.faults import catches
from tests.contract.made import TENANT, VIEWER, new, stored
from whence.events import NewEvent, Reference, Viewer
from whence.wire.ids import parse_reference

FIRST = "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a31"
SECOND = "0b3c1b5e-6d0c-4b7a-9c53-2f2d1f6f7a32"
THIRD = "0b3c1b5f-0000-4b7a-9c53-2f2d1f6f7a31"


def named(id_: str, **fields: Any) -> NewEvent:
    return msgspec.structs.replace(new(1, **fields), id=id_)


async def three(store: Any) -> None:
    await stored(store, named(SECOND), named(FIRST, resource_type="artifact"), named(THIRD))


@catches(mutants.references_are_half_open, mutants.a_reference_names_one_event)
async def test_first_digits_name_an_event_if_no_other_begins_so(store: Any) -> None:
    """Both ends of the range belong to it; of several events two are found, in the order of their ids."""
    await three(store)
    for text, found in (
        (FIRST, [FIRST]),
        (THIRD.upper(), [THIRD]),
        (FIRST[:-1], [FIRST, SECOND]),
        ("0b3c1b5f", [THIRD]),
        ("0b3c1b5", [FIRST, SECOND]),
        ("0b3c-1b5e", [FIRST, SECOND]),
        ("0b3d", []),
    ):
        assert await store.find_ids(VIEWER, parse_reference(text)) == found, text


@catches(mutants.readable_ignored_by_reference)
async def test_positions_name_events_and_hidden_ones_are_not_found(store: Any) -> None:
    """A viewer who may not read an event finds it by no reference; nor does it make another one ambiguous."""
    await three(store)
    assert [await store.find_ids(VIEWER, Reference(number)) for number in (1, 2, 3, 4)] == [
        [SECOND],
        [FIRST],
        [THIRD],
        [],
    ]
    narrow = Viewer(TENANT, ("artifact",))
    assert await store.find_ids(narrow, Reference(1)) == []
    assert await store.find_ids(narrow, Reference(2)) == [FIRST]
    assert await store.find_ids(narrow, parse_reference("0b3c1b5e")) == [FIRST]
    assert await store.find_ids(narrow, parse_reference(SECOND)) == []


@catches(mutants.tenant_dropped_in_references)
async def test_another_tenants_event_is_named_by_nothing(store: Any) -> None:
    assert await store.find_ids(VIEWER, parse_reference("0b3c1b5e")) == []
    await stored(store, named(FIRST), tenant="other")
    assert await store.find_ids(VIEWER, parse_reference("0b3c1b5e")) == []
    assert await store.find_ids(VIEWER, Reference(1)) == []
    await stored(store, named(SECOND))
    assert await store.find_ids(VIEWER, parse_reference("0b3c1b5e")) == [SECOND]
    assert await store.find_ids(VIEWER, Reference(1)) == [SECOND]

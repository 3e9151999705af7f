"""Cursors: bound to their query, carrying the values that must not change, and validated even if they are forged."""

import base64
import struct
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, Mutant, catches, replaced
from tests.unit.sent import CONTEXT, NOW, RUN_ID, SEALER, TENANT, Problems, problems, stored
from whence.events import Keyset, Page, Query, Viewer
from whence.sealing import Sealer, StoreSecret
from whence.wire import cursor as cursors
from whence.wire import query as wire
from whence.wire.cursor import Cursor, cursor_seed, next_cursor
from whence.wire.query import ReadRequest
from whence.wire.times import TIME_MAX_US, TIME_MIN_US

DAY = 86_400_000_000
ASKED = "event_type=a.b&event_type=c.*&actor_id=x&from=-7d&to=2026-01-02"
LAYOUT = struct.Struct(">BBqqqqqqqx")
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def read(sent: str = ASKED, route: str = "list", **arguments: Any) -> ReadRequest:
    fixed = {
        "correlation": {"correlation_id": "flow"},
        "resource": {"resource_type": "action_run", "resource_id": RUN_ID},
    }
    context = {"viewer": Viewer(TENANT), "now": NOW, "vocabulary": CONTEXT.vocabulary, "sealer": SEALER}
    return wire.parse_read(route, sent.encode(), **({**context, "fixed": fixed.get(route, {})} | arguments))


def page(offset: int = 0, total: int = 50, as_of: int = 60, position: int = 40, occurred_at: int = NOW - DAY) -> Page:
    events = [stored(position + 1, occurred_at), stored(position, occurred_at)]
    return Page(events=events, total=total, limit=2, offset=offset, as_of=as_of)


def cursor(request: ReadRequest | None = None, **arguments: Any) -> str:
    request = request or read()
    made = cursors.next_cursor(SEALER, request.cursor_seed, request.query, page(**arguments))
    assert made is not None
    return made


def refused(sent: str, **arguments: Any) -> Problems:
    return problems(lambda: read(sent, **arguments))


OTHER_QUESTION = [(("query", "cursor"), "cursor")]

# ---------------------------------------------------------------------------------------------------- what it holds


def without_offset(sealer: Sealer, seed: bytes, query: Query, made: Page) -> str | None:
    return next_cursor(sealer, seed, query, msgspec.structs.replace(made, offset=0))


@catches(replaced(cursors, "next_cursor", without_offset, "the_offset_does_not_run"))
def test_a_cursor_goes_on_behind_the_last_event() -> None:
    """The next page continues after the last event, in the snapshot of the first page, with the offset counted on."""
    first = read(f"{ASKED}&limit=2&include=position")
    second = read(f"{ASKED}&cursor={cursor(first, offset=10)}&limit=7")
    assert second.page.after == Keyset(NOW - DAY, 40)
    assert (second.page.as_of, second.page.offset, second.page.limit) == (60, 12, 7)
    assert second.query == first.query
    assert second.include == frozenset()
    third = read(f"{ASKED}&cursor={cursor(second, offset=12, position=3)}")
    assert (third.page.after, third.page.as_of, third.page.offset) == (Keyset(NOW - DAY, 3), 60, 14)


def test_the_last_page_has_no_cursor() -> None:
    """The last page has no cursor, and an empty page neither."""
    request = read()
    seed, query = request.cursor_seed, request.query
    assert next_cursor(SEALER, seed, query, page(offset=48)) is None
    assert next_cursor(SEALER, seed, query, page(offset=47)) is not None
    empty = Page(events=[], total=5, limit=2, offset=0, as_of=60)
    assert next_cursor(SEALER, seed, query, empty) is None


def test_relative_times_are_resolved() -> None:
    """An hour later `-7d` still means the time that it meant on the first page."""
    first = read()
    later = read(f"{ASKED}&cursor={cursor(first)}", now=NOW + 3_600_000_000)
    assert later.query.since == first.query.since == NOW - 7 * DAY
    open_ended = read("actor_id=x")
    assert read(f"actor_id=x&cursor={cursor(open_ended)}", now=NOW + DAY).query == open_ended.query


moments = st.integers(TIME_MIN_US, TIME_MAX_US)


@PROPERTY
@given(
    as_of=st.integers(1, INT_MAX),
    occurred_at=moments,
    offset=st.integers(0, INT_MAX - 2),
    below=st.integers(0, 1000),
    route=st.sampled_from(["list", "correlation", "resource"]),
)
def test_every_place_survives(as_of: int, occurred_at: int, offset: int, below: int, route: str) -> None:
    """A cursor round-trips any snapshot, time and position that a page can end with."""
    position = max(1, as_of - below)
    made = cursor(
        read(route=route, sent=""), as_of=as_of, occurred_at=occurred_at, offset=offset, total=2**64, position=position
    )
    assert len(made) == 100
    request = read(f"cursor={made}", route=route).page
    assert (request.as_of, request.offset, request.after) == (as_of, offset + 2, Keyset(occurred_at, position))


# ------------------------------------------------------------------------------------------------ what it is bound to


def forgetting(place: int, name: str) -> Mutant:
    """Mutant: the binding without one of its parts."""

    def seed(*parts: Any) -> bytes:
        return cursor_seed(*(("" if place == at else part) for at, part in enumerate(parts)))

    return replaced(wire, "cursor_seed", seed, f"not_bound_to_its_{name}")


def forgetting_filters(viewer: Viewer, route: str, fields: Any, *rest: Any) -> bytes:
    return cursor_seed(viewer, route, {}, *rest)


def forgetting_tenant(viewer: Viewer, *rest: Any) -> bytes:
    return cursor_seed(Viewer("", viewer.readable), *rest)


def forgetting_reader(viewer: Viewer, *rest: Any) -> bytes:
    return cursor_seed(Viewer(viewer.tenant), *rest)


@catches(
    replaced(wire, "cursor_seed", forgetting_tenant, "not_bound_to_its_tenant"),
    forgetting(1, "route"),
    replaced(wire, "cursor_seed", forgetting_filters, "not_bound_to_its_filter"),
    forgetting(3, "start"),
    forgetting(4, "end"),
    forgetting(5, "order"),
    replaced(wire, "cursor_seed", forgetting_reader, "not_bound_to_its_reader"),
    replaced(wire, "cursor_seed", lambda *_parts: b"", "not_bound_at_all"),
)
def test_a_cursor_is_of_one_question() -> None:
    """A cursor is refused with another tenant, route, filter, time range, order or reader."""
    made = cursor()
    assert read(f"{ASKED}&cursor={made}").page.after is not None
    others = [
        ASKED.replace("a.b", "a.c"),
        ASKED.replace("c.*", "d.*"),
        ASKED.replace("actor_id", "correlation_id"),
        ASKED.replace("&actor_id=x", ""),
        f"{ASKED}&outcome=none",
        f"{ASKED}&actor_id=y",
        ASKED.replace("-7d", "-8d"),
        ASKED.replace("-7d", "2025-12-26T03:04:05Z"),  # the same instant, but written as an absolute time
        ASKED.replace("from=-7d&", ""),
        ASKED.replace("2026-01-02", "2026-01-03"),
        ASKED.replace("&to=2026-01-02", ""),
        f"{ASKED}&order=asc",
        "",
    ]
    for other in others:
        assert refused(f"{other}&cursor={made}") == OTHER_QUESTION, other
    assert refused(f"{ASKED}&cursor={made}", viewer=Viewer("globex")) == OTHER_QUESTION
    assert refused(f"{ASKED}&cursor={made}", viewer=Viewer(TENANT, ("action_run",))) == OTHER_QUESTION
    assert refused(f"{ASKED}&cursor={made}", viewer=Viewer(TENANT, ())) == OTHER_QUESTION
    # These ask for the same events in the same order, but on another route.
    flow = cursor(read("correlation_id=flow&order=asc"))
    assert refused(f"cursor={flow}", route="correlation") == OTHER_QUESTION
    resource = cursor(read(f"resource_type=action_run&resource_id={RUN_ID}"))
    assert refused(f"cursor={resource}", route="resource") == OTHER_QUESTION


def test_two_flows_have_each_their_own() -> None:
    """A cursor is bound to the parameters in the path."""
    made = cursor(read("", route="correlation"))
    assert read(f"cursor={made}", route="correlation").page.after is not None
    found = refused(f"cursor={made}", route="correlation", fixed={"correlation_id": "other"})
    assert found == OTHER_QUESTION


def test_spelling_is_no_part_of_the_question() -> None:
    """The order of values and parameters, repetitions, the spelling of a time, limit and include may change."""
    made = cursor()
    for same in (
        "to=2026-01-02T00:00:00.000Z&from=-7d&actor_id=x&event_type=c.*&event_type=a.b&event_type=c.*",
        "actor_id=x&event_type=a.b&event_type=c.*&from=-7d&to=2026-01-02T01:00:00%2B01:00&order=desc",
        f"{ASKED}&limit=1&include=nextCursor",
        f"{ASKED}&as_of=60",
    ):
        assert read(f"{same}&cursor={made}").page.after is not None
    narrowed = cursor(read(viewer=Viewer(TENANT, ("artifact", "decision"))))
    assert read(f"{ASKED}&cursor={narrowed}", viewer=Viewer(TENANT, ("decision", "artifact"))).page.after is not None


def test_a_cursor_has_its_own_place_and_snapshot() -> None:
    """A cursor is refused together with an offset, even 0, or with a different as_of."""
    made = cursor()
    for offset in ("0", "12"):
        assert refused(f"{ASKED}&cursor={made}&offset={offset}") == [(("query", "offset"), "cursor_with_offset")]
    assert refused(f"{ASKED}&cursor={made}&as_of=61") == [(("query", "as_of"), "cursor_with_as_of")]
    assert refused(f"{ASKED}&cursor={made}&as_of=0") == [(("query", "as_of"), "cursor_with_as_of")]
    assert refused(f"cursor={made}", route="aggregate") == [(("query", "cursor"), "extra_forbidden")]


# ------------------------------------------------------------------------------------------------ damaged and forged


@catches(replaced(Sealer, "open", lambda _sealer, _text, _bound: SOUND, "damage_is_not_noticed"))
def test_every_flipped_bit_is_found() -> None:
    """A change of any of the 528 bits is detected."""
    made = base64.urlsafe_b64decode(cursor())
    for bit in range(len(made) * 8):
        flipped = bytearray(made)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged = base64.urlsafe_b64encode(flipped).decode()
        assert refused(f"{ASKED}&cursor={damaged}") == OTHER_QUESTION, bit


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made[:-1],
        lambda made: made + "A",
        lambda made: made[4:],
        lambda made: made + "====",
        lambda made: made[:-4] + "====",
        lambda made: "!" + made[1:],
        lambda made: "%2B" + made[1:],
        lambda made: "/" + made[1:],
        lambda made: made + "%0A",
        lambda made: "A" * 100,
        lambda made: made.swapcase(),
        lambda made: made * 2,
        lambda made: "x" * 100_000,
        lambda made: "%D9%A0" * 100,
    ],
)
def test_what_is_no_cursor_is_refused(spoil: Any) -> None:
    """Truncated or extended cursors, and those in another alphabet, are refused."""
    assert refused(f"{ASKED}&cursor={spoil(cursor())}") == OTHER_QUESTION


def forged(**changes: int) -> str:
    """A cursor as another release might seal it."""
    sound = {
        "version": 2,
        "flags": 3,
        "as_of": 60,
        "occurred_at": NOW,
        "position": 40,
        "offset": 2,
        "since": NOW - 7 * DAY,
        "until": NOW,
        "removal_epoch": 4,
    }
    packed = LAYOUT.pack(*(sound | changes).values())
    return SEALER.seal(packed, read().cursor_seed)


SOUND = LAYOUT.pack(2, 3, 60, NOW, 40, 2, NOW - 7 * DAY, NOW, 4)


def credulous(sealer: Sealer, text: str, seed: bytes) -> Any:
    """Mutant: accepts every number that was sealed."""
    packed = sealer.open(text, seed)
    if packed is None:
        return None
    _, _, as_of, occurred_at, position, offset, since, until, removal_epoch = LAYOUT.unpack(packed)
    return Cursor(as_of, Keyset(occurred_at, position), offset, since, until, removal_epoch)


@catches(replaced(wire, "open_cursor", credulous, "forged_numbers_are_believed"))
def test_forged_numbers_are_looked_at() -> None:
    """A forged cursor reads nothing beyond its credential, and numbers that a store cannot handle are refused."""
    assert read(f"{ASKED}&cursor={forged()}").page.after == Keyset(NOW, 40)
    for changes in (
        *(
            {"version": 0},
            {"version": 3},
            {"removal_epoch": -1},
            {"position": 0},
            {"position": -1},
            {"position": 61},
            {"as_of": 39},
        ),
        *({"as_of": 0}, {"as_of": INT_MIN}, {"offset": 0}, {"offset": -1}, {"offset": INT_MIN}),
        *({name: value} for name in ("occurred_at", "since", "until") for value in (INT_MIN, INT_MAX)),
        *({name: TIME_MIN_US - 1} for name in ("occurred_at", "since", "until")),
        *({name: TIME_MAX_US + 1} for name in ("occurred_at", "since", "until")),
    ):
        assert refused(f"{ASKED}&cursor={forged(**changes)}") == OTHER_QUESTION, changes


def test_a_forged_range_that_is_none_is_refused() -> None:
    """A range whose `from` is after `to` is refused in a cursor too."""
    assert refused(f"{ASKED}&cursor={forged(since=NOW, until=NOW - 1)}") == [(("query", "from"), "time_range")]


def test_the_largest_forged_offset_does_no_harm() -> None:
    """The page at the largest offset is the last page."""
    request = read(f"{ASKED}&cursor={forged(offset=INT_MAX)}")
    assert request.page.offset == INT_MAX
    assert next_cursor(SEALER, request.cursor_seed, request.query, page(offset=request.page.offset)) is None


# ----------------------------------------------------------------------------------------------------- how it is sealed


def in_the_open(_sealer: Sealer, data: bytes, bound: bytes) -> str:
    """Mutant: what a cursor carries can be read, as in releases before the store secret."""
    return base64.urlsafe_b64encode(data + sha256(bound + data).digest()[:16]).decode()


@catches(replaced(Sealer, "seal", in_the_open, "it_can_be_read"))
def test_a_cursor_does_not_say_how_long_the_log_is() -> None:
    """Cursors with different snapshots differ in every part, and none contains the number."""
    made = [base64.urlsafe_b64decode(cursor(as_of=60 + number)) for number in range(64)]
    assert not [data for number, data in enumerate(made) if struct.pack(">q", 60 + number) in data]
    assert all(len({data[at] for data in made}) > 1 for at in range(66))


def any_secret(sealer: Sealer, text: str, bound: bytes) -> bytes | None:
    """Mutant: a cursor of another store is believed."""
    return OPEN(sealer, text, bound) or OPEN(OTHER, text, bound)


OPEN, OTHER = Sealer.open, StoreSecret("the secret of another store, long too").sealer("cursors")


@catches(replaced(Sealer, "open", any_secret, "any_secret_will_do"))
def test_a_cursor_of_another_store_is_refused() -> None:
    """A cursor is sealed with the secret of its store, and nobody else can make one."""
    request = read()
    made = next_cursor(OTHER, request.cursor_seed, request.query, page())
    assert refused(f"{ASKED}&cursor={made}") == OTHER_QUESTION


def test_the_same_page_has_the_same_cursor() -> None:
    """So a request that is repeated gets the same answer, byte for byte."""
    assert cursor() == cursor()

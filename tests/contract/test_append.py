"""The promises of an append: positions, repeats, refusals and derived fields."""

import time
from typing import Any

import msgspec
import pytest

from tests.contract import broken_models as broken
from tests.contract import mutants, rarer_mutants
from tests.contract.faults import catches, limited
from tests.contract.made import NOON, SECOND, TENANT, VIEWER, add, new, numbered, page, stored, unset, uuid, whole
from whence.errors import Conflict, Invalid
from whence.events import Event, NewEvent, PageRequest, PartRequest, Query
from whence.storage import Write


async def log(store: Any, tenant: str = TENANT) -> list[Event]:
    """All events of a tenant, by position."""
    found = (await page(store, tenant, limit=10_000)).events
    return sorted(found, key=lambda event: event.position)


@catches(broken.ByTime, mutants.batch_in_order_of_time)
async def test_positions_are_the_order_of_the_batch(store: Any) -> None:
    """Positions are 1, 2, 3 in the order sent, independent of times and ids."""
    events = await stored(store, new(5), new(3), new(9), new(1))
    assert [event.position for event in events] == [1, 2, 3, 4]
    assert numbered(events) == [5, 3, 9, 1]
    [last] = await stored(store, new(2))
    assert last.position == 5
    assert numbered(await log(store)) == [5, 3, 9, 1, 2]


@catches(broken.OnePositionForAll, broken.OneLogForAll, mutants.tenant_dropped_in_repeats)
async def test_each_tenant_counts_and_names_for_itself(store: Any) -> None:
    """Two tenants may use the same id for different events, and the positions of each start at 1."""
    await stored(store, new(1), new(2))
    await stored(store, new(3), tenant="other")
    [other] = await stored(store, new(1, actor_id="eve"), tenant="other")
    assert (other.position, other.actor_id, other.tenant_id) == (2, "eve", "other")
    assert [event.actor_id for event in await log(store)] == ["ada", "ada"]
    assert [event.position for event in await log(store)] == [1, 2]


@catches(broken.Gaps, mutants.positions_with_gaps)
async def test_what_is_refused_takes_no_position(store: Any) -> None:
    """Refused events, in a plain and in an atomic request, leave no gap."""
    await stored(store, new(1))
    receipts = await add(store, new(1, actor_id="eve"), new(2), new(1, actor_id="bob"), new(3))
    assert [receipt.error is None for receipt in receipts] == [False, True, False, True]
    with pytest.raises(Invalid):
        await add(store, new(4), new(1, actor_id="eve"), atomic=True)
    await stored(store, new(5))
    assert [event.position for event in await log(store)] == [1, 2, 3, 4]
    assert numbered(await log(store)) == [1, 2, 3, 5]
    assert (await store.head(TENANT)).size == 4


@catches(broken.LeftOutIsNull, mutants.replay_overwrites)
async def test_a_repeat_is_answered_as_it_was_stored(store: Any) -> None:
    """The same content sent again is a replay of the stored event: same position and recordedAt, and nothing is
    added."""
    [first] = await stored(store, new(1, payload=b'{"a":1,"b":[2]}', outcome="failure", correlation_id="flow"))
    left_out = await add(store, new(1, payload=b'{"a":1,"b":[2]}'))
    reordered = await add(store, new(1, payload=b'{"b":[2],"a":1}', outcome="failure", correlation_id="flow"))
    for [receipt] in (left_out, reordered):
        assert receipt.replayed
        assert receipt.event == first
    assert await log(store) == [first]


@catches(broken.PayloadByText)
async def test_the_order_of_a_payloads_keys_is_no_difference(store: Any) -> None:
    """Payloads are compared by value."""
    await stored(store, new(1, payload=b'{"a":1,"b":{"c":2,"d":3}}'))
    [receipt] = await add(store, new(1, payload=b'{"b":{"d":3,"c":2},"a":1}'))
    assert receipt.replayed


@catches(broken.PayloadByNumber, mutants.conflicts_ignored)
async def test_a_number_written_otherwise_is_a_difference(store: Any) -> None:
    """Number literals are compared as text: 1 and 1.0 are different payloads, and so are 1 and "1"."""
    await stored(store, new(1, payload=b'{"a":1}'))
    for payload in (b'{"a":1.0}', b'{"a":1E0}', b'{"a":"1"}'):
        [receipt] = await add(store, new(1, payload=payload))
        assert isinstance(receipt.error, Conflict), payload
        assert receipt.error.fields == ("payload",)


@catches(broken.Overwriting, broken.FirstWins, mutants.replay_overwrites, mutants.conflicts_ignored)
async def test_other_content_under_a_known_id_is_a_conflict(store: Any) -> None:
    """The conflict names each field that differs, and the stored event is unchanged."""
    [first] = await stored(store, new(1, correlation_id="flow", causation_id="why", outcome="success"))
    others: dict[str, dict[str, Any]] = {
        "eventType": {"event_type": "action_run.failed"},
        "actorType": {"actor_type": "agent"},
        "actorId": {"actor_id": "Ada"},
        "resourceType": {"resource_type": "artifact"},
        "resourceId": {"resource_id": uuid(2)},
        "occurredAt": {"occurred_at": NOON + SECOND + 1},
        "correlationId": {"correlation_id": "flow2"},
        "causationId": {"causation_id": "why not"},
        "outcome": {"outcome": "none"},
        "payload": {"payload": b'{"a":1}'},
    }
    for name, fields in others.items():
        same = {"correlation_id": "flow", "causation_id": "why", "outcome": "success"}
        [receipt] = await add(store, new(1, **{**same, **fields}))
        assert isinstance(receipt.error, Conflict), name
        assert receipt.error.fields == (name,)
        assert receipt.event is None
    assert await log(store) == [first]


@catches(broken.FirstWins, mutants.conflicts_ignored)
async def test_a_conflict_names_every_difference(store: Any) -> None:
    """Two differing fields are both named. A cause that was left out differs from one that was given."""
    await stored(store, new(1, causation_id="why"))
    [receipt] = await add(store, new(1, actor_id="eve"))
    assert isinstance(receipt.error, Conflict)
    assert sorted(receipt.error.fields) == ["actorId", "causationId"]


@catches(broken.FirstWins, mutants.conflicts_ignored)
async def test_a_batch_meets_its_own_events(store: Any) -> None:
    """Within one request too, the second event of the same id is a replay or a conflict."""
    receipts = await add(store, new(1), new(1), new(1, actor_id="eve"), new(2))
    assert [receipt.replayed for receipt in receipts] == [False, True, False, False]
    assert isinstance(receipts[2].error, Conflict)
    assert receipts[1].event == receipts[0].event
    assert numbered(await log(store)) == [1, 2]


@catches(broken.HalfAtomic, mutants.atomic_keeps_the_first)
async def test_atomic_is_all_or_nothing(store: Any) -> None:
    """One bad event in the middle of an atomic request prevents those before and after it from being stored."""
    await stored(store, new(1))
    before = await store.head(TENANT)
    with pytest.raises(Invalid):
        await add(store, new(2, actor_id="new"), new(1, actor_id="eve"), new(3), atomic=True)
    assert numbered(await log(store)) == [1]
    assert await store.head(TENANT) == before
    assert [stat.actor_id for stat in await store.actor_stats(VIEWER, Query())] == ["ada"]
    events = await stored(store, new(2, actor_id="new"), new(3))
    assert [(event.position, event.actor_id) for event in events] == [(2, "new"), (3, "ada")]


@catches(broken.NamelessRefusal)
async def test_an_atomic_refusal_says_which_event_it_was(store: Any) -> None:
    """The location of the error is the body, the event's index and `id`."""
    await stored(store, new(1))
    with pytest.raises(Invalid) as caught:
        await add(store, new(2), new(3), new(1, actor_id="eve"), atomic=True)
    [problem] = caught.value.problems
    assert problem.loc == ("body", 2, "id")
    assert problem.type == "event_id_conflict"


@catches(mutants.atomic_keeps_the_first)
async def test_an_undone_request_leaves_no_name_behind(store: Any) -> None:
    """After the first event of an actor and a kind is rolled back, later events of both are returned and counted
    correctly."""
    await stored(store, new(1))
    fresh = {"actor_id": "fresh", "actor_type": "service", "event_type": "invoice.sent", "resource_type": "artifact"}
    undone = Write((new(2, **fresh), new(1, actor_id="eve")), atomic=True)
    kept = Write((new(3, actor_id="third", event_type="third.sent"), new(4, **fresh)))
    refused, receipts = await store.append(TENANT, [undone, kept])
    assert isinstance(refused, Invalid)
    assert [receipt.replayed for receipt in receipts] == [False, False]
    events = {event.id: event for event in await log(store)}
    assert uuid(4) in events
    assert {name: getattr(events[uuid(4)], name) for name in fresh} == fresh
    counts = await store.count_events(VIEWER, Query())
    assert counts.by_event_type == [("action_run.completed", 1), ("invoice.sent", 1), ("third.sent", 1)]
    assert {stat.actor_id for stat in await store.actor_stats(VIEWER, Query())} == {"ada", "fresh", "third"}


@catches(broken.AlwaysAtomic)
async def test_a_plain_batch_stores_what_it_can(store: Any) -> None:
    """Without `atomic`, the valid events of a request are stored, and each event has its own receipt."""
    await stored(store, new(1))
    receipts = await add(store, new(1, actor_id="eve"), new(2), new(1))
    assert isinstance(receipts[0].error, Conflict)
    assert receipts[1].event is not None
    assert receipts[2].replayed
    assert numbered(await log(store)) == [1, 2]


@catches(broken.HalfAtomic, mutants.atomic_keeps_the_first)
async def test_a_refused_request_harms_no_other(store: Any) -> None:
    """Of three concurrent requests the middle one is refused, and the others take consecutive positions."""
    await stored(store, new(1))
    results = await store.append(
        TENANT,
        [
            Write((new(2), new(3))),
            Write((new(4), new(1, actor_id="eve")), atomic=True),
            Write((new(5), new(2))),
        ],
    )
    assert isinstance(results[1], Invalid)
    assert [receipt.event.position for receipt in results[0]] == [2, 3]
    assert [(receipt.event.position, receipt.replayed) for receipt in results[2]] == [(4, False), (2, True)]
    assert numbered(await log(store)) == [1, 2, 3, 5]


@catches(broken.NeverInheriting, mutants.correlation_never_inherited, mutants.correlation_from_the_batch_only)
async def test_a_correlation_is_inherited_from_the_cause(store: Any) -> None:
    """An event without a correlationId takes that of its cause, which is stored or earlier in the batch."""
    await stored(store, new(1, correlation_id="flow"))
    events = await stored(
        store,
        new(2, causation_id=uuid(1)),
        new(3, causation_id=uuid(2)),
        new(4, causation_id=uuid(1), correlation_id="own"),
        new(5),
        new(6, causation_id=uuid(5)),
    )
    assert [event.correlation_id for event in events] == ["flow", "flow", "own", uuid(5), uuid(5)]


@catches(broken.InheritingFromNothing)
async def test_an_unknown_cause_lends_no_correlation(store: Any) -> None:
    """When its cause is not a UUID, or is stored later, or is later in the batch, an event's correlation is its own
    id."""
    events = await stored(
        store,
        new(1, causation_id="a text"),
        new(2, causation_id=uuid(9)),
        new(3, causation_id=uuid(4)),
        new(4, correlation_id="flow"),
        new(5, causation_id=uuid(4).replace("-", "")),
    )
    assert [event.correlation_id for event in events] == [uuid(1), uuid(2), uuid(3), "flow", uuid(5)]


@catches(broken.OneLogForAll, mutants.tenant_dropped_in_inheritance)
async def test_another_tenants_cause_lends_no_correlation(store: Any) -> None:
    """An event of another tenant that has the cause's id is not the cause."""
    await stored(store, new(1, correlation_id="secret"), tenant="other")
    await stored(store, new(3))
    [event] = await stored(store, new(2, causation_id=uuid(1)))
    assert event.correlation_id == uuid(2)


@catches(broken.ColdOutcome, mutants.outcome_never_derived)
async def test_an_outcome_is_derived_from_the_event_type(store: Any) -> None:
    """It follows from the catalogue, else from the last word of the event type, else it is none."""
    events = await stored(
        store,
        new(1, event_type="action_run.completed"),
        new(2, event_type="action_run.failed"),
        new(3, event_type="invoice.reminder_timed_out"),
        new(4, event_type="action_run.cancelled"),
        new(5, event_type="decision.rejected"),
        new(6, event_type="invoice.opened"),
    )
    assert [event.outcome for event in events] == ["success", "failure", "failure", "none", "none", "none"]


@catches(broken.DeafOutcome)
async def test_an_outcome_that_was_sent_is_kept(store: Any) -> None:
    """An explicit outcome takes precedence over the one that the event type implies."""
    [event] = await stored(store, new(1, event_type="action_run.completed", outcome="failure"))
    assert event.outcome == "failure"
    assert (await page(store, outcomes=("failure",))).total == 1


@catches(broken.ClockFollower, rarer_mutants.recorded_at_follows_the_clock)
async def test_recorded_at_never_falls(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the clock is set back by an hour, recordedAt stays constant until the clock has caught up."""
    real = time.time_ns
    [first] = await stored(store, new(1))
    monkeypatch.setattr(time, "time_ns", lambda: real() - 3_600 * 10**9)
    later = await stored(store, new(2), new(3))
    assert [event.recorded_at for event in later] == [first.recorded_at] * 2
    assert (await store.head(TENANT)).recorded_at == first.recorded_at
    monkeypatch.undo()
    [last] = await stored(store, new(4))
    assert last.recorded_at >= first.recorded_at


@limited(kinds_max=3)
@catches(broken.OneKindMore, mutants.kinds_limit_off_by_one)
async def test_one_kind_too_many_is_refused(store: Any) -> None:
    """With a limit of three, the fourth combination of type, resource type, actor type and outcome is refused; events
    of known combinations are still stored."""
    await stored(store, new(1), new(2, actor_type="agent"), new(3, outcome="none"), new(4))
    [receipt] = await add(store, new(5, resource_type="artifact"))
    assert isinstance(receipt.error, Invalid)
    [problem] = receipt.error.problems
    assert (problem.loc, problem.type) == (("body", "eventType"), "too_many_event_types")
    events = await stored(store, new(6, actor_type="agent"), new(7, actor_id="any number of actors"))
    assert [event.position for event in events] == [5, 6]
    await stored(
        store, *(new(number, outcome=outcome) for number, outcome in ((1, "none"), (2, "failure"))), tenant="b"
    )


@limited(kinds_max=1)
@catches(rarer_mutants.no_reserved_kinds)
async def test_kinds_are_reserved_for_the_log_itself(store: Any) -> None:
    """A tenant that has used up its own is still recorded."""
    await stored(store, new(1))
    [receipt] = await add(store, new(2, event_type="case.opened"))
    assert isinstance(receipt.error, Invalid)
    await stored(
        store,
        *[
            new(10 + number, event_type=f"whence.{name}", resource_type="event_log")
            for number, name in enumerate(("key_created", "key_revoked", "session_created"))
        ],
    )


@limited(kinds_max=2)
@catches(broken.HalfAtomic, mutants.atomic_keeps_the_first)
async def test_a_kind_of_an_undone_request_is_free_again(store: Any) -> None:
    """The kinds of a refused atomic request do not count towards the limit."""
    await stored(store, new(1))
    with pytest.raises(Invalid) as caught:
        await add(store, new(2, actor_type="agent"), new(3, actor_type="service"), atomic=True)
    assert caught.value.problems[0].loc == ("body", 1, "eventType")
    [event] = await stored(store, new(4, actor_type="service"))
    assert event.position == 2


@catches(broken.PayloadWrittenAnew, rarer_mutants.payload_written_anew)
async def test_a_payload_comes_back_byte_for_byte(store: Any) -> None:
    """Number literals, escapes, the order of keys and NUL, which a database or an encoder might rewrite, are
    unchanged."""
    payloads = [
        b'{"b":1,"a":1E2}',
        b'{"n":9007199254740993,"z":-0,"f":1.10}',
        rb'{"e":"\u0000\ud83d\ude00\/","n":null}',
        '{"ä":"😀"}'.encode(),
        b'{"deep":' + b"[" * 60 + b"]" * 60 + b"}",
    ]
    await stored(store, *(new(number, payload=payload) for number, payload in enumerate(payloads)))
    assert [event.payload for event in await log(store)] == payloads
    for number, payload in enumerate(payloads):
        found = await store.get_event(VIEWER, uuid(number))
        assert found is not None
        assert found.payload == payload


@catches(broken.ColdOutcome, mutants.outcome_never_derived)
async def test_an_event_is_answered_alike_everywhere(store: Any) -> None:
    """The receipt, the list and the lookup by id return the same event, with every field as it was sent."""
    sent = new(
        7,
        event_type="invoice.line.sent",
        actor_type="service",
        actor_id="\U0001f600 ä",
        resource_type="artifact",
        resource_id=uuid(2**127 + 5),
        occurred_at=-62_135_596_800 * SECOND + 123_456,
        payload=b'{"a":[1]}',
        causation_id="no uuid",
    )
    [event] = await stored(store, sent)
    fields = {name: getattr(sent, name) for name in NewEvent.__struct_fields__}
    expected = fields | {"correlation_id": uuid(7), "outcome": "success", "tenant_id": TENANT, "position": 1}
    assert {**msgspec.structs.asdict(event), "recorded_at": 0} == {**expected, "recorded_at": 0, "erased_at": None}
    assert await store.get_event(VIEWER, uuid(7)) == event
    assert (await store.list_events(VIEWER, Query(), PageRequest())).events == [event]


@catches(rarer_mutants.field_lost_on_reading, rarer_mutants.field_lost_on_sequencing)
async def test_every_field_is_kept(real: Any) -> None:
    """An event comes back with every field that was sent, by each way that reads it, and when it is sent again. The
    third one is of a kind that is known and was read, which PostgreSQL stores by its function."""
    events = [event for number in (1, 2, 3) for event in await stored(real, whole(number))]
    for event in events:
        sent = msgspec.structs.asdict(whole(event.position))
        assert sent.items() <= msgspec.structs.asdict(event).items()
    [again] = await add(real, whole(3))
    assert (again.event, again.replayed) == (events[2], True)
    assert [await real.get_event(VIEWER, event.id) for event in events] == events
    assert (await real.list_events(VIEWER, Query(), PageRequest(ascending=True))).events == events
    assert (await real.list_part(VIEWER, Query(), PartRequest(limit=9, as_of=3, ascending=True))).events == events
    assert (await real.read_feed(VIEWER, Query(), 0, 9)).events == events
    assert [hashed.event for hashed in await real.read_log(TENANT, 0, 9)] == events


def test_mutant_a_field_that_no_test_sets_is_found() -> None:
    """A field is added to `NewEvent`, and to nothing else."""
    newer = msgspec.defstruct(
        "NewerEvent", [("made_up", str | None, None)], bases=(NewEvent,), frozen=True, kw_only=True
    )
    assert unset(newer(**msgspec.structs.asdict(whole(1)))) == ["made_up"]


@catches(broken.HeadBehind)
async def test_the_head_follows_every_append(store: Any) -> None:
    """Size, root and recordedAt change with each stored event, and only then."""
    empty = await store.head(TENANT)
    assert (empty.size, empty.recorded_at) == (0, 0)
    roots = {empty.root}
    for number in range(1, 9):
        [event] = await stored(store, new(number))
        await add(store, new(number), new(1, actor_id="eve"))
        await stored(store, new(number), tenant="other")
        head = await store.head(TENANT)
        assert (head.size, head.recorded_at) == (number, event.recorded_at)
        roots.add(head.root)
    assert len(roots) == 9


@catches(broken.ReplaysMeasured, rarer_mutants.payloads_not_measured, rarer_mutants.characters_measured)
async def test_the_head_counts_the_bytes_of_payloads(store: Any) -> None:
    """Each stored payload counts by its bytes; one that was refused or stored before counts no second time."""
    assert (await store.head(TENANT)).payload_bytes == 0
    await stored(store, new(1, payload=b'{"a":1}'), new(2, payload='{"é":"Ω"}'.encode()))
    await stored(store, new(3, payload=b"{}"), tenant="other")
    assert (await store.head(TENANT)).payload_bytes == 7 + 11
    await add(store, new(1, payload=b'{"a":1}'), new(2, payload=b'{"b":2}'), new(4, payload=b'{"c":34}'))
    assert (await store.head(TENANT)).payload_bytes == 7 + 11 + 8
    assert (await store.head("other")).payload_bytes == 2


@catches(broken.AlwaysAtomic)
async def test_an_append_of_nothing_stores_nothing(store: Any) -> None:
    """No request, a request without events, and one whose events are all refused or known leave the log unchanged."""
    await stored(store, new(1))
    before = await store.head(TENANT)
    assert await store.append(TENANT, []) == []
    assert await store.append(TENANT, [Write(())]) == [[]]
    receipts = await add(store, new(1), new(1, actor_id="eve"))
    assert [receipt.event is not None for receipt in receipts] == [True, False]
    assert await store.head(TENANT) == before
    assert await store.append("nobody", [Write(())]) == [[]]
    assert (await store.head("nobody")).size == 0

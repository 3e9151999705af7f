"""A hyphenated UUID is one identity in any case. Parsers let only its canonical form pass, but earlier releases stored
flows and actors under UUIDs in upper case. These are found by either form, and continue under the text that is stored.

`new` goes round the parsers, so the stores keep a text in upper case as given.
"""

from typing import Any

import msgspec
import pytest

from tests.contract.faults import around, breaks, catches, everywhere
from tests.contract.made import VIEWER, add, new, numbers, stored, uuid
from tests.contract.model import ModelStore
from whence import integrity, trace
from whence.events import Event, NewEvent, PageRequest, Query
from whence.flows import FlowQuery
from whence.trace import TraceRequest

FLOW = uuid(0xABC)
ACTOR = uuid(0xDEF)
MIXED = uuid(0xABCDEF)[:-2] + "eF"


class OneSpelling(ModelStore):
    def spellings(self, text: str) -> tuple[str, ...]:
        return (text,)


class NeverContinuing(ModelStore):
    def as_kept(self, text: str, _names: set[str]) -> str:
        return text


class AlwaysUpperCase(ModelStore):
    def as_kept(self, text: str, names: set[str]) -> str:
        return text.upper() if text.upper() in names else text


class RepeatsByText(ModelStore):
    def differing(self, sent: NewEvent, stored: Event) -> list[str]:
        return super().differing(sent, stored) + ([] if sent.actor_id == stored.actor_id else ["actorId"])


@breaks("sqlite", "postgres")
def one_spelling(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "spellings", lambda _real: lambda text: (text,))


@breaks("sqlite", "postgres")
def never_continuing(patch: pytest.MonkeyPatch) -> None:
    everywhere(patch, "earlier_spelling", lambda _real: lambda _text: None)


@breaks("sqlite", "postgres")
def repeats_by_text(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(integrity, "canonical", lambda text: text)


@breaks("sqlite", "postgres")
def other_flow_by_text(patch: pytest.MonkeyPatch) -> None:
    around(patch, trace, "canonical", lambda _real: lambda text: text)


@catches(OneSpelling, one_spelling)
async def test_a_filter_finds_either_form(store: Any) -> None:
    """Lists, totals, counts and statistics by a correlation or an actor hold what is stored in either case; a text that
    is no UUID is compared as it is."""
    await stored(store, new(1, correlation_id=FLOW.upper(), actor_id=ACTOR.upper()))
    await stored(store, new(2, correlation_id=FLOW.upper()), new(3, correlation_id=FLOW[:-1] + "X", actor_id="Ada"))
    for form in (FLOW, FLOW.upper()):
        assert await numbers(store, correlation_ids=(form,), ascending=True) == [1, 2]
        assert await numbers(store, correlation_ids=(form, "no flow"), ascending=True) == [1, 2]
    for form in (ACTOR, ACTOR.upper()):
        query = Query(actor_ids=(form,))
        assert await numbers(store, actor_ids=(form,)) == [1]
        assert (await store.count_events(VIEWER, query)).total == 1
        assert [each.actor_id for each in await store.actor_stats(VIEWER, query)] == [ACTOR.upper()]
    assert await numbers(store, correlation_ids=(FLOW[:-1] + "x",)) == []
    assert await numbers(store, actor_ids=("ada",)) == [2]


@catches(OneSpelling, one_spelling)
async def test_both_forms_together_are_one_answer(store: Any) -> None:
    """Where both cases are stored, either form and both together find all events once, with a true total."""
    await stored(store, new(1, correlation_id=FLOW, actor_id=ACTOR), new(2, correlation_id=FLOW.upper()))
    await stored(store, new(3, correlation_id=FLOW, actor_id=ACTOR.upper()))
    for forms in ((FLOW,), (FLOW.upper(),), (FLOW, FLOW.upper())):
        assert await numbers(store, correlation_ids=forms, ascending=True) == [1, 2, 3]
    for forms in ((ACTOR,), (ACTOR.upper(),), (ACTOR.upper(), ACTOR)):
        assert await numbers(store, actor_ids=forms, ascending=True) == [1, 3]
        assert (await store.count_events(VIEWER, Query(actor_ids=forms))).total == 2


@catches(OneSpelling)
async def test_a_mixed_case_is_found_by_its_own_text(store: Any) -> None:
    """A UUID that was stored in mixed case is found by that text, together with the events of its other forms."""
    await stored(store, new(1, correlation_id=MIXED), new(2, correlation_id=MIXED.lower()))
    assert await numbers(store, correlation_ids=(MIXED,), ascending=True) == [1, 2]
    assert await numbers(store, correlation_ids=(MIXED.lower(),), ascending=True) == [2]


@catches(NeverContinuing, never_continuing)
async def test_a_flow_in_upper_case_continues(store: Any) -> None:
    """An event that names a stored flow in canonical form, or inherits from it, belongs to that flow."""
    await stored(store, new(1, correlation_id=FLOW.upper(), actor_id=ACTOR.upper()))
    events = await stored(
        store,
        new(2, correlation_id=FLOW, actor_id=ACTOR),
        new(3, causation_id=uuid(1)),
        new(4, causation_id=uuid(2), actor_id=ACTOR, actor_type="agent"),
    )
    assert [event.correlation_id for event in events] == [FLOW.upper()] * 3
    assert [event.actor_id for event in events] == [ACTOR.upper(), "ada", ACTOR]
    assert (await store.list_flows(VIEWER, FlowQuery(), PageRequest())).total == 1


@catches(AlwaysUpperCase)
async def test_the_canonical_form_comes_first(store: Any) -> None:
    """Where both forms are stored, new events belong to the canonical one."""
    await stored(store, new(1, correlation_id=FLOW, actor_id=ACTOR), new(2, correlation_id=FLOW.upper()))
    await stored(store, new(3, actor_id=ACTOR.upper()))
    [event] = await stored(store, new(4, correlation_id=FLOW, actor_id=ACTOR))
    assert (event.correlation_id, event.actor_id) == (FLOW, ACTOR)


@catches(RepeatsByText, repeats_by_text)
async def test_a_repeat_in_the_other_case_is_a_replay(store: Any) -> None:
    """An event that is sent again with its UUIDs in the other case was stored before, and stays as it is stored."""
    await stored(store, new(1, correlation_id=FLOW.upper(), actor_id=ACTOR.upper()))
    [receipt] = await add(store, new(1, correlation_id=FLOW, actor_id=ACTOR))
    assert receipt.replayed and receipt.event.correlation_id == FLOW.upper()
    [other] = await add(store, new(1, correlation_id=uuid(0xABD), actor_id=ACTOR))
    assert other.error is not None


class OtherFlowByText(ModelStore):
    def node(self, *of: Any) -> Any:
        node = super().node(*of)
        cause = of[0].get(node.event.cause)
        return msgspec.structs.replace(node, other_flow=cause is not None and cause.correlation_id != node.event.flow)


@catches(OtherFlowByText, other_flow_by_text)
async def test_a_graph_is_of_one_flow_in_either_case(store: Any) -> None:
    """An effect whose flow is that of its cause in another case is not marked as of another flow."""
    await stored(store, new(1, correlation_id=FLOW))
    await stored(store, new(2, causation_id=uuid(1), correlation_id=FLOW.upper()), new(3, causation_id=uuid(2)))
    for number in (1, 2, 3):
        graph = await store.trace(VIEWER, uuid(number), TraceRequest())
        assert [node.event.id for node in graph.nodes] == [uuid(1), uuid(2), uuid(3)]
        assert not any(node.other_flow for node in graph.nodes)

"""Names are found by their beginning, with exact counts of what the viewer may see."""

from typing import Any

import pytest

from tests.contract.faults import breaks, catches, reword
from tests.contract.made import TENANT, VIEWER, new, stored, uuid
from tests.contract.model import ModelStore
from tests.contract.mutants import Patch
from whence.events import Viewer
from whence.names import FoundActor, FoundFlow, FoundKind, FoundNames, FoundResource, NameRange, NameSearch, beginning

pytestmark = pytest.mark.anyio

NARROW = Viewer(TENANT, ("artifact",))
ALL = NameSearch(
    limit=10,
    kinds=True,
    events=NameRange(uuid(0), uuid(9)),
    actors=(beginning("ad"),),
    flows=(beginning("flow"),),
    resources=(NameRange(uuid(1), uuid(2)),),
)


class ForgetsWhoAsks(ModelStore):
    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        return await super().find_names(Viewer(viewer.tenant), search)


class ExactNamesOnly(ModelStore):
    async def find_names(self, viewer: Viewer, search: NameSearch) -> FoundNames:
        found = await super().find_names(viewer, search)
        firsts = {each.first for each in search.actors}
        return FoundNames(actors=[each for each in found.actors if each.actor_id in firsts])


@breaks("sqlite", "postgres")
def hidden_events_of_actors_count(patch: Patch) -> None:
    reword(
        patch,
        "actors_named",
        sqlite=("?5 IS NULL OR", "1 OR"),
        postgres=("$5::int[] IS NULL OR", "true OR $5::int[] IS NULL OR"),
    )


@breaks("sqlite", "postgres")
def flows_count_hidden_events(patch: Patch) -> None:
    reword(patch, "flows_named", sqlite=("WHEN ?5 IS NULL", "WHEN 1"), postgres=("WHEN $5::int[] IS NULL", "WHEN true"))


@breaks("sqlite", "postgres")
def hidden_resources_are_named(patch: Patch) -> None:
    reword(
        patch,
        "resources_named",
        sqlite=("?5 IS NULL OR", "1 OR"),
        postgres=("$5::text[] IS NULL OR", "true OR $5::text[] IS NULL OR"),
    )


@breaks("sqlite", "postgres")
def hidden_events_are_named(patch: Patch) -> None:
    reword(
        patch,
        "events_named",
        sqlite=("?5 IS NULL OR", "1 OR"),
        postgres=("$5::text[] IS NULL OR", "true OR $5::text[] IS NULL OR"),
    )


@catches(
    ForgetsWhoAsks,
    ExactNamesOnly,
    hidden_events_of_actors_count,
    flows_count_hidden_events,
    hidden_resources_are_named,
    hidden_events_are_named,
)
async def test_names_with_their_counts(store: Any) -> None:
    """Each sort of name, for one who sees all events and for one who sees those about artifacts."""
    events = [
        new(1, actor_id="ada", correlation_id="flow-1"),
        new(2, actor_id="adam", actor_type="agent", correlation_id="flow-1", resource_type="artifact"),
        new(3, actor_id="ada", resource_type="artifact", resource_id=uuid(2), correlation_id="flow-2"),
        new(4, actor_id="bob", correlation_id="other", resource_id=uuid(3)),
    ]
    await stored(store, *events)
    await stored(store, new(5, actor_id="adrian", correlation_id="flow-9"), tenant="other")
    found = await store.find_names(VIEWER, ALL)
    assert sorted(found.kinds, key=str) == [
        FoundKind("action_run.completed", "action_run", "user", "success", 2),
        FoundKind("action_run.completed", "artifact", "agent", "success", 1),
        FoundKind("action_run.completed", "artifact", "user", "success", 1),
    ]
    assert found.events == [uuid(number) for number in (1, 2, 3, 4)]
    assert found.actors == [FoundActor("user", "ada", 2), FoundActor("agent", "adam", 1)]
    assert found.flows == [FoundFlow("flow-1", 2), FoundFlow("flow-2", 1)]
    assert found.resources == [
        FoundResource("action_run", uuid(1), 1),
        FoundResource("artifact", uuid(1), 1),
        FoundResource("artifact", uuid(2), 1),
    ]
    narrow = await store.find_names(NARROW, ALL)
    assert sorted(each.actor_type for each in narrow.kinds) == ["agent", "user"]
    assert narrow.events == [uuid(2), uuid(3)]
    assert narrow.actors == [FoundActor("user", "ada", 1), FoundActor("agent", "adam", 1)]
    assert narrow.flows == [FoundFlow("flow-1", 1), FoundFlow("flow-2", 1)]
    assert [each.resource_type for each in narrow.resources] == ["artifact", "artifact"]
    hidden = NameSearch(limit=10, actors=(beginning("bob"),), flows=(NameRange("other", "other"),))
    assert await store.find_names(NARROW, hidden) == FoundNames()
    one = NameSearch(limit=1, actors=(beginning("a", "agent"), beginning("a", "user")))
    assert (await store.find_names(VIEWER, one)).actors == [FoundActor("user", "ada", 2)]
    assert await store.find_names(Viewer("nobody"), ALL) == FoundNames()

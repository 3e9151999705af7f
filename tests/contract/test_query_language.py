"""The filters that only the query language sets find the right events, on every store and for every question."""

from typing import Any

import pytest

from tests.contract.faults import around, breaks, catches
from tests.contract.made import NOON, SECOND, VIEWER, new, numbered, numbers, stored, uuid
from tests.contract.model import ModelStore
from tests.contract.mutants import Patch
from whence.events import Query, Viewer
from whence.histograms import HistogramRequest
from whence.storage import resolve as resolving
from whence.storage.postgres import counts as postgres_counts
from whence.storage.postgres import feed as postgres_feed
from whence.storage.postgres import pages as postgres_pages
from whence.storage.sqlite import counts, feed, pages

pytestmark = pytest.mark.anyio

UPPER = uuid(171).upper()

VARIED: dict[int, dict[str, Any]] = {
    1: {},
    2: {"event_type": "action_run.failed"},
    3: {"event_type": "action_run.step.failed", "actor_id": "bob"},
    4: {"event_type": "invoice.sent", "actor_type": "agent", "correlation_id": "flow-1"},
    5: {"actor_type": "agent", "actor_id": "bob", "resource_type": "artifact", "resource_id": uuid(2)},
    6: {"resource_id": uuid(2), "causation_id": uuid(1), "outcome": "none"},
    7: {"actor_id": UPPER, "correlation_id": UPPER, "causation_id": "a text"},
}
"""The fields in which each event differs from the default: action_run.completed by user ada about action_run 1."""

FOUND: list[tuple[dict[str, Any], list[int]]] = [
    ({"type_patterns": ("*.failed",)}, [3, 2]),
    ({"type_patterns": ("action_run.*", "invoice.sent")}, [7, 6, 5, 4, 3, 2, 1]),
    ({"type_patterns": ("*.step.failed", "*.ent")}, [3]),
    ({"type_patterns": ("*.failed",), "event_type_prefixes": ("action_run.step.",)}, [3]),
    ({"actors": ("user/bob",)}, [3]),
    ({"actors": ("*/bob", "agent/ada")}, [5, 4, 3]),
    ({"actors": ("agent/", "user/bob")}, [5, 4, 3]),
    ({"actors": ("agent/",)}, [5, 4]),
    ({"actors": (f"user/{uuid(171)}",)}, [7]),
    ({"actors": ("user/bob", "agent/bob"), "actor_ids": ("ada", "bob")}, [5, 3]),
    ({"resources": (f"artifact/{uuid(2)}",)}, [5]),
    ({"resources": (f"*/{uuid(2)}",)}, [6, 5]),
    ({"resources": ("artifact/", f"action_run/{uuid(2)}")}, [6, 5]),
    ({"resources": (f"action_run/{uuid(1)}",), "resource_types": ("artifact",)}, []),
    ({"excluded_event_types": ("*.failed", "action_run.completed")}, [4]),
    ({"excluded_event_types": ("action_run.*",)}, [4]),
    ({"excluded_resource_types": ("action_run",)}, [5]),
    ({"excluded_actor_types": ("user",)}, [5, 4]),
    ({"excluded_outcomes": ("success", "failure")}, [6]),
    ({"excluded_actors": ("*/bob", "agent/ada", f"*/{uuid(171)}")}, [6, 2, 1]),
    ({"excluded_actors": ("service/ada",)}, [7, 6, 5, 4, 3, 2, 1]),
    ({"excluded_resources": (f"action_run/{uuid(1)}", f"action_run/{uuid(9)}")}, [6, 5]),
    ({"excluded_resources": (f"*/{uuid(2)}",), "actor_ids": ("bob",)}, [3]),
    (
        {"excluded_correlation_ids": ("flow-1", uuid(171), "no flow"), "event_types": ("action_run.completed",)},
        [6, 5, 1],
    ),
    ({"excluded_causation_ids": (uuid(1),)}, [7, 5, 4, 3, 2, 1]),
    ({"excluded_causation_ids": ("a text", uuid(8))}, [6, 5, 4, 3, 2, 1]),
    ({"excluded_event_types": ("*.failed",), "excluded_outcomes": ("none",), "since": NOON + 2 * SECOND}, [7, 5, 4]),
]
"""Filters, and the numbers of the events that match, newest first."""

NARROW = Viewer("acme", ("artifact",))


class IgnoresNames(ModelStore):
    def is_named(self, _event: Any, _query: Query) -> bool:
        return True


class ExcludesNothing(ModelStore):
    def is_excluded(self, _event: Any, _query: Query) -> bool:
        return False


class ExcludesWhatHasNoCause(ModelStore):
    def is_excluded_link(self, _field: str, value: str | None, unwanted: tuple[str, ...]) -> bool:
        return bool(unwanted) and (value is None or value in unwanted)


@breaks("sqlite", "postgres")
def excluded_kinds_are_kept(patch: Patch) -> None:
    patch.setattr(resolving, "_is_excluded", lambda _kind, _query: False)


@breaks("sqlite", "postgres")
def types_of_actors_are_ignored(patch: Patch) -> None:
    def make(real: Any) -> Any:
        return lambda _type, id_, names: real("*", id_, [f"*/{name.partition('/')[2]}" for name in names])

    around(patch, resolving, "_is_named", make)


def _rewritten(patch: Patch, *changes: tuple[str, str]) -> None:
    """Change the SQL of the conditions."""

    def change(text: str) -> str:
        for old, new_text in changes:
            text = text.replace(old, new_text)
        return text

    def of_sqlite(real: Any) -> Any:
        def conditions(*given: Any, **omit: Any) -> Any:
            text, bindings = real(*given, **omit)
            return change(text), bindings

        return conditions

    def of_postgres(real: Any) -> Any:
        return lambda *given, **omit: change(real(*given, **omit))

    for module in (counts, feed, pages):
        around(patch, module, "conditions", of_sqlite)
    for module in (postgres_counts, postgres_feed, postgres_pages):
        around(patch, module, "conditions", of_postgres)


@breaks("sqlite", "postgres")
def no_cause_is_excluded_too(patch: Patch) -> None:
    _rewritten(patch, ("cause IS NULL OR ", ""), ("causation_id IS NULL OR causation_id <>", "causation_id <>"))


@breaks("sqlite", "postgres")
def types_and_names_must_both_match(patch: Patch) -> None:
    _rewritten(patch, (" OR actor", " AND actor"), (" OR resource", " AND resource"))


@catches(
    IgnoresNames,
    ExcludesNothing,
    ExcludesWhatHasNoCause,
    excluded_kinds_are_kept,
    types_of_actors_are_ignored,
    no_cause_is_excluded_too,
    types_and_names_must_both_match,
)
async def test_the_filters_of_the_query_language(store: Any) -> None:
    """Names with types, patterns and exclusions choose the same events for a list, a feed and every count."""
    await stored(store, *(new(number, **fields) for number, fields in VARIED.items()))
    await stored(store, *(new(number, **fields) for number, fields in VARIED.items()), tenant="other")
    for filters, found in FOUND:
        query = Query(**filters)
        assert await numbers(store, **filters) == found, filters
        part = await store.read_feed(VIEWER, query, 0, 100)
        assert numbered(part.events) == sorted(found), filters
        assert (await store.count_events(VIEWER, query)).total == len(found), filters
        assert sum(each.total for each in await store.actor_stats(VIEWER, query)) == len(found), filters
        assert (await store.histogram(VIEWER, query, HistogramRequest())).total == len(found), filters
        visible = [number for number in found if number == 5]
        assert await numbers(store, readable=("artifact",), **filters) == visible, filters
        assert (await store.count_events(NARROW, query)).total == len(visible), filters

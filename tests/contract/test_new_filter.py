"""A new filter that is added with the minimal edit is counted exactly or refused, on every store.

The edit is a field of `Query`, one of `ResolvedQuery`, its translation and its SQL. The rollups, the stored totals and
the cost limits are not changed.
"""

from typing import Any

import msgspec
import pytest

from tests.contract.faults import breaks, catches
from tests.contract.made import VIEWER, add, new
from tests.contract.mutants import Patch, around
from whence.events import PageRequest, Query
from whence.histograms import HistogramRequest
from whence.storage import resolve as resolving
from whence.storage.postgres import counts as postgres_counts
from whence.storage.postgres import histogram as postgres_histogram
from whence.storage.postgres import pages as postgres_pages
from whence.storage.postgres import resolve as postgres_resolve
from whence.storage.resolve import ResolvedQuery
from whence.storage.sqlite import counts, histogram, pages, resolve

pytestmark = pytest.mark.anyio

NEVER = 1 << 60
"""A time after every `recordedAt`."""


class NewerQuery(Query, frozen=True, kw_only=True):
    """A query with a new filter on `recordedAt`."""

    made_up: int | None = None


class NewerResolvedQuery(ResolvedQuery, frozen=True, kw_only=True):
    """A resolved query with the new filter."""

    made_up: int | None = None


def _split(asked: Any, plain: Any) -> tuple[Any, int | None]:
    """A query without its new field, and the value of that field."""
    known = {name: getattr(asked, name) for name in plain.__struct_fields__}
    return plain(**known), getattr(asked, "made_up", None)


def add_the_filter(patch: Patch) -> None:
    """Apply the edit to both stores."""

    def resolved_with(real: Any) -> Any:
        def resolved_query(kinds: Any, query: Any, *rest: Any) -> Any:
            plain, made_up = _split(query, Query)
            found = real(kinds, plain, *rest)
            return NewerResolvedQuery(**msgspec.structs.asdict(found), made_up=made_up)

        return resolved_query

    def conditions_of_sqlite(real: Any) -> Any:
        def conditions(resolved: Any, snapshot: Any, **omit: Any) -> Any:
            plain, made_up = _split(resolved, ResolvedQuery)
            text, values = real(plain, snapshot, **omit)
            if made_up is None:
                return text, values
            return text + " AND recorded_at >= ?", [*values, made_up]

        return conditions

    def conditions_of_postgres(real: Any) -> Any:
        def conditions(resolved: Any, bindings: Any, **omit: Any) -> Any:
            plain, made_up = _split(resolved, ResolvedQuery)
            text = real(plain, bindings, **omit)
            return text if made_up is None else f"{text} AND recorded_at >= {bindings.add(made_up)}"

        return conditions

    for module in (resolve, postgres_resolve):
        around(patch, module, "resolved_query", resolved_with)
    for module in (counts, histogram, pages):
        around(patch, module, "conditions", conditions_of_sqlite)
    for module in (postgres_counts, postgres_histogram, postgres_pages):
        around(patch, module, "conditions", conditions_of_postgres)


@breaks("sqlite", "postgres")
def rollups_count_what_they_do_not_know(patch: Patch) -> None:
    """Mutant: the guard lists the unsupported fields, so a new field passes."""

    def by_rollup(self: ResolvedQuery) -> bool:
        return self.flows is None and self.resources is None and self.causes is None

    patch.setattr(ResolvedQuery, "by_rollup", property(by_rollup))


@breaks("sqlite", "postgres")
def what_is_not_known_is_no_filter(patch: Patch) -> None:
    """Mutant: a filter without a translation is ignored."""
    for module in (resolving, resolve, postgres_resolve):
        patch.setattr(module, "require_supported", lambda _asked, _supported: None)


@catches(rollups_count_what_they_do_not_know)
async def test_a_new_filter_is_never_answered_from_a_total_that_does_not_know_it(
    real: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When none of five events match, the page is empty and total and aggregate are 0. A filter that all events match
    has the counts of no filter."""
    await add(real, *[new(number, correlation_id="flow-1", outcome="none") for number in range(5)])
    add_the_filter(monkeypatch)
    for filters in (
        {},
        {"outcomes": ("none",)},
        {"actor_ids": ("ada",)},
        {"since": 0},
        {"correlation_ids": ("flow-1",)},
    ):
        none, everything = NewerQuery(**filters, made_up=NEVER), NewerQuery(**filters, made_up=1)
        page = await real.list_events(VIEWER, none, PageRequest())
        assert (page.events, page.total) == ([], 0)
        assert (await real.count_events(VIEWER, none)).total == 0
        assert (await real.histogram(VIEWER, none, HistogramRequest())).total == 0
        assert await real.actor_stats(VIEWER, none) == []
        assert (await real.facets(VIEWER, none, 5)).total == 0
        assert (await real.facets(VIEWER, none, 5)).actor.values == []
        whole = await real.list_events(VIEWER, Query(**filters), PageRequest())
        assert await real.list_events(VIEWER, everything, PageRequest()) == whole
        assert await real.count_events(VIEWER, everything) == await real.count_events(VIEWER, Query(**filters))


@catches(what_is_not_known_is_no_filter)
async def test_a_filter_that_is_not_translated_is_refused(real: Any) -> None:
    """A field of `Query` that the resolver does not translate raises an error; it is never ignored."""
    await add(real, *[new(number) for number in range(5)])
    query = NewerQuery(made_up=NEVER)
    for ask in (
        lambda: real.list_events(VIEWER, query, PageRequest()),
        lambda: real.count_events(VIEWER, query),
        lambda: real.histogram(VIEWER, query, HistogramRequest()),
        lambda: real.actor_stats(VIEWER, query),
        lambda: real.facets(VIEWER, query, 5),
    ):
        with pytest.raises(NotImplementedError, match="made_up"):
            await ask()

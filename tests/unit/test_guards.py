"""The guards of the stores fail closed: a new field is supported by no fast path until the guard names it.

Every field of `Query`, `ResolvedQuery`, `FlowQuery` and `PageRequest` is tried on every guard, set alone. A new field
fails these tests until it is named here, as supported or as unsupported.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from whence.events import Keyset, PageRequest, Query, Viewer, set_fields
from whence.flows import FlowQuery
from whence.storage import process_map, query_cost, resolve
from whence.storage.postgres import resolve as postgres_resolve
from whence.storage.resolve import Kind, Names, ResolvedQuery, Snapshot, resolved_query
from whence.storage.sqlite import resolve as sqlite_resolve

SAMPLES: dict[type[msgspec.Struct], dict[str, Any]] = {
    Query: {
        "event_types": ("artifact.created",),
        "event_type_prefixes": ("artifact.",),
        "resource_types": ("artifact",),
        "resource_ids": ("00000000-0000-4000-8000-000000000001",),
        "actor_ids": ("ada",),
        "actor_types": ("user",),
        "outcomes": ("failure",),
        "correlation_ids": ("flow-1",),
        "causation_ids": ("00000000-0000-4000-8000-000000000002",),
        "since": 1,
        "until": 2,
        "type_patterns": ("*.created",),
        "actors": ("user/ada",),
        "resources": ("artifact/00000000-0000-4000-8000-000000000001",),
        "excluded_event_types": ("artifact.*",),
        "excluded_resource_types": ("artifact",),
        "excluded_actor_types": ("user",),
        "excluded_outcomes": ("failure",),
        "excluded_actors": ("user/ada",),
        "excluded_resources": ("*/00000000-0000-4000-8000-000000000001",),
        "excluded_correlation_ids": ("flow-1",),
        "excluded_causation_ids": ("00000000-0000-4000-8000-000000000002",),
    },
    ResolvedQuery: {
        "kinds": (1,),
        "actors": (1,),
        "flows": (1,),
        "resources": (1,),
        "causes": ("why",),
        "since": 1,
        "until": 2,
        "newest": 3,
        "known_events": 4,
        "not_actors": (1,),
        "not_flows": (1,),
        "not_resources": (1,),
        "not_causes": ("why",),
        "kinds_or_actors": ((1,), (1,)),
        "kinds_or_resources": ((1,), (1,)),
    },
    FlowQuery: {"since": 1, "until": 2, "failed": True},
    PageRequest: {"limit": 7, "offset": 7, "ascending": True, "as_of": 7, "after": Keyset(1, 1), "removal_epoch": 7},
}
"""A value for every field that is not its default."""

VIEWER = Viewer("acme")
NARROWED = Viewer("acme", ("artifact",))
SNAPSHOT = Snapshot(VIEWER, 1, 9, {1: Kind(1, "artifact.created", "artifact", "user", "none")})
NAMES = Names(
    actors=[(1, "user", "ada")],
    flows=[(1, "flow-1", 5)],
    resources=[(1, "artifact", "00000000-0000-4000-8000-000000000001", 5)],
)


def accepts(guard: Callable[[Any], Any]) -> Callable[[Any], bool]:
    """Whether a guard accepts a request, that is, neither raises nor returns False."""

    def accepted(asked: Any) -> bool:
        try:
            return guard(asked) is not False
        except NotImplementedError:
            return False

    return accepted


def resolved(query: Query) -> ResolvedQuery:
    return resolved_query(SNAPSHOT, query, NAMES, query.causation_ids or None, query.excluded_causation_ids or None)


BY_KIND = {
    "event_types",
    "event_type_prefixes",
    "type_patterns",
    "resource_types",
    "actor_types",
    "outcomes",
    "excluded_event_types",
    "excluded_resource_types",
    "excluded_actor_types",
    "excluded_outcomes",
}
EXCLUDED_NAMES = {
    "excluded_actors",
    "excluded_resources",
    "excluded_correlation_ids",
    "excluded_causation_ids",
}
TIMES = {"since", "until"}
RAW_FILTERS = {"not_actors", "not_flows", "not_resources", "not_causes", "kinds_or_actors", "kinds_or_resources"}
"""Fields of `ResolvedQuery` that only the raw events answer."""

EVERY_FILTER = {
    "kinds",
    "actors",
    "flows",
    "resources",
    "causes",
    "since",
    "until",
    "newest",
    "known_events",
    *RAW_FILTERS,
}

GUARDS: dict[str, tuple[type[msgspec.Struct], Callable[[Any], bool], set[str], set[str]]] = {
    "a list is indexed": (
        Query,
        lambda query: query_cost.is_indexed_list(query, VIEWER),
        BY_KIND | TIMES | {"actor_ids", "actors", "correlation_ids", "resource_ids", "resources"},
        EXCLUDED_NAMES | {"causation_ids"},
    ),
    "a count is indexed": (
        Query,
        lambda query: query_cost.is_indexed_count(query, VIEWER),
        BY_KIND | TIMES | {"actor_ids", "actors"},
        EXCLUDED_NAMES | {"correlation_ids", "resource_ids", "resources", "causation_ids"},
    ),
    "a query is resolved": (
        Query,
        accepts(resolved),
        {*Query.__struct_fields__},
        set(),
    ),
    "a total is known from the rows of a flow or a resource": (
        Query,
        accepts(lambda query: resolved(query).has_known_total),
        {"correlation_ids", "resource_ids", "resources"},
        BY_KIND | EXCLUDED_NAMES | TIMES | {"actor_ids", "actors", "causation_ids"},
    ),
    "the rollups count": (
        ResolvedQuery,
        lambda query: query.by_rollup,
        {"kinds", "actors", "since", "until"},
        RAW_FILTERS | {"flows", "resources", "causes", "newest", "known_events"},
    ),
    "only a range of time": (
        ResolvedQuery,
        lambda query: query.by_time,
        TIMES,
        RAW_FILTERS | {"kinds", "actors", "flows", "resources", "causes", "newest", "known_events"},
    ),
    "a known total stands beside": (
        ResolvedQuery,
        lambda query: msgspec.structs.replace(query, known_events=4).has_known_total,
        {"flows", "resources", "known_events"},
        RAW_FILTERS | {"kinds", "actors", "causes", "since", "until", "newest"},
    ),
    "conditions of SQLite": (
        ResolvedQuery,
        accepts(lambda query: sqlite_resolve.conditions(query, SNAPSHOT)),
        EVERY_FILTER,
        set(),
    ),
    "conditions of PostgreSQL": (
        ResolvedQuery,
        accepts(lambda query: postgres_resolve.conditions(query, postgres_resolve.Bindings())),
        EVERY_FILTER,
        set(),
    ),
    "a total of flows is known": (
        FlowQuery,
        lambda query: query_cost.is_indexed_flows(query, VIEWER),
        set(),
        {"since", "until", "failed"},
    ),
    "flows are listed": (
        FlowQuery,
        accepts(lambda query: process_map.require_flow_request(query, PageRequest())),
        {"since", "until", "failed"},
        set(),
    ),
    "a page of flows": (
        PageRequest,
        accepts(lambda request: process_map.require_flow_request(FlowQuery(), request)),
        {"limit", "offset", "after", "removal_epoch"},
        {"ascending", "as_of"},
    ),
    "a page of events": (
        PageRequest,
        accepts(resolve.require_list_request),
        {"limit", "offset", "ascending", "as_of", "after", "removal_epoch"},
        set(),
    ),
}
"""For each guard: its struct, whether it accepts a request, and the fields by the expected result."""


def _split(filters: dict[str, Any]) -> tuple[Query, Viewer]:
    """A query and a viewer from the fields of both."""
    fields = dict(filters)
    return Query(**{name: fields.pop(name) for name in filters if name != "readable"}), Viewer("acme", **fields)


def undecided(struct: type[msgspec.Struct], supported: set[str], unsupported: set[str]) -> set[str]:
    """The fields that a guard's row does not name or names twice, and the names in it that are no fields."""
    return (set(struct.__struct_fields__) ^ (supported | unsupported)) | (supported & unsupported)


def with_new_field(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The struct with one more filter, as a change would add it."""
    return msgspec.defstruct(
        f"Newer{struct.__name__}", [("regions", tuple[str, ...], ())], bases=(struct,), frozen=True, kw_only=True
    )


@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_decides_about_each_field_by_name(name: str) -> None:
    """Each guard accepts or refuses each field, set alone, as declared in the table, and the table names every
    field."""
    struct, passes, supported, unsupported = GUARDS[name]
    assert undecided(struct, supported, unsupported) == set()
    said = {field: passes(struct(**{field: SAMPLES[struct][field]})) for field in struct.__struct_fields__}
    assert said == {field: field in supported for field in struct.__struct_fields__}


@pytest.mark.parametrize("field", Query.__struct_fields__)
def test_each_field_of_a_query_is_translated(field: str) -> None:
    """A field that the resolver supports changes what it returns, so none is accepted and then left out."""
    assert resolved(Query(**{field: SAMPLES[Query][field]})) != resolved(Query())


@pytest.mark.parametrize("field", sorted(EVERY_FILTER - {"known_events"}))
def test_each_field_of_a_resolved_query_is_a_condition(field: str) -> None:
    """On both stores. The known total is no filter."""
    asked, plain = ResolvedQuery(**{field: SAMPLES[ResolvedQuery][field]}), ResolvedQuery()
    assert sqlite_resolve.conditions(asked, SNAPSHOT) != sqlite_resolve.conditions(plain, SNAPSHOT)
    bindings = postgres_resolve.Bindings()
    assert postgres_resolve.conditions(asked, bindings) != postgres_resolve.conditions(plain, bindings)


def test_a_field_that_is_supported_and_not_translated_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver that names a field as supported, and forgets it, returns what it returns without."""
    monkeypatch.setattr(resolve, "_QUERY_FIELDS", resolve._QUERY_FIELDS | {"regions"})
    newer: Any = with_new_field(Query)
    assert msgspec.structs.replace(resolved(newer(regions=("eu",))), kinds=None) == resolved(newer())


@pytest.mark.parametrize("name", GUARDS)
def test_a_new_field_passes_no_guard(name: str) -> None:
    """A field that is added to a struct and nowhere else is refused, alone and with supported fields.

    The table of this file is incomplete until it names the field.
    """
    struct, passes, supported, unsupported = GUARDS[name]
    newer = with_new_field(struct)
    assert undecided(newer, supported, unsupported) == {"regions"}
    assert not passes(newer(regions=("eu",)))
    for field in supported:
        assert not passes(newer(regions=("eu",), **{field: SAMPLES[struct][field]}))


@pytest.mark.parametrize("struct", SAMPLES, ids=lambda struct: struct.__name__)
def test_set_fields_are_those_that_differ_from_their_default(struct: type[msgspec.Struct]) -> None:
    """No field is set in an empty request, and each sample counts as set."""
    assert set_fields(struct()) == frozenset()
    assert set(SAMPLES[struct]) == set(struct.__struct_fields__)
    for field, value in SAMPLES[struct].items():
        assert set_fields(struct(**{field: value})) == {field}


@pytest.mark.parametrize("field", sorted(EVERY_FILTER - {"known_events"}))
def test_conditions_have_sql_for_each_filter(field: str) -> None:
    """On both stores each filter adds SQL and a parameter to the statement; without filters there are none."""
    query = ResolvedQuery(**{field: SAMPLES[ResolvedQuery][field]})
    text, values = sqlite_resolve.conditions(query, SNAPSHOT)
    bindings = postgres_resolve.Bindings()
    assert text
    assert values
    assert postgres_resolve.conditions(query, bindings)
    assert bindings.values
    assert sqlite_resolve.conditions(ResolvedQuery(), SNAPSHOT) == ("", [])


@pytest.mark.parametrize(
    ("filters", "indexed"),
    [
        ({}, True),
        ({"event_types": ("a.b",), "outcomes": ("failure",), "since": 1, "until": 2}, True),
        ({"actor_ids": ("ada",), "since": 1}, True),
        ({"actor_ids": ("ada", "bob")}, False),
        ({"actor_ids": ("ada",), "outcomes": ("failure",)}, False),
        ({"actor_ids": ("ada",), "readable": ("artifact",)}, False),
        ({"correlation_ids": ("flow-1",)}, True),
        ({"correlation_ids": ("flow-1", "flow-2")}, False),
        ({"correlation_ids": ("flow-1",), "since": 1}, False),
        ({"correlation_ids": ("flow-1",), "readable": ("artifact",)}, False),
        ({"resource_ids": ("r",), "resource_types": ("artifact",), "readable": ("artifact",)}, True),
        ({"resource_ids": ("r",), "resource_types": ("artifact", "decision")}, False),
        ({"resource_ids": ("r", "s")}, False),
        ({"resource_ids": ("r",), "until": 1}, False),
        ({"resource_ids": ("r",), "correlation_ids": ("flow-1",)}, False),
        ({"causation_ids": ("c",)}, False),
        ({"type_patterns": ("*.b",), "excluded_event_types": ("a.*",), "excluded_outcomes": ("none",)}, True),
        ({"excluded_resource_types": ("artifact",), "excluded_actor_types": ("user",), "since": 1}, True),
        ({"actors": ("user/ada",), "since": 1}, True),
        ({"actors": ("user/ada", "user/bob")}, False),
        ({"actors": ("user/",)}, False),
        ({"actors": ("user/ada",), "actor_ids": ("ada",)}, False),
        ({"resources": ("artifact/r",), "readable": ("artifact",)}, True),
        ({"resources": ("artifact/",)}, False),
        ({"resources": ("artifact/r",), "excluded_outcomes": ("none",)}, False),
        ({"excluded_actors": ("user/ada",)}, False),
    ],
)
def test_which_lists_are_indexed(filters: dict[str, Any], indexed: bool) -> None:
    """Indexed lists are: kinds with any time range, one actor with any time range, one flow, one resource."""
    assert query_cost.is_indexed_list(*_split(filters)) is indexed


@pytest.mark.parametrize(
    ("filters", "indexed"),
    [
        ({}, True),
        ({"resource_types": ("artifact",), "actor_ids": ("ada",), "since": 1}, True),
        ({"actor_ids": ("ada", "bob")}, False),
        ({"correlation_ids": ("flow-1",)}, False),
        ({"resource_ids": ("r",)}, False),
        ({"actors": ("user/ada",), "excluded_outcomes": ("none",)}, True),
        ({"actors": ("user/ada",), "actor_ids": ("ada",)}, False),
        ({"actors": ("user/", "user/ada")}, False),
        ({"excluded_actors": ("user/ada",)}, False),
    ],
)
def test_which_counts_are_indexed(filters: dict[str, Any], indexed: bool) -> None:
    """Indexed counts are any combination of kinds, one actor and a time range."""
    assert query_cost.is_indexed_count(*_split(filters)) is indexed


class NewerViewer(Viewer, frozen=True):
    """Mutant: a viewer with one more restriction."""

    regions: tuple[str, ...] = ()


def test_a_narrowed_viewer_is_decided_about_by_name() -> None:
    """Of a viewer's fields, `tenant` selects the log, and `readable` restricts it to some resource types."""
    assert Viewer.__struct_fields__ == ("tenant", "readable")
    assert set_fields(VIEWER) == frozenset()
    assert set_fields(NARROWED) == {"readable"}
    assert query_cost.is_indexed_list(Query(), NARROWED)
    assert query_cost.is_indexed_count(Query(), NARROWED)
    assert not query_cost.is_indexed_flows(FlowQuery(), NARROWED)
    assert resolve.readable_kinds(msgspec.structs.replace(SNAPSHOT, viewer=NARROWED)) == (1,)
    assert resolve.readable_kinds(SNAPSHOT) is None


def test_a_viewer_that_is_narrowed_in_a_new_way_passes_no_guard() -> None:
    """With the new field set, no query counts as indexed, and selecting events raises an error."""
    newer = NewerViewer("acme", regions=("eu",))
    assert not query_cost.is_indexed_list(Query(), newer)
    assert not query_cost.is_indexed_count(Query(), newer)
    assert not query_cost.is_indexed_flows(FlowQuery(), newer)
    snapshot = msgspec.structs.replace(SNAPSHOT, viewer=newer)
    with pytest.raises(NotImplementedError, match="regions"):
        resolved_query(snapshot, Query(), NAMES, None)
    with pytest.raises(NotImplementedError, match="regions"):
        resolve.readable_kinds(snapshot)

"""A new field of a query fails these tests until its treatment by cursors and parameters is declared."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, NOW, SEALER, TENANT, stored
from whence.cli.events import FieldOptions
from whence.client import FieldFilters
from whence.errors import Invalid
from whence.events import Keyset, Page, PageRequest, Query, Viewer
from whence.flows import FlowQuery
from whence.trace import TraceRequest
from whence.wire import query as wire
from whence.wire.cursor import filters_of, next_cursor
from whence.wire.exports import parse_export
from whence.wire.parameters import CAUSE_PARAMETERS, READ_PARAMETERS
from whence.wire.query import FILTER_FIELDS, FlowsRequest, QueryReader, ReadRequest, parse_read

PAGED = ("list", "correlation", "resource")
FILTERED = ("list", "aggregate", "actors")
HOUR_US = 3_600_000_000

time_of = QueryReader.time
"""The method that one of the mutants replaces."""

# The parameter that sets each field, and a request that sets only that field.

QUERY_PARAMETERS: dict[str, tuple[str, str]] = {
    "event_types": ("event_type", "a.b"),
    "event_type_prefixes": ("event_type", "a.*"),
    "resource_types": ("resource_type", "artifact"),
    "resource_ids": ("resource_id", EVENT_ID),
    "actor_ids": ("actor_id", "planner"),
    "actor_types": ("actor_type", "agent"),
    "outcomes": ("outcome", "failure"),
    "correlation_ids": ("correlation_id", "flow"),
    "causation_ids": ("causation_id", "cause"),
    "since": ("from", "2026-01-01"),
    "until": ("to", "2026-01-01"),
    "type_patterns": ("q", "type:a.b"),
    "actors": ("q", "actor:agent/planner"),
    "resources": ("q", f"resource:artifact/{EVENT_ID}"),
    "excluded_event_types": ("q", "-type:a.b"),
    "excluded_resource_types": ("q", "-resource:artifact"),
    "excluded_actor_types": ("q", "-actor:agent/*"),
    "excluded_outcomes": ("q", "-outcome:none"),
    "excluded_actors": ("q", "-actor:planner"),
    "excluded_resources": ("q", f"-resource:{EVENT_ID}"),
    "excluded_correlation_ids": ("q", "-flow:one"),
    "excluded_causation_ids": ("q", "-cause:one"),
    "payload_values": ("payload.{path}", "search"),
    "excluded_payload_values": ("q", "-payload.tool:search"),
}
QUERY_WITHOUT_PARAMETER: dict[str, str] = {}

PAGE_PARAMETERS: dict[str, tuple[str, str]] = {
    "limit": ("limit", "7"),
    "offset": ("offset", "7"),
    "ascending": ("order", "asc"),
    "as_of": ("as_of", "7"),
    "after": ("cursor", ""),
    "removal_epoch": ("cursor", ""),
}

FLOW_PARAMETERS: dict[str, tuple[str, str]] = {
    "since": ("from", "2026-01-01"),
    "until": ("to", "2026-01-01"),
    "failed": ("outcome", "failure"),
}
FLOW_WITHOUT_PARAMETER = QUERY_WITHOUT_PARAMETER

TRACE_PARAMETERS = {"direction": "direction", "depth": "depth", "limit": "limit"}
TRACE_WITHOUT_PARAMETER = {"walk_max": "A limit of the server, which the operator's code sets."}

# How a cursor treats each field: `bound` (the request that continues must set the same), `carried` (the cursor
# holds it), or `free` (it may differ from page to page).

CURSOR_QUERY = {
    **dict.fromkeys(
        (
            "event_types",
            "event_type_prefixes",
            "resource_types",
            "resource_ids",
            "actor_ids",
            "actor_types",
            "outcomes",
            "correlation_ids",
            "causation_ids",
            "type_patterns",
            "actors",
            "resources",
            "excluded_event_types",
            "excluded_resource_types",
            "excluded_actor_types",
            "excluded_outcomes",
            "excluded_actors",
            "excluded_resources",
            "excluded_correlation_ids",
            "excluded_causation_ids",
            "payload_values",
            "excluded_payload_values",
        ),
        "bound",
    ),
    "since": "bound, and carried as resolved",
    "until": "bound, and carried as resolved",
}
CURSOR_PAGE = {
    **{"limit": "free", "offset": "carried", "ascending": "bound", "as_of": "carried", "after": "carried"},
    "removal_epoch": "carried",
}
CURSOR_FLOWS = {
    "failed": "bound",
    "since": "bound, and carried as resolved",
    "until": "bound, and carried as resolved",
}


VIEWER = Viewer(TENANT)
CURSOR_VIEWER = {"tenant": Viewer("globex"), "readable": Viewer(TENANT, ("artifact",))}
"""For each field of a viewer, a viewer that differs in it. A cursor is bound to all of them."""

OTHER_VIEWERS = tuple(CURSOR_VIEWER.values())


class NewerViewer(Viewer, frozen=True):
    """Mutant: a viewer with one more field."""

    actor_ids: tuple[str, ...] = ()


class NewerQuery(Query, frozen=True, kw_only=True):
    """Mutant: a query with one more field."""

    made_up: int | None = None


class NewerPageRequest(PageRequest, frozen=True, kw_only=True):
    """Mutant: a page request with one more field."""

    descending_too: bool = False


class NewerFlowQuery(FlowQuery, frozen=True, kw_only=True):
    """Mutant: a flow query with one more field."""

    actor_ids: tuple[str, ...] = ()


class NewerTraceRequest(TraceRequest, frozen=True, kw_only=True):
    """Mutant: a trace request with one more field."""

    outcome: str | None = None


def undecided(struct: type[msgspec.Struct], *decided: Any) -> set[str]:
    """The fields that no declaration names, and the declared names that are no field."""
    return set(struct.__struct_fields__) ^ {name for names in decided for name in names}


DECIDED: list[tuple[type[msgspec.Struct], type[msgspec.Struct], tuple[Any, ...]]] = [
    (Viewer, NewerViewer, (CURSOR_VIEWER,)),
    (Query, NewerQuery, (CURSOR_QUERY,)),
    (Query, NewerQuery, (QUERY_PARAMETERS, QUERY_WITHOUT_PARAMETER)),
    (PageRequest, NewerPageRequest, (CURSOR_PAGE,)),
    (PageRequest, NewerPageRequest, (PAGE_PARAMETERS,)),
    (FlowQuery, NewerFlowQuery, (CURSOR_FLOWS,)),
    (FlowQuery, NewerFlowQuery, (FLOW_PARAMETERS, FLOW_WITHOUT_PARAMETER)),
    (TraceRequest, NewerTraceRequest, (TRACE_PARAMETERS, TRACE_WITHOUT_PARAMETER)),
]


@pytest.mark.parametrize(("struct", "mutant", "decided"), DECIDED)
def test_every_field_is_decided_about(
    struct: type[msgspec.Struct], mutant: type[msgspec.Struct], decided: tuple[Any, ...]
) -> None:
    """The declarations name every field, and are incomplete for a struct with one more field."""
    assert undecided(struct, *decided) == set()
    assert len(undecided(mutant, *decided)) == 1


def read(sent: str = "", route: str = "list", viewer: Viewer = VIEWER, now: int = NOW) -> ReadRequest:
    return wire.parse_read(
        route,
        sent.encode(),
        viewer=viewer,
        now=now,
        vocabulary=CONTEXT.vocabulary,
        sealer=SEALER,
        fixed={},
    )


def read_flows(sent: str = "", viewer: Viewer = VIEWER) -> FlowsRequest:
    return wire.parse_flows(sent.encode(), viewer=viewer, now=NOW, sealer=SEALER)


# ------------------------------------------------------------------------------------------------------- parameters


def test_each_declared_parameter_sets_its_field_alone() -> None:
    """Each parameter sets its field and no other, on each route that takes every filter."""
    for field, (name, text) in QUERY_PARAMETERS.items():
        for route in FILTERED:
            query = read(f"{name}={text}", route).query
            changed = {one for one in Query.__struct_fields__ if getattr(query, one) != getattr(Query(), one)}
            assert changed == {field}, (route, name)
    for field, (name, text) in FLOW_PARAMETERS.items():
        flows = read_flows(f"{name}={text}").query
        changed = {one for one in FlowQuery.__struct_fields__ if getattr(flows, one) != getattr(FlowQuery(), one)}
        assert changed == {field}, name


def test_each_declared_parameter_is_served() -> None:
    """The tables name every parameter, and each of their filters sets a field."""
    filters = {name for name, _ in QUERY_PARAMETERS.values()}
    for route in FILTERED:
        assert filters <= {parameter.name for parameter in READ_PARAMETERS[route]}
    for route in PAGED:
        assert {name for name, _ in PAGE_PARAMETERS.values()} <= {one.name for one in READ_PARAMETERS[route]}
    assert filters - {"from", "to", "event_type", "payload.{path}", "q"} == FILTER_FIELDS.keys()
    assert {name for name, _ in FLOW_PARAMETERS.values()} <= {one.name for one in CAUSE_PARAMETERS["flows"]}
    # What is included changes no part of the graph, so it is no field of the request.
    assert set(TRACE_PARAMETERS.values()) == {one.name for one in CAUSE_PARAMETERS["trace"]} - {"include"}


def test_an_export_takes_every_filter() -> None:
    """Each parameter that sets a field of the query in lists sets the same in an export."""
    for field, (name, text) in QUERY_PARAMETERS.items():
        query = parse_export(f"{name}={text}".encode(), now=NOW, vocabulary=CONTEXT.vocabulary).query
        changed = {one for one in Query.__struct_fields__ if getattr(query, one) != getattr(Query(), one)}
        assert changed == {field}, name


def _never_relative(*args: Any, **named: Any) -> ReadRequest:
    """Mutant: a parsed read says that it may be kept."""
    return msgspec.structs.replace(parse_read(*args, **named), is_relative=False)


def _bound_to_the_instant(
    self: QueryReader, name: str, values: Mapping[str, list[str]]
) -> tuple[int | None, str | None]:
    """Mutant: a cursor is bound to the time that a relative one was at first."""
    us, text = time_of(self, name, values)
    return us, text and f"{text} {us}"


@catches(
    replaced(wire, "parse_read", _never_relative, "keeps_relative_times"),
    replaced(QueryReader, "time", _bound_to_the_instant, "binds_cursors_to_the_instant"),
)
def test_what_depends_on_the_clock_is_known() -> None:
    """A parameter that means something else an hour later makes its read relative, so that it is parsed each time. Its
    cursor stays bound to the text."""
    found = set()
    for route, name in ((each, one.name) for each in (*PAGED, *FILTERED) for one in READ_PARAMETERS[each]):
        for text in ("-2h", "since:-2h", "until:-2h"):
            try:
                first, later = (read(f"{name}={text}", route, now=now) for now in (NOW, NOW + HOUR_US))
            except Invalid:
                continue
            if first.query != later.query:
                found.add(name)
                assert first.is_relative, (route, name)
                assert first.cursor_seed == later.cursor_seed, (route, name)
    assert found == {"from", "to", "q"}


# ---------------------------------------------------------------------------------------------------------- cursors


def forgetting(field: str) -> Any:
    """Mutant: a cursor is not bound to one of the fields."""

    def filters(query: Query) -> dict[str, tuple[str, ...]]:
        return {name: values for name, values in filters_of(query).items() if name != field}

    return replaced(wire, "filters_of", filters, f"cursors_forget_{field}")


@catches(*(forgetting(field) for field in QUERY_PARAMETERS if field not in ("since", "until")))
def test_a_cursor_is_bound_to_every_field() -> None:
    """Each field changes the digest of a cursor, except those that are declared free or carried."""
    nothing = read().cursor_seed
    for field, treatment in CURSOR_QUERY.items():
        assert treatment.startswith("bound")
        name, text = QUERY_PARAMETERS[field]
        assert read(f"{name}={text}").cursor_seed != nothing, field
    for viewer in OTHER_VIEWERS:
        assert read(viewer=viewer).cursor_seed != nothing, viewer
    for field, treatment in CURSOR_PAGE.items():
        name, text = PAGE_PARAMETERS[field]
        if text:
            assert (read(f"{name}={text}").cursor_seed != nothing) == (treatment == "bound"), field


def test_a_flows_cursor_is_bound_to_every_field() -> None:
    """Each field of a flow query changes the digest of its cursor, with the same exceptions."""
    nothing = read_flows().cursor_seed
    for field, treatment in CURSOR_FLOWS.items():
        assert treatment.startswith("bound")
        name, text = FLOW_PARAMETERS[field]
        assert read_flows(f"{name}={text}").cursor_seed != nothing, field
    for viewer in OTHER_VIEWERS:
        assert read_flows(viewer=viewer).cursor_seed != nothing, viewer


def test_a_new_field_is_bound_by_itself() -> None:
    """A filter that was added after the cursor code is bound without further changes."""
    assert filters_of(NewerQuery(made_up=7)) == {"made_up": ("7",)}
    assert filters_of(NewerQuery()) == {}


def test_a_cursor_carries_what_is_declared() -> None:
    """The page that continues takes these fields from the cursor, and the rest from its own request."""
    first = read("from=-7d&to=2026-01-01")
    page = Page(events=[stored(40)], total=50, limit=1, offset=10, as_of=60, removal_epoch=4)
    cursor = next_cursor(SEALER, first.cursor_seed, first.query, page)
    second = read(f"from=-7d&to=2026-01-01&limit=3&cursor={cursor}")
    carried = {"offset": 11, "as_of": 60, "after": Keyset(NOW, 40), "removal_epoch": 4}
    assert {name for name, treatment in CURSOR_PAGE.items() if treatment == "carried"} == carried.keys()
    assert {name: getattr(second.page, name) for name in carried} == carried
    assert second.page.limit == 3
    assert (second.query.since, second.query.until) == (first.query.since, first.query.until)


def test_the_client_and_the_command_have_every_filter() -> None:
    """Those that are fields. Texts of the query language and values in payloads are passed on as they are."""
    filters = {name for name, _ in QUERY_PARAMETERS.values()} - {"from", "to", "q", "payload.{path}"}
    assert FieldFilters.__annotations__.keys() == filters
    assert {field.name for field in dataclasses.fields(FieldOptions)} == filters
    assert FieldOptions(actor_id=["ana"]).parameters() == dict.fromkeys(filters) | {"actor_id": ["ana"]}

"""A query parameter that the OpenAPI document declares is read by its route: it is never accepted and then ignored."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.unit.mutants import catches, replaced
from tests.unit.sent import CONTEXT, EVENT_ID, NOW, SEALER, TENANT
from whence.errors import Invalid
from whence.events import Viewer
from whence.wire import activity, entries, exports, feed, query, seals, search, suggestions, webhooks
from whence.wire.feed import Places
from whence.wire.parameters import PARAMETERS, PAYLOAD_PARAMETER, READ_PARAMETERS, Parameter
from whence.wire.query import QueryReader

VIEWER, VOCABULARY = Viewer(TENANT), CONTEXT.vocabulary
PLACES = Places(SEALER)

ODD = "zz!!"
"""A value that is refused, or else changes what is asked for."""

READS: dict[str, Callable[[bytes], Any]] = {
    route: partial(query.parse_read, route, viewer=VIEWER, now=NOW, vocabulary=VOCABULARY, sealer=SEALER, fixed={})
    for route in READ_PARAMETERS
}
FEEDS: dict[str, Callable[[bytes], Any]] = {
    "feed": partial(feed.parse_feed, "feed", viewer=VIEWER, now=NOW, vocabulary=VOCABULARY, places=PLACES),
    "stream": partial(feed.parse_feed, "stream", viewer=VIEWER, now=NOW, vocabulary=VOCABULARY, places=PLACES),
}
LISTINGS: dict[str, Callable[[bytes], Any]] = {
    route: partial(query.parse_listing, route, sealer=SEALER, bound=TENANT)
    for route in ("keys", "tenants", "session_tenants")
}
ACTOR = {"actor_type": "user", "actor_id": "ada"}
RESOURCE = {"resource_type": "artifact", "resource_id": EVENT_ID}
PARSERS: dict[str, Callable[[bytes], Any]] = {
    **READS,
    **FEEDS,
    **LISTINGS,
    "histogram": partial(query.parse_histogram, now=NOW, vocabulary=VOCABULARY),
    "facets": partial(activity.parse_facets, now=NOW, vocabulary=VOCABULARY),
    "actor_activity": partial(activity.parse_actors, viewer=VIEWER, now=NOW, sealer=SEALER),
    "actor_summary": partial(activity.parse_actor_summary, now=NOW, vocabulary=VOCABULARY, fixed=ACTOR),
    "resource_summary": partial(activity.parse_resource_summary, vocabulary=VOCABULARY, fixed=RESOURCE),
    "export": partial(exports.parse_export, now=NOW, vocabulary=VOCABULARY),
    "trace": query.parse_trace,
    "flows": partial(query.parse_flows, viewer=VIEWER, now=NOW, sealer=SEALER),
    "map": partial(query.parse_period, now=NOW),
    "reach": query.parse_reach,
    "batch": query.parse_atomic,
    "deliveries": partial(webhooks.parse_deliveries, viewer=VIEWER, places=PLACES),
    "suggest": suggestions.parse_suggest,
    "search": partial(search.parse_search, viewer=VIEWER, vocabulary=VOCABULARY),
    "checkpoint": seals.parse_cosigned,
    "proof": seals.parse_proof_request,
    "checkpoints": seals.parse_checkpoints,
    "entries": partial(entries.parse_entries, now=NOW, vocabulary=VOCABULARY),
    "consistency": seals.parse_consistency,
}
"""What reads the query string of each route that takes parameters. A new route fails these tests until it is here."""


def outcome(route: str, sent: str) -> Any:
    """What a request asks for, or the problems that it has."""
    try:
        return PARSERS[route](sent.encode())
    except Invalid as error:
        return error.problems


def test_each_route_with_parameters_is_tried() -> None:
    """Those that take none refuse all of them in one place."""
    assert PARSERS.keys() == {route for route, parameters in PARAMETERS.items() if parameters}


IGNORED = {
    route: {one.name: one for one in parameters} | {"made_up": Parameter("made_up", {}, "")}
    for route, parameters in PARAMETERS.items()
}


@catches(replaced(query, "_KNOWN", IGNORED, "a_parameter_is_declared_and_not_read"))
@pytest.mark.parametrize("route", PARSERS)
def test_each_declared_parameter_is_read(route: str) -> None:
    """A value that makes no sense is refused, or changes what is asked for."""
    names = [name.replace(PAYLOAD_PARAMETER, "payload.tool") for name in QueryReader(route).known]
    before = outcome(route, "")
    assert [name for name in names if outcome(route, f"{name}={ODD}") == before] == []

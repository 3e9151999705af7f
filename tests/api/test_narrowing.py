"""A credential may be narrowed to some resource types: each read route passes its `Viewer` to the store.

A new route, and a new method of the store, fail here until someone decides about them.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import httpx2
import pytest
from litestar.handlers import HTTPRouteHandler

from tests.api.conftest import Served, event, serving
from whence.api.app import route_handlers
from whence.api.entries import ROUTES as ENTRY_ROUTES
from whence.api.feeds import stream_events
from whence.api.followers import list_followers
from whence.api.names import search
from whence.api.seals import ROUTES as SEAL_ROUTES
from whence.events import Query, Viewer
from whence.permissions import READ, WRITE, Principal
from whence.settings import Settings
from whence.storage.base import Store

HIDDEN = "zanzibar"
"""It stands in every field of the hidden event that can hold it."""

ALLOWED = ("decision",)
HIDDEN_TYPE = "artifact"
REFUSING = (list_followers, *ENTRY_ROUTES, *(route for route in SEAL_ROUTES if "GET" in route.http_methods))
"""The handlers that refuse every narrowed reader."""

HIDDEN_RESOURCE = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0099"

NARROWED = {
    "get_event",
    "event_now",
    "find_ids",
    "find_names",
    "list_events",
    "list_part",
    "read_feed",
    "count_events",
    "histogram",
    "facets",
    "actors",
    "actor_summary",
    "resource_summary",
    "actor_stats",
    "trace",
    "reach",
    "read_payloads",
    "list_flows",
    "process_map",
}
"""Operations of the store that answer a reader, and so must be passed what the reader may see."""

NOT_FOR_READERS = {
    "append": "writes",
    "wait_for_idle_writer": "reads nothing",
    "head": "for followers and operators, without any event",
    "changed": "for followers, without any event",
    "log_state": "the size of a log, by which answers that were made for the same reader are found again",
    "position_before": "a position, which is answered as a token",
    "tenants": "for the operator",
    "read_log": "for the operator's copy, and for entries, which a route refuses to narrowed readers",
    "import_log": "for the operator's copy",
    "import_removed": "for the operator's copy",
    "import_retained_from": "for the operator's copy",
    "credentials": "API keys and sessions, not events",
    "seals": "sizes and hashes of whole logs, which routes refuse to narrowed readers",
    "followers": "webhooks, alert rules and how far they have read, not events",
    "payload_index": "keeps an index of the log up to date, and answers nobody",
    "removals": "removes whole logs or parts of them, which routes refuse to narrowed readers",
    "deletions": "deletes tenants, which no route does",
    "check": "reads nothing",
    "free_bytes": "the disk, no event",
    "check_servable": "reads nothing",
    "close": "reads nothing",
}
"""Every other operation, and why it is not narrowed."""

Call = tuple[str, Any]
"""A method of the store, and the `readable` of the viewer that it was passed."""


class StoreWithForecast(Store, Protocol):
    """Mutant: a store that answers one more question."""

    async def forecast(self, tenant: str) -> list[int]:
        """Counts by day."""
        ...


def methods_of(store: type) -> set[str]:
    def is_operation(value: object) -> bool:
        return inspect.isfunction(value) or isinstance(value, property)

    return {name for name, _ in inspect.getmembers(store, is_operation) if not name.startswith("_")}


def test_every_method_of_the_store_is_decided_about() -> None:
    """It is narrowed, or there is a reason why not; a method that is new has neither."""
    assert methods_of(Store) == NARROWED | NOT_FOR_READERS.keys()
    assert methods_of(StoreWithForecast) - NARROWED - NOT_FOR_READERS.keys() == {"forecast"}


@pytest.fixture(scope="module")
def narrowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose tenant has an event that the narrowed key may read, and one that it may not, in one flow."""
    with serving(tmp_path_factory.mktemp("narrowing")) as served:
        with served.client(READ, WRITE) as client:
            shown = event(resourceType=ALLOWED[0], correlationId=f"{HIDDEN}/flow")
            hidden = event(
                id=HIDDEN_RESOURCE,
                actorId=f"{HIDDEN}-actor",
                correlationId=f"{HIDDEN}/flow",
                eventType=f"{HIDDEN}.happened",
                payload={HIDDEN: HIDDEN},
                resourceType=HIDDEN_TYPE,
                resourceId=HIDDEN_RESOURCE,
            )
            stored = client.post("/api/v1/events/batch", json=[shown, hidden])
            assert stored.status_code == 201, stored.text
        yield served


@pytest.fixture
def calls(narrowed: Served, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The calls that handlers make of the store's methods for readers, from now on."""
    seen: list[Call] = []

    def recording(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(method)

        async def call(*args: Any, **more: Any) -> Any:
            bound = signature.bind(*args, **more)
            bound.apply_defaults()
            seen.append((name, bound.arguments["viewer"].readable))
            return await method(*args, **more)

        return call

    for name in NARROWED:
        monkeypatch.setattr(narrowed.store, name, recording(name, getattr(narrowed.store, name)))
    return seen


def read_handlers() -> list[HTTPRouteHandler]:
    """The handlers that need the scope to read, but for those that refuse every narrowed reader."""
    found = [handler for handler in route_handlers(Settings()) if handler.opt.get("scope") == READ]
    return [handler for handler in found if handler not in REFUSING]


def ask(served: Served, handler: HTTPRouteHandler) -> httpx2.Response:
    """The route's answer about the hidden event to the narrowed reader. Raises KeyError for a path that is new here."""
    (path,) = handler.paths
    filled = re.sub(r":\w+}", "}", path).format(
        correlation_id=f"{HIDDEN}%2Fflow",
        resource_type=HIDDEN_TYPE,
        resource_id=HIDDEN_RESOURCE,
        actor_type="user",
        actor_id=f"{HIDDEN}-actor",
        event_id=HIDDEN_RESOURCE,
        reference=HIDDEN_RESOURCE,
        tile="0/000.p/1",
    )
    if handler is search:
        filled += f"?text={HIDDEN_RESOURCE}"
    filled += f"?id={HIDDEN_RESOURCE}" if path.endswith("/reach") else ""
    with served.client(f"{READ}:{ALLOWED[0]}") as client:
        if handler is not stream_events:
            return client.get(filled)
        with client.stream("GET", f"{filled}?from=start") as answer:  # which would never end
            begun = b""
            for part in answer.iter_raw():
                begun += part
                if b"eventType" in begun:
                    break
            return httpx2.Response(answer.status_code, content=begun)


def leaks(served: Served, calls: list[Call]) -> list[str]:
    """The routes that do not pass on what the reader may see, or that answer with a word of the hidden event."""
    found = []
    for handler in read_handlers():
        calls.clear()
        answer = ask(served, handler)
        where = f"{handler.paths}"
        assert answer.status_code in (200, 404), (where, answer.text)
        if not calls or any(readable != ALLOWED for _, readable in calls):
            found.append(f"{where} passes {calls}")
        asked = f"{HIDDEN}-actor" if "{actor_id" in where else f"{HIDDEN}/flow"
        if HIDDEN in answer.text.replace(asked, ""):
            found.append(f"{where} answers with what is hidden")
    return found


def test_every_read_route_passes_what_its_reader_may_see(narrowed: Served, calls: list[Call]) -> None:
    """Each handler with the scope events:read, on each call of the store."""
    assert len(read_handlers()) >= 9
    assert leaks(narrowed, calls) == []


def test_a_reader_that_is_not_narrowed_is_found(
    narrowed: Served, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: every reader may see everything, and each of the routes is found."""
    monkeypatch.setattr(Principal, "readable", None)
    found = leaks(narrowed, calls)
    assert sum(" passes " in line for line in found) == len(read_handlers())
    assert any("hidden" in line for line in found)


def test_one_route_that_forgets_is_found(narrowed: Served, calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutant: a single route passes a viewer who may see everything."""
    count_events = narrowed.store.count_events

    async def forgetting(viewer: Viewer, query: Query) -> Any:
        return await count_events(Viewer(viewer.tenant), query)

    monkeypatch.setattr(narrowed.store, "count_events", forgetting)
    found = leaks(narrowed, calls)
    assert found
    assert all("aggregate" in line for line in found)


def test_what_counts_hidden_events_is_refused(narrowed: Served) -> None:
    """Sizes, positions and hashes of the whole log: a narrowed reader gets a 403, whatever is there."""
    assert [ask(narrowed, handler).status_code for handler in REFUSING] == [403] * len(REFUSING)

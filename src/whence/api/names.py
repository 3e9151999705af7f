"""The routes about names: suggestions for a query, and what a pasted text names."""

from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, principal_of
from whence.api.operation import read_route
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.events import Reference
from whence.names import FoundNames
from whence.storage.feed import EVENT_BYTES
from whence.wire.name_bodies import SearchBody, SuggestionsBody
from whence.wire.search import encode_matches, parse_search
from whence.wire.suggestions import encode_suggestions, parse_suggest, search_of

__all__ = ["ROUTES"]


@read_route("/api/v1/events/suggest", "Suggest Terms", "suggest", SuggestionsBody)
async def suggest(request: Request) -> JsonResponse:
    """What can stand at the cursor of a query, from the names that the tenant's log has."""
    context, viewer = context_of(request), principal_of(request).viewer
    asked = parse_suggest(request.scope["query_string"])
    async with context.admission.page_place(viewer.tenant, indexed=False):
        found = await context.store.find_names(viewer, search_of(asked.slot, context.vocabulary))
        async with context.admission.turns.place(viewer.tenant):  # a tenant has thousands of kinds
            body = encode_suggestions(asked, found)
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


@read_route("/api/v1/search", "Search", "search", SearchBody)
async def search(request: Request) -> JsonResponse:
    """The events, flows, resources and actors that a text names: an id or its beginning, a position such as @5539,
    type/id, or the address of a page."""
    context, viewer = context_of(request), principal_of(request).viewer
    asked = parse_search(request.scope["query_string"], viewer=viewer, vocabulary=context.vocabulary)
    async with context.admission.page_place(viewer.tenant, indexed=False):
        if asked.position is None:
            found = await context.store.find_names(viewer, asked.names)
        else:
            found = FoundNames(events=await context.store.find_ids(viewer, Reference(asked.position)))
        named = [await context.store.get_event(viewer, event_id) for event_id in found.events]
        events = [event for event in named if event is not None]
        size = sum(EVENT_BYTES + len(event.payload or b"") for event in events)
        context.admission.hold_answer(request, viewer.tenant, size)
        body = encode_matches(events, found, viewer)
    return JsonResponse(body)


ROUTES: list[HTTPRouteHandler] = [suggest, search]
"""The handlers of this module."""

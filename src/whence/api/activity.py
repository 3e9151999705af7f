"""The routes about facets, and about what actors did and what happened to resources."""

from urllib.parse import unquote_to_bytes

from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.operation import read_route
from whence.api.reads import next_page_link
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.errors import Invalid
from whence.storage.query_cost import is_indexed_count
from whence.wire.activity import (
    encode_actor_summary,
    encode_actors,
    encode_facets,
    encode_resource_summary,
    next_actors_cursor,
    parse_actor_summary,
    parse_actors,
    parse_facets,
    parse_resource_summary,
)
from whence.wire.activity_bodies import ActorsBody, ActorSummaryBody, FacetsBody, ResourceSummaryBody

__all__ = ["ROUTES"]


@read_route("/api/v1/events/facets", "Facets", "facets", FacetsBody)
async def facets(request: Request) -> JsonResponse:
    """How many events each value of some fields has, each field without its own filters."""
    context, viewer = context_of(request), principal_of(request).viewer
    query, top, paths = parse_facets(request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary)
    indexed = is_indexed_count(query, viewer) and not paths
    async with context.admission.page_place(viewer.tenant, indexed=indexed):
        body = encode_facets(await context.store.facets(viewer, query, top, paths))
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


@read_route(
    "/api/v1/resources/{resource_type:str}/{resource_id:str}/summary",
    "Summarize Resource",
    "resource_summary",
    ResourceSummaryBody,
    tag="Resources and actors",
)
async def resource_summary(request: Request) -> JsonResponse:
    """How much happened to a resource, by whom, and what was last."""
    context, viewer = context_of(request), principal_of(request).viewer
    fixed = {name: _path_text(request, name) for name in ("resource_type", "resource_id")}
    resource, top = parse_resource_summary(request.scope["query_string"], vocabulary=context.vocabulary, fixed=fixed)
    async with context.admission.page_place(viewer.tenant, indexed=False):
        found = await context.store.resource_summary(viewer, resource, top)
        body = encode_resource_summary(found, resource, viewer)
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


@read_route("/api/v1/actors", "List Actors", "actor_activity", ActorsBody, tag="Resources and actors", links=True)
async def list_actors(request: Request) -> JsonResponse:
    """The actors of a period, the most active first, compared with the period before."""
    context, viewer = context_of(request), principal_of(request).viewer
    asked = parse_actors(request.scope["query_string"], viewer=viewer, now=now_us(), sealer=context.cursors)
    async with context.admission.page_place(viewer.tenant, indexed=True):
        page = await context.store.actors(viewer, asked.since, asked.until, asked.page)
        body = encode_actors(page)
        context.admission.hold_answer(request, viewer.tenant, len(body))
    cursor = next_actors_cursor(context.cursors, asked.cursor_seed, page)
    return JsonResponse(body, headers=next_page_link(request, cursor))


@read_route(
    "/api/v1/actors/{actor_type:str}/{actor_id:str}/summary",
    "Summarize Actor",
    "actor_summary",
    ActorSummaryBody,
    tag="Resources and actors",
)
async def actor_summary(request: Request) -> JsonResponse:
    """What an actor did in a period, and what it did for the first time."""
    context, viewer = context_of(request), principal_of(request).viewer
    fixed = {name: _path_text(request, name) for name in ("actor_type", "actor_id")}
    actor, since, until = parse_actor_summary(
        request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary, fixed=fixed
    )
    async with context.admission.page_place(viewer.tenant, indexed=True):
        body = encode_actor_summary(await context.store.actor_summary(viewer, actor, since, until))
        context.admission.hold_answer(request, viewer.tenant, len(body))
    return JsonResponse(body)


def _path_text(request: Request, name: str) -> str:
    """A part of the path. Raises Invalid when it is not UTF-8."""
    try:
        return unquote_to_bytes(request.path_params[name]).decode()
    except UnicodeDecodeError:
        raise Invalid.at(("path", name), "It must be UTF-8 text, percent-encoded.", "string_unicode") from None


ROUTES: list[HTTPRouteHandler] = [facets, resource_summary, list_actors, actor_summary]
"""The handlers of this module."""

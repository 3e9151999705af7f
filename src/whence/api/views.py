"""The routes of saved views. Every credential that reads the whole log sees all of them and makes more; its own it may
delete, and with the scope admin every one."""

from functools import partial

import msgspec
from litestar import Response, delete, post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import ResponseSpec, entries_of, ref
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.errors import Busy, Forbidden, Invalid, NotFound
from whence.permissions import ADMIN, READ, Principal
from whence.storage.followers import Definition
from whence.wire.ids import new_uuid7, parse_uuid
from whence.wire.query import refuse_parameters
from whence.wire.views import View, ViewBody, ViewsBody, parse_view, view_body

__all__ = ["KIND", "ROUTES"]

KIND = "view"
"""The kind under which views are kept, beside the definitions of followers. No follower reads this kind."""

_PATH = "/api/v1/views"
_BODY_MAX = 16 * 1024


# Each handler checks the scope itself, since a narrowed one is not enough.
_operation = partial(entries_of, "Views", None)


@HTTPRouteHandler(
    _PATH,
    http_method=["GET", "HEAD"],
    status_code=200,
    opt=_operation("List Views", 200, ResponseSpec("The views, oldest first", ViewsBody), 422),
)
async def list_views(request: Request) -> JsonResponse:
    """The saved views of the tenant, oldest first."""
    principal = _reader(request)
    refuse_parameters(request.scope["query_string"])
    found = await context_of(request).store.followers.list_definitions(KIND, principal.tenant)
    views = [view_body(each.id, _view_of(each)) for each in sorted(found, key=lambda each: each.id)]
    body = msgspec.json.encode(ViewsBody(views=views))
    context_of(request).admission.hold_answer(request, principal.tenant, len(body))
    return JsonResponse(body)


@post(
    _PATH,
    opt=_operation(
        "Create View",
        201,
        ResponseSpec("The view", ViewBody),
        *(413, 415, 422),
        request_content={JSON: ref("NewView")},
    ),
)
async def create_view(request: Request) -> JsonResponse:
    """Save an address of the console under a name, at most 100 for a tenant."""
    principal = _reader(request)
    refuse_parameters(request.scope["query_string"])
    context = context_of(request)
    async with read_body(request, context.admission, principal.tenant, _BODY_MAX) as body:
        check_json_media(request)
        name, address = parse_view(body)
    view = View(name=name, address=address, created_at=now_us(), created_by=principal.subject)
    view_id = new_uuid7()
    definition = Definition(principal.tenant, KIND, view_id, 1, msgspec.json.encode(view))
    if not await context.store.followers.put_definition(definition):
        raise Busy("The view could not be stored. Send it again.")
    return JsonResponse(msgspec.json.encode(view_body(view_id, view)), 201)


@delete(
    _PATH + "/{view_id:str}",
    status_code=204,
    opt=_operation("Delete View", 204, ResponseSpec("Deleted"), 404, 422),
)
async def delete_view(request: Request) -> Response[None]:
    """Delete a view that this credential made, or any with the scope admin."""
    principal = _reader(request)
    refuse_parameters(request.scope["query_string"])
    followers = context_of(request).store.followers
    try:
        view_id = parse_uuid(str(request.path_params["view_id"]))
    except ValueError as error:
        raise Invalid.at(("path", "view_id"), str(error), "uuid_parsing") from None
    definition = await followers.get_definition(principal.tenant, KIND, view_id)
    if definition is None:
        raise NotFound("There is no view with this id.")
    if _view_of(definition).created_by != principal.subject and not principal.may(ADMIN):
        raise Forbidden("Another credential made this view; to delete it needs the scope admin.")
    await followers.delete_definition(principal.tenant, KIND, view_id)
    return Response(None, status_code=204)


ROUTES: list[HTTPRouteHandler] = [list_views, create_view, delete_view]
"""The handlers of this module."""


def _reader(request: Request) -> Principal:
    """Who sent the request. Raises Forbidden unless that may read every event: an address can name any of them."""
    principal = principal_of(request)
    principal.require(READ)
    if not principal.viewer.sees_all:
        raise Forbidden("This credential may not read every event, so views are not shown to it.")
    return principal


def _view_of(definition: Definition) -> View:
    return msgspec.json.decode(definition.body, type=View)

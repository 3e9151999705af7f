"""What a route says of itself, where its handler stands. `openapi.py` walks the handlers and collects it.

A handler's `opt` holds an `Operation`, and one of `scope` (the scope that the credential must hold, checked before the
handler runs) and `open` (no credential is needed). With neither, any valid credential will do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from litestar.handlers import HTTPRouteHandler

from whence.api.request import Request
from whence.api.responses import JSON
from whence.permissions import READ
from whence.wire.bodies import PositionGoneBody
from whence.wire.deprecation import Deprecation, deprecation_headers, members_of
from whence.wire.parameters import PARAMETERS, Parameter

__all__ = [
    "Json",
    "Operation",
    "ResponseSpec",
    "announce_deprecations",
    "announce_fields",
    "document_route",
    "entries_of",
    "follow_route",
    "listing_route",
    "open_route",
    "read_route",
    "ref",
    "signed_in_route",
]

Json = dict[str, Any]

_LINK: Json = {"Link": {"description": 'The next page, rel="next", while there is one.', "schema": {"type": "string"}}}

_ETAG: Json = {
    "ETag": {
        "description": "The same as long as the answer is. It differs by content coding.",
        "schema": {"type": "string"},
    }
}


def ref(name: str) -> Json:
    """A reference to the component schema with this name."""
    return {"$ref": f"#/components/schemas/{name}"}


class ResponseSpec(msgspec.Struct, frozen=True):
    """A status that a route answers with. `body` is a Struct of `wire`, a JSON schema, or None for no body. It may have
    the media types of `also_media` too."""

    description: str
    body: type[msgspec.Struct] | Json | None = None
    headers: Mapping[str, Json] = {}
    media: str = JSON
    also_media: Sequence[str] = ()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """The OpenAPI operation of a handler.

    The operation's id is made of its summary; path parameters come from the path. `errors` are the statuses that this
    route may refuse with, apart from those that every route, or every route with a credential, may answer.
    `request_content` maps media types to JSON schemas. `deprecated_fields` are those of the events that it takes as
    JSON. `announces` follows from the rest: whether the route or one of
    its parameters is deprecated.
    """

    tag: str
    summary: str
    responses: Mapping[int, ResponseSpec]
    errors: Sequence[int] = ()
    parameters: Sequence[Parameter] = ()
    headers: Sequence[Json] = ()
    description: str | None = None
    request_content: Mapping[str, Json] | None = None
    deprecation: Deprecation | None = None
    deprecated_fields: Mapping[str, Deprecation] = {}
    announces: bool = False

    def __post_init__(self) -> None:
        """Set `announces`."""
        deprecated = (self.deprecation, *(parameter.deprecation for parameter in self.parameters))
        msgspec.structs.force_setattr(self, "announces", any(each is not None for each in deprecated))

    def deprecations(self, query_string: bytes) -> list[Deprecation]:
        """What of a request for this route is deprecated: the route, and the parameters that it has."""
        names = {unquote_plus(one.partition(b"=")[0].decode("latin-1")) for one in query_string.split(b"&")}
        used = [parameter.deprecation for parameter in self.parameters if parameter.name in names]
        return [each for each in (self.deprecation, *used) if each is not None]


def entries_of(
    tag: str, scope: str | None, summary: str, status: int, response: ResponseSpec, *errors: int, **more: Any
) -> Json:
    """The entries of a handler's `opt`: the scope, unless the handler checks that itself, and the operation, which
    answers with this status and those in `responses`. What else is given is a field of the operation."""
    responses = {status: response, **more.pop("responses", {})}
    operation = Operation(tag=tag, summary=summary, responses=responses, errors=errors, **more)
    return {"operation": operation} if scope is None else {"operation": operation, "scope": scope}


def announce_deprecations(operation: Operation, request: Request) -> None:
    """Add to the headers of the response that what the request uses is deprecated."""
    _announce(request, operation.deprecations(request.scope["query_string"]))


def announce_fields(request: Request, events: Callable[[], Iterable[bytes]]) -> None:
    """Add to the headers that the events of the body have deprecated fields. `events` splits the body into them."""
    deprecated: Mapping[str, Deprecation] = request.scope["route_handler"].opt["operation"].deprecated_fields
    if deprecated:
        names = members_of(events())
        _announce(request, [each for name, each in deprecated.items() if name in names])


def _announce(request: Request, used: Sequence[Deprecation]) -> None:
    """Add the headers for what the request used, and for what was announced before."""
    if not used:
        return
    state = request.scope["state"]
    docs = f"{state['root_path']}/docs"
    before: Sequence[Deprecation] = state.get("deprecations", ())
    earlier = deprecation_headers(before, docs) if before else []
    state["deprecations"] = [*before, *used]
    others = [header for header in state["headers"] if header not in earlier]
    state["headers"][:] = others + deprecation_headers(state["deprecations"], docs)


def read_route(
    path: str,
    summary: str,
    query: str,
    body: type[msgspec.Struct],
    *,
    tag: str = "Events",
    links: bool = False,
    missing: bool = False,
    cache_control: str | None = None,
) -> HTTPRouteHandler:
    """A route that answers a question: GET and HEAD, for the scope events:read.

    `query` is the key of its parameters in `wire.parameters`. `links`: a Link header names the next page. `missing`:
    what the path names may not exist, which is a 404. `cache_control`: the header of a 200, by default no-store.
    """
    operation = Operation(
        tag=tag,
        summary=summary,
        parameters=PARAMETERS[query],
        responses={
            200: ResponseSpec("Successful Response", body, _ETAG | (_LINK if links else {})),
            304: ResponseSpec("If-None-Match names the ETag that the answer still has", headers=_ETAG),
        },
        errors=(404, 422) if missing else (422,),
    )
    return _get(path, {"scope": READ, "operation": operation, "etag": True, "cache_control": cache_control})


def document_route(path: str, summary: str, query: str, response: ResponseSpec, tag: str) -> HTTPRouteHandler:
    """A route that answers with a document of a format of its own, which may not be there: GET and HEAD, for the scope
    events:read."""
    operation = Operation(
        tag=tag, summary=summary, parameters=PARAMETERS[query], responses={200: response}, errors=(404, 422)
    )
    return _get(path, {"scope": READ, "operation": operation})


def follow_route(
    path: str, summary: str, query: str, response: ResponseSpec, headers: Sequence[Json] = ()
) -> HTTPRouteHandler:
    """A route that follows the log by position: GET and HEAD, for the scope events:read."""
    operation = Operation(
        tag="Events",
        summary=summary,
        parameters=PARAMETERS[query],
        headers=headers,
        responses={200: response, 410: ResponseSpec("The next events are no longer kept", PositionGoneBody)},
        errors=(422,),
    )
    return _get(path, {"scope": READ, "operation": operation})


def open_route(path: str, summary: str, response: ResponseSpec) -> HTTPRouteHandler:
    """A route about the server itself: GET and HEAD, for everyone, with or without a credential."""
    return _get(path, {"open": True, "operation": Operation(tag="Service", summary=summary, responses={200: response})})


def signed_in_route(path: str, summary: str, response: ResponseSpec, tag: str) -> HTTPRouteHandler:
    """A route about the credential itself: GET and HEAD, for every valid one."""
    return _get(path, {"operation": Operation(tag=tag, summary=summary, responses={200: response})})


def listing_route(
    path: str, summary: str, query: str, scope: str | None, response: ResponseSpec, tag: str
) -> HTTPRouteHandler:
    """A route that lists something other than events, page by page: GET and HEAD. Without a scope it is for every valid
    credential."""
    operation = Operation(
        tag=tag,
        summary=summary,
        parameters=PARAMETERS[query],
        responses={200: msgspec.structs.replace(response, headers=_LINK)},
        errors=(422,),
    )
    return _get(path, {"operation": operation} | ({} if scope is None else {"scope": scope}))


def _get(path: str, opt: Json) -> HTTPRouteHandler:
    return HTTPRouteHandler(path, http_method=["GET", "HEAD"], status_code=200, opt=opt)

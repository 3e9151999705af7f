"""The application: its routes, its lifespan, and the one table of errors and their HTTP statuses."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import structlog
from litestar import Litestar, Response, route
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from whence.api import causes, credentials, docs_page, health, operators, reads, writes
from whence.api.admission import Admission
from whence.api.auth import Authenticator
from whence.api.context import AppContext, context_of, now_us
from whence.api.middleware import HTTPMiddleware
from whence.api.operation import announce_deprecations
from whence.api.operator_tokens import PURPOSE
from whence.api.readiness import Readiness
from whence.api.recording import Recorder
from whence.api.request import Request
from whence.api.responses import JSON, error_body
from whence.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    QueryTooExpensive,
    RetryLater,
    Throttled,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
    WhenceError,
)
from whence.ingest import Ingest
from whence.permissions import READ
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import Store

__all__ = ["STATUS", "create_app", "route_handlers", "status_of"]

_log = structlog.get_logger("whence.api")

STATUS: dict[type[WhenceError], int] = {
    Invalid: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedMedia: 415,
    Throttled: 429,
    Busy: 503,
    QueryTooExpensive: 503,
    Unavailable: 503,
}
"""The HTTP status of each error. No other module has such a table."""

_LITESTAR_ERRORS = {
    400: ("bad_request", "The request cannot be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method; the Allow header names those it takes."),
    408: ("request_timeout", "The body came too slowly."),
}
"""Code and sentence for what Litestar refuses before a handler runs."""


def create_app(settings: Settings, store: Store, secret: StoreSecret | None = None) -> HTTPMiddleware:
    """The ASGI application over an open store.

    Its lifespan starts the background work. At the end it finishes what was accepted and closes the store. Without the
    secret of the store (see `whence.api.store_secret`), cursors and operators' tokens end with the application.
    """
    secret = secret or StoreSecret.random()
    tokens = secret.sealer(PURPOSE)
    authenticator = Authenticator(settings, store, tokens=tokens)
    ingest = Ingest(store, settings.queue_events_max)
    context = AppContext(
        settings=settings,
        vocabulary=settings.vocabulary,
        store=store,
        ingest=ingest,
        recorder=Recorder(ingest, frozenset(settings.record)),
        readiness=Readiness(store.check),
        authenticator=authenticator,
        cursors=secret.sealer("cursors"),
        tokens=tokens,
        admission=Admission(settings, store),
        status_of=status_of,
    )
    handlers = route_handlers(settings)
    application = Litestar(
        route_handlers=[*_options_handlers(handlers), *handlers],
        before_request=_authenticate_request,
        exception_handlers={Exception: _error_response},
        lifespan=[lambda _: _lifespan(context)],
        state=State(
            {"context": context, "authenticator": authenticator, "store": store, "settings": settings},
            deep_copy=False,
        ),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        debug=False,
    )
    return HTTPMiddleware(application, settings)


def route_handlers(settings: Settings) -> list[HTTPRouteHandler]:
    """Every handler of the application. A new route is one more handler in the `ROUTES` of its module."""
    handlers = [*reads.ROUTES, *writes.ROUTES, *causes.ROUTES, *credentials.ROUTES, *operators.ROUTES, *health.ROUTES]
    return [*handlers, *docs_page.routes(settings, handlers)]


def status_of(error: WhenceError) -> int:
    """The HTTP status of an error: that of the nearest class in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


@asynccontextmanager
async def _lifespan(context: AppContext) -> AsyncIterator[None]:
    await context.authenticator.start()
    async with AsyncExitStack() as closing:
        closing.push_async_callback(context.store.close)
        closing.push_async_callback(context.authenticator.close)
        closing.push_async_callback(context.ingest.close)
        yield


async def _authenticate_request(request: Request) -> None:
    """Authenticate the request, wait for its turn, and check the scope that its route names, unless the route is open.
    Before that, announce what of the request is deprecated.

    A hook before every handler, since Litestar's guards would copy the handler for each request.
    """
    opt = request.scope["route_handler"].opt
    if "operation" in opt and opt["operation"].announces:
        announce_deprecations(opt["operation"], request)
    if request.method == "OPTIONS" or opt.get("open"):
        return
    principal = await context_of(request).authenticator.authenticate(request)
    request.scope["state"]["principal"] = principal
    await context_of(request).admission.rounds.begin(principal.tenant)
    if "scope" in opt:
        principal.require(opt["scope"])
        if opt["scope"] == READ:
            path = request.scope["state"]["public_path"]
            await context_of(request).recorder.read(principal, path, request.scope["query_string"], now_us())


def _options_handlers(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """A handler of OPTIONS for each path. Litestar's own would name only the methods of the first handler of a path."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    return [_options_handler(path, ", ".join(sorted(names))) for path, names in methods.items()]


def _options_handler(path: str, allowed: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, opt={"open": True})
    async def options(request: Request) -> Response[None]:
        """The methods that this address takes."""
        return Response(None, status_code=204, headers={"Allow": allowed})

    return options


def _error_response(request: Request, error: Exception) -> Response[bytes]:
    """The response to any error: a list of problems for 422, else one sentence with a code."""
    request_id = request.scope["state"]["request_id"]
    if isinstance(error, Invalid):
        return Response(msgspec.json.encode({"detail": error.problems}), status_code=422, media_type=JSON)
    if isinstance(error, HTTPException) and error.status_code in _LITESTAR_ERRORS:
        code, sentence = _LITESTAR_ERRORS[error.status_code]
        headers = dict(error.headers or {})
        if "allow" in headers:  # Litestar takes the methods from a set, so their order varies
            headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        body = error_body(sentence, code, request_id)
        return Response(body, status_code=error.status_code, media_type=JSON, headers=headers)
    status = status_of(error) if isinstance(error, WhenceError) else 500
    if status == 500:
        _log.error("unexpected error", request_id=request_id, exc_info=error)
        body = error_body("An internal error occurred; it was logged with the request id.", "internal", request_id)
    else:
        body = error_body(str(error), getattr(error, "code", "error"), request_id)
    return Response(body, status_code=status, media_type=JSON, headers=_headers_of(error))


def _headers_of(error: Exception) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RetryLater):
        return {"Retry-After": str(error.retry_after_s)}
    return {}

"""The application: its routes, its life, and the one place where errors get their status."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import structlog
from litestar import Litestar, Response, route
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from whence.api import docs_page, reads, traces, writes
from whence.api.admin import key_routes
from whence.api.auth import Authenticator
from whence.api.bodies import BodyBudget
from whence.api.context import AnyRequest, Context, context_of
from whence.api.edge import Edge, error_body
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
from whence.settings import Settings
from whence.storage import Store, backend_for

__all__ = ["STATUS", "create_app"]

_log = structlog.get_logger("whence.api")

_READY_S = 2.0
_JSON = "application/json"

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
"""The HTTP status of each error. The only such table."""

_FRAMEWORK = {
    400: ("bad_request", "The request cannot be read."),
    404: ("not_found", "There is nothing at this address."),
    405: ("method_not_allowed", "This address does not take this method; the Allow header names those it takes."),
    408: ("request_timeout", "The body came too slowly."),
}
"""Code and sentence for what is refused before a handler can say anything."""


def create_app(settings: Settings, store: Store) -> Edge:
    """The ASGI application over an open store. Its lifespan starts what works in the background and, at its end,
    finishes what was accepted and closes the store.
    """
    authenticator = Authenticator(settings, store)
    ingest = Ingest(store, settings.queue_events_max)
    context = Context(
        settings=settings,
        vocabulary=settings.vocabulary,
        store=store,
        ingest=ingest,
        authenticator=authenticator,
        bodies=BodyBudget(settings.bodies_in_flight_max),
        answers=BodyBudget(settings.answers_in_flight_max, "large answers"),
        pages=asyncio.Semaphore(backend_for(settings.store).reads_at_once),
        status_of=status_of,
    )
    handlers = [*reads.ROUTES, *traces.ROUTES, *writes.ROUTES, *key_routes, live, ready, *docs_page.routes(settings)]
    application = Litestar(
        route_handlers=[*_options(handlers), *handlers],
        before_request=_admit,
        exception_handlers={Exception: _answer_error},
        lifespan=[lambda _: _life(context)],
        state=State(
            {"context": context, "authenticator": authenticator, "store": store, "settings": settings},
            deep_copy=False,
        ),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        debug=False,
    )
    return Edge(application, settings)


def status_of(error: WhenceError) -> int:
    """The HTTP status of an error: that of the nearest class in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


@asynccontextmanager
async def _life(context: Context) -> AsyncIterator[None]:
    await context.authenticator.start()
    async with AsyncExitStack() as closing:
        closing.push_async_callback(context.store.close)
        closing.push_async_callback(context.authenticator.close)
        closing.push_async_callback(context.ingest.close)
        yield


async def _admit(request: AnyRequest) -> None:
    """Let nobody past without a credential, and without the scope that the route names. Only a route that says so is
    open. It runs before every handler, where the framework's guards would cost a copy of the handler each time."""
    opt = request.scope["route_handler"].opt
    if request.method == "OPTIONS" or opt.get("open"):
        return
    principal = await context_of(request).authenticator.authenticate(request)
    request.scope["state"]["principal"] = principal
    if "scope" in opt:
        principal.require(opt["scope"])


def _options(handlers: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """A handler of OPTIONS for each path. The framework makes its own from the first handler of a path alone, and
    would leave out the methods of the others."""
    methods: dict[str, set[str]] = {}
    for handler in handlers:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    return [_options_of(path, ", ".join(sorted(names))) for path, names in methods.items()]


def _options_of(path: str, allowed: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=204, opt={"open": True})
    async def options(request: AnyRequest) -> Response[None]:
        """What this address takes."""
        return Response(None, status_code=204, headers={"Allow": allowed})

    return options


@route("/livez", http_method=["GET", "HEAD"], status_code=200, opt={"open": True})
async def live(request: AnyRequest) -> Response[bytes]:
    """The process runs. Looks at nothing."""
    return Response(b'{"status":"ok"}', media_type=_JSON)


@route("/readyz", http_method=["GET", "HEAD"], status_code=200, opt={"open": True})
async def ready(request: AnyRequest) -> Response[bytes]:
    """The store can read and write."""
    try:
        async with asyncio.timeout(_READY_S):
            await context_of(request).store.check()
    except TimeoutError:
        raise Unavailable("The store did not answer in time.") from None
    return Response(b'{"status":"ok"}', media_type=_JSON)


def _answer_error(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The answer to any error, in one of two shapes."""
    request_id = request.scope["state"]["request_id"]
    if isinstance(error, Invalid):
        return Response(msgspec.json.encode({"detail": error.problems}), status_code=422, media_type=_JSON)
    if isinstance(error, HTTPException) and error.status_code in _FRAMEWORK:
        code, sentence = _FRAMEWORK[error.status_code]
        headers = dict(error.headers or {})
        if "allow" in headers:  # the framework takes the methods from a set, in any order
            headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
        body = error_body(sentence, code, request_id)
        return Response(body, status_code=error.status_code, media_type=_JSON, headers=headers)
    status = status_of(error) if isinstance(error, WhenceError) else 500
    if status == 500:
        _log.error("unexpected error", request_id=request_id, exc_info=error)
        body = error_body("Something went wrong here; it was noted with the request id.", "internal", request_id)
    else:
        body = error_body(str(error), getattr(error, "code", "error"), request_id)
    return Response(body, status_code=status, media_type=_JSON, headers=_headers_of(error))


def _headers_of(error: Exception) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, RetryLater):
        return {"Retry-After": str(error.retry_after_s)}
    return {}

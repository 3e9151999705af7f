"""The application: its routes, its lifespan, and the two lanes that requests take to their handlers."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from litestar import Litestar, Response, route
from litestar.handlers import HTTPRouteHandler

from whence.addresses import Allowed
from whence.api import (
    activity,
    alerts,
    causes,
    console,
    credentials,
    docs_page,
    entries,
    exports,
    feeds,
    followers,
    health,
    metrics_page,
    names,
    oidc_pages,
    operators,
    reads,
    removals,
    seals,
    sentences,
    session_tenants,
    sessions,
    verifier_page,
    views,
    webhooks,
    writes,
)
from whence.api.admission import Admission
from whence.api.answered_pages import AnsweredPages
from whence.api.auth import Authenticator
from whence.api.authorization import authorize
from whence.api.context import AppContext
from whence.api.error_responses import error_response
from whence.api.fast_lane import FastLane
from whence.api.followers import WEBHOOK_SECRETS, new_worker, running
from whence.api.metrics import Metrics, Share, template_of
from whence.api.middleware import HTTPMiddleware
from whence.api.oidc import OidcProvider
from whence.api.operator_tokens import PURPOSE
from whence.api.process_bus import ProcessBus
from whence.api.readiness import Readiness
from whence.api.recording import Recorder
from whence.api.request import Request
from whence.api.streams import Streams
from whence.fairness import FairQueue
from whence.followers import Worker
from whence.ingest import Ingest
from whence.log_keys import LogKeys
from whence.outbound import Sender
from whence.payload_masking import PayloadMask
from whence.recent import RecentlyUsed
from whence.sealing import StoreSecret
from whence.sentences import load_grammar
from whence.settings import Settings
from whence.storage import Store
from whence.wire.feed import Places

__all__ = ["create_app", "new_metrics", "route_handlers"]

_WEBHOOK_TESTS = 16
"""Test events that are on their way at a time."""

_PARSED_READS = 512
"""Reads whose query strings stay parsed. With the longest query strings they take 40 MB."""


def create_app(
    settings: Settings,
    store: Store,
    secret: StoreSecret | None = None,
    bus: ProcessBus | None = None,
    share: Share | None = None,
) -> HTTPMiddleware:
    """The ASGI application over an open store.

    Its lifespan starts the background work. At the end it finishes what was accepted and closes the store. Without the
    secret of the store (see `whence.api.store_secret`), cursors and operators' tokens end with the application. If the
    server has several processes, `bus` leads to the others, one of which follows the log, and `share` is where they add
    up their metrics.
    """
    handlers = route_handlers(settings)
    metrics = new_metrics(handlers, share)
    secret = secret or StoreSecret.random()
    tokens = secret.sealer(PURPOSE)
    authenticator = Authenticator(settings, store, tokens=tokens)
    admission = Admission(settings, store)
    if bus is not None:
        authenticator.share_throttle(bus)
        admission.event_rate.share(bus)
    ingest = Ingest(store, settings.queue_events_max, metrics)
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
        admission=admission,
        streams=Streams(store, authenticator, admission, Places(secret.sealer("positions"))),
        metrics=metrics,
        parsed_reads=RecentlyUsed(_PARSED_READS),
        answered_pages=AnsweredPages(),
        sender=Sender(Allowed.parse(settings.webhook_allow)),
        webhook_secrets=secret.sealer(WEBHOOK_SECRETS),
        webhook_tests=FairQueue(_WEBHOOK_TESTS),
        grammar=load_grammar(settings.sentences),
        payload_mask=PayloadMask(settings.redact),
        log_keys=LogKeys(secret, ml_dsa=settings.seal_ml_dsa),
        oidc=None if settings.oidc_issuer is None else OidcProvider(settings, secret.sealer("sign-in attempts")),
    )
    _watch(context)
    worker = new_worker(settings, store, secret, metrics) if bus is None else None
    application = Litestar(
        route_handlers=[*_options_handlers(handlers), *handlers],
        before_request=authorize,
        exception_handlers={Exception: error_response},  # type: ignore[dict-item]  # see JsonResponse
        lifespan=[lambda _: _lifespan(context, bus, worker)],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
        debug=False,
    )
    return HTTPMiddleware(FastLane(application, context, handlers), settings, metrics)


def route_handlers(settings: Settings) -> list[HTTPRouteHandler]:
    """Every handler of the application. A new route is one more handler in the `ROUTES` of its module."""
    modules = (
        *(reads, activity, names, exports, entries, feeds, followers, webhooks, alerts, writes, causes, seals),
        *(removals, sentences, views, credentials, sessions, session_tenants, operators, metrics_page, health),
    )
    handlers = [handler for module in modules for handler in module.ROUTES]
    handlers += docs_page.routes(settings, handlers)
    handlers += verifier_page.ROUTES
    handlers += oidc_pages.routes(settings)
    return [*handlers, *console.routes(settings, handlers)]


def new_metrics(handlers: Iterable[HTTPRouteHandler], share: Share | None = None) -> Metrics:
    """The counters of a process of the server with these routes."""
    return Metrics([template_of(handler) for handler in handlers], share)


def _watch(context: AppContext) -> None:
    """Have the metrics show how full the server is."""
    ingest, admission, settings = context.ingest, context.admission, context.settings
    context.metrics.watch(
        queue_events=lambda: ingest.events,
        queue_events_max=lambda: settings.queue_events_max,
        bodies_bytes=lambda: admission.bodies.used,
        bodies_bytes_max=lambda: admission.bodies.total,
        answers_bytes=lambda: admission.answers.used,
        answers_bytes_max=lambda: admission.answers.total,
        streams=lambda: admission.streams.used,
        streams_max=lambda: admission.streams.total,
    )


@asynccontextmanager
async def _lifespan(context: AppContext, bus: ProcessBus | None, worker: Worker | None) -> AsyncIterator[None]:
    await context.authenticator.start()
    async with AsyncExitStack() as closing:
        if bus is not None:
            bus.start()
            closing.callback(bus.close)
        closing.push_async_callback(context.store.close)
        closing.push_async_callback(context.authenticator.close)
        closing.push_async_callback(context.ingest.close)
        closing.push_async_callback(context.streams.close)
        closing.push_async_callback(context.sender.close)
        if context.oidc is not None:
            closing.push_async_callback(context.oidc.close)
        publishing = asyncio.create_task(context.metrics.keep_published())
        closing.callback(publishing.cancel)
        if worker is not None:
            await closing.enter_async_context(running(worker))
        yield


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

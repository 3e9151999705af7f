"""The followers of a server: the worker that runs them, the sealer and the removals, and the route that says how far
they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import structlog
from litestar.handlers import HTTPRouteHandler

from whence.addresses import Allowed
from whence.alerting import AlertWork
from whence.api.context import context_of, principal_of
from whence.api.metrics import Metrics
from whence.api.operation import read_route
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.deleting import FormerLogs
from whence.delivery import WebhookDelivery
from whence.errors import Forbidden
from whence.followers import Work, Worker
from whence.outbound import Sender
from whence.payload_indexing import PayloadIndexing
from whence.removal import RemovalWork
from whence.retention_schedule import RetentionSchedule
from whence.sealer import Sealing
from whence.sealing import StoreSecret
from whence.sentences import load_grammar
from whence.settings import Settings
from whence.storage import Store
from whence.wire.bodies import FollowerBody, FollowersBody
from whence.wire.query import refuse_parameters
from whence.witnesses import Witnesses, read_policy, witness_sender

__all__ = ["ROUTES", "WEBHOOK_SECRETS", "new_worker", "running"]

_NOT_SEALED = (
    "Logs are not sealed: the key that signs them follows from the secret of the store, and not every server of it has "
    "the same. Set WHENCE_STORE_SECRET or WHENCE_STORE_SECRET_FILE on all of them, or WHENCE_SEAL=false to do without."
)

_log = structlog.get_logger("whence.server")

WEBHOOK_SECRETS = "webhooks"
"""The purpose of the subkey that seals the secrets of webhooks."""


@read_route("/api/v1/followers", "List Followers", "followers", FollowersBody, tag="Service")
async def list_followers(request: Request) -> JsonResponse:
    """How far the webhooks and the alert rules of the tenant have read its log, and a quorum of witnesses has cosigned
    it."""
    refuse_parameters(request.scope["query_string"])
    viewer = principal_of(request).viewer
    if not viewer.sees_all:
        raise Forbidden("This credential may not read every event, so the positions of others are not shown to it.")
    store = context_of(request).store
    places = await store.followers.list_places(viewer.tenant)
    size = (await store.head(viewer.tenant)).size
    followers = [
        FollowerBody(name=place.name, position=place.position, lag=max(0, size - place.position)) for place in places
    ]
    return JsonResponse(msgspec.json.encode(FollowersBody(followers=followers, size=size)))


ROUTES: list[HTTPRouteHandler] = [list_followers]
"""The handlers of this module."""


def new_worker(settings: Settings, store: Store, secret: StoreSecret, metrics: Metrics) -> Worker:
    """The worker of the process that follows the log, whose lag the metrics then show."""
    sender = Sender(Allowed.parse(settings.webhook_allow))
    works: list[Work] = [
        WebhookDelivery(store, secret.sealer(WEBHOOK_SECRETS), sender, grammar=load_grammar(settings.sentences)),
        AlertWork(store),
    ]
    sealing = _new_sealing(settings, store, secret)
    removals = RemovalWork(store, seals=sealing is not None)
    schedule = RetentionSchedule(store, settings.default_policy)
    beside = [PayloadIndexing(store, settings.payload_fields).run, schedule.run, FormerLogs(store).run]
    if sealing is not None:
        beside.append(sealing.run)
        if settings.witness_policy is not None:
            policy = read_policy(settings.witness_policy)
            witnesses = Witnesses(store, sealing, policy, witness_sender(policy))
            beside.append(witnesses.run)
            metrics.watch(quorum_missed=lambda: len(witnesses.missing))
    worker = Worker(store, [*works, removals], beside)
    metrics.watch(followers=lambda: len(worker.lags), follower_lag_events=lambda: max(worker.lags, default=0))
    metrics.watch(removals_waiting=lambda: len(removals.waiting))
    if sealing is not None:
        metrics.watch(sealing_stopped=lambda: len(sealing.stopped))
    return worker


def _new_sealing(settings: Settings, store: Store, secret: StoreSecret) -> Sealing | None:
    """The sealer; None if logs are not to be sealed, or cannot be, which is logged."""
    if not settings.seal:
        return None
    if not secret.is_shared:
        _log.warning("not_sealed", advice=_NOT_SEALED)
        return None
    return Sealing(store, secret, settings.log_name, ml_dsa=settings.seal_ml_dsa)


@contextlib.asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    """Run a worker beside the block, and end it after it."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

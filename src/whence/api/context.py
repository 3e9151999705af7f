"""What the handlers of one server share, and how a handler reaches it."""

import time
from typing import Any, cast

import msgspec

from whence.api.admission import Admission
from whence.api.answered_pages import AnsweredPages
from whence.api.auth import Authenticator
from whence.api.metrics import Metrics
from whence.api.oidc import OidcProvider
from whence.api.readiness import Readiness
from whence.api.recording import Recorder
from whence.api.request import Request
from whence.api.streams import Streams
from whence.events import Vocabulary
from whence.fairness import FairQueue
from whence.ingest import Ingest
from whence.log_keys import LogKeys
from whence.outbound import Sender
from whence.payload_masking import PayloadMask
from whence.permissions import Principal
from whence.recent import RecentlyUsed
from whence.sealing import Sealer
from whence.sentences import Grammar
from whence.settings import Settings
from whence.storage.base import Store
from whence.wire.query import ReadRequest

__all__ = ["AppContext", "context_of", "now_us", "principal_of", "root_path_of"]


class AppContext(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one running server.

    `cursors` seals the cursors of pages, `tokens` the tokens of operators' keys. `admission` decides how much of the
    server each tenant may use. `metrics` counts what it does. `parsed_reads` are what reads asked lately, by route,
    query string, viewer and path. `answered_pages` keeps the answers of pages. `sender` sends the test events of
    webhooks, `webhook_tests` bounds how many at a time, `webhook_secrets` seals their secrets, and `grammar` has the
    words of their sentences. `payload_mask` masks the payloads of new events, and `log_keys` are the keys of the logs.
    `oidc` is the issuer that signs people in, if there is one.
    """

    settings: Settings
    vocabulary: Vocabulary
    store: Store
    ingest: Ingest
    readiness: Readiness
    authenticator: Authenticator
    recorder: Recorder
    cursors: Sealer
    tokens: Sealer
    admission: Admission
    streams: Streams
    metrics: Metrics
    parsed_reads: RecentlyUsed[tuple[Any, ...], ReadRequest]
    answered_pages: AnsweredPages
    sender: Sender
    webhook_secrets: Sealer
    webhook_tests: FairQueue
    grammar: Grammar
    payload_mask: PayloadMask
    log_keys: LogKeys
    oidc: OidcProvider | None = None


def context_of(request: Request) -> AppContext:
    """The parts of the server that got this request."""
    return cast(AppContext, request.scope["state"]["context"])


def principal_of(request: Request) -> Principal:
    """Who sent the request. It is authenticated before any handler runs."""
    return cast(Principal, request.scope["state"]["principal"])


def root_path_of(request: Request) -> str:
    """The path prefix under which clients reach this server, without a final slash; often empty."""
    return cast(str, request.scope["state"]["root_path"])


def now_us() -> int:
    """The wall clock, in microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000

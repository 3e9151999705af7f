"""The client: `Whence` and `AsyncWhence`.

- `clients` has the calls of the API, and `base_client` what both clients share.
- `requests`, `responses`, `event_builder` and `retries` are pure: they build, parse and decide.
- `context` holds what events inherit: their cause, flow and actor. `tracing` records calls and runs as events.
- `transport` sends a request over HTTP once. `tokens` signs tokens for tenants.
- `emitter` is the queue, `sender` the threads that empty it, `spool` and `spool_lock` its files on disk.
- `at_exit` and `fork_safety` keep queued events through the end of the process and through forks.
"""

from whence.client.base_client import DEFAULT_URL, ClientOptions, Enricher
from whence.client.clients import AsyncWhence, Whence
from whence.client.context import CausalContext, ContextScope, ContextThreadPoolExecutor, current_context, wrap
from whence.client.emitter import OnError, Stats
from whence.client.errors import Closed, Lost, NotRecorded, Rejected, SpoolFull, Unreachable
from whence.client.event_builder import Cause, EmittedEvent, EventFields
from whence.client.requests import (
    JSON,
    NDJSON,
    ApiRequest,
    Value,
    actor_stats_request,
    aggregate_request,
    batch_request,
    create_key_request,
    emit_request,
    get_request,
    list_keys_request,
    list_request,
    revoke_key_request,
    trace_request,
)
from whence.client.responses import (
    NOT_A_WHENCE_SERVER,
    ApiResponse,
    EventPage,
    StoredEvent,
    error_of,
    parse_batch,
    parse_body,
    parse_page,
    parse_stored,
    refusal,
    retry_after_s,
)
from whence.client.tokens import TenantToken, sign_jwt
from whence.wire.keys import CreatedKeyBody, KeyBody, KeysBody

__all__ = [
    "DEFAULT_URL",
    "JSON",
    "NDJSON",
    "NOT_A_WHENCE_SERVER",
    "ApiRequest",
    "ApiResponse",
    "AsyncWhence",
    "CausalContext",
    "Cause",
    "ClientOptions",
    "Closed",
    "ContextScope",
    "ContextThreadPoolExecutor",
    "CreatedKeyBody",
    "EmittedEvent",
    "Enricher",
    "EventFields",
    "EventPage",
    "KeyBody",
    "KeysBody",
    "Lost",
    "NotRecorded",
    "OnError",
    "Rejected",
    "SpoolFull",
    "Stats",
    "StoredEvent",
    "TenantToken",
    "Unreachable",
    "Value",
    "Whence",
    "actor_stats_request",
    "aggregate_request",
    "batch_request",
    "create_key_request",
    "current_context",
    "emit_request",
    "error_of",
    "get_request",
    "list_keys_request",
    "list_request",
    "parse_batch",
    "parse_body",
    "parse_page",
    "parse_stored",
    "refusal",
    "retry_after_s",
    "revoke_key_request",
    "sign_jwt",
    "trace_request",
    "wrap",
]

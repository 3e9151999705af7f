"""The client: `Whence` and `AsyncWhence`.

- `clients` has the calls of the API, and `base_client` what both clients share.
- `requests`, `responses`, `event_builder`, `encoding` and `retries` are pure: they build, parse and decide.
- `context` holds what events inherit: their cause, flow and actor. `tracing`, `action_runs` and `runs` record calls
  and runs as events.
- `call_groups` names the groups of calls: `alert_rules`, `views`, `webhooks`, and in `removals` those about retention,
  legal holds and erasures. `exports` has what exports need.
- `reasons` says why there is no connection.
- `following` iterates over events as they are stored.
- `transport` sends a request over HTTP once, and `deprecations` logs what a response announces. `tokens` signs tokens
  for tenants.
- `emitter` accepts events and sends them in batches. `backlog` holds what is not sent yet, `spool` and `spool_lock` its
  files on disk, `counts` its numbers. `sender` has the threads, `reporting` what they report, and `clock` the server's
  time.
- `at_exit`, `fork_safety` and `reentrancy` keep queued events through exits, forks and signal handlers.
"""

from whence.client.alert_rules import AlertCondition, AlertRules, AsyncAlertRules
from whence.client.base_client import Enricher
from whence.client.clients import AsyncWhence, Whence
from whence.client.context import CausalContext, ContextScope, ContextThreadPoolExecutor, current_context, wrap
from whence.client.counts import Stats
from whence.client.encoding import Default, Payload
from whence.client.errors import Closed, Lost, NoApiKey, NotRecorded, QueueFull, Rejected, SpoolFull, Unreachable
from whence.client.event_builder import Cause, EmittedEvent, EventFields
from whence.client.exports import ExportFilters
from whence.client.following import AsyncFollow, Follow
from whence.client.options import BeforeSend, ClientOptions
from whence.client.removals import AsyncErasures, AsyncHolds, AsyncRetention, Erasures, Holds, Retention
from whence.client.reporting import OnError
from whence.client.requests import (
    JSON,
    NDJSON,
    ActorFilters,
    ApiRequest,
    EventFilters,
    FacetFilters,
    FieldFilters,
    FlowFilters,
    FollowFilters,
    HistogramFilters,
    ListFilters,
    TimeFilters,
    Value,
    actor_request,
    actor_stats_request,
    actors_request,
    aggregate_request,
    batch_request,
    create_key_request,
    emit_request,
    export_request,
    facets_request,
    follow_request,
    get_request,
    histogram_request,
    list_keys_request,
    list_request,
    resource_summary_request,
    revoke_key_request,
    search_request,
    suggest_request,
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
from whence.client.runs import Run
from whence.client.tokens import TenantToken, sign_jwt
from whence.client.views import AsyncViews, Views
from whence.client.webhooks import AsyncWebhooks, WebhookFields, Webhooks
from whence.profiles import DEFAULT_URL
from whence.wire.keys import CreatedKeyBody, KeyBody, KeysBody

__all__ = [
    "DEFAULT_URL",
    "JSON",
    "NDJSON",
    "NOT_A_WHENCE_SERVER",
    "ActorFilters",
    "AlertCondition",
    "AlertRules",
    "ApiRequest",
    "ApiResponse",
    "AsyncAlertRules",
    "AsyncErasures",
    "AsyncFollow",
    "AsyncHolds",
    "AsyncRetention",
    "AsyncViews",
    "AsyncWebhooks",
    "AsyncWhence",
    "BeforeSend",
    "CausalContext",
    "Cause",
    "ClientOptions",
    "Closed",
    "ContextScope",
    "ContextThreadPoolExecutor",
    "CreatedKeyBody",
    "Default",
    "EmittedEvent",
    "Enricher",
    "Erasures",
    "EventFields",
    "EventFilters",
    "EventPage",
    "ExportFilters",
    "FacetFilters",
    "FieldFilters",
    "FlowFilters",
    "Follow",
    "FollowFilters",
    "HistogramFilters",
    "Holds",
    "KeyBody",
    "KeysBody",
    "ListFilters",
    "Lost",
    "NoApiKey",
    "NotRecorded",
    "OnError",
    "Payload",
    "QueueFull",
    "Rejected",
    "Retention",
    "Run",
    "SpoolFull",
    "Stats",
    "StoredEvent",
    "TenantToken",
    "TimeFilters",
    "Unreachable",
    "Value",
    "Views",
    "WebhookFields",
    "Webhooks",
    "Whence",
    "actor_request",
    "actor_stats_request",
    "actors_request",
    "aggregate_request",
    "batch_request",
    "create_key_request",
    "current_context",
    "emit_request",
    "error_of",
    "export_request",
    "facets_request",
    "follow_request",
    "get_request",
    "histogram_request",
    "list_keys_request",
    "list_request",
    "parse_batch",
    "parse_body",
    "parse_page",
    "parse_stored",
    "refusal",
    "resource_summary_request",
    "retry_after_s",
    "revoke_key_request",
    "search_request",
    "sign_jwt",
    "suggest_request",
    "trace_request",
    "wrap",
]

"""The client: `Whence` and `AsyncWhence`, and what they are made of.

Pure: `requests` (builders), `answers` (parsers), `emission` (what becomes an event), `retries`, `tokens`. `context` is
what events inherit. `transport` is one try over HTTP. `emitter`, `courier`, `spool`, `exits` and `forks` see to it that
a queued event arrives. `log` puts them together, and `http` has the skins.
"""

from whence.client.answers import (
    Answer,
    CreatedKeyBody,
    KeyBody,
    KeysBody,
    Page,
    Stored,
    error_of,
    parse_batch,
    parse_body,
    parse_page,
    parse_stored,
    refusal,
    retry_after_s,
)
from whence.client.context import Context, Scope, ThreadPool, current, wrap
from whence.client.emission import Emitted, Fields
from whence.client.emitter import Stats
from whence.client.errors import Closed, Lost, Rejected, SpoolFull, Unreachable
from whence.client.http import AsyncWhence, Whence
from whence.client.log import DEFAULT_URL, Options
from whence.client.requests import (
    JSON,
    NDJSON,
    Request,
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
from whence.client.tokens import TenantToken, sign

__all__ = [
    "DEFAULT_URL",
    "JSON",
    "NDJSON",
    "Answer",
    "AsyncWhence",
    "Closed",
    "Context",
    "CreatedKeyBody",
    "Emitted",
    "Fields",
    "KeyBody",
    "KeysBody",
    "Lost",
    "Options",
    "Page",
    "Rejected",
    "Request",
    "Scope",
    "SpoolFull",
    "Stats",
    "Stored",
    "TenantToken",
    "ThreadPool",
    "Unreachable",
    "Value",
    "Whence",
    "actor_stats_request",
    "aggregate_request",
    "batch_request",
    "create_key_request",
    "current",
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
    "sign",
    "trace_request",
    "wrap",
]

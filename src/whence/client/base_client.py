"""What `Whence` and `AsyncWhence` share: settings, context, building and queueing events, and clients for tenants."""

import functools
import inspect
import os
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast

import msgspec

from whence.client import context as contexts
from whence.client.at_exit import flush_on_sigterm
from whence.client.context import CausalContext, ContextScope
from whence.client.counts import Stats
from whence.client.emitter import Emitter, OnFull
from whence.client.event_builder import Cause, EmittedEvent, EventFields, build_event, id_and_flow
from whence.client.fork_safety import register_fork_safe, reset_if_forked
from whence.client.reentrancy import guard
from whence.client.reporting import OnError
from whence.client.requests import batch_request, tenant_token_request
from whence.client.responses import ApiResponse, parse_body
from whence.client.sender import Sender
from whence.client.spool import Spool, default_root, folder_name
from whence.client.tokens import ExchangedToken, TenantToken
from whence.client.transport import Transport, api_key_headers, base_url
from whence.errors import WhenceError
from whence.identities import canonical
from whence.wire.ids import new_uuid7
from whence.wire.keys import TenantTokenBody

__all__ = ["DEFAULT_URL", "BaseClient", "ClientOptions", "Enricher"]

DEFAULT_URL = "http://127.0.0.1:8700"
"""The server's URL when none is given."""

_TENANT_CLIENTS_MAX = 10_000
_UNAUTHENTICATED = 401
_THREADS_END_S = 0.5  # how long closing waits at least for its threads, which end at once unless a request hangs

P = ParamSpec("P")
R = TypeVar("R")

Enricher = Callable[[CausalContext], tuple[CausalContext, Mapping[str, Any]]]
"""Given the context of an event, returns the context to use and members to add to the payload."""


class ClientOptions(TypedDict, total=False):
    """The options of a client. All may be left out.

    - `tenant` names the folder of the spool. Without it the API key does, so set it if keys are rotated.
    - `queue_events_max` (10,000) and `queue_bytes_max` (64 MiB) bound the queue in memory.
    - `on_full`: what `emit` does when the queue is full. "spill", the default, writes to the spool. "drop", the default
      without a spool, counts the event as lost and reports that. "raise" raises QueueFull. "block" waits at most
      `block_timeout_s` (10) for room, then raises QueueFull; on an event loop it raises at once.
    - `on_error` is called with errors of queued events; see `OnError`.
    - `spool` is the folder that holds all spools, or False for no spool. Default: WHENCE_SPOOL_DIR, or a folder in the
      user's state directory.
    - `spool_bytes_max` (1 GiB) bounds the spool of one tenant.
    - `exit_timeout_s` (5) bounds how long closing waits for queued events to be sent.
    - `flush_on_signals`: whether SIGTERM sends or spools the queued events, before it ends the process as usual.
    - `jwt_secret` is the secret shared with the server, for `for_tenant`. Default: WHENCE_JWT_SECRET. Without it,
      `for_tenant` needs an operator's key as the API key.
    - `jwt_claims` are added to the tokens of `for_tenant`.
    """

    tenant: str
    queue_events_max: int
    queue_bytes_max: int
    on_full: OnFull
    block_timeout_s: float
    on_error: OnError
    spool: Path | str | Literal[False]
    spool_bytes_max: int
    exit_timeout_s: float
    flush_on_signals: bool
    jwt_secret: str
    jwt_claims: Mapping[str, object]


class BaseClient:
    """The part of `Whence` and `AsyncWhence` that does no HTTP in the caller's thread."""

    def __init__(
        self, url: str | None, api_key: str | None, timeout_s: float, retries: int, **options: Unpack[ClientOptions]
    ) -> None:
        self.url = base_url(url or os.environ.get("WHENCE_URL") or DEFAULT_URL)
        key = api_key or os.environ.get("WHENCE_API_KEY") or ""
        headers = self._key_headers = api_key_headers(key)
        self.credential: Callable[[], Mapping[str, str]] = lambda: headers
        self.timeout_s = timeout_s
        self._retries = retries
        if options.get("spool") is False and options.get("on_full") == "spill":
            raise WhenceError(
                'on_full="spill" needs a spool. Pass "drop", "raise" or "block", or leave out spool=False.'
            )
        self._options = options
        self._enrichers: list[Enricher] = []
        self._spool_name = functools.partial(folder_name, self.url, options.get("tenant"), key)
        self._sender = Sender()
        self._transport: Transport | None = None
        self._shares_transport = False
        self.reset_after_fork()
        self._emitter = self._new_emitter()
        register_fork_safe(self)
        if options.get("flush_on_signals"):
            flush_on_sigterm()

    def reset_after_fork(self) -> None:
        """Replace the lock, and forget the clients of tenants."""
        self._lock = threading.RLock()  # a signal handler may close the client
        self._tenants: dict[str, Self] = {}

    # -------------------------------------------------------------------------------------------------------- context

    def cause(self, event: Cause) -> ContextScope:
        """Make this event the cause of all events emitted inside. For `with`, or as a decorator."""
        cause, correlation_id = id_and_flow(event)
        return ContextScope(lambda outer: _with(outer, cause=cause, correlation_id=correlation_id, pending=None))

    def bind(self, *, actor: tuple[str, str] | None = None, correlation_id: str | None = None) -> ContextScope:
        """Set the default actor and flow of all events emitted inside. For `with`, or as a decorator."""
        given = {"actor": actor, "correlation_id": correlation_id and canonical(correlation_id)}
        changes = {name: value for name, value in given.items() if value is not None}
        return ContextScope(lambda outer: _with(outer, **changes))

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Write the current context into the headers of a request or message to another process."""
        contexts.inject(headers)

    def extract(self, headers: Mapping[str, Any]) -> ContextScope:
        """Continue in the context that these headers carry. Use it only with headers of trusted senders."""
        extracted = contexts.extract(headers)
        return ContextScope(lambda _outer: extracted)

    def wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function bound to the current context, to be run in another thread or process."""
        return contexts.wrap(function)

    def enrich(self, enricher: Enricher) -> None:
        """Call this for every event, in the thread that emits it. The event's own payload members take precedence."""
        self._enrichers.append(enricher)

    def traced(
        self,
        started: str,
        *,
        completed: str | None = None,
        failed: str | None = None,
        **fields: Any,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator that records each call of a function.

        A call emits `started`, which is the cause of all events emitted inside. Its end emits `completed`, or `failed`
        with the type of the exception. The three events have the same resource. `fields` are those of `emit`.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                    with _TracedCall(self, started, completed, failed, fields):
                        return await function(*args, **kwargs)

                return cast("Callable[P, R]", run_async)

            @functools.wraps(function)
            def run(*args: P.args, **kwargs: P.kwargs) -> R:
                with _TracedCall(self, started, completed, failed, fields):
                    return function(*args, **kwargs)

            return run

        return decorate

    # --------------------------------------------------------------------------------------------------------- events

    def new(self, event: Mapping[str, Any] | str, **fields: Any) -> EmittedEvent:
        """The event that `emit` would send, without sending it. Raises Invalid as `emit` does."""
        reset_if_forked()
        context, added = contexts.current_context(), dict[str, Any]()
        for enricher in self._enrichers:
            context, members = enricher(context)
            added |= members
        event_fields = msgspec.structs.replace(EventFields(), **fields)
        if added:
            payload = event_fields.payload
            if payload is None and isinstance(event, Mapping):
                payload = event.get("payload")
            if payload is None or isinstance(payload, Mapping):  # a payload that is already JSON stays as it is
                event_fields.payload = {**added, **(payload or {})}
        return build_event(event, event_fields, context)

    def queue(self, event: Mapping[str, Any] | str, **fields: Any) -> EmittedEvent:
        """Queue an event from any thread, as `Whence.emit` does without `durable`. Raises as that."""
        emitted = self.new(event, **fields)
        spooled = self._emitter.put(emitted.body)
        return msgspec.structs.replace(emitted, spooled=True) if spooled else emitted

    def stats(self) -> Stats:
        """Counts of the events that were queued."""
        return self._emitter.stats()

    def _flush(self, timeout_s: float) -> bool:
        return self._emitter.flush(timeout_s)

    def _emitters(self) -> list[Emitter]:
        """The queue of this client and those of its clients for tenants."""
        reset_if_forked()
        with self._lock:
            return [*(tenant._emitter for tenant in self._tenants.values()), self._emitter]

    def _begin_close(self) -> bool:
        """Accept no more events, and start to send the queued ones; returns whether all were sent."""
        emitters = self._emitters()
        for emitter in emitters:
            emitter.begin_close()
        return all(emitter.is_done() for emitter in emitters)

    def _close(self, timeout_s: float | None) -> bool:
        if guard.is_inside():  # a signal handler that interrupted the client closes it
            guard.defer(lambda: self._close(timeout_s))
            return False
        deadline = time.monotonic() + (self._emitter.exit_timeout_s if timeout_s is None else timeout_s)
        self._begin_close()
        emitters = self._emitters()
        self._tenants = {}
        sent = [emitter.close(max(0.0, deadline - time.monotonic())) for emitter in emitters]
        if not self._shares_transport:
            if self._transport is not None:
                self._transport.close()
            self._sender.stop(max(_THREADS_END_S, deadline - time.monotonic()))
        return all(sent)

    # -------------------------------------------------------------------------------------------------------- tenants

    def for_tenant(self, tenant: str, *, scope: str = "events:read events:write", lifetime_s: int = 900) -> Self:
        """A client for another tenant. Its tokens are exchanged for the API key of this client, which is an operator's
        key; with the secret that is shared with the server, they are signed here.

        It has its own queue and spool, and shares the connections and threads of this client. It is closed with this
        client. Raises WhenceError without a key and a secret, and for an invalid tenant or lifetime. A lifetime is at
        most 15 minutes, or 24 hours if the tokens are signed here.
        """
        cache_key = f"{tenant} {scope} {lifetime_s}"
        with self._lock:
            client = self._tenants.pop(cache_key, None)
            if client is None:
                client = self._tenant_client(tenant, self._tenant_credential(tenant, scope, lifetime_s))
            self._tenants[cache_key] = client  # last in the dict, as the most recently used
            while len(self._tenants) > _TENANT_CLIENTS_MAX:
                del self._tenants[next(iter(self._tenants))]  # its queued events are still sent
        return client

    def _tenant_credential(self, tenant: str, scope: str, lifetime_s: int) -> TenantToken | ExchangedToken:
        secret = self._options.get("jwt_secret") or os.environ.get("WHENCE_JWT_SECRET")
        if secret:
            claims = self._options.get("jwt_claims")
            return TenantToken(tenant, secret, scope=scope, lifetime_s=lifetime_s, claims=claims)
        operator = self._key_headers
        if not operator:
            raise WhenceError(
                "An operator's key, or a secret to sign tokens with, is needed. Pass api_key or jwt_secret, or set "
                "WHENCE_API_KEY or WHENCE_JWT_SECRET."
            )
        request = tenant_token_request(tenant, scope.split(), lifetime_s)
        transport = self._shared_transport()

        def exchange() -> str:
            return parse_body(transport.exchange(request, operator), TenantTokenBody).token

        return ExchangedToken(tenant, exchange, lifetime_s=lifetime_s)

    def _note_refusal(self, status: int) -> bool:
        """Drop a token of an operator's key that was refused. Whether another attempt has a new one."""
        if status != _UNAUTHENTICATED or not isinstance(self.credential, ExchangedToken):
            return False
        self.credential.forget()
        return True

    def _tenant_client(self, tenant: str, credential: Callable[[], Mapping[str, str]]) -> Self:
        client = object.__new__(type(self))
        client.__dict__.update(self.__dict__)
        client.credential = credential
        client._shares_transport = True
        client._transport = self._shared_transport()
        client._spool_name = functools.partial(folder_name, self.url, tenant, "")
        client.reset_after_fork()
        client._emitter = client._new_emitter()
        register_fork_safe(client)
        return client

    # ---------------------------------------------------------------------------------------------- queue and spool

    def send_spool(self, folder: Path, timeout_s: float = 60.0) -> Stats:
        """Send what dead processes left in this spool folder, as the tenant of this client."""
        emitter = Emitter(
            self._send_batch,
            self._sender,
            lambda: Spool(folder, 0),
            queue_events_max=1,
            queue_bytes_max=1,
            on_full="block",
            block_timeout_s=0.0,
            on_error=self._options.get("on_error"),
            exit_timeout_s=0.0,
        )
        emitter.flush(timeout_s)
        emitter.close(0.0)
        return emitter.stats()

    def _new_emitter(self) -> Emitter:
        options = self._options
        return Emitter(
            self._send_batch,
            self._sender,
            None if options.get("spool") is False else self._open_spool,
            queue_events_max=options.get("queue_events_max", 10_000),
            queue_bytes_max=options.get("queue_bytes_max", 64 * 1024 * 1024),
            on_full=options.get("on_full", "spill"),
            block_timeout_s=options.get("block_timeout_s", 10.0),
            on_error=options.get("on_error"),
            exit_timeout_s=options.get("exit_timeout_s", 5.0),
        )

    def _open_spool(self) -> Spool:
        return Spool(self.spool_folder, self._options.get("spool_bytes_max", 1024 * 1024 * 1024))

    @property
    def spool_folder(self) -> Path:
        """The folder of this server and tenant: for events that cannot be sent yet, and for those that were refused."""
        return Path(self._options.get("spool") or default_root()) / self._spool_name()

    def _send_batch(self, bodies: Sequence[bytes]) -> ApiResponse:
        response = self._shared_transport().exchange(batch_request(b"\n".join(bodies)), self.credential())
        self._note_refusal(response.status)  # the emitter keeps the events, and sends them again
        return response

    def _shared_transport(self) -> Transport:
        if self._transport is None:
            self._transport = Transport(self.url, self.timeout_s)
        return self._transport


class _TracedCall:
    """One call of a traced function."""

    def __init__(
        self, client: BaseClient, started: str, completed: str | None, failed: str | None, fields: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._completed = completed
        self._failed = failed
        self._fields = {"resource": (started.partition(".")[0], new_uuid7()), **fields}
        self._scope = client.cause(client.queue(started, **self._fields))

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            ending, payload = (self._completed, None) if kind is None else (self._failed, {"error": kind.__name__})
            if ending is not None:
                self._client.queue(ending, **{**self._fields, "payload": payload})
        finally:
            self._scope.__exit__(kind, error, trace)


def _with(context: CausalContext, **changes: Any) -> CausalContext:
    return msgspec.structs.replace(context, **changes)

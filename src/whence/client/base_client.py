"""What `Whence` and `AsyncWhence` share: settings, context, building and queueing events, and clients for tenants."""

import functools
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, Unpack

import msgspec

from whence.client import context as contexts
from whence.client import tracing
from whence.client.at_exit import flush_on_sigterm
from whence.client.context import CausalContext, ContextScope
from whence.client.counts import Counter, Stats
from whence.client.emitter import Emitter
from whence.client.encoding import EventEncoder
from whence.client.errors import NoApiKey, name_of
from whence.client.event_builder import Cause, EmittedEvent, EventFields, build_event, cause_and_flow, emitted_from
from whence.client.following import FollowState, OnRetry, with_position
from whence.client.fork_safety import register_fork_safe, reset_if_forked
from whence.client.options import BeforeSend, ClientOptions, check_options
from whence.client.reentrancy import GuardedCondition, Nesting, guard, is_raised_by_signal_handler
from whence.client.requests import (
    ApiRequest,
    FollowFilters,
    batch_request,
    store_request,
    tenant_token_request,
    with_id,
)
from whence.client.responses import ApiResponse, parse_body
from whence.client.runs import Run
from whence.client.sender import SenderThreads
from whence.client.spool import Spool, default_root, folder_name
from whence.client.tokens import ExchangedToken, TenantToken, is_renewed
from whence.client.tracing import TracedEvents
from whence.errors import Invalid, WhenceError
from whence.identities import canonical
from whence.profiles import DEFAULT_URL, FoundServer, find_server
from whence.wire.ids import new_uuid7
from whence.wire.keys import TenantTokenBody

if TYPE_CHECKING:
    from whence.client.transport import HttpOptions, Transport

__all__ = ["BaseClient", "Enricher"]

_log = logging.getLogger("whence")
_TENANT_CLIENTS_MAX = 10_000
_BEFORE_SEND_DEPTH_MAX = 3  # for an event, for one that `before_send` emits for it, and for one of a signal handler
_THREADS_END_S = 0.5  # how long closing waits at least for its threads, which end at once unless a request hangs

P = ParamSpec("P")
R = TypeVar("R")

Enricher = Callable[[CausalContext], tuple[CausalContext, Mapping[str, Any]]]
"""Given the context of an event, returns the context to use and members to add to the payload."""


class BaseClient:
    """The part of `Whence` and `AsyncWhence` that does no HTTP in the caller's thread."""

    def __init__(
        self, url: str | None, api_key: str | None, timeout_s: float, retries: int, **options: Unpack[ClientOptions]
    ) -> None:
        from whence.client.transport import (  # noqa: PLC0415  (see there)
            HttpOptions,
            api_key_headers,
            base_url,
            user_state_dir,
        )

        check_options(type(self).__name__, {**options, "timeout_s": timeout_s, "retries": retries})
        server = _find_server(url, api_key, options.get("profile"))
        self.url, key = base_url(server.url), server.api_key
        headers = self._key_headers = api_key_headers(key)
        has_own_client = options.get("http_client") or options.get("async_http_client")
        self._no_key = None if key or has_own_client else server.reason or "an empty one was passed."
        self._http_options = HttpOptions(
            ca=options.get("ca"),
            client_cert=options.get("client_cert"),
            proxy=options.get("proxy"),
            http_client=options.get("http_client"),
            async_http_client=options.get("async_http_client"),
        )
        disabled = options.get("disabled")
        self._disabled = _is_on(os.environ.get("WHENCE_DISABLED")) if disabled is None else disabled
        self._encode = EventEncoder(options.get("default"))
        self.credential: Callable[[], Mapping[str, str]] = lambda: headers
        self.timeout_s = timeout_s
        self._retries = retries
        self._options = options
        self._state_dir = user_state_dir
        self._enrichers: list[Enricher] = []
        self._spool_name = functools.partial(folder_name, self.url, options.get("tenant"), key)
        self._sender = SenderThreads()
        self._connections = _Connections(self.url, timeout_s, self._http_options)
        self._shares_connections = False
        self.reset_after_fork()
        self._emitter = self._new_emitter()
        register_fork_safe(self)
        if options.get("flush_on_signals"):
            flush_on_sigterm()

    def reset_after_fork(self) -> None:
        """Replace the lock, and forget the clients of tenants."""
        self._filtering, self._enriching, self._reporting = Nesting(_BEFORE_SEND_DEPTH_MAX), Nesting(1), Nesting(1)
        self._said_too_deep = False
        self._lock = GuardedCondition()
        self._dropped = Counter()
        self._tenants: dict[str, Self] = {}

    # -------------------------------------------------------------------------------------------------------- context

    def cause(self, event: Cause) -> ContextScope:
        """Make this event the cause of all events emitted inside. For `with`, or as a decorator."""
        cause, correlation_id = cause_and_flow(event)
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
        """The function bound to the current context, to be run in another thread, process or task.

        Coroutine functions and generator functions stay what they are. Raises TypeError for what cannot be called.
        """
        return contexts.wrap(function)

    def enrich(self, enricher: Enricher) -> None:
        """Call this for every event, in the thread that emits it. The event's own payload members take precedence.

        It is not called for events that are emitted while it runs.
        """
        self._enrichers.append(enricher)

    def traced(
        self,
        started: str,
        *,
        completed: str | None = None,
        failed: str | None = None,
        cancelled: str | None = None,
        **fields: Unpack[EventFields],
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator that records each call of a function, coroutine function, generator or async generator.

        A call emits `started`, which is the cause of all events emitted inside. Its end emits `completed`, or `failed`
        with the type of the exception. `cancelled` is for calls that are cancelled, which otherwise have failed, and
        for generators that are closed early, which otherwise are completed. The events of a call have one resource.
        `fields` are those of `emit`. Raises TypeError for a class, and for what cannot be called.
        """
        events = TracedEvents(started=started, completed=completed, failed=failed, cancelled=cancelled, fields=fields)
        return tracing.traced(self, events)

    # --------------------------------------------------------------------------------------------------------- events

    def new(self, event: Mapping[str, Any] | str, **fields: Unpack[EventFields]) -> EmittedEvent:
        """The event that `emit` would send, without sending it. Raises Invalid as `emit` does."""
        reset_if_forked()
        context = contexts.current_context()
        if self._enrichers:
            context, added = self._enriched(context)
            if added:
                payload = fields.get("payload")
                if payload is None and isinstance(event, Mapping):
                    payload = event.get("payload")
                fields["payload"] = {**added, **self._encode.members(payload)}
        return self._filter(build_event(event, fields, context, self._encode))

    def _enriched(self, context: CausalContext) -> tuple[CausalContext, Mapping[str, Any]]:
        """The context to use, and the members to add to the payload."""
        added: dict[str, Any] = {}
        if not self._enriching.enter():
            return context, added
        try:
            for enricher in self._enrichers:
                context, members = enricher(context)
                added |= members
        finally:
            self._enriching.leave()
        return context, added

    def queue(self, event: Mapping[str, Any] | str, **fields: Unpack[EventFields]) -> EmittedEvent:
        """Queue an event from any thread, as `Whence.emit` does without `durable`. Raises as that."""
        emitted = self.new(event, **fields)
        if emitted.dropped:
            return emitted
        self._require_key()
        spooled = self._emitter.put(emitted.body)
        return msgspec.structs.replace(emitted, spooled=True) if spooled else emitted

    def started(self, noun: str, **fields: Unpack[EventFields]) -> Run:
        """Emit `<noun>.started`, and return a handle that emits `<noun>.completed` or `<noun>.failed`.

        The keywords are those of `emit`. Without a `resource` it is a new one of the type `noun`. Raises as `emit`.
        """
        if fields.get("resource") is None:
            fields["resource"] = (noun, new_uuid7())
        if fields.get("actor") is None:
            fields["actor"] = contexts.current_context().actor
        event = self.queue(f"{noun}.started", **fields)
        return Run(self, noun, event, {"actor": fields["actor"], "resource": fields["resource"]})

    def report(self, error: WhenceError) -> None:
        """Report an error for code that must not raise it: it is logged, and passed to `on_error`."""
        _log.warning("%s", error)
        on_error = self._options.get("on_error")
        if on_error is None or not self._reporting.enter():  # it may lead here itself
            return
        try:
            on_error(error)
        except BaseException as raised:  # also SystemExit, which would end the program
            if isinstance(raised, KeyboardInterrupt) or is_raised_by_signal_handler(raised):
                raise
            _log.exception("The callback on_error failed.")
        finally:
            self._reporting.leave()

    def stats(self) -> Stats:
        """Counts of the events that were queued."""
        return msgspec.structs.replace(self._emitter.stats(), dropped=self._dropped.value())

    def _filter(self, emitted: EmittedEvent) -> EmittedEvent:
        """The event as `before_send` leaves it."""
        body = self._filter_body(emitted.body)
        if body is None:
            return msgspec.structs.replace(emitted, dropped=True)
        return emitted if body is emitted.body else emitted_from(body)

    def _filter_body(self, body: bytes) -> bytes | None:
        """An encoded event as `before_send` leaves it, or None for one that is dropped, which is counted."""
        before_send = self._options.get("before_send")
        kept: bytes | None = body
        if self._disabled:
            kept = None
        elif before_send is not None:
            kept = self._passed(before_send, body)
        if kept is None:
            self._dropped.increase()
        return kept

    def _passed(self, before_send: BeforeSend, body: bytes) -> bytes | None:
        """What the callback makes of an encoded event, or None for one that is dropped."""
        if not self._filtering.enter():
            self._say_too_deep()
            return None
        try:
            changed = before_send(msgspec.json.decode(body))
            kept = None if changed is None else self._encode(with_id(changed))
            if kept is not None:
                emitted_from(kept)
        except Exception as error:  # an event that was not scrubbed must not leave the process
            if is_raised_by_signal_handler(error):
                raise
            _log.exception("The callback before_send failed, so the event %s %s was dropped.", *name_of(body))
            return None
        finally:
            self._filtering.leave()
        return kept

    def _say_too_deep(self) -> None:
        """Log once that events are dropped: a handler of the log may emit another one here."""
        if self._said_too_deep:
            return
        self._said_too_deep = True
        _log.warning(
            "The callback before_send emits events for events that it emitted itself. Those more than %d deep are "
            "dropped, since this would not end. stats().dropped counts them.",
            _BEFORE_SEND_DEPTH_MAX - 1,
        )

    def _store(self, emitted: EmittedEvent) -> ApiRequest:
        """The request that stores an event durably. Raises NoApiKey."""
        self._require_key()
        return store_request(emitted.body)

    def _require_key(self) -> None:
        """Raise NoApiKey if nothing can be sent."""
        if self._no_key is not None:
            raise NoApiKey(self._no_key)

    def _batch_bodies(self, events: Iterable[Mapping[str, Any]]) -> list[bytes | None]:
        """The encoded events of a batch; None for those that are dropped. Raises Invalid with the index of an event."""
        bodies: list[bytes | None] = []
        for index, event in enumerate(events):
            try:
                if not isinstance(event, Mapping):
                    raise Invalid.at(("body",), "An event is a mapping with the keys of the API.", "dict_type")
                bodies.append(self._filter_body(self._encode(with_id(event))))
            except Invalid as error:
                raise error.within_item(index) from error.__cause__
        if any(body is not None for body in bodies):
            self._require_key()
        return bodies

    def _follow_state(self, filters: FollowFilters, on_retry: OnRetry | None) -> FollowState:
        """Where a log is followed from. Raises Invalid for two places to begin at."""
        parameters: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
        if "after" in parameters and "since" in parameters:
            raise Invalid.at(("query", "since"), "Pass either after or since.", "from_with_after")
        if "after" not in parameters:
            parameters.setdefault("since", "now")
        parameters["include"] = with_position(filters.get("include"))
        return FollowState(parameters, self.timeout_s, on_retry)

    def _flush(self, timeout_s: float, attempts_before: int | None = None) -> bool:
        return self._disabled or self._emitter.flush(timeout_s, attempts_before)

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
        if not self._shares_connections:
            self._connections.close()
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
        transport = self._connections.transport()

        def exchange() -> str:
            return parse_body(transport.exchange(request, operator), TenantTokenBody).token

        return ExchangedToken(tenant, exchange, lifetime_s=lifetime_s)

    def _tenant_client(self, tenant: str, credential: Callable[[], Mapping[str, str]]) -> Self:
        client = object.__new__(type(self))
        client.__dict__.update(self.__dict__)
        client.credential = credential
        client._no_key = None
        client._shares_connections = True
        client._spool_name = functools.partial(folder_name, self.url, tenant, "")
        client.reset_after_fork()
        client._emitter = client._new_emitter()
        register_fork_safe(client)
        return client

    # ---------------------------------------------------------------------------------------------- queue and spool

    def send_spool(self, folder: Path, timeout_s: float = 60.0) -> Stats:
        """Send what dead processes left in this spool folder, as the tenant of this client."""
        emitter = Emitter(
            functools.partial(_send_batch, self._connections, self.credential),
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
        open_spool = functools.partial(_open_spool, options, self._spool_name, self._state_dir)
        return Emitter(
            functools.partial(_send_batch, self._connections, self.credential),
            self._sender,
            None if options.get("spool") is False else open_spool,
            queue_events_max=options.get("queue_events_max", 10_000),
            queue_bytes_max=options.get("queue_bytes_max", 64 * 1024 * 1024),
            on_full=options.get("on_full", "spill"),
            block_timeout_s=options.get("block_timeout_s", 10.0),
            on_error=options.get("on_error"),
            exit_timeout_s=options.get("exit_timeout_s", 5.0),
        )

    @property
    def spool_folder(self) -> Path:
        """The folder of this server and tenant: for events that cannot be sent yet, and for those that were refused."""
        return _spool_folder(self._options, self._spool_name, self._state_dir)


class _Connections:
    """The connections of a client and of its clients for tenants, but for async calls. They are made when first needed.

    This and the functions below serve the queue. It outlives a client that is dropped, so they do not refer to one.
    """

    def __init__(self, url: str, timeout_s: float, options: "HttpOptions") -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._options = options
        self._transport: Transport | None = None

    def transport(self) -> "Transport":
        """What sends requests."""
        from whence.client.transport import Transport  # noqa: PLC0415  (see there)

        if self._transport is None:
            self._transport = Transport(self._url, self._timeout_s, self._options)
        return self._transport

    def close(self) -> None:
        """Close the connections, if there are any."""
        if self._transport is not None:
            self._transport.close()


def _send_batch(
    connections: _Connections, credential: Callable[[], Mapping[str, str]], bodies: Sequence[bytes]
) -> ApiResponse:
    request = batch_request(b"\n".join(bodies))
    response = connections.transport().exchange(request, credential())
    if is_renewed(credential, response.status):
        response = connections.transport().exchange(request, credential())
    return response


def _open_spool(options: ClientOptions, name: Callable[[], str], state_dir: Callable[..., str]) -> Spool:
    return Spool(_spool_folder(options, name, state_dir), options.get("spool_bytes_max", 1024 * 1024 * 1024))


def _spool_folder(options: ClientOptions, name: Callable[[], str], state_dir: Callable[..., str]) -> Path:
    return Path(options.get("spool") or default_root(state_dir)) / name()


def _find_server(url: str | None, api_key: str | None, profile: str | None) -> FoundServer:
    """The server and key to use. Profiles that cannot be read are a reason why there is no key."""
    try:
        return find_server(url, api_key, profile, os.environ)
    except WhenceError as error:
        return FoundServer(url or os.environ.get("WHENCE_URL") or DEFAULT_URL, "", str(error))


def _is_on(switch: str | None) -> bool:
    return (switch or "").lower() in ("1", "true", "yes", "on")


def _with(context: CausalContext, **changes: Any) -> CausalContext:
    return msgspec.structs.replace(context, **changes)

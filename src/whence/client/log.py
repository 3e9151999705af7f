"""What the sync and the async client share: settings, building events, context, queue, and clients of tenants."""

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
from whence.client.answers import Answer
from whence.client.context import Context, Scope
from whence.client.courier import Courier
from whence.client.emission import Cause, Emitted, Fields, new_event, reference
from whence.client.emitter import Emitter, OnError, Stats
from whence.client.forks import survive_forks
from whence.client.requests import batch_request
from whence.client.spool import Spool, default_root, folder_name
from whence.client.tokens import TenantToken
from whence.client.transport import Transport, checked_headers, checked_url
from whence.errors import WhenceError
from whence.wire.ids import new_uuid7

__all__ = ["DEFAULT_URL", "Log", "Options"]

DEFAULT_URL = "http://127.0.0.1:8700"
"""Where a server is looked for when none is named."""

_TENANTS_KEPT = 10_000

P = ParamSpec("P")
R = TypeVar("R")


class Options(TypedDict, total=False):
    """How events are queued. Everything may be left out.

    `tenant` names the folder of the spool; without it the key does, so name it if keys are changed. `on_full` says what
    `emit` does when the queue is full: "spill" goes on to the spool, "block" waits. `spool` is the folder of all
    spools, False for none. `exit_timeout_s` bounds what is done at the end of the process. `jwt_secret` is the secret
    shared with the server, for `for_tenant`; else WHENCE_JWT_SECRET.
    """

    tenant: str
    queue_events_max: int
    queue_bytes_max: int
    on_full: Literal["spill", "block"]
    on_error: OnError
    spool: Path | str | Literal[False]
    spool_bytes_max: int
    exit_timeout_s: float
    jwt_secret: str
    jwt_claims: Mapping[str, object]


class Log:
    """The part of a client that speaks no HTTP in the caller's thread. `Whence` and `AsyncWhence` are its skins."""

    def __init__(
        self, url: str | None, api_key: str | None, timeout_s: float, retries: int, **options: Unpack[Options]
    ) -> None:
        self.url = checked_url(url or os.environ.get("WHENCE_URL") or DEFAULT_URL)
        key = api_key or os.environ.get("WHENCE_API_KEY") or ""
        headers = checked_headers(key)
        self.credential: Callable[[], Mapping[str, str]] = lambda: headers
        self.timeout_s = timeout_s
        self._retries = retries
        self._options = options
        self._enrichers: list[Callable[[Context], tuple[Context, Mapping[str, Any]]]] = []
        self._spool_name = functools.partial(folder_name, self.url, options.get("tenant"), key)
        self._courier = Courier()
        self._transport: Transport | None = None
        self._borrows = False
        self.renew()
        self._emitter = self._new_emitter()
        survive_forks(self)

    def renew(self) -> None:
        """A lock that nobody holds, for a forked child."""
        self._lock = threading.Lock()
        self._tenants: dict[str, Self] = {}

    # -------------------------------------------------------------------------------------------------------- context

    def cause(self, event: Cause) -> Scope:
        """What is emitted inside is caused by this event, and belongs to its flow. For `with`, or as a decorator."""
        cause, correlation = reference(event)
        return Scope(lambda outer: _with(outer, cause=cause, correlation_id=correlation, pending=None))

    def bind(self, *, actor: tuple[str, str] | None = None, correlation_id: str | None = None) -> Scope:
        """What is emitted inside has this actor and flow, unless it says otherwise. For `with`, or as a decorator."""
        said = {"actor": actor, "correlation_id": correlation_id}
        return Scope(lambda outer: _with(outer, **{name: value for name, value in said.items() if value is not None}))

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Write the context into the headers of a request or message that goes to another process."""
        contexts.inject(headers)

    def extract(self, headers: Mapping[str, Any]) -> Scope:
        """Go on in the context that these headers carry; believe them only of senders that you trust."""
        found = contexts.extracted(headers)
        return Scope(lambda _outer: found)

    def wrap(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, to be run with the context of here and now, in another thread or process."""
        return contexts.wrap(function)

    def enrich(self, enricher: Callable[[Context], tuple[Context, Mapping[str, Any]]]) -> None:
        """Ask this for every event, in the code that emits it: given the context, it returns the context to use, and
        members to add to the payload where it has none of that name.
        """
        self._enrichers.append(enricher)

    def traced(
        self,
        started: str,
        *,
        completed: str | None = None,
        failed: str | None = None,
        **fields: Any,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """A decorator: each call emits `started`, which is the cause of what the call emits; and when it ends,
        `completed`, or `failed` with the name of the exception. All three have the same resource.
        """

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            if inspect.iscoroutinefunction(function):

                @functools.wraps(function)
                async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                    with _Call(self, started, completed, failed, fields):
                        return await function(*args, **kwargs)

                return cast("Callable[P, R]", run_async)

            @functools.wraps(function)
            def run(*args: P.args, **kwargs: P.kwargs) -> R:
                with _Call(self, started, completed, failed, fields):
                    return function(*args, **kwargs)

            return run

        return decorate

    # --------------------------------------------------------------------------------------------------------- events

    def new(self, event: Mapping[str, Any] | str, **fields: Any) -> Emitted:
        """The event as `emit` would send it, and nothing else done. For those who carry it away themselves."""
        context, added = contexts.current(), dict[str, Any]()
        for enricher in self._enrichers:
            context, more = enricher(context)
            added |= more
        said = msgspec.structs.replace(Fields(), **fields)
        if added:
            given = said.payload
            if given is None and isinstance(event, Mapping):
                given = event.get("payload")
            if given is None or isinstance(given, Mapping):  # bytes that were made elsewhere stay as they are
                said.payload = {**added, **(given or {})}
        return new_event(event, said, context)

    def queue(self, event: Mapping[str, Any] | str, **fields: Any) -> Emitted:
        """Put an event into the queue, from whatever thread: `emit` of the sync client, without waiting for a 201."""
        emitted = self.new(event, **fields)
        spooled = self._emitter.put(emitted.body)
        return msgspec.structs.replace(emitted, spooled=True) if spooled else emitted

    def stats(self) -> Stats:
        """What became of the queued events."""
        return self._emitter.stats()

    def _flush(self, timeout_s: float) -> bool:
        return self._emitter.flush(timeout_s)

    def _close(self, timeout_s: float | None) -> bool:
        with self._lock:
            tenants, self._tenants = list(self._tenants.values()), {}
        emitters = [*(one._emitter for one in tenants), self._emitter]
        until = time.monotonic() + (self._emitter.exit_timeout_s if timeout_s is None else timeout_s)
        for emitter in emitters:
            emitter.begin_close()
        sent = [emitter.close(max(0.0, until - time.monotonic())) for emitter in emitters]
        if self._transport is not None and not self._borrows:
            self._transport.close()
        return all(sent)

    # -------------------------------------------------------------------------------------------------------- tenants

    def for_tenant(self, tenant: str, *, scope: str = "events:read events:write", lifetime_s: int = 900) -> Self:
        """The same client for another tenant, with tokens signed by the secret that this program shares with the
        server. It has a queue and a spool of its own, and shares connections and threads. Closed with this one.

        Raises WhenceError without a secret, and for what cannot name a tenant.
        """
        secret = self._options.get("jwt_secret") or os.environ.get("WHENCE_JWT_SECRET")
        if not secret:
            raise WhenceError("A secret is needed to sign tokens: give jwt_secret, or set WHENCE_JWT_SECRET.")
        kept = f"{tenant} {scope} {lifetime_s}"
        with self._lock:
            known = self._tenants.pop(kept, None)
            if known is None:
                claims = self._options.get("jwt_claims")
                token = TenantToken(tenant, secret, scope=scope, lifetime_s=lifetime_s, claims=claims)
                known = self._sibling(tenant, token)
            self._tenants[kept] = known
            while len(self._tenants) > _TENANTS_KEPT:
                del self._tenants[next(iter(self._tenants))]  # events of it are still sent; it is only made anew
        return known

    def _sibling(self, tenant: str, credential: Callable[[], Mapping[str, str]]) -> Self:
        sibling = object.__new__(type(self))
        sibling.__dict__.update(self.__dict__)
        sibling.credential = credential
        sibling._borrows = True
        sibling._transport = self._shared_transport()
        sibling._spool_name = functools.partial(folder_name, self.url, tenant, "")
        sibling.renew()
        sibling._emitter = sibling._new_emitter()
        survive_forks(sibling)
        return sibling

    # ------------------------------------------------------------------------------------------------------- the queue

    def send_spool(self, folder: Path, timeout_s: float = 60.0) -> Stats:
        """Send what dead processes left in a folder of spooled events, as the tenant of this client."""
        emitter = Emitter(
            self._send_batch,
            self._courier,
            lambda: Spool(folder, 0),
            queue_events_max=1,
            queue_bytes_max=1,
            on_full="block",
            on_error=self._options.get("on_error"),
            exit_timeout_s=0.0,
        )
        emitter.flush(timeout_s)
        emitter.close(0.0)
        return emitter.stats()

    def _new_emitter(self) -> Emitter:
        options = self._options
        root = options.get("spool")
        return Emitter(
            self._send_batch,
            self._courier,
            None if root is False else self._open_spool,
            queue_events_max=options.get("queue_events_max", 10_000),
            queue_bytes_max=options.get("queue_bytes_max", 64 * 1024 * 1024),
            on_full=options.get("on_full", "spill"),
            on_error=options.get("on_error"),
            exit_timeout_s=options.get("exit_timeout_s", 5.0),
        )

    def _open_spool(self) -> Spool:
        return Spool(self.spool_folder, self._options.get("spool_bytes_max", 1024 * 1024 * 1024))

    @property
    def spool_folder(self) -> Path:
        """Where events of this server and tenant lie while they cannot be sent, and those that were refused."""
        return Path(self._options.get("spool") or default_root()) / self._spool_name()

    def _send_batch(self, bodies: Sequence[bytes]) -> Answer:
        return self._shared_transport().exchange(batch_request(b"\n".join(bodies)), self.credential())

    def _shared_transport(self) -> Transport:
        if self._transport is None:
            self._transport = Transport(self.url, self.timeout_s)
        return self._transport


class _Call:
    """One call of a function that is traced."""

    def __init__(
        self, log: Log, started: str, completed: str | None, failed: str | None, fields: Mapping[str, Any]
    ) -> None:
        self._log = log
        self._completed = completed
        self._failed = failed
        self._fields = {"resource": (started.partition(".")[0], new_uuid7()), **fields}
        self._started = log.queue(started, **self._fields)
        self._scope = log.cause(self._started)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            ending, payload = (self._completed, None) if kind is None else (self._failed, {"error": kind.__name__})
            if ending is not None:
                self._log.queue(ending, **{**self._fields, "payload": payload})
        finally:
            self._scope.__exit__(kind, error, trace)


def _with(context: Context, **changes: Any) -> Context:
    return msgspec.structs.replace(context, **changes)

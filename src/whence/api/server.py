"""The server process: uvicorn with limits on slow and large requests, logging, and a clean stop."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import structlog
import uvicorn
from litestar.types import ASGIApp
from uvicorn.server import HANDLED_SIGNALS

from whence.addresses import is_loopback
from whence.api.app import create_app
from whence.api.callback_lane import CallbackLane
from whence.api.connections import ConnectionLimits
from whence.api.fast_lane import FastLane
from whence.api.http_protocol import SmallReadsProtocol
from whence.api.listener import Listener
from whence.api.metrics import Metrics
from whence.api.metrics_page import MetricsListener
from whence.api.middleware import HTTPMiddleware
from whence.api.request_log import request_log
from whence.api.store_secret import load_store_secret
from whence.settings import Settings
from whence.storage.base import Store
from whence.wire.times import format_time_fixed

__all__ = [
    "Server",
    "ServerConfig",
    "announce",
    "configure_logging",
    "is_exposed",
    "listen_for_metrics",
    "make_config",
    "notify_service_manager",
    "prepare",
    "run",
    "settle_memory",
    "share_port",
]

_KEEP_ALIVE_S = 30
_BACKLOG = 2048
_FILES_BESIDE = 256  # open files of the store and everything else but connections
_SWITCH_S = 0.0005  # how long a thread that computes keeps the event loop waiting for the GIL; Python's own is 5 ms
_GRACE_S = 5
_KILL_S = 9.5
_ORPHAN_S = 0.7
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_PLAIN_HTTP = (
    "Keys and events can be read on the network. Set WHENCE_TLS_CERT and WHENCE_TLS_KEY, or put a proxy with TLS in "
    "front and name it in WHENCE_TRUSTED_PROXIES."
)

_log = structlog.get_logger("whence.server")


def run(settings: Settings, store: Store, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight and return within 10 s, with the store closed.

    `ready` is called once with the address, such as `http://127.0.0.1:8700`, when the server accepts requests. Raises
    OSError when the address cannot be bound or the TLS files cannot be read, and StoreRefused for a file that does not
    hold the secret of the store.
    """
    prepare(settings)
    [listener], address = share_port(settings, 1)
    with contextlib.ExitStack() as closing:
        closing.enter_context(contextlib.closing(listener))
        app = create_app(settings, store, load_store_secret(settings))
        metrics = listen_for_metrics(settings, closing)
        config = make_config(app, settings, app.metrics)
        config.load()
        settle_memory()
        pages = None if metrics is None else MetricsListener(app.metrics, settings, metrics)
        Server(config, lambda: announce(ready, address), metrics=pages).run([listener])


def listen_for_metrics(settings: Settings, closing: contextlib.ExitStack) -> socket.socket | None:
    """The socket of the metrics alone, if there is to be one. It is closed at the end, with `closing`. Raises OSError
    when the address cannot be bound."""
    if settings.metrics_port is None:
        return None
    listener = _listen(settings.metrics_host, settings.metrics_port)
    closing.enter_context(contextlib.closing(listener))
    return listener


def announce(ready: Callable[[str], None] | None, address: str) -> None:
    """Let the caller and systemd know that the server serves now."""
    if ready is not None:
        ready(address)
    notify_service_manager("READY=1")


def prepare(settings: Settings) -> None:
    """Set up the process before it listens: its log, its limit of open files and its scheduling of threads."""
    configure_logging(settings.log_level)
    _allow_files(_FILES_BESIDE + (2 if settings.tls_cert is None else 3) * settings.connections_max)
    if is_exposed(settings):
        _log.warning("plain_http", host=settings.host, advice=_PLAIN_HTTP)
    sys.setswitchinterval(_SWITCH_S)


def share_port(settings: Settings, number: int) -> tuple[list[socket.socket], str]:
    """So many listening sockets of one address, and its URL. Raises OSError when the address cannot be bound.

    On Linux the kernel shares the connections among the sockets. Elsewhere it would not, and all are the same socket.
    """
    shared = number > 1 and sys.platform == "linux"
    with _alone_at(settings.port) if shared else contextlib.nullcontext():
        # Without the option, so that another server's address is refused even if that server shares it.
        first = _listen(settings.host, settings.port)
        port = first.getsockname()[1]
        address = _address(settings, port)
        if not shared:
            return [first] * number, address
        first.close()
        return [_listen(settings.host, port, reuse_port=True) for _ in range(number)], address


def _listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=reuse_port)


@contextlib.contextmanager
def _alone_at(port: int) -> Iterator[None]:
    """Keep other servers of this user from sharing a port in the same moment: each would see that it is free. Raises
    OSError for the second one."""
    name = f"\0whence-port-{os.geteuid()}-{port}" if port else ""  # an empty address stands for any free name
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as guard:
        guard.bind(name)  # in the namespace of the network, as ports are; nothing is left in a folder
        yield


def is_exposed(settings: Settings) -> bool:
    """Whether other machines reach this server by plain HTTP, and no proxy is known to stand between."""
    return settings.tls_cert is None and not settings.trusted_proxies and not is_loopback(settings.host)


def settle_memory() -> None:
    """Freeze the objects that exist now, and make garbage collection rarer.

    They live until the process ends, and nearly everything that requests allocate is freed by reference counting. With
    Python's defaults, collection cost a tenth of the ingest rate and delayed one trace in seventeen by 18 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with the limits that all connections share."""

    def __init__(self, app: ASGIApp, limits: ConnectionLimits, lane: CallbackLane | None, **given: Any) -> None:
        protocol = partial(SmallReadsProtocol, limits=limits, lane=lane)
        super().__init__(app, http=cast(type[asyncio.Protocol], protocol), **given)
        self.limits = limits


def make_config(app: ASGIApp, settings: Settings, metrics: Metrics | None = None) -> uvicorn.Config:
    """The configuration of uvicorn. The application itself handles proxies and the root path. Connections are counted
    in `metrics`."""
    metrics = metrics or Metrics()
    limits = ConnectionLimits(settings.connections_max, settings.trusted_proxies, metrics.refused)
    lane = None
    if isinstance(app, HTTPMiddleware) and isinstance(app.app, FastLane):
        lane = CallbackLane(app, app.app)
    metrics.watch(connections=lambda: limits.served, connections_max=lambda: limits.total)
    return ServerConfig(
        app,
        limits,
        lane,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which returns after SIGTERM and SIGINT instead of raising the signal again."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], None] | None = None,
        *,
        lifeline: int | None = None,
        metrics: MetricsListener | None = None,
    ) -> None:
        """`ready` is called once the server accepts requests. `lifeline` is that of `supervisor.Child`, in a process
        that has one: it leaves SIGINT to its supervisor, and ends soon after it. `metrics` is served beside."""
        super().__init__(config)
        self.servers = []  # else there are none before the start, and a signal may come earlier
        self._ready = ready
        self._lifeline = lifeline
        self._metrics = metrics
        self._signals = HANDLED_SIGNALS if lifeline is None else (signal.SIGTERM,)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call `ready`."""
        if isinstance(self.config, ServerConfig) and (sys.platform != "win32" or self.config.ssl is not None):
            await super().startup([])
            self._accept(self.config, sockets)
        else:
            await super().startup(sockets)
        if self.started and self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._end_as_orphan)
        if self.started and self._metrics is not None:
            await self._metrics.start()
        if self.started and self._ready is not None:
            self._ready()

    def _accept(self, config: ServerConfig, sockets: list[socket.socket] | None) -> None:
        """Accept connections, of which uvicorn's own method would take one at a time."""
        protocol = partial(
            cast(Any, config.http_protocol_class),
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for each in sockets or [_listen(config.host, config.port)]:
            listener = Listener(each, config.ssl, config.limits, protocol)
            self.servers.append(cast(asyncio.base_events.Server, listener))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and finish the requests in flight."""
        self.lifespan.state["is_stopping"] = True  # for connections that were accepted, and are about to begin
        if self._metrics is not None:
            self._metrics.close()
        await super().shutdown(sockets)

    def _end_as_orphan(self) -> None:
        """Finish what takes little time, and end."""
        if self._lifeline is not None:
            asyncio.get_running_loop().remove_reader(self._lifeline)
        _kill_after(_ORPHAN_S)
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop the server on a signal while the block runs. uvicorn's own method raises the signal again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in self._signals:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        if not self.should_exit:
            _kill_after(_KILL_S)
            if self._lifeline is None:
                notify_service_manager("STOPPING=1")
            # Before any client gets its last answer, so that it is refused, and not reset, when it connects again.
            for listener in self.servers:
                listener.close()
        self.should_exit = True


def _kill_after(seconds: float) -> None:
    """End the process then, even if something hangs. Acknowledged events are on the disk."""
    kill = threading.Timer(seconds, os._exit, (1,))
    kill.daemon = True
    kill.start()


def configure_logging(level: str) -> None:
    """Send logs to stderr: coloured lines to a terminal, else one JSON object a line."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        _add_timestamp,
        _add_process,
    ]
    factory: Any
    # The parent process may have closed it.
    stderr: Any = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  (for the life of the process)
    stream: Any = _LossyStream(stderr if stderr.isatty() else stderr.buffer)
    if stderr.isatty():
        # Rich tracebacks would show the values of variables, API keys among them.
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"), exception_formatter=plain))
        factory = structlog.PrintLoggerFactory(stream)
    else:
        shared += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda entry, **_: msgspec.json.encode(entry, enc_hook=repr)),
        ]
        factory = structlog.BytesLoggerFactory(stream)

    def write_line(line: bytes) -> None:
        stream.write(line)
        stream.flush()

    request_log.write_json(None if stderr.isatty() else write_line, _LEVELS[level])
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # uvicorn's lesser messages are about starting, stopping and invalid requests. These are logged here, or not at all.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _add_timestamp(_logger: object, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the time in UTC. structlog's own processor takes several times as long, which each request would pay."""
    entry["timestamp"] = format_time_fixed(time.time_ns() // 1000)
    return entry


def _add_process(_logger: object, _method: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the name of the process, where a server has several."""
    if request_log.process is not None:
        entry["process"] = request_log.process
    return entry


def notify_service_manager(state: str) -> None:
    """Send a line to systemd, if it started this process and wants to know, as sd_notify(3) describes."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


class _LossyStream:
    """A stream for the log that never raises: on a full disk or a closed pipe, lines are lost."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, line: Any) -> None:
        try:  # noqa: SIM105  (contextlib.suppress takes longer, and each request has a line)
            self._stream.write(line)
        except (OSError, ValueError):
            pass

    def flush(self) -> None:
        try:  # noqa: SIM105  (as above)
            self._stream.flush()
        except (OSError, ValueError):
            pass


def _allow_files(number: int) -> None:
    """Raise the limit of open files of this process to `number`, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _address(settings: Settings, port: int) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}{settings.root_path}"

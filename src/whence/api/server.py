"""The server process: uvicorn inside this one, with limits on slow and large requests, logs, and a clean stop."""

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
from collections.abc import Callable, Generator
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import structlog
import uvicorn
from litestar.types import ASGIApp
from uvicorn.server import HANDLED_SIGNALS

from whence.api.app import create_app
from whence.api.protocol import SmallReads
from whence.settings import Settings
from whence.storage.base import Store

__all__ = ["Server", "configure_logging", "make_config", "run", "settle_memory"]

_KEEP_ALIVE_S = 30
_BACKLOG = 2048
_FILES_BESIDE = 256  # what the store and the rest have open
_GRACE_S = 5
_LAST_S = 9.5
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_log = structlog.get_logger("whence.server")


def run(settings: Settings, store: Store, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way and return within 10 s; the store is closed.

    `ready` is called once with the address, such as `http://127.0.0.1:8700`, when requests are answered. Raises
    OSError when the address cannot be bound or the TLS files cannot be read.
    """
    configure_logging(settings.log_level)
    _allow_files(_FILES_BESIDE + 2 * settings.connections_max)
    listener = _listen(settings.host, settings.port)
    with contextlib.closing(listener):
        address = _address(settings, listener.getsockname()[1])
        config = make_config(create_app(settings, store), settings)
        config.load()
        settle_memory()
        Server(config, lambda: ready(address) if ready else None).run([listener])


def settle_memory() -> None:
    """Leave what is there now out of every search for cycles, and search less often: it stays for good, and nearly all
    that requests make goes by reference counts. As Python does it by itself, it took a tenth of the rate of ingest, and
    made one trace in seventeen wait for 18 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def make_config(app: ASGIApp, settings: Settings) -> uvicorn.Config:
    """How uvicorn is set up. Proxies and the root path are no matter of its; the application sees to them."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=cast(type[asyncio.Protocol], SmallReads),
        limit_concurrency=settings.connections_max,
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
    """uvicorn's server, which stops on SIGTERM and SIGINT as on any wish, and does not die of them afterwards."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] | None = None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Turn signals into a stop while the block runs. uvicorn's own would raise them again after the stop."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in HANDLED_SIGNALS:
            loop.add_signal_handler(number, self._stop, number)
        try:
            yield
        finally:
            for number in HANDLED_SIGNALS:
                loop.remove_signal_handler(number)

    def _stop(self, number: int) -> None:
        if self.should_exit and number == signal.SIGINT:
            self.force_exit = True
        if not self.should_exit:
            # Whatever hangs, the process ends; what was acknowledged is on the disk.
            last = threading.Timer(_LAST_S, os._exit, (1,))
            last.daemon = True
            last.start()
        self.should_exit = True


def configure_logging(level: str) -> None:
    """Send logs to stderr: coloured lines to a terminal, else one JSON object a line."""
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    factory: Any
    # Whoever started this may have closed it.
    stderr: Any = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115  (for the life of the process)
    stream: Any = _Unfailing(stderr if stderr.isatty() else stderr.buffer)
    if stderr.isatty():
        # Without the values of variables, which the other way of telling an error shows: keys are among them.
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"), exception_formatter=plain))
        factory = structlog.PrintLoggerFactory(stream)
    else:
        shared += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=lambda entry, **_: msgspec.json.encode(entry, enc_hook=repr)),
        ]
        factory = structlog.BytesLoggerFactory(stream)
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # uvicorn tells of starting, stopping and of requests that are no HTTP; we do that ourselves or not at all.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Unfailing:
    """A stream for the log. What it does not take, on a full disk or a closed pipe, is lost, and the server goes on."""

    def __init__(self, stream: IO[Any]) -> None:
        self._stream = stream

    def write(self, line: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _allow_files(number: int) -> None:
    """Raise this process's limit of open files to `number`, as far as that is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _address(settings: Settings, port: int) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{port}{settings.root_path}"

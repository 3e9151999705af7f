"""A server that runs as several processes: what each of them does.

    supervisor     holds the port and the lock of the store, and starts the others
    acceptors      answer requests, each with an event loop, caches and reading connections of its own
    writer         with SQLite: the only process that writes the file; the others call it on a Unix socket
    follower       reads the log forward for webhooks and alert rules (see `whence.followers`)

With PostgreSQL the acceptors are as many servers of one database. What all requests of a server share is divided among
them (see `Settings.part_of`), or they hear of it from each other (`whence.api.process_bus`).
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import uvloop

from whence.api.app import create_app, new_metrics, route_handlers
from whence.api.followers import new_worker
from whence.api.metrics import Share
from whence.api.metrics_page import MetricsListener
from whence.api.process_bus import ProcessBus
from whence.api.request_log import request_log
from whence.api.server import (
    Server,
    announce,
    listen_for_metrics,
    make_config,
    notify_service_manager,
    prepare,
    settle_memory,
    share_port,
)
from whence.api.store_secret import load_store_secret
from whence.api.supervisor import Child, Role, Supervisor
from whence.errors import StoreRefused
from whence.sealing import StoreSecret
from whence.settings import Settings
from whence.storage import Store
from whence.storage.backends import SharedStores

__all__ = ["run_processes"]

_WRITER, _FOLLOWER = "writer", "follower"
_FOLDER_MAX = 80  # the path of a Unix socket has at most some hundred bytes


def run_processes(
    settings: Settings, stores: SharedStores, number: int, ready: Callable[[str], None] | None = None
) -> None:
    """Serve with so many acceptors until SIGTERM or SIGINT, then finish the requests in flight and return within 25 s.

    `ready` and what is raised are as in `whence.api.server.run`; StoreRefused also when the writer ended and cannot be
    replaced.
    """
    prepare(settings)
    secret = load_store_secret(settings)
    with contextlib.ExitStack() as closing:
        folder = closing.enter_context(_folder_of_sockets())
        listeners, address = share_port(settings, number)
        closing.callback(_close_all, listeners)
        writer_socket = _writer_socket(folder)
        closing.callback(writer_socket.close)
        buses = ProcessBus.make(folder, number)
        metrics = listen_for_metrics(settings, closing)
        counting = partial(new_metrics, route_handlers(settings), Share(folder, _WRITER))
        ports = [*listeners, *([] if metrics is None else [metrics])]
        writer = partial(_write, stores, writer_socket, counting, ports)
        roles = [Role(_WRITER, writer, last=True)] if stores.has_writer else []
        for index, (listener, bus) in enumerate(zip(listeners, buses, strict=True), 1):
            acceptor = _Acceptor(settings.part_of(number), stores, secret, writer_socket.getsockname(), bus, metrics)
            share = Share(folder, f"acceptor-{index}")
            roles.append(Role(share.name, partial(acceptor.run, share, listener, listeners)))
        follow = partial(_follow, settings, stores, secret, writer_socket.getsockname(), folder, ports)
        roles.append(Role(_FOLLOWER, follow, needed=False))
        settle_memory()
        Supervisor(roles, partial(_stop_listening, ports)).run(lambda: announce(ready, address))


@contextlib.contextmanager
def _folder_of_sockets() -> Iterator[Path]:
    """A folder that only this user can open, for as long as the block runs."""
    try:
        usual = tempfile.gettempdir()
        short = len(os.fsencode(usual)) < _FOLDER_MAX
        where = usual if short else "/tmp"  # noqa: S108  (the folder is made with a random name)
        folder = tempfile.TemporaryDirectory(prefix="whence-", dir=where, ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreRefused(
            f"The processes of a server share a temporary folder, and none can be made: {error.strerror}. Set TMPDIR "
            "to a folder that can be written, or use --processes 1."
        ) from None
    with folder as path:
        yield Path(path)


def _remove_folder(folder: Path) -> None:
    """Remove it in place of a supervisor that was killed. Each process has open what it needs."""
    shutil.rmtree(folder, ignore_errors=True)


def _writer_socket(folder: Path) -> socket.socket:
    """The socket on which the process that writes listens. It stays open while that process is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(folder / _WRITER))
    listener.listen()
    return listener


def _stop_listening(listeners: Sequence[socket.socket]) -> None:
    notify_service_manager("STOPPING=1")
    _close_all(listeners)


class _Acceptor:
    """A process that answers requests."""

    def __init__(
        self,
        settings: Settings,
        stores: SharedStores,
        secret: StoreSecret,
        writer: str,
        bus: ProcessBus,
        metrics: socket.socket | None,
    ) -> None:
        """`writer` is the path of the writer's socket. `metrics` is that of the metrics, which all acceptors share."""
        self._settings = settings
        self._stores = stores
        self._secret = secret
        self._writer = writer
        self._bus = bus
        self._metrics = metrics

    def run(self, share: Share, listener: socket.socket, others: Sequence[socket.socket], child: Child) -> None:
        """Serve, in the forked process, until the supervisor asks for its end."""
        _name_process(share.name)
        for other in others:
            if other is not listener:
                other.close()
        store = self._stores.open_store(self._writer)
        app = create_app(self._settings, store, self._secret, self._bus, share)
        config = make_config(app, self._settings, app.metrics)
        config.load()
        settle_memory()
        pages = None if self._metrics is None else MetricsListener(app.metrics, self._settings, self._metrics)
        Server(config, child.ready, lifeline=child.lifeline, metrics=pages).run([listener])
        if child.is_orphan:
            _remove_folder(share.folder)


def _write(
    stores: SharedStores,
    listener: socket.socket,
    counting: Callable[[], object],
    ports: Sequence[socket.socket],
    child: Child,
) -> None:
    """Write for the other processes, in the forked process, until the lifeline ends."""
    _name_process(_WRITER)
    _close_all(ports)  # so that clients are refused, and do not wait, once the acceptors have closed them
    counting()  # the metrics then have its memory and its processor time; the acceptors count what it stores
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all; the acceptors end first
    uvloop.run(_serve_writer(stores, listener, child))


async def _serve_writer(stores: SharedStores, listener: socket.socket, child: Child) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(child.lifeline, ended.set)
    store = stores.open_writer(again=child.again)
    try:
        await stores.serve_writer(store, listener, child.ready, ended)
        if child.is_orphan:
            _remove_folder(Path(listener.getsockname()).parent)
            os._exit(1)  # everything is on the disk, and the next server must not wait
    finally:
        await store.close()


def _follow(
    settings: Settings,
    stores: SharedStores,
    secret: StoreSecret,
    writer: str,
    folder: Path,
    ports: Sequence[socket.socket],
    child: Child,
) -> None:
    """Follow the log, in the forked process, until the supervisor asks for its end. `writer` is the path of the
    writer's socket."""
    _name_process(_FOLLOWER)
    _close_all(ports)
    uvloop.run(_run_followers(settings, stores.open_store(writer), secret, Share(folder, _FOLLOWER), child))


async def _run_followers(settings: Settings, store: Store, secret: StoreSecret, share: Share, child: Child) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(child.lifeline, ended.set)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    metrics = new_metrics(route_handlers(settings), share)
    worker = new_worker(settings, store, secret, metrics)
    tasks = [asyncio.create_task(worker.run()), asyncio.create_task(metrics.keep_published())]
    try:
        child.ready()
        await ended.wait()
        if child.is_orphan:
            _remove_folder(share.folder)
            os._exit(1)  # what was not saved is done again by the next server
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await store.close()


def _name_process(name: str) -> None:
    """Name this process in the log, and where the system allows it in `ps -o comm` and `top`."""
    request_log.process = name
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def _close_all(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()

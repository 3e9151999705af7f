"""What the programs of `sdk_scenes` send to: Whence's own server, or a collector that answers 200 to every request."""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.request import Request, urlopen

import msgspec
import zstandard

from whence.permissions import READ, WRITE, new_api_key
from whence.storage import create_store

__all__ = ["LATER", "Arrived", "Collector", "Server", "WhenceServer", "client_report", "inflate", "markers"]

LATER = 126_000_000
"""Markers from here on belong to the next start of a program, and are not counted."""

_MARKER = re.compile(rb"ev-(\d{9})")
_START_S = 30.0
_STOP_S = 20.0


class Arrived(msgspec.Struct, frozen=True):
    """How many events arrived, how many of them came more than once, and how many the library reported to the server as
    dropped."""

    events: int
    repeated: int = 0
    dropped: int = 0


class Server(Protocol):
    """A server on a port of its own, which can be stopped and started again."""

    url: str
    key: str

    def start(self) -> None:
        """Return once it answers."""
        ...

    def stop(self) -> None:
        """Return once its port is closed."""
        ...

    def arrived(self) -> Arrived:
        """What arrived up to now."""
        ...


def inflate(body: bytes, encoding: str) -> bytes:
    """The content of a request. Raises ValueError for an encoding that is not known here."""
    if encoding in ("", "identity"):
        return body
    if encoding in ("gzip", "deflate"):
        return zlib.decompressobj(wbits=47).decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    raise ValueError(f"There is no decompressor for {encoding!r}.")


def markers(content: bytes) -> set[int]:
    """The numbers of the events in a request. JSON and protobuf both hold their text as it is."""
    return {number for found in _MARKER.findall(content) if (number := int(found)) < LATER}


def client_report(content: bytes) -> int:
    """How many events a request of sentry-sdk names as dropped. Other requests name none."""
    dropped = 0
    for line in content.split(b"\n"):
        if b'"discarded_events"' in line:
            events = json.loads(line)["discarded_events"]
            dropped += sum(each["quantity"] for each in events if each["category"] in ("error", "log_item"))
    return dropped


class Collector:
    """Counts the markers in all that is sent to it."""

    key = "0123456789abcdef0123456789abcdef"

    def __init__(self) -> None:
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._seen: set[int] = set()
        self._repeated: set[int] = set()
        self._dropped = 0
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one write: two would wait for each other's acknowledgement
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = _body_of(self)
                try:
                    collector.take(inflate(body, self.headers.get("content-encoding", "").lower()))
                except (ValueError, zlib.error) as error:  # two processes on one connection garble it, for example
                    self.send_error(415, str(error))
                    return
                self._answer()

            def do_GET(self) -> None:
                self._answer()

            def _answer(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = _Threads(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def take(self, content: bytes) -> None:
        """Count what a request holds."""
        found = markers(content)
        with self._lock:
            self._repeated |= found & self._seen
            self._seen |= found
            self._dropped += client_report(content)

    def arrived(self) -> Arrived:
        """What arrived up to now."""
        with self._lock:
            return Arrived(len(self._seen), len(self._repeated), self._dropped)


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Programs that are killed break their connections. Anything else is printed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # passed on as it came


def _body_of(handler: BaseHTTPRequestHandler) -> bytes:
    """The body of a request, which may come in chunks."""
    if handler.headers.get("transfer-encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("content-length") or 0))
    parts = []
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        parts.append(handler.rfile.read(size))
        handler.rfile.readline()
    handler.rfile.readline()
    return b"".join(parts)


class WhenceServer:
    """`whence serve` with default settings, on a fresh SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = f"sqlite:///{folder}/whence.db"
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.key = asyncio.run(self._new_key())
        self._process: subprocess.Popen[bytes] | None = None

    async def _new_key(self) -> str:
        store = create_store(self._store, serving=False)
        secret, key = new_api_key("scenes", (READ, WRITE), time.time_ns() // 1_000)
        try:
            await store.credentials.put_key(key)
        finally:
            await store.close()
        return secret

    def start(self) -> None:
        """Start the process and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("WHENCE_")}
        environment |= {"HOME": str(self._folder), "XDG_CONFIG_HOME": str(self._folder)}
        command = [str(Path(sys.executable).with_name("whence")), "serve", "--store", self._store]
        with (self._folder / "server.log").open("ab") as out:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)], env=environment, stdout=out, stderr=out, start_new_session=True
            )
        until = time.monotonic() + _START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError), urlopen(f"{self.url}/livez", timeout=5):
                return
            time.sleep(0.02)
        raise RuntimeError((self._folder / "server.log").read_text(encoding="utf-8", errors="replace")[-2_000:])

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def arrived(self) -> Arrived:
        """The exact total. An event that was sent twice is stored once, by its id."""
        path = f"{self.url}/api/v1/events?limit=1&actor_id=program"
        with urlopen(Request(path, headers={"X-API-Key": self.key}), timeout=30) as response:
            return Arrived(json.load(response)["total"])


def _free_port() -> int:
    """A free port below those that the system gives to clients: a client that tries a closed port again and again would
    some day get that port for its own end, and connect to itself.
    """
    while True:
        port = random.randint(20_000, 30_000)
        with contextlib.suppress(OSError), contextlib.closing(socket.create_server(("127.0.0.1", port))):
            return port

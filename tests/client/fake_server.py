"""A server that accepts or refuses batches by a rule. It speaks real HTTP and keeps every event in order."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[list[dict[str, Any]]], tuple[int, Any]]
"""Maps the events of a batch to a status and a body: the body itself, a list of statuses, or None to store all."""


def accept(events: list[dict[str, Any]]) -> tuple[int, Any]:
    """Store everything."""
    return 201, None


def unavailable(events: list[dict[str, Any]]) -> tuple[int, Any]:
    """Respond that nothing can be stored now."""
    return 503, {"detail": "Not now.", "code": "unavailable", "requestId": "r"}


def refuse(*actors: str, whole: bool = False, status: int = 422) -> Rule:
    """Refuse the events of these actors; with `whole`, refuse every batch that contains one."""

    def rule(events: list[dict[str, Any]]) -> tuple[int, Any]:
        bad = [event["actorId"] in actors for event in events]
        if whole and any(bad):
            return status, {"detail": [{"loc": ["body"], "msg": "Bad.", "type": "x"}]} if status == 422 else {}
        return 207, [status if is_bad else 201 for is_bad in bad]

    return rule


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # connections that wait; the kernel makes those beyond wait for seconds


class FakeServer:
    """Responds by `rule`, which may be replaced at any time.

    `batches` and `headers` are those of every request. `stored` holds the accepted events by id, in order. While `gate`
    is cleared, requests get no response; `arrived` is set when one arrives.
    """

    def __init__(self) -> None:
        self.rule: Rule = accept
        self.lock = threading.Lock()
        self.batches: list[list[dict[str, Any]]] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                lines = body.split(b"\n") if self.path.endswith("/batch") else [body]
                server.arrived.set()
                server.gate.wait(30)
                status, response = server.respond([json.loads(line) for line in lines], dict(self.headers.items()))
                content = json.dumps(response).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def respond(self, events: list[dict[str, Any]], headers: dict[str, str]) -> tuple[int, Any]:
        with self.lock:
            self.batches.append(events)
            self.headers.append(headers)
            status, outcome = self.rule(events)
            if outcome is None:
                outcome = [200 if event["id"] in self.stored else 201 for event in events]
            if not isinstance(outcome, list):
                return status, outcome
            for event, event_status in zip(events, outcome, strict=True):
                if event_status == 201:
                    self.stored.setdefault(event["id"], event)
            results = [
                {"index": index, "id": event["id"], "status": event_status}
                | ({} if event_status < 400 else {"detail": "It is bad."})
                for index, (event, event_status) in enumerate(zip(events, outcome, strict=True))
            ]
            return status, {"results": results}

    @property
    def actors(self) -> list[str]:
        """The actor ids of the stored events, in the order in which they were stored."""
        with self.lock:
            return [event["actorId"] for event in self.stored.values()]

    def close(self) -> None:
        self.gate.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(5)


@contextlib.contextmanager
def fake_server() -> Iterator[FakeServer]:
    server = FakeServer()
    try:
        yield server
    finally:
        server.close()

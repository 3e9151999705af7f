"""A server that takes batches as it is told to: real HTTP, and every event that was sent is kept in order."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Rule = Callable[[list[dict[str, Any]]], tuple[int, Any]]
"""From the events of a batch to a status and a body; a body of None is the results of a batch that is stored."""


def take(events: list[dict[str, Any]]) -> tuple[int, Any]:
    """Store everything."""
    return 201, None


def away(events: list[dict[str, Any]]) -> tuple[int, Any]:
    """Be there and unable to serve."""
    return 503, {"detail": "Not now.", "code": "unavailable", "requestId": "r"}


def refuse(*actors: str, whole: bool = False, status: int = 422) -> Rule:
    """Refuse the events of these actors: one by one, or the whole batch that has one among them."""

    def rule(events: list[dict[str, Any]]) -> tuple[int, Any]:
        bad = [event["actorId"] in actors for event in events]
        if whole and any(bad):
            return status, {"detail": [{"loc": ["body"], "msg": "Bad.", "type": "x"}]} if status == 422 else {}
        return 207, [status if is_bad else 201 for is_bad in bad]

    return rule


class Taker:
    """`rule` may be changed at any time. `seen` is every batch that came, `stored` what was taken, once, in order."""

    def __init__(self) -> None:
        self.rule: Rule = take
        self.lock = threading.Lock()
        self.seen: list[list[dict[str, Any]]] = []
        self.stored: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        taker = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                lines = body.split(b"\n") if self.path.endswith("/batch") else [body]
                taker.arrived.set()
                taker.gate.wait(30)
                status, answer = taker.answer([json.loads(line) for line in lines], dict(self.headers.items()))
                content = json.dumps(answer).encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def answer(self, events: list[dict[str, Any]], headers: dict[str, str]) -> tuple[int, Any]:
        with self.lock:
            self.seen.append(events)
            self.headers.append(headers)
            status, said = self.rule(events)
            if said is None:
                said = [200 if event["id"] in self.stored else 201 for event in events]
            if not isinstance(said, list):
                return status, said
            for event, one in zip(events, said, strict=True):
                if one == 201:
                    self.stored.setdefault(event["id"], event)
            results = [
                {"index": at, "id": event["id"], "status": one} | ({} if one < 400 else {"detail": "It is bad."})
                for at, (event, one) in enumerate(zip(events, said, strict=True))
            ]
            return status, {"results": results}

    @property
    def actors(self) -> list[str]:
        """Who did what was stored, in the order in which it was."""
        with self.lock:
            return [event["actorId"] for event in self.stored.values()]

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@contextlib.contextmanager
def taking() -> Iterator[Taker]:
    taker = Taker()
    try:
        yield taker
    finally:
        taker.close()

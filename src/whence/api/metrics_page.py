"""`GET /metrics`: for operators' keys at the address of the API, or for everyone on a listener of its own."""

import asyncio
import socket
from typing import Any

import structlog
import uvicorn
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Send
from uvicorn.server import ServerState

from whence.api.connections import ConnectionLimits
from whence.api.context import context_of
from whence.api.headers import header
from whence.api.http_protocol import SmallReadsProtocol
from whence.api.metrics import Metrics
from whence.api.metrics_text import metrics_text
from whence.api.middleware import HTTPMiddleware
from whence.api.operation import Operation, ResponseSpec
from whence.api.request import Request
from whence.api.responses import JsonResponse, error_body
from whence.permissions import OPERATOR
from whence.settings import Settings

__all__ = ["ROUTES", "MetricsListener"]

_CONNECTIONS_MAX = 16
_MEDIA = "text/plain; version=0.0.4; charset=utf-8"

_log = structlog.get_logger("whence.server")


@HTTPRouteHandler(
    "/metrics",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt={
        "scope": OPERATOR,
        "operation": Operation(
            tag="Operators",
            summary="Metrics",
            description="Counters and histograms of the server, summed over its processes. No label names a tenant.",
            responses={200: ResponseSpec("Text for Prometheus", {"type": "string"}, media="text/plain")},
        ),
    },
)
async def metrics(request: Request) -> JsonResponse:
    """The metrics of the server, as text for Prometheus."""
    return _page(context_of(request).metrics, request.scope)


ROUTES: list[HTTPRouteHandler] = [metrics]
"""The handlers of this module."""


def _page(counted: Metrics, scope: Any) -> JsonResponse:
    body, media = metrics_text(counted, (header(scope, b"accept") or b"").decode("latin-1"))
    return JsonResponse(body, media=media)


class MetricsListener:
    """Serves `/metrics`, and nothing else, on a socket of its own. It asks for no credential."""

    def __init__(self, counted: Metrics, settings: Settings, listener: socket.socket) -> None:
        """`listener` is bound; it is closed with this. Several processes may share it, and each answers for all."""
        self._listener = listener
        limits = ConnectionLimits(_CONNECTIONS_MAX)
        app = HTTPMiddleware(_MetricsOnly(counted), settings, counted)
        self._config = uvicorn.Config(
            app, loop="none", ws="none", lifespan="off", access_log=False, log_config=None, server_header=False
        )
        self._state = ServerState()
        self._protocol = lambda: SmallReadsProtocol(
            limits=limits, config=self._config, server_state=self._state, app_state={}
        )
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self._config.load()
        self._server = await asyncio.get_running_loop().create_server(self._protocol, sock=self._listener)
        _log.info("metrics", host=self._listener.getsockname()[0], port=self._listener.getsockname()[1])

    def close(self) -> None:
        """Stop listening, and close the connections once what they have asked is answered."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()


class _MetricsOnly:
    """The ASGI application of that listener."""

    def __init__(self, counted: Metrics) -> None:
        self._counted = counted

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer a request."""
        state = scope["state"]
        if scope["path"] != "/metrics":
            response = self._refusal(state, 404, "not_found", "There is only /metrics at this address.")
        elif scope["method"] not in ("GET", "HEAD"):
            response = self._refusal(state, 405, "method_not_allowed", "Metrics are read with GET.")
        else:
            scope["route_handler"] = metrics
            response = _page(self._counted, scope)
        await response(scope, receive, send)

    def _refusal(self, state: Any, status: int, code: str, sentence: str) -> JsonResponse:
        state["code"] = code
        return JsonResponse(error_body(sentence, code, state["request_id"]), status)

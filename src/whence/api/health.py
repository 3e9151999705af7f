"""The probes: whether the process runs, and whether its store works."""

import asyncio

import msgspec
from litestar import Response
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of
from whence.api.operation import Json, ResponseSpec, open_route
from whence.api.request import Request
from whence.api.responses import JSON
from whence.errors import Unavailable

__all__ = ["ROUTES"]

_READY_TIMEOUT_S = 2.0
_OK = msgspec.json.encode({"status": "ok"})
_OK_SCHEMA: Json = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "const": "ok"}},
}


@open_route("/livez", "Live", ResponseSpec("The process runs", _OK_SCHEMA))
async def live(request: Request) -> Response[bytes]:
    """The process runs. Checks nothing else."""
    return Response(_OK, media_type=JSON)


@open_route("/readyz", "Ready", ResponseSpec("The store can read and write", _OK_SCHEMA))
async def ready(request: Request) -> Response[bytes]:
    """The store can read and write."""
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S):
            await context_of(request).store.check()
    except TimeoutError:
        raise Unavailable("The store did not answer in time.") from None
    return Response(_OK, media_type=JSON)


ROUTES: list[HTTPRouteHandler] = [live, ready]
"""The handlers of this module."""

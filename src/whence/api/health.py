"""The probes: whether the process runs, and whether its store works."""

import msgspec
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of
from whence.api.operation import Json, ResponseSpec, open_route
from whence.api.request import Request
from whence.api.responses import JsonResponse

__all__ = ["ROUTES", "alive", "live"]

_OK = msgspec.json.encode({"status": "ok"})
_OK_SCHEMA: Json = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string", "const": "ok"}},
}


@open_route("/livez", "Live", ResponseSpec("The process runs", _OK_SCHEMA))
async def live(request: Request) -> JsonResponse:
    """The process runs. Checks nothing else."""
    return alive(request)


def alive(_request: Request) -> JsonResponse:
    """The answer of `live`."""
    return JsonResponse(_OK)


@open_route("/readyz", "Ready", ResponseSpec("The store can read and write", _OK_SCHEMA))
async def ready(request: Request) -> JsonResponse:
    """The store can read and write, or could within the last second."""
    await context_of(request).readiness.require()
    return JsonResponse(_OK)


ROUTES: list[HTTPRouteHandler] = [live, ready]
"""The handlers of this module."""

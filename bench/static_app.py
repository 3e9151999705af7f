"""The limit of the server stack: Whence's own responses, byte for byte, from memory.

    python -m bench.static_app ANSWERS.json bare|routed

`bare` is a trivial ASGI application in the same server as Whence: uvicorn as `make_config` configures it, with Whence's
protocol class. `routed` adds Whence's middleware and Litestar with the same routes. Both read the body of a request
first. Prints the address once the server is ready.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar, Request, route

from whence.api import reads, writes
from whence.api.middleware import HTTPMiddleware
from whence.api.responses import JsonResponse
from whence.api.server import Server, configure_logging, make_config
from whence.settings import Settings

__all__ = ["Answer"]


class Answer(msgspec.Struct, frozen=True):
    """The response to every request of one method."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def bare(answers: dict[str, Answer]) -> Any:
    """An ASGI application that only sends the responses."""
    ready = {
        method: (
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(name.encode(), value.encode()) for name, value in answer.headers],
            },
            {"type": "http.response.body", "body": answer.body},
        )
        for method, answer in answers.items()
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        start, body = ready[scope["method"]]
        while (await receive()).get("more_body"):
            pass
        await send(dict(start))
        await send(dict(body))

    return app


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def routed(answers: dict[str, Answer], settings: Settings) -> Any:
    """The same responses through Whence's middleware and Litestar, with Whence's routes."""

    def handler(path: str, methods: list[Any]) -> Any:
        answer = answers["POST" if "POST" in methods else "GET"]
        added = [(name, value) for name, value in answer.headers if name in ("link", "location")]

        @route(path, http_method=methods, status_code=answer.status)
        async def same(request: Request[Any, Any, Any]) -> JsonResponse:
            await request.body()
            return JsonResponse(answer.body, answer.status, added)

        return same

    handlers = [
        handler(path, sorted(each.http_methods)) for each in [*reads.ROUTES, *writes.ROUTES] for path in each.paths
    ]
    return HTTPMiddleware(
        Litestar(handlers, openapi_config=None, logging_config=None, request_max_body_size=None), settings
    )


def main() -> None:
    """Serve until stopped."""
    answers = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=dict[str, Answer])
    settings = Settings(port=0)
    configure_logging(settings.log_level)
    app = bare(answers) if sys.argv[2] == "bare" else routed(answers, settings)
    config = make_config(app, settings)
    config.load()

    def ready() -> None:
        print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)

    server = Server(config, ready)
    server.run()


if __name__ == "__main__":
    main()

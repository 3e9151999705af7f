"""The limit of the server stack: answers of Whence's own, byte for byte, out of memory.

    python -m bench.static_app ANSWERS.json bare|routed

`bare` is a trivial ASGI application under the very server of Whence: uvicorn as `make_config` sets it up, with
LimitedProtocol. `routed` adds the middleware of Whence and Litestar with the same table of routes. Both read the body
of a request to its end first. Prints the address once it answers.
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
    """What is answered to every request of one method."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def bare(answers: dict[str, Answer]) -> Any:
    """An ASGI application that does nothing but answer."""
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
    """The same answers behind the middleware of Whence and Litestar, by the routes that Whence has."""

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

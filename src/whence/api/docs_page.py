"""The OpenAPI document, and the API reference as a page. The page loads nothing from other hosts."""

import html
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from litestar import Response, route
from litestar.handlers import HTTPRouteHandler

from whence.api.openapi import build_openapi
from whence.api.operation import ResponseSpec, open_route
from whence.api.request import Request
from whence.api.responses import JSON
from whence.settings import Settings

__all__ = ["routes"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_CONFIGURATION = {
    "withDefaultFonts": False,
    "telemetry": False,
    "hideClientButton": True,
    "showDeveloperTools": "never",
    "agent": {"disabled": True},
    "mcp": {"disabled": True},
    "documentDownloadType": "direct",
}
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Whence: API reference</title></head>
<body><script id="api-reference" type="application/json" data-url="openapi.json" data-configuration="{configuration}">
</script><script src="docs/scalar.js"></script></body>
</html>
"""
_PLAIN = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Whence: API reference</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td{{padding:.2rem 1rem .2rem 0;vertical-align:top}}code{{font-family:ui-monospace,monospace}}</style></head>
<body><h1>Whence: API reference</h1>
<p>The complete description, for programs, is <a href="openapi.json">openapi.json</a>.</p>
<table>{rows}</table></body>
</html>
"""


def routes(settings: Settings, others: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The handlers of `/openapi.json`, `/docs` and its script, which are open to everyone and answer from memory.

    The document describes `others` and these.
    """
    script = _script()

    @open_route("/openapi.json", "Openapi Document", ResponseSpec("This document", {"type": "object"}))
    async def openapi_json(request: Request) -> Response[bytes]:
        """The OpenAPI document."""
        return Response(encoded, media_type=JSON)

    @open_route("/docs", "Reference Page", ResponseSpec("The reference", {"type": "string"}, media="text/html"))
    async def docs(request: Request) -> Response[bytes]:
        """The reference as a page."""
        headers = {"Content-Security-Policy": _POLICY}
        return Response(page, media_type="text/html", headers=headers)

    @route("/docs/scalar.js", http_method=["GET", "HEAD"], status_code=200, opt={"open": True})
    async def docs_script(request: Request) -> Response[bytes]:
        """The script of that page."""
        headers = {"Content-Encoding": "gzip", "Cache-Control": "public, max-age=3600"}
        return Response(script or b"", media_type="text/javascript", headers=headers)

    document = build_openapi(settings, [*others, openapi_json, docs])
    encoded = msgspec.json.encode(document)
    page = _plain_page(document) if script is None else _rich_page()
    return [openapi_json, docs] if script is None else [openapi_json, docs, docs_script]


def _script() -> bytes | None:
    """The bundled script, packed with gzip; None when this build has none."""
    file = resources.files("whence.api") / "static" / "docs" / "scalar.js.gz"
    return file.read_bytes() if file.is_file() else None


def _rich_page() -> bytes:
    configuration = html.escape(msgspec.json.encode(_CONFIGURATION).decode())
    return _PAGE.format(configuration=configuration).encode()


def _plain_page(document: dict[str, Any]) -> bytes:
    """A table of the routes, for a build without the script."""
    rows = [
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation['summary'])}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return _PLAIN.format(rows="".join(rows)).encode()

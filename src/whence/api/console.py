"""The console: the pages for people, as `console/` is built into `static/console`, answered from memory.

One page answers every address of the console, whose script shows what the address names. Assets have the hash of their
content in their names, so browsers keep them. The page may load nothing from other hosts and runs no inline script.
"""

import gzip
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec
from litestar import route
from litestar.handlers import HTTPRouteHandler

from whence.api.context import root_path_of
from whence.api.headers import header
from whence.api.oidc_pages import START
from whence.api.representation import accepts_gzip
from whence.api.request import Request
from whence.api.responses import JsonResponse
from whence.errors import NotFound
from whence.settings import Settings

__all__ = ["PATHS", "Asset", "is_built", "read_assets", "routes"]

PATHS = (
    "/",
    "/login",
    "/explore",
    "/e/{event_id:str}",
    "/trace/{event_id:str}",
    "/flows",
    "/flows/{flow_id:str}",
    "/map",
    "/r/{resource_type:str}/{resource_id:str}",
    "/resources",
    "/actors",
    "/actors/{actor_type:str}/{actor_id:str}",
    "/integrity",
    "/webhooks",
    "/webhooks/{webhook_id:str}",
    "/alerts",
    "/alerts/{rule_id:str}",
    "/settings",
    "/settings/{part:str}",
)
"""The addresses that the page answers. The script of the console decides what each shows."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
_HTML = "text/html; charset=utf-8"
_FOREVER = "public, max-age=31536000, immutable"
_ASKED_EACH_TIME = "no-cache"
_HASHED = re.compile(r".+-[A-Za-z0-9_-]{8,}\.[a-z0-9.]+")
_BASE = re.compile(r"<base\b[^>]*>")
_HEAD = re.compile(r"<head\b[^>]*>")
_MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_ABSENT = b"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Whence</title></head>
<body><p>This build of Whence has no console: run <code>make console</code>, which needs Node 20.19 or later, and start
the server again, or use the command line, as in <code>whence why --last-failed</code>.</p></body>
</html>
"""


class Asset(msgspec.Struct, frozen=True):
    """A file of the console. `body` is packed with gzip if `packed`."""

    body: bytes
    packed: bool
    media: str
    cache_control: str


def routes(settings: Settings, others: Sequence[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The handlers of the console, which are open to everyone; none if the console is switched off.

    No address of `others` is shadowed. Without the built files every address says how to get them.
    """
    if not settings.console:
        return []
    if not is_built():
        return [_absent]
    folder = _built()
    taken = {path for handler in others for path in handler.paths}
    assets = {path: asset for path, asset in read_assets(folder) if path not in taken}
    text = folder.joinpath("index.html").read_text(encoding="utf-8")
    return [_page_route(text, has_issuer=settings.oidc_issuer is not None), _asset_route(assets)]


def is_built() -> bool:
    """Whether this package contains the console."""
    return _built().joinpath("index.html").is_file()


def read_assets(folder: Traversable, prefix: str = "/") -> Iterator[tuple[str, Asset]]:
    """The path and content of every file that the page may ask for. `name.js.gz` is `name.js`, packed by the build."""
    for file in folder.iterdir():
        if file.is_dir():
            yield from read_assets(file, f"{prefix}{file.name}/")
            continue
        name, packed = file.name.removesuffix(".gz"), file.name.endswith(".gz")
        if prefix + name == "/index.html":
            continue
        media = _MEDIA.get("." + name.rpartition(".")[2], "application/octet-stream")
        kept = _FOREVER if _HASHED.fullmatch(name) else _ASKED_EACH_TIME
        yield prefix + name, Asset(file.read_bytes(), packed, media, kept)


def _built() -> Traversable:
    """The folder that the build makes; see `hatch_build.py`."""
    return resources.files("whence.api") / "static" / "console"


def _page_route(text: str, *, has_issuer: bool) -> HTTPRouteHandler:
    """The page, in which relative addresses begin at the server's root path. If OpenID Connect can sign in, it says
    where: `<meta name="oidc" content="api/v1/session/oidc">`."""
    issuer = f'<meta name="oidc" content="{START.removeprefix("/")}">' if has_issuer else ""

    @lru_cache(4)  # a server has one root path, or two if another server mounts it
    def page_at(root: str) -> bytes:
        base = f'<base href="{html.escape(root)}/">{issuer}'
        plain = _BASE.sub("", text)
        return _HEAD.sub(lambda head: head[0] + base, plain, count=1).encode()

    @_open(PATHS, etag=True, cache_control=_ASKED_EACH_TIME)
    async def console(request: Request) -> JsonResponse:
        """The page of the console."""
        return _html(page_at(root_path_of(request)))

    return console


def _asset_route(assets: Mapping[str, Asset]) -> HTTPRouteHandler:
    """The files that the page loads."""
    beside = sorted(path for path in assets if not path.startswith("/assets/"))

    @_open(("/assets/{name:str}", *beside), etag=True)
    async def console_asset(request: Request) -> JsonResponse:
        """A file of the console."""
        asset = assets.get(request.scope["path"])
        if asset is None:
            raise NotFound("The console has no such file. Load the page again.")
        headers = [("cache-control", asset.cache_control)]
        if asset.packed and not accepts_gzip(header(request.scope, b"accept-encoding")):
            return JsonResponse(gzip.decompress(asset.body), headers=headers, media=asset.media)
        if asset.packed:
            headers.append(("content-encoding", "gzip"))
        return JsonResponse(asset.body, headers=headers, media=asset.media)

    return console_asset


def _html(body: bytes, status: int = 200) -> JsonResponse:
    return JsonResponse(body, status, headers=[("content-security-policy", _POLICY)], media=_HTML)


def _open(paths: Sequence[str], **opt: object) -> HTTPRouteHandler:
    """A route for everyone that the OpenAPI document leaves out, since it is for browsers."""
    return route(list(paths), http_method=["GET", "HEAD"], status_code=200, opt={"open": True, **opt})


@_open(PATHS)
async def _absent(request: Request) -> JsonResponse:
    """A page that says that there is no console, with status 404 at every address but the first."""
    status = 200 if request.scope["path"] == "/" else 404
    return _html(_ABSENT, status)

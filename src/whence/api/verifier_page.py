"""The verifier as a page, one file that needs nothing else: `verifier/` has its source. It is the same for everyone.

A copy from the server that is to be checked proves little, since its operator can change it. It is served so that
readers find it, and can save it from a server that they trust.
"""

import re
from importlib import resources

from litestar import route
from litestar.handlers import HTTPRouteHandler

from whence.api.request import Request
from whence.api.responses import JsonResponse

__all__ = ["ROUTES"]

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def _page_route() -> HTTPRouteHandler:
    """The handler, which answers from memory."""
    page = resources.files("whence").joinpath("data/whence-verify.html").read_bytes()
    found = _POLICY.search(page.decode())
    if found is None:
        raise ValueError("The verifier's page has no Content-Security-Policy.")
    headers = [
        ("content-security-policy", f"{found[1]}; frame-ancestors 'none'"),
        ("cache-control", "no-cache"),
    ]

    opt = {"open": True, "etag": True}

    @route("/whence-verify.html", http_method=["GET", "HEAD"], status_code=200, opt=opt)
    async def verifier_page(request: Request) -> JsonResponse:
        """The page."""
        return JsonResponse(page, headers=headers, media="text/html; charset=utf-8")

    return verifier_page


ROUTES: list[HTTPRouteHandler] = [_page_route()]
"""The handler of the page, which is open to everyone."""

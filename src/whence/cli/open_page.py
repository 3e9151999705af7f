"""The command `open`: opens the console in a browser, and signs the browser in."""

import contextlib
import os
import re
import webbrowser
from typing import Annotated
from urllib.parse import quote

from cyclopts import Parameter

from whence.cli import FAILED
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.references import event_id
from whence.cli.terminal import out, printable, say
from whence.client import ApiRequest, Whence, parse_body
from whence.client.transport import Transport, base_url
from whence.errors import Invalid, NotFound, WhenceError
from whence.profiles import find_server
from whence.wire.keys import SessionLinkBody

__all__ = ["open_page", "sign_in_link"]

_TIMEOUT_S = 10.0
_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")

What = Annotated[
    str | None,
    Parameter(
        name="WHAT",
        help="What to show: an event, by its position, like @5539, or its id; or a path of the console, like /map.",
    ),
]


def open_page(what: What = None, /, *, server: ServerOptions | None = None) -> int:
    """Open the console in a browser, or the API reference of a server that has no console. Prints the address too.

    The browser is signed in with the key in use, by a link that works once, within a minute.
    """
    flags = server or ServerOptions()
    found = find_server(flags.url, flags.api_key, flags.profile, os.environ, any_machine=True)
    url = base_url(found.url)
    if not _has_console(url):
        if what is not None:
            raise NotFound("This server has no console to show that. The commands get, why and map do the same here.")
        return _show(f"{url}/docs", "Open the address in one yourself.")
    if not found.api_key:
        return _show(url + _path(None, what), "Open the address in one yourself.")
    with client_for(server) as whence:
        path = _path(whence, what)
        try:
            code = _code(whence)
        except WhenceError as error:
            say(f"No link could be made that signs in, so the page asks for a key: {printable(str(error))}")
            return _show(url + path, "Open the address in one yourself.")
    return _show(sign_in_link(url, code, path), "Open the address in one yourself, within a minute.")


def sign_in_link(url: str, code: str, path: str = "/") -> str:
    """The address that signs a browser in and then shows a path of the console. The code is in the fragment, which
    browsers send to no server."""
    back = "" if path == "/" else f"?back={quote(path, safe='/')}"
    return f"{url}/login{back}#code={code}"


def _has_console(url: str) -> bool:
    with contextlib.closing(Transport(url, _TIMEOUT_S)) as transport:
        response = transport.exchange(ApiRequest(method="GET", path="/login"), {})
    return response.status == 200 and response.headers.get("content-type", "").startswith("text/html")


def _path(whence: Whence | None, what: str | None) -> str:
    """The path of the console that shows this. Raises Invalid, and NotFound for an event that is not there."""
    if what is None:
        return "/"
    if what.startswith("/"):
        if _PATH.fullmatch(what) is None:
            raise Invalid.at(
                (), "A path of the console begins with one slash and has no blanks, like /explore or /map."
            )
        return what
    if whence is None:
        raise Invalid.at((), "Without a key only a path of the console can be opened, like /map.")
    return f"/e/{event_id(whence, what)}"


def _code(whence: Whence) -> str:
    made = whence.send(ApiRequest(method="POST", path="/api/v1/session/links"))
    return parse_body(made, SessionLinkBody).code


def _show(page: str, advice: str) -> int:
    """Print an address and open it. Returns the exit code."""
    out(printable(page))
    with contextlib.suppress(webbrowser.Error):
        if webbrowser.open(page):
            return 0
    say(f"No browser was found here. {advice}")
    return FAILED

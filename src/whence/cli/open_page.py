"""The command `open`: opens the server's page in a browser."""

import contextlib
import os
import webbrowser

from whence.cli import FAILED
from whence.cli.profiles import ServerOptions
from whence.cli.terminal import out, printable, say
from whence.client import ApiRequest
from whence.client.transport import Transport, base_url
from whence.profiles import find_server

__all__ = ["open_page"]

_TIMEOUT_S = 10.0


def open_page(*, server: ServerOptions | None = None) -> int:
    """Open the console in a browser, or the API reference of a server that has no console. Prints the address too."""
    flags = server or ServerOptions()
    url = base_url(find_server(flags.url, flags.api_key, flags.profile, os.environ, any_machine=True).url)
    with contextlib.closing(Transport(url, _TIMEOUT_S)) as transport:
        response = transport.exchange(ApiRequest(method="GET", path="/login"), {})
    has_console = response.status == 200 and response.headers.get("content-type", "").startswith("text/html")
    page = f"{url}/" if has_console else f"{url}/docs"
    out(printable(page))
    if _open(page):
        return 0
    say("No browser was found here. Open the address in one yourself.")
    return FAILED


def _open(page: str) -> bool:
    try:
        return webbrowser.open(page)
    except webbrowser.Error:
        return False

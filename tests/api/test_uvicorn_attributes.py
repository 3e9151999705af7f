"""What `http_protocol.py` uses of uvicorn that uvicorn does not document. pyproject.toml bounds its version for that.

When a new uvicorn fails here, compare its `httptools_impl.py` with the version before, and then raise the bound.
"""

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from whence.api.callback_lane import CallbackLane
from whence.api.http_protocol import LimitedProtocol
from whence.api.server import make_config
from whence.settings import Settings

ROOT = Path(__file__).parents[2]

READ = frozenset(
    (
        "_unset_keepalive_if_required",
        "app_state",
        "connections",
        "cycle",
        "flow",
        "headers",
        "limit_concurrency",
        "loop",
        "parser",
        "pipeline",
        "scope",
        "server_state",
        "tasks",
        "timeout_keep_alive_task",
        "transport",
    )
)
"""Attributes of the protocol."""

READ_OF_CYCLE = frozenset(
    (
        "body",
        "default_headers",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "transport",
        "waiting_for_100_continue",
    )
)
"""Attributes of the request and response that the protocol, or the callback lane, is serving."""

OVERRIDDEN = frozenset(
    (
        "_start_asgi_task",
        "_unsupported_upgrade_warning",
        "connection_lost",
        "connection_made",
        "data_received",
        "eof_received",
        "on_body",
        "on_header",
        "on_headers_complete",
        "on_message_begin",
        "on_message_complete",
        "on_response_complete",
        "on_url",
        "pause_writing",
        "resume_writing",
        "send_400_response",
        "shutdown",
        "timeout_keep_alive_handler",
    )
)
"""Methods that uvicorn or httptools calls, and that we extend."""


def used(name: str = "self", by: type = LimitedProtocol) -> set[str]:
    """The attributes that a class uses of `name`."""
    tree = ast.parse(inspect.getsource(by))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name}


def test_the_lists_are_what_the_protocol_uses() -> None:
    """Every attribute of uvicorn that is used is named above, and no other."""
    own = set(vars(LimitedProtocol)) | LimitedProtocol.__annotations__.keys()
    assert used() - own == READ
    assert used("self.cycle") | used("cycle") | used("cycle", CallbackLane) == READ_OF_CYCLE
    extended = {name for name in vars(LimitedProtocol) if inspect.isfunction(getattr(HttpToolsProtocol, name, None))}
    assert extended == OVERRIDDEN


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An application that is never called."""


def test_uvicorn_has_these_attributes() -> None:
    """The protocol as soon as it is made, and a cycle when its request begins."""
    config = make_config(app, Settings(port=0))
    config.load()
    loop = asyncio.new_event_loop()
    try:
        protocol = HttpToolsProtocol(config, ServerState(), {}, loop)
        assert {name for name in READ if not hasattr(protocol, name)} == set()
    finally:
        loop.close()
    begin = inspect.getsource(RequestResponseCycle.__init__)
    assert {name for name in READ_OF_CYCLE if not re.search(rf"self\.{name}\b.*=", begin)} == set()


def test_the_version_is_bounded() -> None:
    """The next minor version may change any of these."""
    assert re.search(r'"uvicorn>=[0-9.]+,<[0-9.]+"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))

"""The requests that handlers take."""

from typing import Any, TypeAlias

import litestar
from litestar.types import Receive, Scope

__all__ = ["PlainRequest", "Request"]

Request: TypeAlias = litestar.Request[Any, Any, Any]
"""Litestar's request, whose user, auth and state are not used here."""


class PlainRequest(Request):
    """A request of the fast lane, which has only what Litestar's request takes from its scope, and `receive`.

    Litestar's constructor prepares caches of parsed forms, cookies and the like, and takes longer than some handlers.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope  # type: ignore[assignment]  # always of a request
        self.receive = receive

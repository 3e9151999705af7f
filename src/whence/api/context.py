"""What the handlers of one server share, and how a handler reaches it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import msgspec
from litestar import Request

from whence.api.auth import Authenticator
from whence.api.bodies import BodyBudget
from whence.errors import WhenceError
from whence.events import Vocabulary
from whence.ingest import Ingest
from whence.permissions import Principal
from whence.settings import Settings
from whence.storage.base import Store

__all__ = ["AnyRequest", "Context", "context_of", "now_us", "principal_of", "root_path_of"]

AnyRequest: TypeAlias = Request[Any, Any, Any]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of one running server. `bodies` and `answers` bound what of them is in memory, `pages` how many pages
    are between the store and their bytes. `status_of` gives an error its HTTP status."""

    settings: Settings
    vocabulary: Vocabulary
    store: Store
    ingest: Ingest
    authenticator: Authenticator
    bodies: BodyBudget
    answers: BodyBudget
    pages: asyncio.Semaphore
    status_of: Callable[[WhenceError], int]


def context_of(request: AnyRequest) -> Context:
    """The parts of the server that got this request."""
    return cast(Context, request.app.state.context)


def principal_of(request: AnyRequest) -> Principal:
    """Who asks. The application has put it there before any handler runs."""
    return cast(Principal, request.scope["state"]["principal"])


def root_path_of(request: AnyRequest) -> str:
    """The prefix under which this server is reached, without a slash at its end; often empty."""
    return cast(str, request.scope["state"]["root_path"])


def now_us() -> int:
    """The time, in microseconds since 1970-01-01T00:00:00Z."""
    return time.time_ns() // 1000

"""The type of the requests that handlers take."""

from typing import Any, TypeAlias

import litestar

__all__ = ["Request"]

Request: TypeAlias = litestar.Request[Any, Any, Any]
"""Litestar's request, whose user, auth and state are not used here."""

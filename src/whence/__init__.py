"""Whence: an event log that records who did what to which resource, when, and because of what.

The public names are imported on first use, so that the command line starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence.client import AsyncWhence, Whence
    from whence.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, WhenceError

__all__ = [
    "AsyncWhence",
    "Conflict",
    "Forbidden",
    "Invalid",
    "NotFound",
    "Unauthenticated",
    "Whence",
    "WhenceError",
    "__version__",
]

__version__ = "0.1.0"

_MODULES = dict.fromkeys(__all__, "whence.errors") | dict.fromkeys(("AsyncWhence", "Whence"), "whence.client")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'whence' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)

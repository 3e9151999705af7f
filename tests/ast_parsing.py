"""Pauses the garbage collector during `ast.parse`.

CPython 3.11 before 3.11.8 counts the depth of the tree that it builds in one place for all. The collector may run while
a tree is built, and a finalizer that it calls may build another one: asyncio logs an exception that nobody retrieved,
and `traceback` parses the line for its carets. The first call then ends in `SystemError: AST constructor recursion
depth mismatch` (https://github.com/python/cpython/issues/106905).

pytest, hypothesis, `inspect` and `traceback` call `ast.parse` too, so it is replaced for all of them.
"""

import ast
import functools
import gc
import os
import threading
from typing import Any

__all__ = ["STANDARD_PARSE", "pause_collector_in_ast_parse"]

STANDARD_PARSE = ast.parse
"""The function of the standard library."""

_lock = threading.RLock()  # one thread must not enable the collector while another one parses
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@functools.wraps(STANDARD_PARSE)
def _parse(*args: Any, **options: Any) -> Any:
    with _lock:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return STANDARD_PARSE(*args, **options)
        finally:
            if was_enabled:
                gc.enable()


def pause_collector_in_ast_parse() -> None:
    """Pause the collector during each `ast.parse` of this process."""
    ast.parse = _parse

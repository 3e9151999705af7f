"""Celery: a task runs in the causal context of the code that sent it.

Call `instrument()` once in the process that sends tasks, and once in the worker.
"""

from collections.abc import MutableMapping
from typing import Any

from celery import signals  # type: ignore[import-untyped]  # celery has no type annotations

from whence.client.context import CausalContext, ContextScope, extract, inject

__all__ = ["instrument"]

_HEADERS = ("baggage", "traceparent")
_scopes: dict[str, ContextScope] = {}  # of the running tasks, by their ids


def instrument() -> None:
    """Pass the context on with every task of this process. Calling it again has no effect."""
    signals.before_task_publish.connect(_on_publish, weak=False, dispatch_uid="whence-publish")
    signals.task_prerun.connect(_on_start, weak=False, dispatch_uid="whence-start")
    signals.task_postrun.connect(_on_end, weak=False, dispatch_uid="whence-end")


def _on_publish(headers: MutableMapping[str, Any] | None = None, **_: Any) -> None:
    if headers is None:
        return
    inner = headers.get("headers")
    known = {**headers, **(inner or {})}
    carried = {name: known[name] for name in _HEADERS if isinstance(known.get(name), str)}
    inject(carried)
    headers.update(carried)
    # A task sees only the inner dict if there is one, so it needs the headers too. Adding an inner dict where there is
    # none would hide the headers of other libraries from the task.
    if isinstance(inner, dict):
        headers["headers"] = {**inner, **carried}


def _on_start(task_id: str = "", task: Any = None, **_: Any) -> None:
    request = task.request
    headers = {name: getattr(request, name, None) for name in _HEADERS} | dict(request.headers or {})
    context = extract(headers)
    if context == CausalContext():
        return  # for example after `apply()`, which runs the task in the context of its sender
    scope = ContextScope(lambda _outer: context)
    scope.__enter__()
    _scopes[task_id] = scope


def _on_end(task_id: str = "", **_: Any) -> None:
    scope = _scopes.pop(task_id, None)
    if scope is not None:
        scope.__exit__(None, None, None)

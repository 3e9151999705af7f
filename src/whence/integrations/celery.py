"""Celery: a task goes on in the context of whoever sent it. Call `instrument()` once, in sender and worker alike."""

from collections.abc import MutableMapping
from typing import Any

from celery import signals  # type: ignore[import-untyped]  # it comes without types

from whence.client.context import Context, Scope, extracted, inject

__all__ = ["instrument"]

_HEADERS = ("baggage", "traceparent")
_running: dict[str, Scope] = {}


def instrument() -> None:
    """Carry the context along with every task of this process. Calling it twice does no more."""
    signals.before_task_publish.connect(_publish, weak=False, dispatch_uid="whence-publish")
    signals.task_prerun.connect(_begin, weak=False, dispatch_uid="whence-begin")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid="whence-end")


def _publish(headers: MutableMapping[str, Any] | None = None, **_: Any) -> None:
    if headers is None:
        return
    inner = headers.get("headers")
    known = {**headers, **(inner or {})}
    carried = {name: known[name] for name in _HEADERS if isinstance(known.get(name), str)}
    inject(carried)
    headers.update(carried)
    # An inner dict hides the outer one from the task, so it needs them too; where there is none, making one would hide
    # the headers of others.
    if isinstance(inner, dict):
        headers["headers"] = {**inner, **carried}


def _begin(task_id: str = "", task: Any = None, **_: Any) -> None:
    request = task.request
    carried = {name: getattr(request, name, None) for name in _HEADERS} | dict(request.headers or {})
    found = extracted(carried)
    if found == Context():
        return  # run in place, by the sender itself, whose context it has
    scope = Scope(lambda _outer: found)
    scope.__enter__()
    _running[task_id] = scope


def _end(task_id: str = "", **_: Any) -> None:
    scope = _running.pop(task_id, None)
    if scope is not None:
        scope.__exit__(None, None, None)

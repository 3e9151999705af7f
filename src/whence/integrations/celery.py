"""Celery: a task runs in the causal context of the code that sent it, and can be an action run in the log.

Call `instrument()` once in the process that sends tasks, and once in the worker. `instrument(log, events=True)` also
records each task that the process runs: its start, and that it completed, failed or is retried. A retry is caused by
the attempt that failed. The next task of a chain and the body of a chord are caused by the task that ended last.
"""

from collections.abc import MutableMapping
from typing import Any, Literal

import billiard.util  # type: ignore[import-untyped]  # billiard has no type annotations
import msgspec
from celery import current_task, signals  # type: ignore[import-untyped]  # celery has no type annotations

from whence.client.action_runs import ActionRun, ActionRuns, Verb
from whence.client.at_exit import close_all
from whence.client.base_client import BaseClient
from whence.client.context import CausalContext, ContextScope, StartedRun, current_context, extract, inject
from whence.wire.ids import new_uuid7

__all__ = ["instrument"]

_HEADERS = ("baggage", "traceparent")
_OWN_TASKS = "celery."  # of Celery itself; one of them polls for the end of a chord
_FINALIZE_PRIORITY = 100  # higher runs first: before billiard closes what its workers use
_RUN = "whence_run"


class _TaskRun:
    """One attempt of a task that is running."""

    def __init__(self, scope: ContextScope, action: ActionRun | None) -> None:
        self.scope = scope
        self.action = action
        self.has_ended = False
        self.retry_id: str | None = None  # of the event for a retry that was sent


_events: ActionRuns | None = None


def instrument(
    log: BaseClient | None = None,
    *,
    events: bool = False,
    actor: tuple[str, str] = ("service", "celery"),
    errors: Literal["message", "type"] = "message",
    capture_content: bool = False,
    tracebacks: bool = False,
) -> None:
    """Pass the context on with every task of this process, and with `events` record the tasks that it runs.

    A worker process that ends, also by `worker_max_tasks_per_child`, first sends or spools its queued events.

    `actor` is who runs the tasks. `errors="type"` leaves out the messages of errors, `capture_content` adds arguments
    and results, and `tracebacks` the tracebacks of errors. Calling this again replaces these settings.
    """
    global _events  # noqa: PLW0603  (the signals of Celery are one for the process too)
    if events and log is None:
        raise ValueError("To record tasks, pass the client too: instrument(log, events=True).")
    if events and log is not None:
        _events = ActionRuns(log, actor, errors=errors, capture_content=capture_content, tracebacks=tracebacks)
    else:
        _events = None
    for signal, receiver in (
        (signals.before_task_publish, _on_publish),
        (signals.task_prerun, _on_start),
        (signals.task_success, _on_success),
        (signals.task_failure, _on_failure),
        (signals.task_retry, _on_retry),
        (signals.task_postrun, _on_end),
        (signals.worker_process_init, _on_process_start),
        (signals.worker_process_shutdown, _on_process_end),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"whence{receiver.__name__}")


def _on_publish(headers: MutableMapping[str, Any] | None = None, **_: Any) -> None:
    if headers is None:
        return
    inner = headers.get("headers")
    known = {**headers, **(inner or {})}
    carried = {name: known[name] for name in _HEADERS if isinstance(known.get(name), str)}
    with ContextScope(lambda outer: _context_of_message(outer, headers.get("id"))):
        inject(carried)
    headers.update(carried)
    # A task sees only the inner dict if there is one, so it needs the headers too. Adding an inner dict where there is
    # none would hide the headers of other libraries from the task.
    if isinstance(inner, dict):
        headers["headers"] = {**inner, **carried}


def _context_of_message(outer: CausalContext, task_id: Any) -> CausalContext:
    """The context that a message carries. A task that sends itself again is retried: that event gets its id here."""
    running = _running(current_task)
    if running is None or running.action is None or not running.action.recorded or current_task.request.id != task_id:
        return outer
    running.retry_id = running.retry_id or new_uuid7()
    return msgspec.structs.replace(outer, cause=running.retry_id, pending=None)


def _running(task: Any) -> _TaskRun | None:
    """The attempt that runs now; None outside of tasks, and for attempts that began without `instrument`."""
    run = getattr(task.request, _RUN, None) if task else None
    return run if isinstance(run, _TaskRun) else None


def _on_start(task_id: str = "", task: Any = None, args: Any = None, kwargs: Any = None, **_: Any) -> None:
    request = task.request
    headers = {name: getattr(request, name, None) for name in _HEADERS} | dict(request.headers or {})
    context = extract(headers)
    if context == CausalContext():
        context = current_context()  # for example after `apply()`, which runs the task in the context of its sender
    action = None
    if _events is not None and not task.name.startswith(_OWN_TASKS):
        with ContextScope(lambda _outer: context):
            action = _events.start(
                "task",
                task.name,
                run_id=task_id,
                content={"args": args, "kwargs": kwargs},
                payload={"attempt": request.retries + 1} if request.retries else {},
            )
        if action.cause is not None:
            context = _caused_by(context, action.cause)
    scope = ContextScope(lambda _outer: context)
    scope.__enter__()
    setattr(request, _RUN, _TaskRun(scope, action))


def _caused_by(context: CausalContext, cause: StartedRun) -> CausalContext:
    return msgspec.structs.replace(context, cause=cause.id, correlation_id=cause.correlation_id, pending=None)


def _on_success(sender: Any = None, result: Any = None, **_: Any) -> None:
    run = _running(sender)
    if run is not None:
        _record_end(run, "completed", content=result)


def _on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **_: Any) -> None:
    if _events is None or sender is None or sender.name.startswith(_OWN_TASKS):
        return
    run = _running(sender)
    if run is not None:
        _record_end(run, "failed", error=exception)
    else:  # the main process says so of a worker process that was killed
        _events.fail_unstarted("task", sender.name, exception, run_id=task_id)


def _on_retry(sender: Any = None, reason: Any = None, **_: Any) -> None:
    run = _running(sender)
    if run is not None:
        error = getattr(reason, "exc", None)
        retried = _record_end(run, "retried", error=error if isinstance(error, BaseException) else None)
        if retried is not None and getattr(reason, "is_eager", False):
            _pass_on(retried, getattr(reason, "sig", None))


def _pass_on(retried: StartedRun, retry: Any) -> None:
    """Make the next attempt of `apply()` an effect of this event. Nothing is published, so its headers are set here."""
    options = getattr(retry, "options", None)
    if isinstance(options, dict):
        headers = dict(options.get("headers") or {})
        with ContextScope(lambda outer: _caused_by(outer, retried)):
            inject(headers)
        options["headers"] = headers


def _record_end(run: _TaskRun, verb: Verb, **details: Any) -> StartedRun | None:
    if _events is None or run.action is None:
        return None
    run.has_ended = True
    if verb == "retried":
        details["event_id"], run.retry_id = run.retry_id, None
    return _events.end(run.action, verb, **details)


def _on_end(task: Any = None, state: Any = None, **_: Any) -> None:
    run = _running(task)
    if run is None:
        return
    if run.retry_id is not None:  # a retry that was sent with throw=False
        _record_end(run, "retried")
    if not run.has_ended:  # it was ignored or rejected, or the process is ending
        _record_end(run, "cancelled", payload={"state": state} if isinstance(state, str) else None)
    run.scope.__exit__(None, None, None)
    delattr(task.request, _RUN)


def _on_process_start(**_: Any) -> None:
    # For the ends of a worker process that run the finalizers of billiard. The usual end is the signal below: billiard
    # then calls os._exit, so nothing that is registered with atexit runs.
    billiard.util.Finalize(None, close_all, exitpriority=_FINALIZE_PRIORITY)


def _on_process_end(**_: Any) -> None:
    close_all()

"""LangChain and LangGraph: every run of a graph, node, chain, model, tool or retriever is an action run in the log.

Pass the handler as a callback: `graph.invoke(state, {"callbacks": [WhenceCallbackHandler(log)]})`. What the code inside
a run emits is caused by the start of that run. This holds for sync and async code, for streams, and in threads that
LangChain and LangGraph start. Code inside the class of a model or retriever belongs to the run around it.
"""

import datetime as dt
import functools
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast
from uuid import UUID

import msgspec
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config

from whence.client.action_runs import ActionRun, ActionRuns, Verb
from whence.client.base_client import BaseClient
from whence.client.context import StartedRun, add_run_source, current_context
from whence.client.reentrancy import is_raised_by_signal_handler
from whence.client.tracing import not_recorded

try:
    from langgraph.callbacks import GraphCallbackHandler
    from langgraph.errors import GraphBubbleUp, ParentCommand
    from langgraph.types import Command
except ImportError:  # LangChain without LangGraph
    GraphCallbackHandler = BaseCallbackHandler  # type: ignore[assignment,misc]  # its base class
    GraphBubbleUp = ParentCommand = Command = None  # type: ignore[assignment,misc]  # as above

__all__ = ["PAUSES", "WhenceCallbackHandler", "pause_id"]

PAUSES = uuid.UUID("5a3c9c5e-2a55-5c1e-9d0b-6d2a8d2f7a10")
"""The namespace of the ids of paused graphs."""

_ENDED_RUNS_MAX = 1_000
"""Runs that have ended and are remembered, for tasks and threads that outlive them."""

_PAUSES_MAX = 10_000

_Place = tuple[str, tuple[str, ...], str]
"""Where a graph paused: thread id, checkpoint namespace, checkpoint id."""


def pause_id(thread_id: str, checkpoint_ns: Sequence[str], checkpoint_id: str) -> str:
    """The id of the event with which a graph first paused at a checkpoint, so that any process can name it."""
    return str(uuid.uuid5(PAUSES, "\n".join((thread_id, "/".join(checkpoint_ns), checkpoint_id))))


class _Run(msgspec.Struct, kw_only=True):
    """A run of LangChain.

    `action` is None while the start of a resumed graph waits for the place from which it resumes.
    """

    id: UUID
    kind: str
    name: str
    parent: StartedRun | None
    parent_id: UUID | None
    started_at: dt.datetime
    content: Any
    thread_id: str | None
    is_resume: bool
    action: ActionRun | None = None
    resumed_at: _Place | None = None
    pauses_at: _Place | None = None
    paused_below: StartedRun | None = None


Recording = TypeVar("Recording", bound=Callable[..., None])


def _reporting(record: Recording) -> Recording:
    """The method, which raises nothing into the run but what a signal handler raised meanwhile."""

    @functools.wraps(record)
    def run(handler: "WhenceCallbackHandler", *args: Any, **kwargs: Any) -> None:
        try:
            record(handler, *args, **kwargs)
        except Exception as error:
            if is_raised_by_signal_handler(error):
                raise
            handler._log.report(not_recorded("of a run", error))

    return cast("Recording", run)


class WhenceCallbackHandler(GraphCallbackHandler):
    """Emits `action_run.started`, and then one of `completed`, `failed`, `cancelled`, `paused` and `handed_off`.

    The resource of the events of a run is the run. The cause of a run is the start of its parent run. The cause of its
    end is its own start or, if it ended because of what happened inside it, the failure or pause of that. So the causes
    of a failed graph lead to the tool that failed.

    A graph that waits for `interrupt()` is paused. One that left for its parent graph by a `Command` has handed off.
    One whose stream was left early is cancelled. A resumed graph is caused by the pause, also in another process.
    LangChain says of the stream of a plain chain that it is complete, however it was left.

    - `actor` is who runs the graph.
    - `errors="type"` leaves out the messages of errors. They are recorded otherwise, up to 1,000 characters.
    - `capture_content` records what goes into runs and comes out of them: arguments, prompts and results.
    - `tracebacks` records the tracebacks of errors.
    """

    run_inline = True  # the run waits for the handler, so that a cause is emitted before its effects
    raise_error = True  # else LangChain logs what a signal handler raised meanwhile, such as a time limit, and goes on

    def __init__(
        self,
        log: BaseClient,
        actor: tuple[str, str] = ("agent", "langchain"),
        *,
        errors: Literal["message", "type"] = "message",
        capture_content: bool = False,
        tracebacks: bool = False,
    ) -> None:
        self._log = log
        self._events = ActionRuns(log, actor, errors=errors, capture_content=capture_content, tracebacks=tracebacks)
        self._runs: dict[UUID, _Run] = {}
        self._ended: OrderedDict[UUID, StartedRun] = OrderedDict()
        add_run_source(_current_run)

    def started(self, run_id: UUID) -> StartedRun | None:
        """The start of a run, as a cause for what code emits that does not run in the context of the run."""
        run = self._runs.get(run_id)
        return self._ended.get(run_id) if run is None else self._begun(run).cause

    # ------------------------------------------------------------------------------------------ callbacks of LangChain

    def on_chain_start(self, serialized: dict[str, Any] | None, inputs: Any, **kwargs: Any) -> None:
        """A graph, a node or a chain starts."""
        self._start("chain", serialized, inputs, **kwargs)

    def on_llm_start(self, serialized: dict[str, Any] | None, prompts: list[str], **kwargs: Any) -> None:
        """A language model is called."""
        self._start("model", serialized, prompts, **kwargs)

    def on_chat_model_start(self, serialized: dict[str, Any] | None, messages: list[Any], **kwargs: Any) -> None:
        """A chat model is called."""
        self._start("model", serialized, messages, **kwargs)

    def on_tool_start(self, serialized: dict[str, Any] | None, input_str: str, **kwargs: Any) -> None:
        """A tool is called."""
        self._start("tool", serialized, kwargs.pop("inputs", None) or input_str, **kwargs)

    def on_retriever_start(self, serialized: dict[str, Any] | None, query: str, **kwargs: Any) -> None:
        """A retriever is called."""
        self._start("retriever", serialized, query, **kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A graph, a node or a chain returned."""
        self._end(run_id, content=outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A graph, a node or a chain raised an error."""
        self._end(run_id, error)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A model returned."""
        self._end(run_id, content=response)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model raised an error."""
        self._end(run_id, error)

    @_reporting
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool returned. It has failed if what it returned for the model says so."""
        if getattr(output, "status", None) == "error":
            message = self._events.message(str(getattr(output, "content", "")))
            self._end(run_id, verb="failed", payload=message, content=output)
        else:
            self._end(run_id, content=output)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool raised an error."""
        self._end(run_id, error)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever returned."""
        self._end(run_id, content=documents)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever raised an error."""
        self._end(run_id, error)

    # ------------------------------------------------------------------------------------------ callbacks of LangGraph

    @_reporting
    def on_interrupt(self, event: Any) -> None:
        """A graph is about to pause."""
        run = self._runs.get(event.run_id)
        if run is not None and run.thread_id is not None:
            run.pauses_at = (run.thread_id, tuple(event.checkpoint_ns), event.checkpoint_id)

    @_reporting
    def on_resume(self, event: Any) -> None:
        """A graph continues at a checkpoint."""
        run = self._runs.get(event.run_id)
        if run is not None and run.thread_id is not None:
            run.resumed_at = (run.thread_id, tuple(event.checkpoint_ns), event.checkpoint_id)
            self._begun(run)

    # ------------------------------------------------------------------------------------------------------------ runs

    @_reporting
    def _start(
        self,
        kind: str,
        serialized: Mapping[str, Any] | None,
        content: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if run_id in self._runs:  # the handler was passed twice
            return
        known = metadata or {}
        run_name = str(name or (serialized or {}).get("name") or kind)
        thread_id = known.get("thread_id")
        run = self._runs[run_id] = _Run(
            id=run_id,
            kind=_kind(kind, run_name, known),
            name=run_name,
            parent=None if parent_run_id is None else self.started(parent_run_id),
            parent_id=parent_run_id,
            started_at=dt.datetime.now(dt.UTC),
            content=content,
            thread_id=None if thread_id is None else str(thread_id),
            is_resume=thread_id is not None and _continues(content),
        )
        if not run.is_resume:
            self._begun(run)

    def _begun(self, run: _Run) -> ActionRun:
        """The action run, after its start was emitted. That of a resumed graph is emitted when it is first needed."""
        if run.action is None:
            cause, payload = self._resumed_from(run) if run.is_resume else (run.parent, {})
            run.action = self._events.start(
                run.kind,
                run.name,
                run_id=str(run.id),
                cause=cause,
                content=run.content,
                payload=payload,
                occurred_at=run.started_at,
            )
            run.content = None
        return run.action

    def _resumed_from(self, run: _Run) -> tuple[StartedRun | None, dict[str, Any]]:
        """The pause that a graph continues from, and what else its start says."""
        place = run.resumed_at
        if place is None or any(place[1]):  # a graph inside a graph continues because that one does
            return run.parent, {}
        pause = _pauses_of(self._log).get(place)
        if pause is None and _answers(run.content):  # it paused in another process
            pause = StartedRun(pause_id(*place), None)
        if pause is None:
            return run.parent, {}
        by = run.parent.id if run.parent is not None else current_context().with_cause_emitted().cause
        return pause, {"resumed": True} | ({} if by is None else {"resumed_by": by})

    @_reporting
    def _end(
        self,
        run_id: UUID,
        error: BaseException | None = None,
        *,
        verb: Verb | None = None,
        content: Any = None,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        run = self._runs.pop(run_id, None)
        if run is None:
            return
        action = self._begun(run)
        verb = verb or _verb(run, error)
        event_id = None
        place = run.pauses_at
        if verb == "paused" and place is not None and place != run.resumed_at and not any(place[1]):
            event_id = pause_id(*place)
        ended = self._events.end(
            action,
            verb,
            error=error,
            below=run.paused_below if verb == "paused" else None,
            content=content,
            payload={**(payload or {}), **_destination(error)},
            event_id=event_id,
        )
        if action.cause is not None:
            self._ended[run_id] = action.cause
            while len(self._ended) > _ENDED_RUNS_MAX:
                self._ended.popitem(last=False)
        if ended is not None and verb == "paused":
            self._note_pause(run, ended)

    def _note_pause(self, run: _Run, pause: StartedRun) -> None:
        parent = None if run.parent_id is None else self._runs.get(run.parent_id)
        if parent is not None:
            parent.paused_below = pause
        if run.pauses_at is not None:
            pauses = _pauses_of(self._log)
            pauses[run.pauses_at] = pause
            while len(pauses) > _PAUSES_MAX:
                pauses.popitem(last=False)


_pauses: "weakref.WeakKeyDictionary[BaseClient, OrderedDict[_Place, StartedRun]]" = weakref.WeakKeyDictionary()


def _pauses_of(log: BaseClient) -> "OrderedDict[_Place, StartedRun]":
    """The pauses that this process recorded. A request often has a handler of its own, so they outlive a handler."""
    return _pauses.setdefault(log, OrderedDict())


def _current_run() -> StartedRun | None:
    """The start of the run in which this code is, by the configuration that LangChain keeps in a context variable."""
    manager = (var_child_runnable_config.get() or {}).get("callbacks")
    run_id = getattr(manager, "parent_run_id", None)
    if run_id is None:
        return None
    for handler in getattr(manager, "handlers", ()):
        if isinstance(handler, WhenceCallbackHandler):
            started = handler.started(run_id)
            if started is not None:
                return started
    return None


def _kind(kind: str, name: str, metadata: Mapping[str, Any]) -> str:
    if kind != "chain":
        return kind
    if metadata.get("langgraph_node") == name:
        return "node"
    is_graph = metadata.get("ls_integration") == "langgraph" and "langgraph_node" not in metadata
    return "graph" if is_graph else "chain"


def _continues(inputs: Any) -> bool:
    """Whether a graph may continue where it stopped. Only LangGraph knows whether it does."""
    return Command is not None and (inputs is None or isinstance(inputs, Command))


def _answers(inputs: Any) -> bool:
    """Whether this is the answer to an interrupt."""
    return isinstance(inputs, Command) and inputs.resume is not None


def _verb(run: _Run, error: BaseException | None) -> Verb:
    if error is None:
        return "completed" if run.pauses_at is None else "paused"
    if not isinstance(error, Exception):  # such as GeneratorExit and CancelledError
        return "cancelled"
    if GraphBubbleUp is not None:
        if isinstance(error, ParentCommand):
            return "handed_off"
        if isinstance(error, GraphBubbleUp):
            return "paused"
    return "failed"


def _destination(error: BaseException | None) -> dict[str, str]:
    """Where a graph handed off to."""
    if ParentCommand is None or not isinstance(error, ParentCommand) or not error.args:
        return {}
    goto = getattr(error.args[0], "goto", None)
    return {"to": goto} if isinstance(goto, str) else {}

"""LangChain and LangGraph: each run of a chain, node, model or tool is an action run, caused by the run around it.

Give it as a callback: `graph.invoke(state, {"callbacks": [RunsAreEvents(log)]})`. What a run was given and gave back is
not recorded, since it may hold anything; its kind and name are.
"""

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from whence.client.emission import Emitted
from whence.client.log import Log

__all__ = ["RunsAreEvents"]


class RunsAreEvents(BaseCallbackHandler):
    """Emits `action_run.started`, and `action_run.completed` or `action_run.failed`, whose resource is the run."""

    run_inline = True  # before the run goes on, so that a cause is emitted before its effects

    def __init__(self, log: Log, actor: tuple[str, str] = ("agent", "langchain")) -> None:
        self._log = log
        self._actor = actor
        self._started: dict[UUID, Emitted] = {}

    def started(self, run_id: UUID) -> Emitted | None:
        """The event with which a run began that is still under way; name it as the cause inside a tool."""
        return self._started.get(run_id)

    def on_chain_start(self, serialized: dict[str, Any], inputs: Any, **kwargs: Any) -> None:
        """A chain or a node begins."""
        self._begin("chain", serialized, **kwargs)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        """A model is asked."""
        self._begin("model", serialized, **kwargs)

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[Any], **kwargs: Any) -> None:
        """A chat model is asked."""
        self._begin("model", serialized, **kwargs)

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        """A tool is called."""
        self._begin("tool", serialized, **kwargs)

    def on_retriever_start(self, serialized: dict[str, Any], query: str, **kwargs: Any) -> None:
        """Something is looked up."""
        self._begin("retriever", serialized, **kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain is done."""
        self._end("completed", run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain failed."""
        self._end("failed", run_id, error)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A model is done."""
        self._end("completed", run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model failed."""
        self._end("failed", run_id, error)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool is done."""
        self._end("completed", run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed."""
        self._end("failed", run_id, error)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever is done."""
        self._end("completed", run_id)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever failed."""
        self._end("failed", run_id, error)

    def _begin(
        self,
        kind: str,
        serialized: dict[str, Any] | None,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        around = self._started.get(parent_run_id) if parent_run_id is not None else None
        cause = {} if around is None else {"cause": around}
        called = name or (serialized or {}).get("name") or kind
        self._started[run_id] = self._emit("started", run_id, {"kind": kind, "name": str(called)[:255]}, **cause)

    def _end(self, what: str, run_id: UUID, error: BaseException | None = None) -> None:
        began = self._started.pop(run_id, None)
        cause = {} if began is None else {"cause": began}
        # The name of the error alone: its message may hold anything.
        self._emit(what, run_id, {} if error is None else {"error": type(error).__name__}, **cause)

    def _emit(self, what: str, run_id: UUID, payload: dict[str, Any], **cause: Any) -> Emitted:
        return self._log.queue(
            f"action_run.{what}", actor=self._actor, resource=("action_run", run_id), payload=payload, **cause
        )

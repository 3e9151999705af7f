"""LangChain and LangGraph: every run of a chain, node, model, tool or retriever is an action run in the log.

Pass the handler as a callback: `graph.invoke(state, {"callbacks": [WhenceCallbackHandler(log)]})`. The kind and name of
a run are recorded. Its inputs and outputs are not, since they may hold secrets.
"""

from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler

from whence.client.base_client import BaseClient
from whence.client.event_builder import EmittedEvent

__all__ = ["WhenceCallbackHandler"]

_NAME_CHARACTERS_MAX = 255


class WhenceCallbackHandler(BaseCallbackHandler):
    """Emits `action_run.started`, and then `action_run.completed` or `action_run.failed`.

    The resource of the three is the run. The cause of a run is the start of its parent run, and the cause of its end is
    its own start.
    """

    run_inline = True  # the run waits for the handler, so that a cause is emitted before its effects

    def __init__(self, log: BaseClient, actor: tuple[str, str] = ("agent", "langchain")) -> None:
        self._log = log
        self._actor = actor
        self._started: dict[UUID, EmittedEvent] = {}

    def started(self, run_id: UUID) -> EmittedEvent | None:
        """The start event of a run that has not ended. Use it as the cause of what a tool emits."""
        return self._started.get(run_id)

    def on_chain_start(self, serialized: dict[str, Any], inputs: Any, **kwargs: Any) -> None:
        """A chain or a node starts."""
        self._start("chain", serialized, **kwargs)

    def on_llm_start(self, serialized: dict[str, Any], prompts: list[str], **kwargs: Any) -> None:
        """A language model is called."""
        self._start("model", serialized, **kwargs)

    def on_chat_model_start(self, serialized: dict[str, Any], messages: list[Any], **kwargs: Any) -> None:
        """A chat model is called."""
        self._start("model", serialized, **kwargs)

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, **kwargs: Any) -> None:
        """A tool is called."""
        self._start("tool", serialized, **kwargs)

    def on_retriever_start(self, serialized: dict[str, Any], query: str, **kwargs: Any) -> None:
        """A retriever is called."""
        self._start("retriever", serialized, **kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain or a node returned."""
        self._end("completed", run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A chain or a node raised an error."""
        self._end("failed", run_id, error)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A model returned."""
        self._end("completed", run_id)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model raised an error."""
        self._end("failed", run_id, error)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool returned."""
        self._end("completed", run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool raised an error."""
        self._end("failed", run_id, error)

    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever returned."""
        self._end("completed", run_id)

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A retriever raised an error."""
        self._end("failed", run_id, error)

    def _start(
        self,
        kind: str,
        serialized: dict[str, Any] | None,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        name: str | None = None,
        **_: Any,
    ) -> None:
        parent = self._started.get(parent_run_id) if parent_run_id is not None else None
        run_name = name or (serialized or {}).get("name") or kind
        payload = {"kind": kind, "name": str(run_name)[:_NAME_CHARACTERS_MAX]}
        self._started[run_id] = self._emit("started", run_id, payload, parent)

    def _end(self, outcome: str, run_id: UUID, error: BaseException | None = None) -> None:
        # Only the type of the error is recorded: its message may hold secrets.
        payload = {} if error is None else {"error": type(error).__name__}
        self._emit(outcome, run_id, payload, self._started.pop(run_id, None))

    def _emit(self, verb: str, run_id: UUID, payload: dict[str, Any], cause: EmittedEvent | None) -> EmittedEvent:
        named: dict[str, Any] = {} if cause is None else {"cause": cause}  # without it, the cause is inherited
        return self._log.queue(
            f"action_run.{verb}", actor=self._actor, resource=("action_run", run_id), payload=payload, **named
        )

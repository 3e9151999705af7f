"""A LangGraph agent with two tools: one finds an order, and the other fails to refund it.

Its chat model follows a script, so that the example runs without a network. Everything else is as in a real agent.
"""

from typing import Any
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from whence import Whence

log = Whence()


class CardClosed(Exception):
    """The payment provider cannot pay to this card."""


@tool
def find_order(number: str) -> str:
    """Find an order by its number."""
    # Emitted inside the tool, and so caused by the run of the tool.
    log.emit("artifact.read", actor=("agent", "support"), resource=("artifact", uuid4()), payload={"order": number})
    return "Order 8841: 49 EUR, paid by card."


@tool
def refund(number: str) -> str:
    """Refund an order."""
    raise CardClosed("The card of order 8841 was closed.")


class ScriptedModel(BaseChatModel):
    """Calls `find_order` first and then `refund`."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> "ScriptedModel":
        """The script knows the tools."""
        return self

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        name = "refund" if isinstance(messages[-1], ToolMessage) else "find_order"
        call = {"name": name, "args": {"number": "8841"}, "id": name, "type": "tool_call"}
        message = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=message)])


def support_agent() -> Any:
    """The graph: the model, and the tools that it calls, in turns."""
    tools = [find_order, refund]
    model = ScriptedModel().bind_tools(tools)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=False))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(name="support")

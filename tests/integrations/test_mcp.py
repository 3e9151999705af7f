"""The Model Context Protocol: tool calls on a client and a server, in memory and over stdio."""

import asyncio
import json
import sys
import textwrap
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp.server.mcpserver import MCPServer

from tests.api.conftest import event
from whence.client import current_context
from whence.integrations.mcp import WhenceMiddleware, record_tool_calls
from whence.integrations.pytest_plugin import RecordingWhence
from whence.wire.bodies import EventBody


def story(log: RecordingWhence) -> list[str]:
    """Each event as `verb name of the actor < verb name of the actor of its cause`."""
    found = {each.id: each for each in log.recorded}
    return [
        title(each) + (f" < {title(found[each.causation_id])}" if each.causation_id else "") for each in log.recorded
    ]


def title(each: EventBody) -> str:
    return f"{each.event_type.partition('.')[2]} by {each.actor_id}"


def payload_of(each: EventBody) -> dict[str, Any]:
    return dict(json.loads(each.payload_bytes))


def server_of(log: RecordingWhence, **options: Any) -> MCPServer:
    """A server with a tool that emits and then fails, if the amount is negative."""
    server = MCPServer("payments", middleware=[WhenceMiddleware(log, **options)])

    @server.tool()
    def pay(amount: int) -> str:
        """Pay an amount."""
        log.emit(event())
        if amount < 0:
            raise ValueError("card declined")
        return "paid"

    @server.tool()
    async def wait() -> str:
        """Wait for ever."""
        await asyncio.sleep(60)
        return "done"

    return server


async def test_a_tool_call_is_a_run_on_client_and_server(whence_events: RecordingWhence) -> None:
    """The prompt is the cause of the call, the call that of the run on the server, and this that of its effects."""
    log = whence_events
    prompt = log.emit(event(eventType="chat_thread.message_received"), actor=("user", "ana"))
    async with Client(server_of(log, trust_meta=True)) as client:
        record_tool_calls(client, log, send_context=True)
        with log.cause(prompt):
            result = await client.call_tool("pay", {"amount": 5}, meta={"other": "kept"})
    assert not result.is_error
    assert story(log) == [
        "message_received by ana",
        "started by mcp-client < message_received by ana",
        "started by mcp-server < started by mcp-client",
        "completed by planner < started by mcp-server",
        "completed by mcp-server < started by mcp-server",
        "completed by mcp-client < started by mcp-client",
    ]
    assert {each.correlation_id for each in log.recorded} == {prompt.id}
    assert payload_of(log.recorded[1]) == payload_of(log.recorded[4]) == {"kind": "tool", "name": "pay"}
    assert current_context().cause is None


async def test_a_tool_that_answers_with_an_error_has_failed(whence_events: RecordingWhence) -> None:
    """On both sides, with its message."""
    async with Client(server_of(whence_events, capture_content=True)) as client:
        record_tool_calls(client, whence_events, errors="type")
        assert (await client.call_tool("pay", {"amount": -5})).is_error
    ends = [each for each in whence_events.recorded if each.event_type == "action_run.failed"]
    server, client_ = map(payload_of, ends)
    assert server["message"] and "output" in server
    assert "message" not in client_ and "output" not in client_
    (started,) = (each for each in whence_events.recorded if title(each) == "started by mcp-server")
    assert payload_of(started)["input"] == '{"amount":-5}'


async def recorded(log: RecordingWhence, count: int) -> None:
    """Wait until there are so many events."""
    async with asyncio.timeout(10):
        while len(log.recorded) < count:  # noqa: ASYNC110  (the recorder has no event to wait for)
            await asyncio.sleep(0.01)


async def test_a_call_that_is_cancelled_is_cancelled(whence_events: RecordingWhence) -> None:
    """And one that the protocol refuses has failed."""
    async with Client(server_of(whence_events)) as client:
        record_tool_calls(client, whence_events)
        call = asyncio.create_task(client.call_tool("wait"))
        await recorded(whence_events, 2)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await recorded(whence_events, 4)
        with pytest.raises(TypeError):
            await client.call_tool("wait", no_such_option=1)
    assert title(whence_events.recorded[-1]) == "failed by mcp-client"
    assert sorted(title(each) for each in whence_events.recorded[2:4]) == [
        "cancelled by mcp-client",
        "cancelled by mcp-server",
    ]


SERVER = """
import sys
from mcp.server.mcpserver import MCPServer
from whence.integrations.mcp import WhenceMiddleware
from whence.integrations.pytest_plugin import RecordingWhence

log = RecordingWhence()
server = MCPServer("payments", middleware=[WhenceMiddleware(log, trust_meta=sys.argv[1] == "trusting")])

@server.tool()
def events() -> list[str]:
    "The causes of what was recorded."
    return [str(each.causation_id) for each in log.recorded]

server.run()
"""


@pytest.mark.parametrize("send", [True, False], ids=["sent", "not sent"])
@pytest.mark.parametrize("trust", [True, False], ids=["trusted", "not trusted"])
async def test_the_context_reaches_a_server_in_another_process(
    whence_events: RecordingWhence, send: bool, trust: bool
) -> None:
    """Over stdio, if the client sends it and the server trusts it."""
    arguments = ["-c", textwrap.dedent(SERVER), "trusting" if trust else "careful"]
    async with Client(stdio_client(StdioServerParameters(command=sys.executable, args=arguments))) as client:
        record_tool_calls(client, whence_events, send_context=send)
        result = await client.call_tool("events")
    expected = whence_events.recorded[0].id if send and trust else "None"
    assert result.structured_content == {"result": [expected]}

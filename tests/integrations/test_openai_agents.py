"""The OpenAI Agents SDK, with its scripted model: runs, tools and handoffs with their causes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from agents import Agent, Runner, function_tool, set_trace_processors
from agents.testing import ScriptedModel, assistant_message, function_call

from tests.api.conftest import event
from tests.integrations.titles import payload_of, story, title
from tests.unit.mutants import catches, replaced
from whence.client import current_context
from whence.integrations.openai_agents import WhenceTracingProcessor
from whence.integrations.pytest_plugin import RecordingWhence


@pytest.fixture
def log(whence_events: RecordingWhence) -> Iterator[RecordingWhence]:
    """A log to which the SDK records, and nothing to anywhere else."""
    set_trace_processors([WhenceTracingProcessor(whence_events)])
    yield whence_events
    set_trace_processors([])


def paying(log: RecordingWhence, **options: Any) -> Any:
    """A tool that emits and then fails, if the amount is negative."""

    @function_tool(**options)
    async def pay(amount: int) -> str:
        """Pay an amount."""
        await asyncio.to_thread(log.emit, event())
        if amount < 0:
            raise ValueError("card declined")
        return "paid"

    return pay


def agent(tool: Any, amount: int) -> Agent[Any]:
    steps = [[function_call("pay", {"amount": amount}, call_id="1")], [assistant_message("done")]]
    return Agent(name="billing", model=ScriptedModel(steps), tools=[tool])


def unknown(self: Any, span_id: str) -> None:
    """Knows no run."""


@catches(replaced(WhenceTracingProcessor, "started", unknown, "the_run_is_not_known"))
async def test_what_a_tool_emits_is_caused_by_the_run_of_the_tool(log: RecordingWhence) -> None:
    """The agent is caused by what is around it. Nothing of what is said is recorded."""
    request = log.emit(event(eventType="decision.made"))
    with log.cause(request):
        result = await Runner.run(agent(paying(log), 5), "a secret prompt")
    assert result.final_output == "done"
    assert story(log)[1:] == [
        "started agent billing < made",
        "started tool pay < started agent billing",
        "completed < started tool pay",
        "completed tool pay < started tool pay",
        "completed agent billing < started agent billing",
    ]
    assert {each.correlation_id for each in log.recorded} == {request.id}
    assert payload_of(log.recorded[4]) == {"kind": "tool", "name": "pay"}
    assert current_context().cause is None


async def test_streams_have_the_same_causes(log: RecordingWhence) -> None:
    """In the task that the SDK starts for a stream."""
    result = Runner.run_streamed(agent(paying(log), 5), "a prompt")
    async for _ in result.stream_events():
        assert current_context().cause is None
    assert "completed < started tool pay" in story(log)


async def test_a_tool_whose_error_goes_to_the_model_has_failed(log: RecordingWhence) -> None:
    """The agent goes on, and completes. The message is the one that the SDK traces, which may be redacted."""
    await Runner.run(agent(paying(log), -5), "a prompt")
    assert story(log)[3:] == ["failed tool pay < started tool pay", "completed agent billing < started agent billing"]
    assert "failed" in payload_of(log.recorded[3])["message"]


async def test_a_failed_agent_leads_to_the_tool_that_failed(log: RecordingWhence) -> None:
    """If the tool's errors are raised."""
    with pytest.raises(Exception, match="card declined"):
        await Runner.run(agent(paying(log, failure_error_function=None), -5), "a prompt")
    assert story(log)[3:] == ["failed tool pay < started tool pay", "failed agent billing < failed tool pay"]
    failed = payload_of(log.recorded[3])
    assert (failed["error"], failed["message"]) == ("ValueError", "card declined")


async def test_an_error_that_is_being_handled_is_none_of_the_run(log: RecordingWhence) -> None:
    """An agent may run in an `except` block."""
    try:
        raise KeyError("before")
    except KeyError:
        await Runner.run(agent(paying(log), 5), "a prompt")
    assert not any(each.startswith("failed") for each in story(log))


async def test_an_agent_that_takes_over_is_caused_by_the_handoff(log: RecordingWhence) -> None:
    """The handoff is an event of the agent that left."""
    expert = Agent(name="expert", model=ScriptedModel([[assistant_message("done")]]))
    call = function_call("transfer_to_expert", {}, call_id="1")
    front = Agent(name="front", model=ScriptedModel([[call]]), handoffs=[expert])
    await Runner.run(front, "a prompt")
    assert story(log) == [
        "started agent front",
        "handed_off agent front < started agent front",
        "completed agent front < started agent front",
        "started agent expert < handed_off agent front",
        "completed agent expert < started agent expert",
    ]
    assert payload_of(log.recorded[1])["to"] == "expert"
    assert log.recorded[1].resource_id == log.recorded[0].resource_id


async def test_content_is_recorded_only_if_asked_for(whence_events: RecordingWhence) -> None:
    """Arguments and results; `errors="type"` leaves out messages."""
    set_trace_processors([WhenceTracingProcessor(whence_events, capture_content=True, errors="type")])
    await Runner.run(agent(paying(whence_events), 5), "a prompt")
    await Runner.run(agent(paying(whence_events), -5), "a prompt")
    set_trace_processors([])
    ends = [
        payload_of(each) for each in whence_events.recorded if title(each) in ("completed tool pay", "failed tool pay")
    ]
    assert (ends[0]["input"], ends[0]["output"]) == ('{"amount":5}', "paid")
    assert "message" not in ends[1]

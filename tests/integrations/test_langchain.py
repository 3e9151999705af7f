"""LangChain and LangGraph: runs are events with the right causes, and so is what the code inside a run emits."""

import asyncio
import contextlib
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypedDict

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from tests.api.conftest import event
from tests.integrations.titles import payload_of, story
from tests.unit.mutants import catches, replaced
from whence.client import action_runs, current_context
from whence.client.event_builder import EmittedEvent
from whence.integrations.langchain import WhenceCallbackHandler, pause_id
from whence.integrations.pytest_plugin import RecordingWhence


class State(TypedDict, total=False):
    """What the nodes of the graphs here pass on."""

    text: str


def graph_of(node: Any, name: str = "graph", **options: Any) -> Any:
    """A graph with one node, which is named `node`."""
    built = StateGraph(State)
    built.add_node("node", node)
    built.add_edge(START, "node")
    return built.compile(name=name, **options)


def unknown(self: Any, run_id: Any) -> None:
    """Knows no run."""


def invoked(graph: Any, config: Any) -> None:
    graph.invoke({"text": "a"}, config)


def invoked_async(graph: Any, config: Any) -> None:
    asyncio.run(graph.ainvoke({"text": "a"}, config))


def streamed(graph: Any, config: Any) -> None:
    for _ in graph.stream({"text": "a"}, config):
        assert current_context().cause is None, "the reader of a stream is not inside the run"


def streamed_async(graph: Any, config: Any) -> None:
    async def main() -> None:
        async for _ in graph.astream({"text": "a"}, config):
            assert current_context().cause is None, "the reader of a stream is not inside the run"

    asyncio.run(main())


RUNNERS = [invoked, invoked_async, streamed, streamed_async]


@pytest.mark.parametrize("run", RUNNERS, ids=lambda run: run.__name__)
@pytest.mark.parametrize("how", ["directly", "in_a_thread", "by_wrap", "in_a_task"])
def test_what_a_tool_emits_is_caused_by_the_run_of_the_tool(
    whence_events: RecordingWhence, run: Callable[..., None], how: str
) -> None:
    """In sync and async graphs, in streams and in threads; what a node emits is caused by the node."""

    def effect() -> EmittedEvent:
        return whence_events.emit(event())

    @tool
    def look_up(word: str) -> str:
        """Look up a word."""
        if how == "in_a_thread":
            with ContextThreadPoolExecutor(1) as pool:
                pool.submit(effect).result()
        elif how == "by_wrap":
            with ThreadPoolExecutor(1) as pool:
                pool.submit(whence_events.wrap(effect)).result()
        else:
            effect()
        return word

    async def effect_in_a_task(word: str) -> str:
        """Look up a word."""
        await asyncio.create_task(asyncio.to_thread(effect))
        return word

    if how == "in_a_task":
        look_up.coroutine = effect_in_a_task

    def node(state: State) -> State:
        effect()
        return {"text": look_up.invoke(state["text"])}

    async def async_node(state: State) -> State:
        effect()
        return {"text": await look_up.ainvoke(state["text"])}

    is_async = run in (invoked_async, streamed_async)
    run(graph_of(async_node if is_async else node), {"callbacks": [WhenceCallbackHandler(whence_events)]})
    assert story(whence_events) == [
        "started graph graph",
        "started node node < started graph graph",
        "completed < started node node",
        "started tool look_up < started node node",
        "completed < started tool look_up",
        "completed tool look_up < started tool look_up",
        "completed node node < started node node",
        "completed graph graph < started graph graph",
    ]


@catches(replaced(WhenceCallbackHandler, "started", unknown, "the_run_is_not_known"))
def test_the_later_of_a_block_and_a_run_is_the_cause(whence_events: RecordingWhence) -> None:
    """A `with` block inside a run applies in it, and one around the run does not. Headers name the run too."""
    log = whence_events
    around, inside = log.emit(event()), log.emit(event())
    seen: list[Any] = []

    def step(word: str) -> str:
        seen.append(current_context().cause)
        with log.cause(inside):
            seen.append(current_context().cause)
            RunnableLambda(inner).invoke(word)
        headers: dict[str, str] = {}
        log.inject(headers)
        seen.append(headers["baggage"])
        return word

    def inner(word: str) -> str:
        seen.append(current_context().cause)
        return word

    with log.cause(around):
        RunnableLambda(step).invoke("a", {"callbacks": [WhenceCallbackHandler(log)]})
        assert current_context().cause == around.id
    outer_run, inner_run = (each for each in log.recorded if each.event_type == "action_run.started")
    assert outer_run.causation_id == around.id
    assert seen[:3] == [outer_run.id, inside.id, inner_run.id]
    assert f"whence-cause={outer_run.id}" in seen[3]


def test_a_generator_keeps_its_context_when_a_run_reads_it(whence_events: RecordingWhence) -> None:
    """Its own cause applies to its steps, wherever they run."""
    root = whence_events.emit(event())

    @whence_events.cause(root)
    def causes() -> Iterator[str | None]:
        while True:
            yield current_context().cause

    reading = causes()
    seen = [next(reading)]

    def step(word: str) -> str:
        seen.append(next(reading))
        assert current_context().cause != root.id
        return word

    RunnableLambda(step).invoke("a", {"callbacks": [WhenceCallbackHandler(whence_events)]})
    assert seen == [root.id] * 2


def test_the_start_of_a_run_can_be_given_as_a_cause(whence_events: RecordingWhence) -> None:
    """For code that runs in no context of the run. A handler that was passed twice records each run once."""
    handler = WhenceCallbackHandler(whence_events)
    run_id = uuid.uuid4()

    def step(word: str, config: Any) -> str:
        with ThreadPoolExecutor(1) as pool:
            started = handler.started(run_id)
            pool.submit(lambda: whence_events.emit(event(), cause=started)).result()
        return word

    RunnableLambda(step).invoke("a", {"callbacks": [handler, handler], "run_id": run_id})
    assert story(whence_events) == [
        "started chain step",
        "completed < started chain step",
        "completed chain step < started chain step",
    ]
    assert handler.started(uuid.uuid4()) is None


WITHOUT_LANGGRAPH = """
import sys
sys.modules["langgraph"] = None  # as if it were not installed
from langchain_core.runnables import RunnableLambda
from whence.integrations.langchain import WhenceCallbackHandler
from whence.integrations.pytest_plugin import RecordingWhence
log = RecordingWhence()
config = {"callbacks": [WhenceCallbackHandler(log)], "metadata": {"thread_id": "t"}}
RunnableLambda(lambda value: value).invoke(None, config)
print([event.event_type for event in log.recorded])
"""


def test_langchain_works_without_langgraph() -> None:
    """Which is an extra of its own."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_LANGGRAPH], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "['action_run.started', 'action_run.completed']", done.stderr


def test_a_task_that_outlives_its_run_is_still_caused_by_it(whence_events: RecordingWhence) -> None:
    """It was started there, whatever has ended meanwhile."""

    async def main() -> None:
        ended = asyncio.Event()
        tasks = []

        async def later() -> None:
            await ended.wait()
            whence_events.emit(event())

        async def step(word: str) -> str:
            tasks.append(asyncio.create_task(later()))
            return word

        await RunnableLambda(step).ainvoke("a", {"callbacks": [WhenceCallbackHandler(whence_events)]})
        ended.set()
        await tasks[0]

    asyncio.run(main())
    assert story(whence_events)[-1] == "completed < started chain step"


def test_langchain_runs_are_events(whence_events: RecordingWhence) -> None:
    """With the run as resource, its kind and its cause; with `errors="type"` no messages, and no inputs or outputs."""

    @tool
    def look_up(word: str) -> str:
        """Look up a word."""
        return word

    def step(word: str, config: Any) -> str:
        found: str = look_up.invoke(word, config)
        if found == "secret":
            raise KeyError(found)
        return found

    chain = RunnableLambda(step, name="agent")
    callbacks = {"callbacks": [WhenceCallbackHandler(whence_events, errors="type")]}
    root = whence_events.emit(event())
    with whence_events.cause(root):
        chain.invoke("a", callbacks)
        with pytest.raises(KeyError):
            chain.invoke("secret", callbacks)
    kinds = [each.event_type.partition(".")[2] for each in whence_events.recorded[1:]]
    assert kinds == ["started", "started", "completed", "completed", "started", "started", "completed", "failed"]
    outer, inner, inner_end, outer_end = whence_events.recorded[1:5]
    causes = [each.causation_id for each in (outer, inner, inner_end, outer_end)]
    assert causes == [root.id, outer.id, inner.id, outer.id]
    assert outer.resource_id == outer_end.resource_id != inner.resource_id
    assert inner.payload_bytes == b'{"kind":"tool","name":"look_up"}'
    assert whence_events.recorded[-1].payload_bytes == b'{"kind":"chain","name":"agent","error":"KeyError"}'
    assert all(b"secret" not in each.payload_bytes for each in whence_events.recorded)


def failing_graph(log: RecordingWhence, translate: bool = False) -> Any:
    @tool
    def pay(amount: str) -> str:
        """Pay an amount."""
        raise ValueError("card declined " + "x" * 2_000)

    def node(state: State) -> State:
        try:
            return {"text": pay.invoke(state["text"])}
        except ValueError as error:
            if translate:
                raise RuntimeError("the node failed") from error
            raise

    return graph_of(graph_of(node, "inner"), "outer")


def no_failure(*given: Any) -> None:
    """Finds no failure below."""


@catches(replaced(action_runs, "failure_below", no_failure, "failures_are_caused_by_starts"))
@pytest.mark.parametrize("translate", [False, True], ids=["one error", "raised from another"])
@pytest.mark.parametrize("run", RUNNERS, ids=lambda run: run.__name__)
def test_the_failure_of_a_graph_leads_to_the_tool_that_failed(
    whence_events: RecordingWhence, run: Callable[..., None], translate: bool
) -> None:
    """From the outermost run down, with names and messages."""
    with pytest.raises(RuntimeError if translate else ValueError):
        run(failing_graph(whence_events, translate), {"callbacks": [WhenceCallbackHandler(whence_events)]})
    failed = [each for each in story(whence_events) if each.startswith("failed")]
    assert failed == [
        "failed tool pay < started tool pay",
        "failed node node < failed tool pay",
        "failed chain inner < failed node node",
        "failed node node < failed chain inner",
        "failed graph outer < failed node node",
    ]
    innermost = payload_of(whence_events.of_type("action_run.failed")[0])
    assert innermost["error"] == "ValueError"
    assert innermost["message"].startswith("card declined x") and len(innermost["message"]) == 1_000
    assert "traceback" not in innermost and "input" not in innermost


def test_an_error_that_was_handled_is_no_cause(whence_events: RecordingWhence) -> None:
    """Nor is one of an earlier run."""
    shared = ValueError("one object for many calls")

    @tool
    def pay(amount: str) -> str:
        """Pay an amount."""
        raise shared

    def handled(word: str) -> str:
        with contextlib.suppress(ValueError):
            pay.invoke(word)
        raise KeyError(word)

    config = {"callbacks": [WhenceCallbackHandler(whence_events)]}
    with pytest.raises(KeyError):
        RunnableLambda(handled).invoke("a", config)
    with pytest.raises(ValueError):
        RunnableLambda(lambda _: (_ for _ in ()).throw(shared), name="other").invoke("a", config)
    assert [each for each in story(whence_events) if each.startswith("failed chain")] == [
        "failed chain handled < started chain handled",
        "failed chain other < started chain other",
    ]


def test_a_tool_that_answers_with_an_error_has_failed(whence_events: RecordingWhence) -> None:
    """The model gets the message, and the log too."""

    @tool
    def pay(amount: str) -> str:
        """Pay an amount."""
        raise ToolException("card declined")

    pay.handle_tool_error = True
    call = {"name": "pay", "args": {"amount": "5"}, "id": "1", "type": "tool_call"}
    pay.invoke(call, {"callbacks": [WhenceCallbackHandler(whence_events)]})
    assert story(whence_events) == ["started tool pay", "failed tool pay < started tool pay"]
    assert payload_of(whence_events.recorded[1])["message"] == "card declined"


def test_content_and_tracebacks_are_recorded_only_if_asked_for(whence_events: RecordingWhence) -> None:
    """Arguments, prompts and results, bounded; nothing of them by default."""

    @tool
    def look_up(word: str) -> str:
        """Look up a word."""
        if word == "bad":
            raise KeyError(word)
        return word.upper()

    model = GenericFakeChatModel(messages=iter([AIMessage("an answer")] * 2))
    for handler in (
        WhenceCallbackHandler(whence_events),
        WhenceCallbackHandler(whence_events, capture_content=True, tracebacks=True),
    ):
        config = {"callbacks": [handler]}
        look_up.invoke({"word": "some word"}, config)
        model.invoke("a prompt", config)
        with pytest.raises(KeyError):
            look_up.invoke({"word": "bad"}, config)
    without, captured = whence_events.recorded[:6], whence_events.recorded[6:]
    assert not any({"input", "output", "traceback"} & payload_of(each).keys() for each in without)
    started, completed, called, answered, _, failed = map(payload_of, captured)
    assert (started["input"], completed["output"]) == ('{"word":"some word"}', "SOME WORD")
    assert "a prompt" in called["input"] and "an answer" in answered["output"]
    assert "KeyError" in failed["traceback"]
    with pytest.raises(ValueError, match="errors"):
        WhenceCallbackHandler(whence_events, errors="all")  # type: ignore[arg-type]  # this is what is tested


def approval(checkpointer: Any) -> Any:
    def ask(state: State) -> State:
        return {"text": interrupt("Is it approved?") + interrupt("Really?")}

    return graph_of(ask, checkpointer=checkpointer)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_graph_that_waits_is_paused_and_its_resume_is_caused_by_the_pause(
    whence_events: RecordingWhence, is_async: bool
) -> None:
    """Each pause has no outcome. Each request may have a handler of its own."""
    graph = approval(InMemorySaver())
    request = whence_events.emit(event())

    def run(given: Any) -> None:
        handler = WhenceCallbackHandler(whence_events)
        config = {"callbacks": [handler], "configurable": {"thread_id": "thread"}}
        if is_async:
            asyncio.run(graph.ainvoke(given, config))
        else:
            graph.invoke(given, config)

    run({"text": "a"})
    with whence_events.cause(request):
        run(Command(resume="yes"))
    run(Command(resume="yes"))
    assert story(whence_events)[1:] == [
        "started graph graph",
        "started node node < started graph graph",
        "paused node node < started node node",
        "paused graph graph < paused node node",
        "started graph graph < paused graph graph",
        "started node node < started graph graph",
        "paused node node < started node node",
        "paused graph graph < paused node node",
        "started graph graph < paused graph graph",
        "started node node < started graph graph",
        "completed node node < started node node",
        "completed graph graph < started graph graph",
    ]
    assert {each.correlation_id for each in whence_events.recorded[1:]} == {whence_events.recorded[1].id}
    resumed = payload_of(whence_events.recorded[5])
    assert (resumed["resumed"], resumed["resumed_by"]) == (True, request.id)


def test_a_graph_in_a_chain_is_resumed_because_of_the_pause(whence_events: RecordingWhence) -> None:
    """A graph inside that graph belongs to its node, also when it pauses."""
    inner = graph_of(lambda state: {"text": interrupt("Is it approved?")}, "inner")
    graph = graph_of(inner, "outer", checkpointer=InMemorySaver())

    def step(given: Any, config: Any) -> Any:
        return graph.invoke(given, config)

    chain = RunnableLambda(step, name="chain")
    config = {"callbacks": [WhenceCallbackHandler(whence_events)], "configurable": {"thread_id": "thread"}}
    chain.invoke({"text": "a"}, config)
    chain.invoke(Command(resume="yes"), config)
    started = [each for each in story(whence_events) if each.startswith("started")]
    assert started == [
        "started chain chain",
        "started graph outer < started chain chain",
        "started node node < started graph outer",
        "started chain inner < started node node",
        "started node node < started chain inner",
        "started chain chain",
        "started graph outer < paused graph outer",
        "started node node < started graph outer",
        "started chain inner < started node node",
        "started node node < started chain inner",
    ]


def test_a_graph_is_resumed_in_another_process(whence_events: RecordingWhence) -> None:
    """The id of the pause follows from the thread and the checkpoint, so nothing has to be remembered."""
    graph = approval(InMemorySaver())
    config = {"configurable": {"thread_id": "thread"}}
    graph.invoke({"text": "a"}, {**config, "callbacks": [WhenceCallbackHandler(whence_events)]})
    with RecordingWhence() as elsewhere:
        graph.invoke(Command(resume="yes"), {**config, "callbacks": [WhenceCallbackHandler(elsewhere)]})
        pause = whence_events.recorded[-1]
        checkpoint_id = graph.get_state(config).config["configurable"]["checkpoint_id"]
        assert pause.id == pause_id("thread", (), checkpoint_id)
        assert elsewhere.recorded[0].causation_id == pause.id
        assert elsewhere.recorded[-1].id != pause.id, "it pauses a second time at this checkpoint"


def test_a_graph_that_continues_after_a_failure_names_no_pause(whence_events: RecordingWhence) -> None:
    """There was none."""
    fails = [True, False]

    def node(state: State) -> State:
        if fails.pop(0):
            raise ValueError("once")
        return {"text": "done"}

    graph = graph_of(node, checkpointer=InMemorySaver())
    config = {
        "callbacks": [WhenceCallbackHandler(whence_events)],
        "configurable": {"thread_id": "thread"},
    }
    with pytest.raises(ValueError):
        graph.invoke({"text": "a"}, config)
    graph.invoke(None, config)
    assert story(whence_events)[4:] == [
        "started graph graph",
        "started node node < started graph graph",
        "completed node node < started node node",
        "completed graph graph < started graph graph",
    ]


@pytest.mark.parametrize("run", RUNNERS, ids=lambda run: run.__name__)
def test_a_graph_that_leaves_for_its_parent_has_handed_off(
    whence_events: RecordingWhence, run: Callable[..., None]
) -> None:
    """That is no failure, and names where it went."""
    inner = graph_of(lambda state: Command(graph=Command.PARENT, goto="other", update={"text": "b"}), "inner")
    built = StateGraph(State)
    built.add_node("sub", inner)
    built.add_node("other", lambda state: {"text": "c"})
    built.add_edge(START, "sub")
    run(built.compile(name="outer"), {"callbacks": [WhenceCallbackHandler(whence_events)]})
    assert [each for each in story(whence_events) if not each.startswith("started")] == [
        "handed_off node node < started node node",
        "handed_off chain inner < handed_off node node",
        "handed_off node sub < handed_off chain inner",
        "completed node other < started node other",
        "completed graph outer < started graph outer",
    ]
    assert payload_of(whence_events.of_type("action_run.handed_off")[0])["to"] == "other"


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_stream_that_is_left_early_is_cancelled(whence_events: RecordingWhence, is_async: bool) -> None:
    """By `break`, in whatever loop."""
    built = StateGraph(State)
    built.add_node("first", lambda state: {"text": "b"})
    built.add_node("second", lambda state: {"text": "c"})
    built.add_edge(START, "first")
    built.add_edge("first", "second")
    graph = built.compile(name="graph")
    config = {"callbacks": [WhenceCallbackHandler(whence_events)]}

    async def leave_async() -> None:
        async for _ in graph.astream({"text": "a"}, config):
            break

    if is_async:
        asyncio.run(leave_async())
    else:
        for _ in graph.stream({"text": "a"}, config):
            break
    assert story(whence_events)[-1] == "cancelled graph graph < started graph graph"


def test_a_cancelled_task_is_cancelled(whence_events: RecordingWhence) -> None:
    """Its node and its graph too."""

    async def main() -> None:
        inside = asyncio.Event()

        async def node(state: State) -> State:
            inside.set()
            await asyncio.sleep(60)
            return state

        config = {"callbacks": [WhenceCallbackHandler(whence_events)]}
        task = asyncio.create_task(graph_of(node).ainvoke({"text": "a"}, config))
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [each.partition(" <")[0] for each in story(whence_events)[2:]] == [
        "cancelled node node",
        "cancelled graph graph",
    ]


def test_no_effect_names_a_start_that_was_dropped() -> None:
    """By `before_send`, which sees the runs as any other event."""

    def keep_no_tools(event: dict[str, Any]) -> dict[str, Any] | None:
        return None if event.get("payload", {}).get("kind") == "tool" else event

    with RecordingWhence(before_send=keep_no_tools) as log:

        @tool
        def look_up(word: str) -> str:
            """Look up a word."""
            log.emit(event())
            return word

        def step(word: str) -> str:
            return look_up.invoke(word)

        RunnableLambda(step).invoke("a", {"callbacks": [WhenceCallbackHandler(log)]})
        assert story(log) == [
            "started chain step",
            "completed < started chain step",
            "completed chain step < started chain step",
        ]


def test_a_closed_log_does_not_disturb_the_graph(whence_events: RecordingWhence) -> None:
    """What cannot be recorded is reported, and named by no effect."""
    reports: list[Any] = []

    class Closing(RecordingWhence):
        def queue(self, event: Mapping[str, Any] | str, **fields: Any) -> EmittedEvent:
            raise RuntimeError("secret")

    with Closing() as closed:
        closed.report = reports.append  # type: ignore[method-assign]  # to see what it is given
        graph = graph_of(lambda state: {"text": str(current_context().cause)})
        assert graph.invoke({"text": "a"}, {"callbacks": [WhenceCallbackHandler(closed)]}) == {"text": "None"}
    assert [report.code for report in reports] == ["not_recorded"] * 2
    assert "secret" not in str(reports[0])

"""Calls as events, and functions that keep a context: of every kind of function."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.fake_server import FakeServer
from tests.unit.mutants import catches, replaced
from whence.client import Whence, current_context, tracing
from whence.client.context import CausalContext
from whence.client.event_builder import EmittedEvent
from whence.integrations.pytest_plugin import RecordingWhence

RUN = ("action_run", "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001")


@pytest.fixture
def recorded() -> Iterator[RecordingWhence]:
    with RecordingWhence() as recording:
        yield recording


def verbs(log: RecordingWhence) -> list[str]:
    return [event.event_type.partition(".")[2] for event in log.recorded]


def traced(log: RecordingWhence, **more: Any) -> Callable[[Any], Any]:
    return log.traced(
        "action_run.started",
        completed="action_run.completed",
        failed="action_run.failed",
        actor=("agent", "a"),
        **more,
    )


def test_a_traced_call_causes_the_events_inside_it(log: Whence, server: FakeServer) -> None:
    """The start, the end and the failure of a call have one resource, and the start causes the others."""

    @log.traced(
        "action_run.started", completed="action_run.completed", failed="action_run.failed", actor=("agent", "a")
    )
    def work(fail: bool) -> EmittedEvent:
        inner = log.emit("artifact.created", actor=("agent", "a"), resource=("artifact", RUN[1]))
        if fail:
            raise KeyError("secret")
        return inner

    inner = work(False)
    with pytest.raises(KeyError):
        work(True)
    assert log.flush(10)
    events = list(server.stored.values())
    kinds = [emitted["eventType"].rpartition(".")[2] for emitted in events]
    assert kinds == ["started", "created", "completed", "started", "created", "failed"]
    assert [emitted.get("causationId") for emitted in events[1:3]] == [events[0]["id"]] * 2
    assert events[0]["resourceId"] == events[2]["resourceId"] != events[3]["resourceId"]
    assert inner.correlation_id == events[0]["id"]
    assert events[5]["payload"] == {"error": "KeyError"}, "the message of an exception may be secret"


def emit(log: RecordingWhence) -> EmittedEvent:
    return log.emit("artifact.created", actor=("agent", "a"), resource=("artifact", RUN[1]))


class Caller:
    """An object that is called like a coroutine function."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    async def __call__(self) -> Any:
        await asyncio.sleep(0)
        return self._function()


def kinds_of_functions(body: Callable[[], Any]) -> dict[str, tuple[Any, Callable[[Any], Any]]]:
    """Functions of every kind that run `body` after a pause, and what calls each of them to its end."""

    def plain() -> Any:
        return body()

    async def coroutine() -> Any:
        await asyncio.sleep(0)
        return body()

    def generator() -> Iterator[Any]:
        yield None
        yield body()

    async def async_generator() -> AsyncIterator[Any]:
        yield None
        await asyncio.sleep(0)
        yield body()

    def returning(function: Callable[[], Any]) -> Callable[[], Any]:
        def returns() -> Any:
            return function()

        return returns

    async def last_of(items: AsyncIterator[Any]) -> Any:
        return [item async for item in items][-1]

    async def awaited(function: Any) -> Any:
        return await function()

    return {
        "function": (plain, lambda function: function()),
        "coroutine": (coroutine, lambda function: asyncio.run(awaited(function))),
        "generator": (generator, lambda function: list(function())[-1]),
        "async generator": (async_generator, lambda function: asyncio.run(last_of(function()))),
        "object": (Caller(body), lambda function: asyncio.run(awaited(function))),
        "partial": (functools.partial(lambda value: value(), body), lambda function: function()),
        "partial of a coroutine": (functools.partial(coroutine), lambda function: asyncio.run(awaited(function))),
        "function for a coroutine": (returning(coroutine), lambda function: asyncio.run(awaited(function))),
        "function for a generator": (returning(generator), lambda function: list(function())[-1]),
        "function for an async generator": (
            returning(async_generator),
            lambda function: asyncio.run(last_of(function())),
        ),
        "static method": (staticmethod(plain), lambda function: function()),
    }


KINDS = list(kinds_of_functions(lambda: None))


@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_call_lasts_until_its_code_has_run(recorded: RecordingWhence, kind: str) -> None:
    """Whatever kind of function it is: the events inside are caused by its start, and its end comes last."""
    function, run = kinds_of_functions(lambda: emit(recorded))[kind]
    inner = run(traced(recorded)(function))
    assert verbs(recorded) == ["started", "created", "completed"]
    start, _, end = recorded.recorded
    assert recorded.recorded[1].id == inner.id
    assert recorded.recorded[1].causation_id == end.causation_id == start.id
    assert start.resource_id == end.resource_id
    assert current_context().cause is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_traced_call_that_raises_has_failed_and_not_completed(recorded: RecordingWhence, kind: str) -> None:
    """Also if it raises long after it was called."""

    def body() -> None:
        raise KeyError("secret")

    function, run = kinds_of_functions(body)[kind]
    with pytest.raises(KeyError):
        run(traced(recorded)(function))
    assert verbs(recorded) == ["started", "failed"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrapped_function_runs_in_the_context_wherever_it_is_called(recorded: RecordingWhence, kind: str) -> None:
    """Whatever kind of function it is, and at every step of it."""
    root = emit(recorded)
    function, run = kinds_of_functions(lambda: current_context().cause)[kind]
    with recorded.cause(root):
        wrapped = recorded.wrap(function)
    assert run(wrapped) == root.id
    assert current_context().cause is None


def test_what_cannot_be_followed_is_refused_at_once(recorded: RecordingWhence) -> None:
    """When the function is decorated, and not when it is called."""

    class Worker:
        pass

    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="Decorate its methods"):
        traced(recorded)(Worker)
    for refused in (generator(), 5, None):
        with pytest.raises(TypeError, match="cannot be called"):
            traced(recorded)(refused)
        with pytest.raises(TypeError, match="cannot be called"):
            recorded.wrap(refused)  # type: ignore[arg-type]  # this is what is tested
    assert recorded.recorded == []


def test_methods_are_traced_under_any_decorator(recorded: RecordingWhence) -> None:
    """Static methods, class methods and plain methods."""

    class Worker:
        @traced(recorded)
        def plain(self) -> str:
            return type(self).__name__

        @traced(recorded)
        @classmethod
        def of_class(cls) -> str:
            return cls.__name__

        @traced(recorded)
        @staticmethod
        def static() -> str:
            return "Worker"

    assert Worker().plain() == Worker.of_class() == Worker.static() == Worker().static() == "Worker"
    assert verbs(recorded) == ["started", "completed"] * 4


def test_a_traced_generator_takes_values_and_errors(recorded: RecordingWhence) -> None:
    """What is sent and thrown in reaches the generator, and its result is returned."""

    @traced(recorded)
    def echo() -> Any:
        got = yield "first"
        try:
            yield got
        except ValueError:
            got = yield "caught"
        return got

    running = echo()
    assert next(running) == "first"
    assert current_context().cause is None
    assert running.send("sent") == "sent"
    assert running.throw(ValueError()) == "caught"
    with pytest.raises(StopIteration) as stopped:
        running.send("result")
    assert stopped.value.value == "result"
    assert verbs(recorded) == ["started", "completed"]


async def test_a_traced_async_generator_takes_values_and_errors(recorded: RecordingWhence) -> None:
    """As a generator does."""

    @traced(recorded)
    async def echo() -> Any:
        got = yield "first"
        try:
            yield got
        except ValueError:
            yield "caught"

    running = echo()
    assert await anext(running) == "first"
    assert await running.asend("sent") == "sent"
    assert await running.athrow(ValueError()) == "caught"
    assert [item async for item in running] == []
    assert verbs(recorded) == ["started", "completed"]


def test_a_generator_that_is_closed_early_is_cancelled(recorded: RecordingWhence) -> None:
    """If there is an event type for that; otherwise it has done what was asked of it."""

    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    for decorate in (traced(recorded), traced(recorded, cancelled="action_run.cancelled")):
        for _ in decorate(numbers)():
            break
    assert verbs(recorded) == ["started", "completed", "started", "cancelled"]


async def test_a_cancelled_call_is_cancelled(recorded: RecordingWhence) -> None:
    """If there is an event type for that; otherwise it has failed."""

    async def sleep() -> None:
        await asyncio.sleep(60)

    for decorate in (traced(recorded), traced(recorded, cancelled="action_run.cancelled")):
        task = asyncio.create_task(decorate(sleep)())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert verbs(recorded) == ["started", "failed", "started", "cancelled"]


def no_failure(*given: Any) -> None:
    """Finds no failure below."""


@catches(replaced(tracing, "failure_below", no_failure, "failures_are_caused_by_starts"))
def test_a_failure_is_caused_by_the_failure_inside(recorded: RecordingWhence) -> None:
    """Of the same error, or of one that it was raised from. An error that was raised before is no cause."""
    shared = KeyError("one object for many calls")

    @traced(recorded)
    def inner() -> None:
        raise shared

    @traced(recorded)
    def outer() -> None:
        try:
            inner()
        except KeyError as error:
            raise RuntimeError("translated") from error

    @traced(recorded)
    def elsewhere() -> None:
        raise shared

    with pytest.raises(RuntimeError):
        outer()
    with pytest.raises(KeyError):
        elsewhere()
    outer_start, inner_start, inner_failed, outer_failed, start, failed = recorded.recorded
    assert outer_failed.causation_id == inner_failed.id
    assert (inner_failed.causation_id, inner_start.causation_id) == (inner_start.id, outer_start.id)
    assert failed.causation_id == start.id


def test_no_effect_names_a_start_that_was_dropped() -> None:
    """By `before_send`; its end is not recorded either."""
    with RecordingWhence(before_send=lambda event: event if event["eventType"] == "artifact.created" else None) as log:
        traced(log)(lambda: emit(log))()
        assert verbs(log) == ["created"]
        assert log.recorded[0].causation_id is None


def test_a_failure_of_the_log_does_not_fail_the_function(server: FakeServer, tmp_path: Path) -> None:
    """A traced function runs when its client is closed, and `on_error` is called. Wrong fields are an error at once."""
    reports: list[Any] = []
    log = Whence(server.url, "whk_x", spool=tmp_path / "spool", on_error=reports.append)
    running = log.traced("action_run.started", completed="action_run.completed", actor=("agent", "a"))

    @running
    def work(close: bool) -> int:
        if close:
            log.close()
        return 7

    assert [work(True), work(False)] == [7, 7]
    assert [report.code for report in reports] == ["not_recorded", "not_recorded"]
    assert "action_run.completed" in str(reports[0]) and "closed" in str(reports[1])


def test_a_traced_function_runs_if_an_enricher_raises(server: FakeServer, tmp_path: Path) -> None:
    """The start is reported as not recorded, and has no end."""
    reports: list[Any] = []

    def enrich(context: CausalContext) -> tuple[CausalContext, dict[str, Any]]:
        raise LookupError("no request")

    with Whence(server.url, "whk_x", spool=tmp_path / "spool", on_error=reports.append) as log:
        log.enrich(enrich)

        @log.traced("action_run.started", completed="action_run.completed", actor=("agent", "a"))
        def work() -> int:
            return 7

        assert work() == 7
    assert [report.code for report in reports] == ["not_recorded"]

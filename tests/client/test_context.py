"""The causal context: what events inherit through calls, tasks, threads, processes and queues."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.client.fake_server import FakeServer
from tests.unit.mutants import catches, replaced
from whence.client import (
    AsyncWhence,
    ContextThreadPoolExecutor,
    EmittedEvent,
    Whence,
    context,
    current_context,
    event_builder,
)
from whence.client.context import extract, inject

RUN = ("action_run", "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def started(log: Whence, name: str = "root", **fields: Any) -> EmittedEvent:
    return log.emit("action_run.started", actor=("agent", name), resource=RUN, **fields)


def sent(emitted: EmittedEvent) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(emitted.body)
    return decoded


def cause_of(emitted: EmittedEvent) -> tuple[str | None, str | None]:
    body = sent(emitted)
    return body.get("causationId"), body.get("correlationId")


def test_keywords_and_mappings_make_the_same_event(log: Whence) -> None:
    """A time and an id are added where they are missing."""
    id_ = "0192d3f0-0000-7000-8000-00000000abcd"
    by_keywords = log.emit(
        "action_run.failed",
        actor=("agent", "planner"),
        resource=RUN,
        payload={"a": 1},
        cause=id_.replace("abcd", "0000"),
        correlation_id="flow",
        outcome="none",
        occurred_at="2026-01-02T03:04:05Z",
        id=id_,
    )
    mapping = {
        "eventType": "action_run.failed",
        "actorType": "agent",
        "actorId": "planner",
        "resourceType": RUN[0],
        "resourceId": RUN[1],
        "payload": {"a": 1},
        "causationId": id_.replace("abcd", "0000"),
        "correlationId": "flow",
        "outcome": "none",
        "occurredAt": "2026-01-02T03:04:05Z",
        "id": id_,
    }
    assert sent(by_keywords) == sent(log.emit(mapping)) == mapping
    plain = sent(started(log))
    assert plain["occurredAt"].endswith("Z") and len(plain["id"]) == 36


def test_an_event_has_the_flow_of_its_cause(log: Whence) -> None:
    """The cause may be a keyword or a `with` block. Blocks nest, and their end restores the outer cause."""
    root = started(log)
    assert cause_of(root) == (None, None)
    child = started(log, cause=root)
    assert cause_of(child) == (root.id, root.id)
    with log.cause(child):
        grandchild = started(log)
        assert cause_of(grandchild) == (child.id, root.id)
        with log.cause(grandchild):
            assert cause_of(started(log)) == (grandchild.id, root.id)
        assert cause_of(started(log)) == (child.id, root.id)
        assert cause_of(started(log, cause=None)) == (None, None), "None makes a root"
        assert cause_of(started(log, cause=root.id)) == (root.id, None), "the client does not know the flow of an id"
    assert cause_of(started(log)) == (None, None)


@catches(replaced(event_builder, "canonical", lambda text: text, "uuids_stay_as_given"))
def test_a_uuid_has_one_form(log: Whence) -> None:
    """A root with an upper-case id and its effects are one flow, whether the cause is an event or a text, and whatever
    case its id is repeated in."""
    upper = "0192D3F0-0000-7000-8000-00000000ABCD"
    root = started(log, id=upper, correlation_id=None)
    assert (root.id, root.correlation_id, sent(root)["id"]) == (upper.lower(), upper.lower(), upper.lower())
    with log.cause(root):
        assert cause_of(started(log)) == (upper.lower(), upper.lower())
        members = {"eventType": "a.b", "causationId": upper, "actorType": "user", "actorId": upper}
        by_key = log.emit(members, resource=("action_run", upper))
        assert cause_of(by_key) == (upper.lower(), upper.lower())
        assert (sent(by_key)["actorId"], sent(by_key)["resourceId"]) == (upper.lower(), upper.lower())
    with log.cause({"id": upper, "correlationId": upper}):
        assert cause_of(started(log)) == (upper.lower(), upper.lower())
    with log.cause(upper):
        assert cause_of(started(log)) == (upper.lower(), None)
    with log.bind(correlation_id=upper):
        assert cause_of(started(log)) == (None, upper.lower())
    with log.extract({"baggage": f"whence-cause={upper},whence-correlation={upper},whence-actor=user/{upper}"}):
        assert current_context().cause == current_context().correlation_id == upper.lower()
        assert current_context().actor == ("user", upper.lower())


def test_bind_sets_defaults(log: Whence) -> None:
    """For the actor and the flow, in a block or a function. The event's own fields take precedence."""
    with log.bind(actor=("user", "ana"), correlation_id="flow"):
        body = sent(log.emit("decision.made", resource=RUN))
        assert (body["actorType"], body["actorId"], body["correlationId"]) == ("user", "ana", "flow")
        assert sent(started(log, "other"))["actorId"] == "other"

    @log.bind(actor=("user", "bo"))
    def decide() -> EmittedEvent:
        return log.emit("decision.made", resource=RUN)

    @log.bind(actor=("user", "bo"))
    async def decide_later() -> EmittedEvent:
        await asyncio.sleep(0)
        return log.emit("decision.made", resource=RUN)

    assert sent(decide())["actorId"] == sent(asyncio.run(decide_later()))["actorId"] == "bo"
    assert current_context().actor is None


def test_a_scope_around_a_generator_is_that_of_its_steps(log: Whence) -> None:
    """The code between the steps has its own context, and a decorated generator finds its context again."""
    root = started(log)

    @log.cause(root)
    def steps() -> Iterator[str | None]:
        yield current_context().cause
        with log.bind(actor=("user", "ana")):
            yield current_context().cause
            assert current_context().actor == ("user", "ana")
        yield current_context().cause

    seen = []
    for cause in steps():
        seen.append(cause)
        assert current_context() == context.CausalContext()
    assert seen == [root.id] * 3
    with pytest.raises(TypeError, match="class"):
        log.cause(root)(dict)


class Rendezvous:
    """Two sides that take turns."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2)

    def wait(self) -> None:
        self.barrier.wait(10)


def test_one_scope_is_used_by_two_threads_at_once(log: Whence) -> None:
    """Each leaves its own entry, in any order, and nothing of the scope stays behind."""
    scope = log.bind(actor=("user", "ana"))
    turn, found = Rendezvous(), []

    def first() -> None:
        with scope:
            turn.wait()  # both are inside
        found.append(current_context().actor)
        turn.wait()  # this one has left

    def second() -> None:
        with scope:
            turn.wait()
            turn.wait()
            found.append(current_context().actor)
        found.append(current_context().actor)

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(first)
        pool.submit(second).result(20)
        waiting.result(20)
    assert found == [None, ("user", "ana"), None]


def test_one_scope_is_used_by_two_tasks_at_once(log: Whence) -> None:
    """Entered by one, then by the other, and left in the same order."""
    scope = log.bind(actor=("user", "ana"))

    async def main() -> list[Any]:
        inside, left = asyncio.Event(), asyncio.Event()

        async def first() -> Any:
            with scope:
                await inside.wait()
            left.set()
            return current_context().actor

        async def second() -> Any:
            with scope:
                inside.set()
                await left.wait()
                actor = current_context().actor
            return actor, current_context().actor

        return await asyncio.gather(first(), second())

    assert asyncio.run(main()) == [None, (("user", "ana"), None)]


def test_a_scope_may_be_nested_in_itself(log: Whence) -> None:
    """Each block ends on its own."""
    scope = log.bind(actor=("user", "ana"))
    with scope:
        with scope:
            pass
        assert current_context().actor == ("user", "ana")
    assert current_context().actor is None


def test_a_block_that_another_thread_leaves_raises_nothing(log: Whence) -> None:
    """A generator that is closed elsewhere changes nothing there."""

    def generator() -> Iterator[None]:
        with log.bind(actor=("user", "ana")):
            yield

    paused = generator()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, paused).result()
        with log.bind(actor=("user", "bo")):
            paused.close()
            assert current_context().actor == ("user", "bo")
    assert current_context().actor is None


def test_an_async_generator_may_be_closed_by_another_task(log: Whence) -> None:
    """As when a consumer leaves its loop, and asyncio closes the generator later."""

    async def generator() -> AsyncIterator[None]:
        with log.cause("c"), log.bind(actor=("user", "ana")):
            yield

    async def main() -> list[Any]:
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, found: errors.append(found))
        paused = generator()
        await asyncio.create_task(anext(paused))  # type: ignore[arg-type]  # a coroutine, though typed as an awaitable
        await asyncio.create_task(paused.aclose())  # type: ignore[attr-defined]  # it is an async generator
        async for _ in generator():
            break
        await asyncio.get_running_loop().shutdown_asyncgens()
        return errors

    assert asyncio.run(main()) == []


def test_a_block_may_be_left_inside_a_call_that_it_was_entered_outside_of(log: Whence) -> None:
    """As by an ExitStack. The call keeps its own context until it ends."""
    stack = ExitStack()
    stack.enter_context(log.bind(actor=("user", "ana")))

    @log.cause("of the call")
    def close() -> None:
        stack.close()
        assert current_context().cause == "of the call"

    close()
    assert current_context() == context.CausalContext()


def test_blocks_that_are_left_in_another_order_keep_what_is_inside(log: Whence) -> None:
    """A generator that is closed inside a later block takes away its own change alone."""

    def generator() -> Iterator[None]:
        with log.cause("of the generator"):
            yield

    paused = generator()
    next(paused)
    with log.bind(actor=("user", "bo")):
        assert current_context().cause == "of the generator"
        paused.close()
        assert (current_context().cause, current_context().actor) == (None, ("user", "bo"))
    assert current_context() == context.CausalContext()


async def test_concurrent_tasks_do_not_mix_their_contexts(server: FakeServer, tmp_path: Path) -> None:
    """The tasks that they start inherit the context."""
    async with AsyncWhence(server.url, "whk_x", spool=tmp_path / "spool") as log:

        async def emit(name: str) -> EmittedEvent:
            await asyncio.sleep(0)
            return await log.emit("action_run.started", actor=("agent", name), resource=RUN)

        async def flow(name: str) -> tuple[EmittedEvent, list[EmittedEvent]]:
            root = await emit(name)
            with log.cause(root):
                await asyncio.sleep(0.001)
                return root, [await emit(name), *await asyncio.gather(*(emit(name) for _ in range(3)))]

        for root, effects in await asyncio.gather(*(flow(f"t{number}") for number in range(20))):
            assert {cause_of(emitted) for emitted in effects} == {(root.id, root.id)}


def unwrapped(function: Any) -> Any:
    return function


@catches(replaced(context, "wrap", unwrapped, "wrap_has_no_effect"))
def test_threads_inherit_the_context_by_wrap_or_executor(log: Whence) -> None:
    """`wrap` binds one function, `ContextThreadPoolExecutor` binds all. A plain executor loses the context."""
    root = started(log)
    with log.cause(root), ThreadPoolExecutor(2) as plain, ContextThreadPoolExecutor(2) as pool:
        assert cause_of(plain.submit(started, log).result()) == (None, None)
        assert cause_of(plain.submit(log.wrap(started), log).result()) == (root.id, root.id)
        assert cause_of(pool.submit(started, log).result()) == (root.id, root.id)
        assert {cause_of(emitted) for emitted in pool.map(lambda _: started(log), range(5))} == {(root.id, root.id)}
        found: list[EmittedEvent] = []
        thread = threading.Thread(target=log.wrap(lambda: found.append(started(log))))
    thread.start()
    thread.join()
    assert cause_of(found[0]) == (root.id, root.id)


def cause_here() -> tuple[str | None, str | None]:
    return current_context().cause, current_context().correlation_id


def test_a_wrapped_function_keeps_its_context_in_a_process(log: Whence) -> None:
    """It can be pickled, so this works in a spawned process too."""
    root = started(log)
    with log.cause(root), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(cause_here).result() == (None, None)
        assert pool.submit(log.wrap(cause_here)).result() == (root.id, root.id)


def test_headers_carry_the_context(log: Whence) -> None:
    """`extract` returns what `inject` wrote, whatever the text. Other members of the baggage stay."""
    with (
        log.bind(actor=("user", "ana, é=/;"), correlation_id="flow/1,2 %"),
        log.cause({"id": "c", "correlationId": "f,"}),
    ):
        headers = {"baggage": "userId=a, whence-cause=stale,sessionId=b;p=1", "other": "x"}
        log.inject(headers)
        assert headers["baggage"].startswith("userId=a,sessionId=b;p=1,whence-cause=c,")
    with log.extract({"Baggage": headers["baggage"]}):
        found = current_context()
    assert (found.cause, found.correlation_id, found.actor) == ("c", "f,", ("user", "ana, é=/;"))
    nothing: dict[str, str] = {}
    inject(nothing)
    assert nothing == {}


def test_a_trace_id_becomes_the_flow(log: Whence) -> None:
    """If there is no other flow. `inject` passes `traceparent` on, but does not replace an existing one."""
    with log.extract({"traceparent": TRACE}):
        assert cause_of(started(log)) == (None, "4bf92f3577b34da6a3ce929d0e0e4736")
        onwards, own = {}, {"traceparent": "mine"}
        inject(onwards)
        inject(own)
    assert (onwards["traceparent"], own["traceparent"]) == (TRACE, "mine")
    both = extract({"traceparent": TRACE, "baggage": "whence-correlation=flow"})
    assert both.correlation_id == "flow"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"},
        {"traceparent": "ff" + TRACE[2:]},
        {"traceparent": TRACE[:-4]},
        {"traceparent": TRACE.upper()},
        {"traceparent": 5, "baggage": None},
        {"baggage": "whence-cause"},
        {"baggage": "whence-cause=" + "a" * 256},
        {"baggage": "whence-cause=%00,whence-correlation=%0A,whence-actor=user"},
        {"baggage": "whence-actor=/x,,=,;;"},
    ],
    ids=str,
)
def test_invalid_headers_are_ignored(headers: dict[str, Any]) -> None:
    """No header can make a later `emit` fail."""
    assert extract(headers) == context.CausalContext()

"""What events inherit: through calls, tasks, threads, processes and queues."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.client.takers import Taker, taking
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Emitted, ThreadPool, Whence, context, current
from whence.client.context import extracted, inject

RUN = ("action_run", "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001")
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def taker() -> Iterator[Taker]:
    with taking() as running:
        yield running


@pytest.fixture
def log(taker: Taker, tmp_path: Path) -> Iterator[Whence]:
    with Whence(taker.url, "whk_x", spool=tmp_path / "spool") as connected:
        yield connected


def started(log: Whence, name: str = "root", **fields: Any) -> Emitted:
    return log.emit("action_run.started", actor=("agent", name), resource=RUN, **fields)


def sent(one: Emitted) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(one.body)
    return decoded


def cause_of(one: Emitted) -> tuple[str | None, str | None]:
    body = sent(one)
    return body.get("causationId"), body.get("correlationId")


def test_keywords_are_the_keys_of_the_api(log: Whence) -> None:
    """Both ways of writing an event say the same; a time and an id are added where there are none."""
    id_ = "0192d3f0-0000-7000-8000-00000000abcd"
    by_words = log.emit(
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
    assert sent(by_words) == sent(log.emit(mapping)) == mapping
    plain = sent(started(log))
    assert plain["occurredAt"].endswith("Z") and len(plain["id"]) == 36


def test_a_cause_gives_its_flow(log: Whence) -> None:
    """Whatever form it is named in: by keyword, by block, nested, and not after the block."""
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
        assert cause_of(started(log, cause=None)) == (None, None), "a root, named as one"
        assert cause_of(started(log, cause=root.id)) == (root.id, None), "only the server knows the flow of an id"
    assert cause_of(started(log)) == (None, None)


def test_what_is_bound_is_said_where_nothing_else_is(log: Whence) -> None:
    """An actor and a flow for a block or a function; what an event says itself goes first."""
    with log.bind(actor=("user", "ana"), correlation_id="flow"):
        body = sent(log.emit("decision.made", resource=RUN))
        assert (body["actorType"], body["actorId"], body["correlationId"]) == ("user", "ana", "flow")
        assert sent(started(log, "other"))["actorId"] == "other"

    @log.bind(actor=("user", "bo"))
    def decide() -> Emitted:
        return log.emit("decision.made", resource=RUN)

    @log.bind(actor=("user", "bo"))
    async def decide_later() -> Emitted:
        await asyncio.sleep(0)
        return log.emit("decision.made", resource=RUN)

    assert sent(decide())["actorId"] == sent(asyncio.run(decide_later()))["actorId"] == "bo"
    assert current().actor is None
    with pytest.raises(TypeError, match="generator"):

        @log.bind(actor=("user", "bo"))
        def broken() -> Iterator[int]:
            yield 1


def test_a_traced_function_is_the_cause_of_what_it_does(log: Whence, taker: Taker) -> None:
    """Its start, its end and its failure are one resource's, and the first is the cause of the others."""

    @log.traced(
        "action_run.started", completed="action_run.completed", failed="action_run.failed", actor=("agent", "a")
    )
    def work(fail: bool) -> Emitted:
        inner = log.emit("artifact.created", actor=("agent", "a"), resource=("artifact", RUN[1]))
        if fail:
            raise KeyError("secret")
        return inner

    inner = work(False)
    with pytest.raises(KeyError):
        work(True)
    assert log.flush(10)
    events = list(taker.stored.values())
    kinds = [one["eventType"].rpartition(".")[2] for one in events]
    assert kinds == ["started", "created", "completed", "started", "created", "failed"]
    assert [one.get("causationId") for one in events[1:3]] == [events[0]["id"]] * 2
    assert events[0]["resourceId"] == events[2]["resourceId"] != events[3]["resourceId"]
    assert inner.correlation_id == events[0]["id"]
    assert events[5]["payload"] == {"error": "KeyError"}, "a message may hold anything"


async def test_each_task_has_its_own(taker: Taker, tmp_path: Path) -> None:
    """Tasks that run side by side do not mix their causes, and their own tasks inherit them."""
    async with AsyncWhence(taker.url, "whk_x", spool=tmp_path / "spool") as log:

        async def emit(name: str) -> Emitted:
            await asyncio.sleep(0)
            return await log.emit("action_run.started", actor=("agent", name), resource=RUN)

        async def flow(name: str) -> tuple[Emitted, list[Emitted]]:
            root = await emit(name)
            with log.cause(root):
                await asyncio.sleep(0.001)
                return root, [await emit(name), *await asyncio.gather(*(emit(name) for _ in range(3)))]

        for root, effects in await asyncio.gather(*(flow(f"t{number}") for number in range(20))):
            assert {cause_of(one) for one in effects} == {(root.id, root.id)}


def forgetful(function: Any) -> Any:
    return function


@catches(replaced(context, "wrap", forgetful, "lost_in_a_thread"))
def test_a_thread_goes_on_with_what_it_was_given(log: Whence) -> None:
    """By `wrap` for one function, and by `ThreadPool` for all; a plain pool forgets it, which is why they exist."""
    root = started(log)
    with log.cause(root), ThreadPoolExecutor(2) as plain, ThreadPool(2) as pool:
        assert cause_of(plain.submit(started, log).result()) == (None, None)
        assert cause_of(plain.submit(log.wrap(started), log).result()) == (root.id, root.id)
        assert cause_of(pool.submit(started, log).result()) == (root.id, root.id)
        assert {cause_of(one) for one in pool.map(lambda _: started(log), range(5))} == {(root.id, root.id)}
        found: list[Emitted] = []
        thread = threading.Thread(target=log.wrap(lambda: found.append(started(log))))
    thread.start()
    thread.join()
    assert cause_of(found[0]) == (root.id, root.id)


def cause_here() -> tuple[str | None, str | None]:
    return current().cause, current().correlation_id


def test_a_process_goes_on_with_what_it_was_given(log: Whence) -> None:
    """A wrapped function can be pickled, so a fresh process has the context too."""
    root = started(log)
    with log.cause(root), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(cause_here).result() == (None, None)
        assert pool.submit(log.wrap(cause_here)).result() == (root.id, root.id)


def test_headers_carry_it_to_another_process(log: Whence) -> None:
    """What was injected is extracted, with text of any kind; the rest of the baggage stays."""
    with (
        log.bind(actor=("user", "ana, é=/;"), correlation_id="flow/1,2 %"),
        log.cause({"id": "c", "correlationId": "f,"}),
    ):
        headers = {"baggage": "userId=a, whence-cause=stale,sessionId=b;p=1", "other": "x"}
        log.inject(headers)
        assert headers["baggage"].startswith("userId=a,sessionId=b;p=1,whence-cause=c,")
    with log.extract({"Baggage": headers["baggage"]}):
        found = current()
    assert (found.cause, found.correlation_id, found.actor) == ("c", "f,", ("user", "ana, é=/;"))
    nothing: dict[str, str] = {}
    inject(nothing)
    assert nothing == {}


def test_a_trace_is_a_flow_and_is_passed_on(log: Whence) -> None:
    """The trace id of W3C is the flow of what has no other; the header goes on as it came, unless there is one."""
    with log.extract({"traceparent": TRACE}):
        assert cause_of(started(log)) == (None, "4bf92f3577b34da6a3ce929d0e0e4736")
        onwards, own = {}, {"traceparent": "mine"}
        inject(onwards)
        inject(own)
    assert (onwards["traceparent"], own["traceparent"]) == (TRACE, "mine")
    both = extracted({"traceparent": TRACE, "baggage": "whence-correlation=flow"})
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
def test_headers_that_say_nothing_are_left_alone(headers: dict[str, Any]) -> None:
    """What is no context is none; no header can make `emit` fail."""
    assert extracted(headers) == context.Context()

"""Time limits that strike while an integration records something: the program gets them, as far as its library lets
them through.
"""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import agents
import celery
import pytest
from agents.testing import ScriptedModel, assistant_message
from langchain_core.tools import tool

from tests.api.conftest import event
from whence.client import Whence
from whence.integrations.asgi import WhenceMiddleware
from whence.integrations.celery import instrument
from whence.integrations.langchain import WhenceCallbackHandler
from whence.integrations.logging import WhenceHandler
from whence.integrations.openai_agents import WhenceTracingProcessor
from whence.integrations.pytest_plugin import RecordingWhence
from whence.integrations.wsgi import WhenceMiddleware as WsgiMiddleware


def time_out(number: int, frame: object) -> None:
    raise TimeoutError


@pytest.fixture(autouse=True)
def timed_out() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, time_out)
    yield
    signal.signal(signal.SIGALRM, before)


def strike(*arguments: Any) -> Any:
    """A time limit is over while this runs."""
    os.kill(os.getpid(), signal.SIGALRM)
    return arguments[0]


@pytest.fixture
def struck() -> Iterator[RecordingWhence]:
    """A log in which a time limit strikes while an event is made."""
    with RecordingWhence(before_send=strike) as log:
        yield log


def test_a_log_line_lets_a_time_limit_through(struck: RecordingWhence, capsys: pytest.CaptureFixture[str]) -> None:
    """It is no error of the line."""
    logger = logging.getLogger("tests.interrupted")
    logger.addHandler(handler := WhenceHandler(struck))
    description = {"event": "decision.made", "actor": ("user", "a"), "resource": ("decision", "8841")}
    try:
        with pytest.raises(TimeoutError):
            logger.error("x", extra={"whence": description})
    finally:
        logger.removeHandler(handler)
    assert capsys.readouterr().err == ""


async def test_a_request_lets_a_time_limit_through(whence_events: RecordingWhence) -> None:
    """It is no error of the function that says who sent the request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        whence_events.emit(event())

    with pytest.raises(TimeoutError):
        await WhenceMiddleware(app, whence_events, actor=strike)(
            {"type": "http", "path": "/", "method": "GET"}, None, None
        )
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    with pytest.raises(TimeoutError):
        WsgiMiddleware(lambda *_: [str(whence_events.emit(event()).id).encode()], whence_events, actor=strike)(
            environ, lambda *_: None
        )
    assert whence_events.recorded == []


@pytest.mark.parametrize("verb", ["started", "completed"])
def test_a_tool_of_langchain_lets_a_time_limit_through(verb: str) -> None:
    """LangChain logs what callbacks raise, unless they say that it is to be raised."""

    def before_send(sent: dict[str, Any]) -> Mapping[str, Any]:
        return strike(sent) if sent["eventType"] == f"action_run.{verb}" else sent

    @tool
    def look_up(word: str) -> str:
        """Look up a word."""
        return word

    with RecordingWhence(before_send=before_send) as log, pytest.raises(TimeoutError):
        look_up.invoke("a", {"callbacks": [WhenceCallbackHandler(log)]})


def test_a_handler_of_langchain_that_fails_does_not_fail_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever else goes wrong in it is reported."""

    @tool
    def look_up(word: str) -> str:
        """Look up a word."""
        return word

    def fails(*arguments: Any, **keywords: Any) -> None:
        raise KeyError

    reported: list[str] = []
    with Whence(
        "http://127.0.0.1:1", "whk_x", disabled=True, on_error=lambda error: reported.append(str(error))
    ) as log:
        handler = WhenceCallbackHandler(log)
        monkeypatch.setattr(handler._events, "start", fails)
        assert look_up.invoke("a", {"callbacks": [handler]}) == "a"
    assert reported and "KeyError was raised" in reported[0]


def test_a_task_of_celery_loses_a_time_limit_that_strikes_while_it_is_recorded(
    struck: RecordingWhence, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery logs whatever the receivers of its signals raise. docs/integrations/celery.md says so."""
    app = celery.Celery("interrupted", broker="memory://", set_as_current=False)

    @app.task
    def work() -> int:
        return 7

    instrument(struck, events=True)
    try:
        assert work.apply().get() == 7
    finally:
        instrument()
    assert "TimeoutError" in caplog.text


async def test_an_agent_of_openai_loses_a_time_limit_that_strikes_while_it_is_recorded(
    struck: RecordingWhence, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK logs whatever its processors raise. docs/integrations/openai-agents.md says so."""
    agents.set_trace_processors([WhenceTracingProcessor(struck)])
    try:
        result = await agents.Runner.run(
            agents.Agent(name="a", model=ScriptedModel([[assistant_message("done")]])), "x"
        )
    finally:
        agents.set_trace_processors([])
    assert result.final_output == "done"
    assert "trace processor" in caplog.text

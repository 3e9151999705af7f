"""Events that are scrubbed or dropped before they are sent, and clients that send nothing."""

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import event
from tests.client.fake_server import FakeServer
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, CausalContext, Whence, base_client, reentrancy
from whence.errors import Invalid, WhenceError
from whence.integrations.logging import WhenceHandler
from whence.integrations.pytest_plugin import RecordingWhence

DECISION = ("decision", "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001")


def scrub(sent: dict[str, Any]) -> Mapping[str, Any] | None:
    """Drop what the actor "drop" did, fail for "fail", and hide the payload's password."""
    if sent["actorId"] == "drop":
        return None
    if sent["actorId"] == "fail":
        raise ValueError
    payload = dict(sent.get("payload", {}))
    if "password" in payload:
        payload["password"] = "…"
    return {**sent, "payload": payload}


def unscrubbed(self: base_client.BaseClient, body: bytes) -> bytes:
    """Mutant: the callback is not called."""
    return body


@catches(replaced(base_client.BaseClient, "_filter_body", unscrubbed, "sends_as_it_is"))
def test_before_send_scrubs_every_event(server: FakeServer, tmp_path: Path) -> None:
    """Queued and durable ones, and those of a batch. It sees the event as JSON."""
    with Whence(server.url, "whk_x", spool=tmp_path / "spool", before_send=scrub) as log:
        log.emit(event(payload={"password": "hunter2", "path": Path("/x")}))
        assert log.flush(10)
        log.batch([event(payload={"password": "hunter2"}), event(payload={"a": 1})])
    assert [each["payload"] for each in server.stored.values()] == [
        {"password": "…", "path": "/x"},
        {"password": "…"},
        {"a": 1},
    ]


def test_dropped_events_are_counted(server: FakeServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are not sent, and the code that emits them goes on. One on which the callback fails is dropped and logged,
    since it may hold what must not leave."""
    caplog.set_level(logging.ERROR, "whence")
    with Whence(server.url, "whk_x", spool=tmp_path / "spool", before_send=scrub) as log:
        dropped = log.emit(event(actorId="drop"))
        assert dropped.dropped and not log.emit(event()).dropped
        with log.cause(dropped):
            log.emit(event(actorId="fail"))
        assert log.emit(event(actorId="drop", payload={"a": 1}), durable=True).event.payload == {"a": 1}
        results = log.batch([event(), event(actorId="drop"), event(actorId="fail"), event()]).results
        assert [(each.index, each.status) for each in results] == [(0, 201), (1, 204), (2, 204), (3, 201)]
        assert [each.status for each in log.batch([event(actorId="drop")]).results] == [204]
        assert log.flush(10)
        assert (log.stats().dropped, log.stats().emitted, log.stats().stored) == (6, 1, 1)
    assert len(server.stored) == 3
    assert [record.getMessage().split()[7] for record in caplog.records] == ["action_run.completed"] * 2


def test_a_dropped_event_is_no_cause(server: FakeServer) -> None:
    """What it would have caused has the cause of the dropped event, in its flow, so that no cause is missing."""
    with Whence(server.url, "whk_x", spool=False, before_send=scrub) as log:
        root = log.emit(event())
        dropped = log.emit(event(actorId="drop"), cause=root)
        effect = log.emit(event(), cause=dropped)
        with log.cause(dropped):
            inside = log.emit(event())
        alone = log.emit(event(actorId="drop"))
        orphan = log.emit(event(), cause=alone)
        assert log.flush(10)
    causes = {each["id"]: (each.get("causationId"), each.get("correlationId")) for each in server.stored.values()}
    assert causes[effect.id] == causes[inside.id] == (root.id, root.id)
    assert causes[orphan.id] == (None, alone.id)


def test_drops_of_many_threads_are_all_counted() -> None:
    """Also while they are read."""
    with Whence("http://127.0.0.1:1", disabled=True) as log, ThreadPoolExecutor(8) as pool:
        seen = []
        for _ in pool.map(lambda _number: log.emit(event()), range(2_000)):
            seen.append(log.stats().dropped)
        assert seen == sorted(seen)
        assert log.stats().dropped == log.stats().dropped == 2_000


async def test_before_send_holds_for_asyncio(server: FakeServer) -> None:
    """As for the sync client."""
    async with AsyncWhence(server.url, "whk_x", spool=False, before_send=scrub) as log:
        await log.emit(event(actorId="drop"))
        await log.emit(event(actorId="drop"), durable=True)
        await log.emit(event(payload={"password": "hunter2"}))
        await log.batch([event(actorId="drop"), event(payload={"password": "hunter2"})])
        assert await log.flush(10)
        assert log.stats().dropped == 3
    assert [each["payload"] for each in server.stored.values()] == [{"password": "…"}] * 2


def test_before_send_holds_for_tests_and_clients_of_tenants(server: FakeServer) -> None:
    """Each counts what it dropped."""
    recording = RecordingWhence(before_send=scrub)
    recording.emit(event(actorId="drop"))
    recording.emit(event(payload={"password": "hunter2"}))
    assert [each.payload for each in recording.recorded] == [{"password": "…"}]
    with Whence(server.url, jwt_secret="x" * 32, before_send=scrub, spool=False) as backend:
        backend.for_tenant("acme").emit(event(actorId="drop"))
        assert (backend.stats().dropped, backend.for_tenant("acme").stats().dropped) == (0, 1)


@pytest.mark.parametrize("how", ["option", "1", "true"])
async def test_a_disabled_client_sends_nothing(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the option or WHENCE_DISABLED, without a server, a key or a file. Events are checked as usual, and counted."""
    options: dict[str, Any] = {"spool": tmp_path / "spool"}
    if how == "option":
        options["disabled"] = True
    else:
        monkeypatch.setenv("WHENCE_DISABLED", how)
    with Whence("http://127.0.0.1:1", **options) as log:
        with log.started("action_run", actor=("agent", "a")) as run:
            assert run.event.dropped
        stored = log.emit(event(payload={"a": 1}), durable=True)
        assert (stored.event.payload, stored.event.correlation_id) == ({"a": 1}, stored.event.id)
        assert [each.status for each in log.batch([event()]).results] == [204]
        with pytest.raises(Invalid):
            log.emit("action_run.started", actor=("agent", "a"))
        assert log.flush(1)
        assert (log.stats().emitted, log.stats().dropped) == (0, 4)
    async with AsyncWhence("http://127.0.0.1:1", **options) as async_log:
        assert (await async_log.emit(event())).dropped
        await async_log.emit(event(), durable=True)
    assert not (tmp_path / "spool").exists()


def test_a_disabled_client_leaves_the_spool_alone(server: FakeServer, tmp_path: Path) -> None:
    """What an earlier process spooled is sent by the next client that is not disabled."""
    with Whence(server.url, "whk_x", spool=tmp_path / "spool", exit_timeout_s=0) as log:
        server.gate.clear()
        log.emit(event())
    with Whence(server.url, "whk_x", spool=tmp_path / "spool", disabled=True) as log:
        server.gate.set()
        server.batches.clear()
        log.emit(event())
        assert log.flush(1)
    with Whence(server.url, "whk_x", spool=tmp_path / "spool") as log:
        assert len(list(log.spool_folder.glob("*.segment"))) == 1
        assert log.flush(10)
        assert log.stats().adopted == 1


def test_the_option_goes_before_the_variable(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`disabled=False` sends although WHENCE_DISABLED is set; "0" and an empty variable disable nothing."""
    monkeypatch.setenv("WHENCE_DISABLED", "1")
    with Whence(server.url, "whk_x", spool=False, disabled=False) as log:
        assert not log.emit(event()).dropped
    for value in ("0", "", "false"):
        monkeypatch.setenv("WHENCE_DISABLED", value)
        with Whence(server.url, "whk_x", spool=False) as log:
            assert not log.emit(event()).dropped


# ------------------------------------------------------------------------------------- callbacks that emit themselves


def test_before_send_may_emit(server: FakeServer) -> None:
    """An event that it emits passes through it too, so that it is scrubbed like any other."""

    def before_send(sent: dict[str, Any]) -> Mapping[str, Any]:
        if "password" in sent.get("payload", {}):
            log.emit(event(actorId="auditor", payload={"scrubbed": sent["id"]}))
        return {**sent, "payload": {**sent["payload"], "password": "…"}}

    with Whence(server.url, "whk_x", spool=False, before_send=before_send) as log:
        emitted = log.emit(event(payload={"password": "hunter2"}))
        assert log.flush(10)
        assert (log.stats().stored, log.stats().dropped) == (2, 0)
    assert [(each["actorId"], each["payload"]) for each in server.stored.values()] == [
        ("auditor", {"scrubbed": emitted.id, "password": "…"}),
        (event()["actorId"], {"password": "…"}),
    ]


def unbounded(self: reentrancy.Nesting) -> bool:
    """Mutant: a callback may call itself without end."""
    return True


def described(actor: str) -> dict[str, Any]:
    """What makes a line of the log an event."""
    return {"event": "decision.made", "actor": ("user", actor), "resource": DECISION}


class EmittingHandler(logging.Handler):
    """A program's own handler, which makes an event of every line, also of those of the client."""

    def __init__(self, log: Whence) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.emit(event(payload={"line": record.getMessage()}))


@catches(replaced(reentrancy.Nesting, "enter", unbounded, "recursion"))
@pytest.mark.parametrize("how", ["emit", "batch", "log", "any_log_line", "fails"])
def test_before_send_that_emits_for_its_own_events_comes_to_an_end(
    server: FakeServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is emitted too deep is dropped, counted and, once, logged. The event itself is sent."""
    logger = logging.getLogger("tests.emitting")
    calls = []

    def before_send(sent: dict[str, Any]) -> Mapping[str, Any]:
        calls.append(sent)
        if len(calls) > 30:
            pytest.fail("it does not end")  # no Exception, which the client would catch
        if how == "emit":
            inner.append(log.emit(event(actorId="inner")))
        elif how == "batch":
            log.batch([event(actorId="inner")])
        elif how == "log":
            logger.warning(
                "x", extra={"whence": {"event": "decision.made", "actor": ("user", "a"), "resource": DECISION}}
            )
        elif how == "any_log_line":
            logger.warning("x")
        else:
            raise ValueError
        return sent

    inner: list[Any] = []
    with Whence(server.url, "whk_x", spool=False, before_send=before_send) as log:
        handler = WhenceHandler(log) if how == "log" else EmittingHandler(log)
        listened = [logging.getLogger("whence"), logger] if how in ("any_log_line", "fails") else [logger]
        for each in listened:
            each.addHandler(handler)
        try:
            log.emit(event())
            log.emit(event())
        finally:
            for each in listened:
                each.removeHandler(handler)
        assert log.flush(10)
        stats = log.stats()
        if how == "fails":
            assert not server.stored
        elif how != "batch":
            assert stats.stored == 6 and len(server.stored) == 6
        else:
            assert len(server.stored) == 6
        assert stats.dropped >= 2
    assert [each.dropped for each in inner] == ([True, False, False] * 2 if how == "emit" else [])
    assert caplog.text.count("events that it emitted itself") == 1


def test_before_send_that_was_broken_off_is_called_again(server: FakeServer) -> None:
    """An exception that is no error, such as SystemExit, leaves nothing behind."""

    def before_send(sent: dict[str, Any]) -> Mapping[str, Any]:
        if sent["actorId"] == "broken":
            raise SystemExit
        return sent

    with Whence(server.url, "whk_x", spool=False, before_send=before_send) as log:
        for _ in range(10):
            with pytest.raises(SystemExit):
                log.emit(event(actorId="broken"))
        assert not log.emit(event()).dropped


def test_an_enricher_may_emit(server: FakeServer) -> None:
    """It is not called for that event, which would not end."""
    with Whence(server.url, "whk_x", spool=False) as log:

        def enrich(context: CausalContext) -> tuple[CausalContext, Mapping[str, Any]]:
            log.emit(event(actorId="inner"))
            return context, {"enriched": True}

        log.enrich(enrich)
        log.emit(event(actorId="outer"))
        assert log.flush(10)
    assert [(each["actorId"], each.get("payload", {})) for each in server.stored.values()] == [
        ("inner", event().get("payload", {})),
        ("outer", {**event().get("payload", {}), "enriched": True}),
    ]


def test_default_that_emits_what_it_is_called_for_comes_to_an_end(server: FakeServer) -> None:
    """Its event is refused, as one with a value of an unknown type is."""
    calls = []

    def default(value: object) -> str:
        calls.append(value)
        if len(calls) > 30:
            pytest.fail("it does not end")  # no Exception, which the client would catch
        log.emit(event(payload={"value": value}))
        return "text"

    with Whence(server.url, "whk_x", spool=False, default=default) as log, pytest.raises(Invalid):
        log.emit(event(payload={"value": object()}))


def test_on_error_that_leads_to_itself_comes_to_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """As one that is traced, of a client that is closed."""
    calls = []

    def on_error(error: WhenceError) -> None:
        calls.append(error)
        if len(calls) > 30:
            pytest.fail("it does not end")  # no Exception, which the client would catch
        job()

    log = Whence("http://127.0.0.1:1", "whk_x", spool=False, on_error=on_error)
    log.close()

    @log.traced("job.started", actor=("agent", "a"))
    def job() -> str:
        return "done"

    assert job() == "done"
    assert len(calls) == 1
    assert caplog.text.count("could not be recorded") == 2


def test_a_log_line_waits_for_no_other(server: FakeServer) -> None:
    """A thread may be in `before_send`, or wait for the disk or for room in the queue, while others log."""
    inside, go_on = threading.Event(), threading.Event()

    def before_send(sent: dict[str, Any]) -> Mapping[str, Any]:
        if sent["actorId"] == "slow":
            inside.set()
            go_on.wait(30)
        return sent

    logger = logging.getLogger("tests.unlocked")
    logger.setLevel(logging.INFO)

    def line(actor: str) -> None:
        logger.info("x", extra={"whence": described(actor)})

    with Whence(server.url, "whk_x", spool=False, before_send=before_send) as log:
        logger.addHandler(handler := WhenceHandler(log))
        slow = threading.Thread(target=line, args=("slow",))
        try:
            slow.start()
            assert inside.wait(10)
            other = threading.Thread(target=line, args=("other",), daemon=True)
            other.start()
            other.join(10)
            assert not other.is_alive()
        finally:
            go_on.set()
            slow.join(10)
            logger.removeHandler(handler)
        assert log.flush(10)
    assert server.actors == ["other", "slow"]

"""`GET /metrics`: who may read it, that its figures are true, and what it must not say."""

import contextlib
import mmap
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.acceptance.running import Running
from tests.api.conftest import Served, code_of, event, serving, wait_until
from tests.contract.made import new
from tests.documents import ROOT, blocks_of
from tests.unit.mutants import catches, replaced
from whence.api import metrics as metrics_module
from whence.api import metrics_text as text_module
from whence.api.app import route_handlers
from whence.api.health import live
from whence.api.metrics import Metrics, Share, template_of
from whence.api.metrics_page import MetricsListener
from whence.api.metrics_text import metrics_text
from whence.api.server import Server
from whence.errors import Conflict, StoreRefused, Unavailable, WhenceError
from whence.permissions import ADMIN, READ, WRITE
from whence.settings import Settings
from whence.storage import Write

EVENTS = "/api/v1/events"
SECONDS = "whence_http_request_duration_seconds"


class Figures:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse_text(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((name, frozenset(labels.items())), 0.0)


def scraped(served: Served) -> Figures:
    """What an operator reads."""
    response = httpx2.get(f"{served.url}/metrics", headers={"X-API-Key": served.operator_key(READ)})
    assert response.status_code == 200
    return Figures(response.text)


def counting(name: str, called: str) -> Any:
    return replaced(Metrics, name, lambda *_arguments: None, called)


# ---------------------------------------------------------------------------------------------------------- who reads


def test_only_an_operators_key_reads_metrics(served: Served) -> None:
    """They are about all tenants. The key of one, whatever it may do, gets the 403 of a missing scope."""
    assert code_of(httpx2.get(f"{served.url}/metrics")) == "unauthenticated"
    with served.client(READ, WRITE, ADMIN) as tenant:
        refused = tenant.get("/metrics")
        assert (refused.status_code, code_of(refused)) == (403, "forbidden")
    assert scraped(served)("whence_processes") == 1


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, str]]:
    """A server with a listener for metrics, and the URL of that."""
    with _with_listener(tmp_path_factory.mktemp("listening")) as found:
        yield found


@contextlib.contextmanager
def _with_listener(folder: Path) -> Iterator[tuple[Served, str]]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def prepare(served: Served) -> None:
        pages = MetricsListener(served.app.metrics, served.settings, listener)
        served.server = Server(served.server.config, served._note_loop, metrics=pages)
        served.thread = threading.Thread(target=served.server.run, daemon=True)

    with serving(folder, prepare=prepare) as served:
        yield served, f"http://127.0.0.1:{port}"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_the_listener_serves_metrics_and_nothing_else(listening: tuple[Served, str]) -> None:
    """It asks for no key, so it must not be a way to anything that needs one."""
    served, url = listening
    with httpx2.Client(base_url=url, headers={"X-API-Key": served.key(READ)}) as client:
        before = Figures(client.get("/metrics").text)
        for path in ("/", "/livez", EVENTS, "/docs", "/metrics/x"):
            answer = client.get(path, follow_redirects=False)
            assert answer.status_code == 404, path
        answer = client.post("/metrics")
        assert (answer.status_code, code_of(answer)) == (405, "method_not_allowed")
        assert client.head("/metrics").text == ""
        after = Figures(client.get("/metrics").text)
    assert after("whence_refusals_total", code="not_found") - before("whence_refusals_total", code="not_found") == 5
    labels = {"route": "/metrics", "method": "GET", "status": "2xx"}
    assert after(f"{SECONDS}_count", **labels) - before(f"{SECONDS}_count", **labels) == 1


def test_a_program_listens_where_its_settings_say(tmp_path: Path, port: int) -> None:
    """`WHENCE_METRICS_PORT` opens the listener; without it there is none, and a taken port is named."""
    with socket.create_server(("127.0.0.1", port)):
        server = Running(tmp_path, WHENCE_METRICS_PORT=str(port))
        with pytest.raises(AssertionError, match=f"port {port} of 127.0.0.1. Choose another with WHENCE_METRICS_PORT"):
            server.start()
    server = Running(tmp_path, WHENCE_METRICS_PORT=str(port))
    server.start()
    try:
        figures = Figures(httpx2.get(f"http://127.0.0.1:{port}/metrics").text)
        assert figures("process_cpu_seconds_total") > 0
    finally:
        assert server.terminate()[0] == 0


# ------------------------------------------------------------------------------------------------------------ figures


@catches(
    counting("answered", "requests_are_not_counted"),
    counting("appended", "appends_are_not_counted"),
    counting("refused", "refusals_are_not_counted"),
    replaced(text_module, "accumulate", lambda counts: counts, "buckets_are_not_cumulative"),
)
def test_the_figures_are_those_of_what_was_sent(served: Served) -> None:
    """Events by what became of them, appends, requests by route, and refusals by code."""
    with served.client(READ, WRITE, tenant="figures") as client:
        before = scraped(served)
        ids = [f"5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f{number:04}" for number in range(3)]
        batch = [event(id=each) for each in ids]
        assert client.post(f"{EVENTS}/batch", json=batch).status_code == 201
        assert client.post(f"{EVENTS}/batch", json=batch[:2]).status_code == 200
        assert client.post(EVENTS, json=event(id=ids[0], actorId="other")).status_code == 409
        for each in ids:
            assert client.get(f"{EVENTS}/{each}").status_code == 200
        assert client.get(EVENTS, params={"limit": "x"}).status_code == 422
        assert client.get("/nothing/here").status_code == 404
        assert client.post("/livez").status_code == 405
        assert httpx2.get(served.url + EVENTS).status_code == 401
        after = scraped(served)

    def added(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    results = {result: added("whence_ingest_events_total", result=result) for result in metrics_module.RESULTS}
    assert results == {"stored": 3, "replayed": 2, "refused": 1, "failed": 0}
    assert added("whence_append_duration_seconds_count") == 3
    assert 0 < added("whence_append_duration_seconds_sum") < 60
    assert [added("whence_append_events_bucket", le=le) for le in ("1.0", "2.0", "5.0", "+Inf")] == [1, 2, 3, 3]
    assert added("whence_append_events_sum") == 6
    codes = ("event_id_conflict", "invalid", "not_found", "method_not_allowed", "unauthenticated", "forbidden")
    assert [added("whence_refusals_total", code=code) for code in codes] == [1, 1, 1, 1, 1, 0]
    for route, method, status, count in (
        (EVENTS, "POST", "4xx", 1),
        (EVENTS, "GET", "4xx", 2),
        (f"{EVENTS}/batch", "POST", "2xx", 2),
        (EVENTS + "/{event_id}", "GET", "2xx", 3),
        ("unmatched", "GET", "4xx", 1),
    ):
        assert added(f"{SECONDS}_count", route=route, method=method, status=status) == count, route
        assert added(f"{SECONDS}_bucket", route=route, method=method, status=status, le="+Inf") == count


@catches(
    replaced(metrics_module, "Unavailable", Conflict, "what_failed_was_refused"),
    counting("appended", "appends_are_not_counted"),
)
def test_a_failing_store_is_counted(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its events are neither stored nor refused: the client sends them again. Some stores raise the error, and some
    return it for each request."""
    error = Unavailable("The disk is full.")

    async def fail(*_arguments: Any) -> None:
        raise error

    async def refuse(*_arguments: Any) -> list[WhenceError]:
        return [error]

    append = served.store.append
    with served.client(READ, WRITE, tenant="failing") as client:
        before = scraped(served)
        for failing in (fail, refuse):
            monkeypatch.setattr(served.store, "append", failing)
            assert client.post(EVENTS, json=event()).status_code == 503
        monkeypatch.setattr(served.store, "append", append)
        after = scraped(served)

    def added(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    results = [added("whence_ingest_events_total", result=result) for result in metrics_module.RESULTS]
    assert results == [0, 0, 0, 2]
    assert added("whence_refusals_total", code="unavailable") == 2
    assert added("whence_append_duration_seconds_count") == 2


def test_what_the_protocol_refuses_is_counted(served: Served) -> None:
    """No handler sees a request that is no HTTP."""
    before = scraped(served)("whence_refusals_total", code="bad_request")
    with socket.create_connection(served.address, timeout=10) as connection:
        connection.sendall(b"no HTTP at all\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    assert scraped(served)("whence_refusals_total", code="bad_request") - before == 1


def test_gauges_show_the_present_and_its_limits(served: Served) -> None:
    """Open connections and waiting events, each beside its limit."""
    assert served.loop is not None
    ingest = served.app.app.context.ingest
    with contextlib.ExitStack() as open_:
        before = scraped(served)("whence_connections_open")
        for _ in range(3):
            open_.enter_context(socket.create_connection(served.address, timeout=10))
        wait_until(lambda: scraped(served)("whence_connections_open") == before + 3)
        ingest._events.add("acme", 7)
        open_.callback(ingest._events.give_back, "acme", 7)
        figures = scraped(served)
    assert figures("whence_queue_events") == 7
    assert figures("whence_queue_limit_events") == served.settings.queue_events_max
    assert figures("whence_connections_limit") == served.settings.connections_max
    assert figures("whence_request_bodies_limit_bytes") == served.settings.bodies_in_flight_max


# ------------------------------------------------------------------------------------------------- format and secrecy


def with_tenants(read: Any) -> Any:
    yield from FAMILIES(read)
    yield text_module._labelled("whence_tenants", "A mutant.", "tenant", {"secret-tenant": 1})


def with_methods(self: Metrics, handler: Any, method: str, status: int) -> int:
    """As `Metrics._row`, with a row for each word."""
    return self._layout.requests.setdefault(
        (metrics_module.UNMATCHED, method, "4xx"), ROW(self, handler, "GET", status)
    )


FAMILIES, ROW = text_module._families, Metrics._row


@catches(
    replaced(text_module, "_families", with_tenants, "tenants_are_labels"),
    replaced(Metrics, "_row", with_methods, "every_method_is_a_label"),
)
def test_no_tenant_and_nothing_of_a_client_is_shown(served: Served) -> None:
    """Neither names, ids, paths and queries, nor methods that clients invent."""
    with served.client(READ, WRITE, tenant="secret-tenant") as client:
        client.post(EVENTS, json=event(actorId="secret-actor", correlationId="secret-flow"))
        client.get(EVENTS, params={"actor_id": "secret-actor"})
        client.get("/secret/path?secret=query")
        client.get(f"{EVENTS}/correlation/secret-flow")
        client.get(f"{EVENTS}/secret-id")
        client.request("PROPFIND", EVENTS)
    text = httpx2.get(f"{served.url}/metrics", headers={"X-API-Key": served.operator_key(READ)}).text
    assert 'method="other"' in text
    assert [word for word in ("secret", "tenant", "PROPFIND", served.operator_key(READ)) if word in text] == []


def test_the_format_is_what_the_client_accepts(served: Served) -> None:
    """Prometheus asks for OpenMetrics first, and gets the text of 2014 if it asks for nothing."""
    headers = {"X-API-Key": served.operator_key(READ)}
    plain = httpx2.get(f"{served.url}/metrics", headers=headers)
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store"
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    modern = httpx2.get(f"{served.url}/metrics", headers=headers | {"Accept": accept})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in parse_openmetrics(modern.text)}
    assert {"whence_ingest_events", "whence_refusals", "process_cpu_seconds", SECONDS} <= names
    assert {family.name for family in parse_text(plain.text)} >= {SECONDS, "whence_build_info", "process_open_fds"}


def test_the_documented_metrics_exist(served: Served) -> None:
    """The table of docs/operations.md has each metric, and its rules ask for no others."""
    with served.client(READ, WRITE, tenant="documented") as client:
        assert client.post(EVENTS, json=event()).status_code == 201
    shown = {name for name, _ in scraped(served).samples}
    parts = ("_bucket", "_count", "_sum")
    ours = {re.sub(f"({'|'.join(parts)})$", "", name) for name in shown if name.startswith("whence_")}
    table = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(whence_[a-z_]+)`", table)) - {"whence_app", "whence_keeper", "whence_signed"} == ours
    scrape, rules = (
        yaml.safe_load(block.code) for block in blocks_of("docs/operations.md") if block.language == "yaml"
    )
    assert [job["job_name"] for job in scrape["scrape_configs"]] == ["whence", "whence-by-key"]
    alerts = rules["groups"][0]["rules"]
    asked = {name for alert in alerts for name in re.findall(r"whence_\w+", alert["expr"])}
    assert len(alerts) == 3 and asked <= shown
    codes = {dict(labels)["code"] for name, labels in scraped(served).samples if name == "whence_refusals_total"}
    assert {"busy", "throttled", "unavailable"} <= codes


# ---------------------------------------------------------------------------------------------------------- processes


def counted(share: Share) -> Metrics:
    """The metrics of one process, as `create_app` makes them."""
    return Metrics([template_of(handler) for handler in route_handlers(Settings())], share)


@contextlib.contextmanager
def child(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """A forked process that has done its work, and lives until the function is called."""
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        finally:
            os._exit(0)
    assert os.read(ready[0], 1) == b"x"

    ended = False

    def end() -> None:
        nonlocal ended
        if not ended:
            ended = True
            os.write(done[1], b"x")
            os.waitpid(pid, 0)

    try:
        yield end
    finally:
        end()
        for descriptor in (*ready, *done):
            os.close(descriptor)


def opened_anew(self: Metrics, share: Share) -> Any:
    (share.folder / f"{share.name}.cells").unlink(missing_ok=True)
    return OPEN(self, share)


OPEN = Metrics._open


@catches(
    replaced(Metrics, "_others", lambda _self: iter(()), "a_process_shows_only_itself"),
    replaced(metrics_module, "_is_running", lambda _pid: True, "gauges_of_the_dead_count"),
    replaced(Metrics, "_open", opened_anew, "a_process_started_again_begins_at_zero"),
)
def test_any_process_shows_the_sums_of_all(tmp_path: Path) -> None:
    """Counters of a process that has ended stay, its gauges go, and its successor goes on with its counters."""
    own = counted(Share(tmp_path, "acceptor-1"))
    own.watch(queue_events=lambda: 5)
    own.answered(live, "GET", 200, 0.003)

    def work() -> None:
        other = counted(Share(tmp_path, "acceptor-2"))
        other.watch(queue_events=lambda: 2)
        other.publish()
        other.answered(live, "GET", 200, 0.3)
        other.appended(0.01, [Write(tuple(new(number) for number in range(4)))], None)
        other.refused("busy")

    def figures(of: Metrics) -> list[float]:
        found = Figures(metrics_text(of, "")[0].decode())
        labels = {"route": "/livez", "method": "GET", "status": "2xx"}
        return [
            found("whence_processes"),
            found("whence_queue_events"),
            found(f"{SECONDS}_count", **labels),
            found(f"{SECONDS}_bucket", **labels, le="0.1"),
            found("whence_ingest_events_total", result="failed"),
            found("whence_refusals_total", code="busy"),
        ]

    with child(work) as end:
        assert figures(own) == [2, 7, 2, 1, 4, 1]
        end()
        assert figures(own) == [1, 5, 2, 1, 4, 1]
    with child(work) as end:
        assert figures(own) == [2, 7, 3, 1, 8, 2]
        end()


@pytest.mark.slow
def test_a_server_of_several_processes_has_one_page(tmp_path: Path, port: int) -> None:
    """On its listener and at the address of the API, and a killed process takes no count with it."""
    server = Running(tmp_path, WHENCE_PROCESSES="2", WHENCE_METRICS_PORT=str(port))
    server.start()
    stored = {"result": "stored"}

    def page() -> Figures:
        return Figures(httpx2.get(f"http://127.0.0.1:{port}/metrics").text)

    try:
        headers = {"X-API-Key": server.key()}
        for _ in range(12):  # each on a connection of its own, so that both answer some
            assert httpx2.post(
                f"http://127.0.0.1:{server.address[1]}{EVENTS}", json=event(), headers=headers
            ).is_success
        assert [page()("whence_ingest_events_total", **stored) for _ in range(4)] == [12] * 4
        assert page()("whence_processes") == 4
        before = server.processes()
        os.kill(before["acceptor-1"], signal.SIGKILL)
        wait_until(lambda: server.processes().get("acceptor-1", before["acceptor-1"]) != before["acceptor-1"])
        wait_until(lambda: page()("whence_processes") == 4)
        assert [page()("whence_ingest_events_total", **stored) for _ in range(4)] == [12] * 4
    finally:
        assert server.terminate()[0] == 0


def test_cells_of_another_release_are_not_added(tmp_path: Path) -> None:
    """A file of other routes has its figures elsewhere. It is left out, and a process of its name begins anew."""
    share = Share(tmp_path, "acceptor-2")
    before = Metrics(["/of/before"], share)
    before.refused("busy")
    own = counted(Share(tmp_path, "acceptor-1"))
    assert own.read().refusals()["busy"] == 0
    assert counted(share).read().refusals()["busy"] == 0


def test_an_error_without_a_name_of_its_own_is_other() -> None:
    """A code that is not in the table must not fail the answer."""
    counters = Metrics()
    counters.refused("made_up")
    assert counters.read().refusals()["other"] == 1


def test_counting_needs_no_more_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has all of its blocks before it is mapped. The use of a page without one is a SIGBUS on a full disk."""
    blocks = []

    def mapped(fd: int, size: int, real: Callable[[int, int], mmap.mmap] = mmap.mmap) -> mmap.mmap:
        blocks.append(os.fstat(fd).st_blocks * 512 - size)
        return real(fd, size)

    monkeypatch.setattr(mmap, "mmap", mapped)
    counted(Share(tmp_path, "acceptor-1"))
    assert len(blocks) == 1 and blocks[0] >= 0


def test_a_folder_that_cannot_be_shared_is_named(tmp_path: Path) -> None:
    """With what to do, since the sentence may be all that is left of the server."""
    with pytest.raises(StoreRefused, match=f"{tmp_path}/gone, .* was removed. Start the server again"):
        counted(Share(tmp_path / "gone", "acceptor-1"))
    (tmp_path / "acceptor-1.cells").mkdir()
    with pytest.raises(StoreRefused, match=f"cannot share the folder {tmp_path}: Is a directory. .* TMPDIR"):
        counted(Share(tmp_path, "acceptor-1"))

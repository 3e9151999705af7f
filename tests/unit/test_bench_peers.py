"""The benchmark sends the same queries to its peers, checks that totals agree, and renders a fair table."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from bench.against import PAGE_OF_EACH, Call, Log, asked, call_of, pages_of_each, turns_of
from bench.against_page import PEERS
from bench.build_store import Built, build
from bench.load import Line, request
from bench.measure import Rates, times_of
from bench.report import render
from bench.result import Asked, Footprint, Run, load, save
from bench.scenarios import Question, questions_of
from bench.servers import Running
from bench.stage import QUICK, Bench
from bench.workload import Shape
from whence.events import PageRequest, Query
from whence.storage import create_store

SAMPLE = Path(__file__).parents[1] / "data" / "bench-result.json"
SHAPE = Shape(events=2_000, days=5)
TWENTY = PageRequest(limit=20)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A small log."""
    return build(tmp_path_factory.mktemp("peers") / "built.db", SHAPE)


async def _questions(built: Built) -> dict[str, list[Question]]:
    store = create_store(f"sqlite:///{built.path}", serving=False)
    try:
        return await questions_of(store, SHAPE)
    finally:
        await store.close()


def test_each_is_asked_what_it_can_answer(built: Built) -> None:
    """The FastAPI peer lacks only the outcome; Prefect also by-actor, correlation and offsets; Whence gets every
    query."""
    questions = asyncio.run(_questions(built))

    def lacks(who: str) -> set[str]:
        return {name for name, some in questions.items() if None in [call_of(who, each, SHAPE) for each in some]}

    outcome = "page of a resource type and an outcome"
    offsets = {"offset of a tenth of the log", "offset of a hundredth, of an event type"}
    assert lacks("whence") == set()
    assert lacks("fastapi") == {outcome}
    assert lacks("prefect") == {outcome, "by-actor", "by-actor of a range", "correlation"} | offsets


def test_the_contract_is_asked_of_both_in_the_same_words(built: Built) -> None:
    """Whence and the FastAPI peer get identical requests."""
    for some in asyncio.run(_questions(built)).values():
        for question in some:
            assert call_of("fastapi", question, SHAPE) in (None, call_of("whence", question, SHAPE))


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        (Query(event_types=("a.b",)), {"event": {"name": ["a.b"]}}),
        (Query(resource_types=("automation",), resource_ids=("x",)), {"resource": {"id": ["automation.x"]}}),
        (Query(actor_ids=("agent-00001",)), {"related": {"id": ["agent.agent-00001"], "role": ["actor"]}}),
    ],
)
def test_prefect_is_asked_for_the_same_events(query: Query, wanted: dict[str, object]) -> None:
    """Every filter has Prefect's parameter and a time range; a page has a limit, and counts are by event name."""
    page = call_of("prefect", Question(query=query, page=TWENTY), SHAPE)
    count = call_of("prefect", Question(query=query), SHAPE)
    assert page is not None and count is not None
    assert (page.path, count.path) == ("/api/events/filter", "/api/events/count-by/event")
    sent = msgspec.json.decode(page.body)
    assert sent["limit"] == 20
    assert msgspec.json.decode(count.body)["filter"] == sent["filter"]
    assert sent["filter"].pop("occurred").keys() == {"since", "until"}
    assert sent["filter"] == wanted


def test_prefect_is_asked_for_the_same_time() -> None:
    """A query's range is passed on; without one, the range is the whole log with its late events."""
    within = call_of("prefect", Question(query=Query(since=SHAPE.since_us, until=SHAPE.until_us), page=TWENTY), SHAPE)
    always = call_of("prefect", Question(query=Query(), page=TWENTY), SHAPE)
    assert within is not None and always is not None
    occurred = [msgspec.json.decode(call.body)["filter"]["occurred"] for call in (within, always)]
    assert occurred[0] == {"since": "2026-06-26T00:00:00Z", "until": "2026-07-01T00:00:00Z"}
    assert occurred[1]["since"] < occurred[0]["since"] and occurred[1]["until"] == occurred[0]["until"]


class _Handler(BaseHTTPRequestHandler):
    """Answers every path except `/nothing` with the same body, chunked if the server is set to."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        self.server.order.append(self.server)
        if self.path == "/gone":
            self.close_connection = True
            return
        self.send_response(404 if self.path == "/nothing" else 200)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.server.body), self.server.body))
        else:
            self.send_header("Content-Length", str(len(self.server.body)))
            self.end_headers()
            self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    order: ClassVar[list["_Server"]] = []
    """The servers of all instances, in the order of their requests."""

    def __init__(self, body: bytes, *, chunked: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.chunked, self.seen = body, chunked, list[str]()


@contextmanager
def _serving(body: bytes, *, chunked: bool = False) -> Iterator[_Server]:
    with _Server(body, chunked=chunked) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_is_timed_until_it_is_whole(chunked: bool) -> None:
    """One connection reads one complete response after another, also chunked; a wrong status or lost connection
    raises."""
    with _serving(b"x" * 3_000_000, chunked=chunked) as server, Line(server.server_port) as line:
        assert all(line.ask(request("GET", "/some", "")) > 0 for _ in range(3))
        with pytest.raises(RuntimeError, match="404"):
            line.ask(request("GET", "/nothing", ""))
        with pytest.raises(RuntimeError, match="ended"):
            line.ask(request("GET", "/gone", ""))
        assert server.seen == ["/some", "/some", "/some", "/nothing", "/gone"]


def _log(built: Built, servers: dict[str, _Server]) -> Log:
    running = {who: Running(server.server_port, 0, "") for who, server in servers.items()}
    questions = [Question(query=Query(event_types=(name,)), page=TWENTY) for name in ("a.b", "c.d", "e.f")]
    return Log(built, running, {}, {}, {"page": questions})


@pytest.mark.parametrize(("its", "alike"), [(b'{"total":7,"events":[]}', True), (b'{"total":8,"events":[]}', False)])
def test_who_counts_otherwise_is_not_compared(built: Built, its: bytes, alike: bool) -> None:
    """When the totals of the servers differ, nothing is timed."""
    with ExitStack() as stack:
        bodies = {"whence": b'{"total":7}', "fastapi": its}
        log = _log(built, {who: stack.enter_context(_serving(body)) for who, body in bodies.items()})
        if alike:
            assert [turn.who for turn in turns_of(log, "page", 3)] == ["whence", "fastapi"]
        else:
            with pytest.raises(RuntimeError, match="the totals of the servers differ"):
                list(turns_of(log, "page", 3))


def test_servers_take_turns_with_each_question(built: Built) -> None:
    """Each server gets every variant once a round, after a warm-up request; slow servers have one round.

    Every second round has the reverse order.
    """
    with _serving(b'{"total":7}') as one, _serving(b'{"total":7}') as other:
        turns = list(turns_of(_log(built, {"whence": one, "fastapi": other}), "page", 2))
        for server in (one, other):
            assert len(server.seen) == 2
            server.seen.clear()
        _Server.order.clear()
        found = list(asked("page", turns, 3, 60))
        assert [(each.who, each.events, each.times.count) for each in found] == [
            ("whence", 2_000, 6),
            ("fastapi", 2_000, 6),
        ]
        paths = [call.path for call in turns[0].calls]
        assert paths == [f"/api/v1/events?event_type={name}&limit=20&offset=0" for name in ("a.b", "c.d")]
        assert one.seen == other.seen == ["/nothing", *paths] * 3
        assert _Server.order[::3] == [one, other, other, one, one, other]
        assert [each.times.count for each in asked("page", turns, 3, 0.0)] == [2, 2]


@pytest.mark.slow
def test_pages_of_each_are_kept_with_their_ratios(built: Built, run: Run, tmp_path: Path) -> None:
    """Every server has one trial per round, slower servers with fewer pages, and the table shows them."""
    sizes = msgspec.structs.replace(QUICK, rounds=2, peer_pages=40)
    with _serving(b'{"total":7}') as one, _serving(b'{"total":7}') as other:
        pages_of_each(Bench(run, sizes, tmp_path), _log(built, {"whence": one, "fastapi": other}))
    assert {who: len(trials) for who, trials in run.rates[PAGE_OF_EACH].trials.items()} == {"whence": 2, "fastapi": 2}
    assert (len(one.seen), len(other.seen)) == (80, 8)
    assert {"whence", "fastapi"} == run.loads[PAGE_OF_EACH].keys()
    [page] = [cells for measure, cells in _table(run).items() if measure.startswith("page of 20")]
    assert page[3] == "-" and float(page[2]) > 0


def _table(run: Run) -> dict[str, list[str]]:
    page = render(run).split("## Against each peer")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def run() -> Run:
    """A result with the peers."""
    slow, quick = times_of([0.008]), times_of([0.002])
    found = [
        Asked("page", "whence", 100, quick),
        Asked("page", "fastapi", 100, slow),
        Asked("page", "prefect", 100, slow),
        Asked("page", "whence", 900, quick),
        Asked("page", "fastapi", 900, times_of([0.032])),
        Asked("by-actor", "whence", 100, quick),
        Asked("events by day", "prefect", 100, slow),
    ]
    weights = [
        Footprint("whence", 100, 120, 100, 1.0, 100.0),
        Footprint("prefect", 100, 300, 100, 4.0, 300.0),
        Footprint("eventsourcing", 100, 60, 100),
    ]
    rates = {"ingest": Rates("events/s", {"whence": [900.0], "raw": [9_000.0], "prefect": [300.0]})}
    return msgspec.structs.replace(load(SAMPLE), rates=rates, asked=found, footprints=weights, loads={})


def test_a_ratio_says_how_many_times_better_whence_is(run: Run) -> None:
    """The ratio is above one for more events per second, and for fewer milliseconds, bytes or seconds."""
    table = _table(run)
    assert table["measure"] == ["Whence", *(text for name in PEERS.values() for text in (name, "ratio"))]
    [ingest] = [cells for measure, cells in table.items() if measure.startswith("batches of 1000")]
    assert ingest[3:5] == ["300", "3"]
    assert table["page, 100 events"][:3] == ["2 / 2", "8 / 8", "4"]
    assert table["page, 900 events"][:3] == ["2 / 2 (1)", "32 / 32 (4)", "16"]
    assert table["page, 900 events"][3:] == ["- (d)", "-", "- (f)", "-"]
    assert table["disk, times the NDJSON, 100 events"] == ["1.2", "-", "-", "3", "2.5", "0.6", "0.5"]
    assert table["highest memory of the server, MB, 100 events"][3:5] == ["300", "3"]
    assert table["start to first answer, s, 100 events"][3:5] == ["4", "4"]


def test_what_is_lacking_has_a_note_that_says_why(run: Run) -> None:
    """Each letter in the table is explained below it, and no other letter is."""
    text = render(run).split("## Against each peer")[1].split("\n## ")[0]
    table, below = text[: text.rindex(" |\n")], text[text.rindex(" |\n") :]
    letters = {letter for letter in "abcdefgh" if f"- ({letter})" in table}
    assert letters >= {"b", "c", "d", "e", "f"}
    assert {letter for letter in "abcdefgh" if f"\n- ({letter}) " in below} == letters
    assert _table(run)["events by day, 100 events"][0] == "- (e)"


def test_a_result_from_before_the_table_is_read_and_rendered(run: Run, tmp_path: Path) -> None:
    """Older files lack the new fields; the table then shows the fields that exist, and without a peer there is no
    table."""
    path = save(run, tmp_path)
    older = msgspec.json.decode(path.read_bytes())
    assert older.pop("asked") and older.pop("footprints")
    path.write_bytes(msgspec.json.encode(older))
    found = load(path)
    assert (found.asked, found.footprints) == ([], [])
    assert "batches of 1000" in render(found).split("## Against each peer")[1]
    alone = msgspec.structs.replace(found, rates={"ingest": Rates("events/s", {"whence": [900.0]})}, traces=[])
    assert "Against each peer" not in render(alone)


def test_a_call_is_one_whatever_is_asked() -> None:
    """Equal calls have equal keys, so that a repeated call is checked once."""
    assert len({Call("GET", "/a"), Call("GET", "/a"), Call("POST", "/a"), Call("POST", "/a", b"{}")}) == 3

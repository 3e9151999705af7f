"""Each store against the model: hypothesis generates requests and queries, and both must return the same.

`WHENCE_HYPOTHESIS` is `short` (the default) or `long`. A failure prints its seed, and `WHENCE_TEST_SEED` replays it.
"""

import asyncio
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.contract import cause_mutants, mutants
from tests.contract.faults import KINDS, REAL, Limits
from tests.contract.made import DAY, HOUR, MINUTE, NOON, SECOND, asked, asked_flows, uuid
from tests.contract.model import ModelStore, same_map, unnumbered
from tests.examples import soak
from whence.errors import Conflict, Invalid, WhenceError
from whence.events import Event, Keyset, NewEvent, Page, PageRequest, Query, Viewer
from whence.flows import FlowPage
from whence.histograms import INTERVALS_US, HistogramRequest
from whence.names import FoundNames, NameRange, NameSearch, beginning
from whence.storage import Receipt, Write
from whence.trace import TraceRequest
from whence.wire.ids import parse_reference

SEED = int(os.environ.get("WHENCE_TEST_SEED") or random.SystemRandom().getrandbits(32))
LONG = os.environ.get("WHENCE_HYPOTHESIS") == "long"
EXAMPLES = 1_500 if LONG else 150 if soak() else 60
EXAMPLES_OF_MUTANT = max(EXAMPLES, 150)
STEPS = 40

TENANTS = ("acme", "other")
EVENT_TYPES = (
    "action_run.completed",
    "action_run.step.failed",
    "action_run.step.done",
    "action_runs.completed",
    "agent_spec.created",
    "invoice.sent",
)
PREFIXES = ("action_run.", "action_run.step.", "agent_spec.", "nothing.")
RESOURCE_TYPES = ("action_run", "agent_spec", "artifact")
ACTOR_TYPES = ("user", "agent", "service")
ACTOR_IDS = ("ada", "Ada", "äda", "\U0001f600", "bob", uuid(171), uuid(171).upper())
FLOWS = ("flow-1", "flow/2", "flow 3", uuid(1), uuid(2), uuid(27), uuid(27).upper(), uuid(171), uuid(171).upper())
"""Parsers let no UUID in upper case pass; earlier releases stored such flows and actors."""
OUTCOMES = ("success", "failure", "none")
RESOURCES = tuple(uuid(number) for number in range(1, 5))
CAUSES = (uuid(1), uuid(2), uuid(3), uuid(40), "a text", "0", uuid(1).replace("-", ""))
PATTERNS = ("action_run.completed", "action_run.*", "*.failed", "*.step.done", "*.completed", "no.such", "*.such")
ACTOR_NAMES = ("user/ada", "*/ada", "agent/bob", f"*/{uuid(171)}", f"service/{uuid(171).upper()}", "agent/", "*/nobody")
RESOURCE_NAMES = (f"action_run/{uuid(1)}", f"*/{uuid(2)}", f"artifact/{uuid(3)}", "artifact/", f"*/{uuid(9)}")
PAYLOADS = (b"{}", b'{"a":1}', b'{"a":1.0}', b'{"a":1,"b":[]}', b'{"b":[],"a":1}', '{"ä":"\\u0000"}'.encode())
FIRST_TIME = -62_135_596_800 * SECOND

_starts = (0, NOON // HOUR * HOUR, -32 * DAY, -DAY, DAY, 32 * DAY, -400 * DAY, NOON // (32 * DAY) * 32 * DAY)
times = st.one_of(
    st.builds(
        lambda start, step, count: start + step * count,
        st.sampled_from(_starts),
        st.sampled_from((1, 999_999, SECOND, MINUTE, HOUR, DAY)),
        st.integers(-2, 3),
    ),
    st.just(FIRST_TIME),
)


PAYLOAD_VALUES = ("a=1", "a=b", "x=1", "n=null", "k=v")
"""Values that some payloads have."""


def some(words: Iterable[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Some values of one filter, possibly with a repetition."""
    return st.lists(st.sampled_from(tuple(words)), min_size=1, max_size=3).map(tuple)


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "id": st.integers(1, 60).map(uuid),
    "event_type": st.sampled_from(EVENT_TYPES),
    "actor_type": st.sampled_from(ACTOR_TYPES),
    "actor_id": st.sampled_from(ACTOR_IDS),
    "resource_type": st.sampled_from(RESOURCE_TYPES),
    "resource_id": st.sampled_from(RESOURCES),
    "occurred_at": times,
    "payload": st.sampled_from(PAYLOADS),
    "correlation_id": st.sampled_from((None, *FLOWS)),
    "causation_id": st.sampled_from((None, *CAUSES)),
    "outcome": st.sampled_from((None, None, *OUTCOMES)),
}
"""What each field of an event is drawn from."""

events = st.builds(NewEvent, **DRAWN)
FIRST_EVENTS = {
    tenant: tuple(
        NewEvent(
            id=uuid(200 + 2 * number + second),
            event_type=EVENT_TYPES[number % len(EVENT_TYPES)],
            actor_type=ACTOR_TYPES[number // 5 % len(ACTOR_TYPES)],
            actor_id=ACTOR_IDS[number // 3 % len(ACTOR_IDS)],
            resource_type=RESOURCE_TYPES[number % len(RESOURCE_TYPES)],
            resource_id=RESOURCES[number // 2 % len(RESOURCES)],
            occurred_at=(number % 9 - 4) * (DAY if number % 2 else HOUR) - number % 2,
            correlation_id=FLOWS[number % len(FLOWS)] if number % 4 else None,
            causation_id=CAUSES[number % len(CAUSES)] if number % 3 else uuid(200 + 2 * (number // 2) + second),
        )
        for number in range(28)
    )
    for second, tenant in enumerate(TENANTS)
}
"""The first events of each log, so that every query has matches: ties, bucket starts and times before 1970."""

requests = st.builds(Write, st.lists(events, min_size=1, max_size=6).map(tuple), st.booleans())
readable = st.one_of(st.none(), st.none(), st.sampled_from(((), ("artifact",), ("action_run", "agent_spec"), ("x",))))
FILTERS: dict[str, st.SearchStrategy[Any]] = {
    "event_types": some((*EVENT_TYPES, "no.such")),
    "event_type_prefixes": some(PREFIXES),
    "resource_types": some((*RESOURCE_TYPES, "template")),
    "resource_ids": some((*RESOURCES, uuid(9))),
    "actor_ids": some((*ACTOR_IDS, "nobody")),
    "actor_types": some((*ACTOR_TYPES, "system")),
    "outcomes": some(OUTCOMES),
    "correlation_ids": some((*FLOWS, uuid(7), "no flow")),
    "causation_ids": some((*CAUSES, "no cause")),
    "since": times,
    "until": times,
    "readable": readable,
    "type_patterns": some(PATTERNS),
    "actors": some(ACTOR_NAMES),
    "resources": some(RESOURCE_NAMES),
    "excluded_event_types": some(PATTERNS),
    "excluded_resource_types": some((*RESOURCE_TYPES, "template")),
    "excluded_actor_types": some((*ACTOR_TYPES, "system")),
    "excluded_outcomes": some(OUTCOMES),
    "excluded_actors": some(name for name in ACTOR_NAMES if not name.endswith("/")),
    "excluded_resources": some(name for name in RESOURCE_NAMES if not name.endswith("/")),
    "excluded_correlation_ids": some((*FLOWS, "no flow")),
    "excluded_causation_ids": some((*CAUSES, "no cause")),
    "payload_values": some(PAYLOAD_VALUES),
    "excluded_payload_values": some(PAYLOAD_VALUES),
}
FIELDS = {
    "event_types": "event_type",
    "resource_types": "resource_type",
    "resource_ids": "resource_id",
    "actor_ids": "actor_id",
    "actor_types": "actor_type",
    "outcomes": "outcome",
    "correlation_ids": "correlation_id",
    "causation_ids": "causation_id",
}
# Only a few filters at once, so that some events match.
questions = st.sets(st.sampled_from(tuple(FILTERS)), max_size=3).flatmap(
    lambda names: st.fixed_dictionaries({name: FILTERS[name] for name in sorted(names)})
)
pages_asked = st.builds(
    PageRequest,
    limit=st.integers(1, 100) | st.integers(1, 3),
    offset=st.integers(0, 12) | st.integers(0, 200) | st.sampled_from((511, 512, 2**63 - 1)),
    ascending=st.booleans(),
    as_of=st.one_of(st.none(), st.integers(0, 120)),
    after=st.one_of(st.none(), st.none(), st.builds(Keyset, times, st.integers(0, 100))),
)
graphs_asked = st.builds(
    TraceRequest,
    direction=st.sampled_from(("both", "up", "down")),
    depth=st.none() | st.integers(0, 4),
    limit=st.integers(1, 6) | st.integers(1, 500),
)
histograms_asked = st.builds(
    HistogramRequest,
    by=st.sampled_from(("outcome", "event_type")),
    interval=st.none() | st.sampled_from(tuple(INTERVALS_US)),
    top=st.integers(1, 4),
)
flows_asked = st.fixed_dictionaries(
    {"since": st.none() | times, "until": st.none() | times, "failed": st.booleans(), "readable": readable}
)


_texts = st.sampled_from(("", "a", "b", "ada", "flow", "flow-1", "\U0001f600", uuid(171), uuid(171).upper(), uuid(2)))
text_ranges = st.lists(st.builds(NameRange, _texts, _texts) | st.builds(beginning, _texts), max_size=2).map(tuple)
_ids = st.integers(0, 260).map(uuid)
searches = st.builds(
    NameSearch,
    limit=st.integers(1, 12),
    kinds=st.booleans(),
    events=st.none() | st.builds(NameRange, _ids, _ids),
    actors=st.lists(st.builds(beginning, _texts, st.none() | st.sampled_from(ACTOR_TYPES)), max_size=2).map(tuple),
    flows=text_ranges,
    resources=st.lists(st.builds(NameRange, _ids, _ids, st.none() | st.sampled_from(RESOURCE_TYPES)), max_size=2).map(
        tuple
    ),
)


def sorted_kinds(found: FoundNames) -> FoundNames:
    return msgspec.structs.replace(found, kinds=sorted(found.kinds, key=msgspec.structs.astuple))


def test_the_oracle_draws_every_field_and_filter() -> None:
    """A new field of an event, of a query or of a viewer is drawn, or this fails."""
    assert DRAWN.keys() == {*NewEvent.__struct_fields__}
    assert FILTERS.keys() | {"tenant"} == {*Query.__struct_fields__, *Viewer.__struct_fields__}


class Oracle(RuleBasedStateMachine):
    """Runs each operation on the store and on the model, and compares the results."""

    trials: ClassVar[int] = 0
    store_name: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        type(self).trials += 1
        self.runner = asyncio.Runner()
        self.patch = pytest.MonkeyPatch()
        self.folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.limits = Limits(as_of_span=25, kinds_max=30)
        self.model = ModelStore(as_of_span=self.limits.as_of_span, kinds_max=self.limits.kinds_max)
        self.store: Any = None

    @initialize(
        divide_at=st.sampled_from((1, 8, 30)),
        walk_from=st.sampled_from((0, 1, 512)),
        terms=st.sampled_from((1, 2, 50)),
        fold_at=st.sampled_from((1, 9, 40, 4_096)),
    )
    def open(self, divide_at: int, walk_from: int, terms: int, fold_at: int) -> None:
        self.limits = replace(self.limits, divide_at=divide_at, walk_from=walk_from, terms_max=terms, fold_at=fold_at)
        opening = KINDS[self.store_name].open(Path(self.folder), self.patch, self.limits)
        self.store = self.runner.run(opening)
        for tenant in TENANTS:
            first = [Write(FIRST_EVENTS[tenant][:16]), Write(FIRST_EVENTS[tenant][16:])]
            self.both(lambda store, tenant=tenant, first=first: store.append(tenant, first))

    def both(self, ask: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """The result of `ask(store)`, which must be the same for both stores."""
        expected = self.runner.run(_settled(ask(self.model)))
        answer = self.runner.run(_settled(ask(self.store)))
        assert comparable(answer) == comparable(expected)
        return answer

    @rule(tenant=st.sampled_from(TENANTS), writes=st.lists(requests, min_size=1, max_size=3))
    def add(self, tenant: str, writes: list[Write]) -> None:
        self.both(lambda store: store.append(tenant, writes))

    @rule(
        tenant=st.sampled_from(TENANTS),
        like=events,
        count=st.integers(5, 40),
        first=st.integers(100, 10_000),
        step=st.sampled_from((0, 1, SECOND, MINUTE, DAY)),
    )
    def add_dense(self, tenant: str, like: NewEvent, count: int, first: int, step: int) -> None:
        """Store many similar events close together in one request, so that buckets divide."""
        burst = tuple(
            msgspec.structs.replace(like, id=uuid(first + n), occurred_at=like.occurred_at + n * step)
            for n in range(count)
        )
        self.both(lambda store: store.append(tenant, [Write(burst)]))

    @rule(tenant=st.sampled_from(TENANTS), pick=st.integers(0), left_out=st.booleans(), change=st.none() | events)
    def repeat(self, tenant: str, pick: int, left_out: bool, change: NewEvent | None) -> None:
        """Send a stored event again, unchanged or with one field of another event."""
        event = self.any_event(tenant, pick)
        if event is None:
            return
        fields = {name: getattr(event, name) for name in NewEvent.__struct_fields__}
        if left_out:
            fields |= {"correlation_id": None, "outcome": None}
        if change is not None:
            name = sorted(fields.keys() - {"id"})[pick % (len(fields) - 1)]
            fields[name] = getattr(change, name)
        self.both(lambda store: store.append(tenant, [Write((NewEvent(**fields),))]))

    @rule(tenant=st.sampled_from(TENANTS), filters=questions, request=pages_asked)
    def list(self, tenant: str, filters: dict[str, Any], request: PageRequest) -> None:
        self.both(lambda store: store.list_events(*asked(filters, tenant), request))

    @rule(tenant=st.sampled_from(TENANTS), filters=questions, pick=st.integers(0), offset=st.integers(0, 30))
    def list_of_now(self, tenant: str, filters: dict[str, Any], pick: int, offset: int) -> None:
        """Pages in a snapshot that is available or just too old, and after an existing event."""
        size = len(self.model.logs.get(tenant, ()))
        as_of = size - pick % (min(size, self.model.as_of_span + 1) + 1)
        event = self.any_event(tenant, pick)
        after = None if event is None else Keyset(event.occurred_at, event.position)
        for request in (
            PageRequest(limit=7, offset=offset, as_of=as_of, ascending=bool(pick % 2)),
            PageRequest(limit=7, offset=offset, as_of=as_of, ascending=bool(pick % 2), after=after),
        ):
            self.both(lambda store, request=request: store.list_events(*asked(filters, tenant), request))

    @rule(tenant=st.sampled_from(TENANTS), filters=questions)
    def aggregate(self, tenant: str, filters: dict[str, Any]) -> None:
        self.both(lambda store: store.count_events(*asked(filters, tenant)))

    @rule(tenant=st.sampled_from(TENANTS), filters=questions, request=histograms_asked)
    def histogram(self, tenant: str, filters: dict[str, Any], request: HistogramRequest) -> None:
        self.both(lambda store: store.histogram(*asked(filters, tenant), request))

    @rule(tenant=st.sampled_from(TENANTS), filters=questions)
    def statistics(self, tenant: str, filters: dict[str, Any]) -> None:
        self.both(lambda store: store.actor_stats(*asked(filters, tenant)))

    @rule(
        tenant=st.sampled_from(TENANTS),
        pick=st.integers(0),
        names=st.sets(st.sampled_from(tuple(FIELDS)), max_size=2),
        since=st.none() | st.integers(-1, 1),
        until=st.none() | st.integers(0, 2),
        readable=readable,
        request=pages_asked,
    )
    def ask_about_an_event(
        self,
        tenant: str,
        pick: int,
        names: set[str],
        since: int | None,
        until: int | None,
        readable: tuple[str, ...] | None,
        request: PageRequest,
    ) -> None:
        """Queries with the values of an existing event as filters, and a range around its time."""
        event = self.any_event(tenant, pick)
        if event is None:
            return
        filters: dict[str, Any] = {name: (getattr(event, FIELDS[name]) or "none",) for name in names}
        filters["since"] = None if since is None else event.occurred_at + since
        filters["until"] = None if until is None else event.occurred_at + until
        filters["readable"] = readable
        self.both(lambda store: store.list_events(*asked(filters, tenant), request))
        self.both(lambda store: store.count_events(*asked(filters, tenant)))
        self.both(lambda store: store.actor_stats(*asked(filters, tenant)))
        for asking in TENANTS:
            self.both(lambda store, asking=asking: store.get_event(Viewer(asking, readable), event.id))

    @rule(tenant=st.sampled_from(TENANTS), number=st.integers(1, 60), readable=readable)
    def get(self, tenant: str, number: int, readable: tuple[str, ...] | None) -> None:
        self.both(lambda store: store.get_event(Viewer(tenant, readable), uuid(number)))
        for text in (f"@{number}", uuid(number)[:-1], uuid(number)):
            reference = parse_reference(text)
            self.both(lambda store, reference=reference: store.find_ids(Viewer(tenant, readable), reference))

    @rule(tenant=st.sampled_from(TENANTS), search=searches, readable=readable)
    def find_names(self, tenant: str, search: NameSearch, readable: tuple[str, ...] | None) -> None:
        """Names of each sort, with their counts; kinds come in any order."""
        found, exact = (
            self.runner.run(store.find_names(Viewer(tenant, readable), search)) for store in (self.store, self.model)
        )
        assert sorted_kinds(found) == sorted_kinds(exact)

    @rule(tenant=st.sampled_from(TENANTS), filters=questions, limit=st.integers(1, 9), ascending=st.booleans())
    def turn_pages(self, tenant: str, filters: dict[str, Any], limit: int, ascending: bool) -> None:
        """Continue after the last event of each page until the end: every event is returned once, in order."""
        whole = self.runner.run(
            self.model.list_events(*asked(filters, tenant), PageRequest(limit=10_000, ascending=ascending))
        ).events
        found: list[Event] = []
        request = PageRequest(limit=limit, ascending=ascending)
        while True:
            page = self.runner.run(self.store.list_events(*asked(filters, tenant), request))
            found += page.events
            assert page.has_next == (len(found) < len(whole))
            if not page.has_next:
                break
            last = page.events[-1]
            after = Keyset(last.occurred_at, last.position)
            request = msgspec.structs.replace(request, offset=len(found), as_of=page.as_of, after=after)
        assert comparable(found) == comparable(whole)

    @rule(tenant=st.sampled_from(TENANTS), pick=st.integers(0), request=graphs_asked, readable=readable)
    def trace(self, tenant: str, pick: int, request: TraceRequest, readable: tuple[str, ...] | None) -> None:
        """The graph around an event, in any direction; another tenant has none."""
        event = self.any_event(tenant, pick)
        for asking in TENANTS if event is not None else ():
            self.both(lambda store, asking=asking: store.trace(Viewer(asking, readable), event.id, request))

    @rule(tenant=st.sampled_from(TENANTS), filters=flows_asked, limit=st.integers(1, 100), offset=st.integers(0, 12))
    def list_flows(self, tenant: str, filters: dict[str, Any], limit: int, offset: int) -> None:
        self.both(lambda store: _flows(store, tenant, filters, PageRequest(limit=limit, offset=offset)))

    @rule(tenant=st.sampled_from(TENANTS), filters=flows_asked, limit=st.integers(1, 4))
    def turn_flows(self, tenant: str, filters: dict[str, Any], limit: int) -> None:
        """Continue after the last flow of each page: every flow is returned once, in order."""
        whole = self.runner.run(_flows(self.model, tenant, filters, PageRequest(limit=10_000)))
        found: list[Any] = []
        request = PageRequest(limit=limit)
        while True:
            page = self.runner.run(self.store.list_flows(*asked_flows(filters, tenant), request))
            found += unnumbered(page).flows
            assert page.total == whole.total and page.has_next == (len(found) < whole.total)
            if not page.has_next:
                break
            after = Keyset(page.flows[-1].last_at, page.flows[-1].number)
            request = PageRequest(limit=limit, offset=len(found), after=after)
        assert found == whole.flows

    @rule(tenant=st.sampled_from(TENANTS), since=st.none() | times, until=st.none() | times, readable=readable)
    def process_map(self, tenant: str, since: int | None, until: int | None, readable: tuple[str, ...] | None) -> None:
        """Counts are exact, percentiles within the documented error."""
        self.compare_maps(tenant, since, until, readable)

    def compare_maps(self, tenant: str, since: int | None, until: int | None, readable: tuple[str, ...] | None) -> None:
        found = self.runner.run(self.store.process_map(Viewer(tenant, readable), since, until))
        exact = self.runner.run(self.model.process_map(Viewer(tenant, readable), since, until))
        assert same_map(found, exact)

    def teardown(self) -> None:
        try:
            if self.store is not None:
                for tenant in TENANTS:
                    self.compare_maps(tenant, None, None, None)
                    self.both(lambda store, tenant=tenant: _size(store, tenant))
                    self.both(
                        lambda store, tenant=tenant: store.list_events(
                            Viewer(tenant), Query(), PageRequest(limit=100_000)
                        )
                    )
        finally:
            if self.store is not None:
                self.runner.run(self.store.close())
            self.runner.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def any_event(self, tenant: str, pick: int) -> Event | None:
        log = self.model.logs.get(tenant)
        return log[pick % len(log)] if log else None


async def _settled(answer: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await answer
    except WhenceError as error:
        return error


async def _flows(store: Any, tenant: str, filters: dict[str, Any], request: PageRequest) -> FlowPage:
    return unnumbered(await store.list_flows(*asked_flows(filters, tenant), request))


async def _size(store: Any, tenant: str) -> int:
    size: int = (await store.head(tenant)).size
    return size


def comparable(answer: Any) -> Any:
    """A result without the parts that may differ between stores: recordedAt, messages, the order of a conflict's
    fields, the state of the log beside a page."""
    if isinstance(answer, list):
        return [comparable(each) for each in answer]
    if isinstance(answer, Event):
        return msgspec.structs.replace(answer, recorded_at=0)
    if isinstance(answer, Receipt):
        return comparable(answer.event), answer.replayed, comparable(answer.error)
    if isinstance(answer, Conflict):
        return "conflict", sorted(answer.fields)
    if isinstance(answer, Invalid):
        return "invalid", [(problem.loc, problem.type) for problem in answer.problems]
    if isinstance(answer, WhenceError):
        return type(answer).__name__
    if isinstance(answer, Page):
        answer = msgspec.structs.replace(answer, state=None)
    if isinstance(answer, msgspec.Struct) and hasattr(answer, "events"):
        return msgspec.structs.replace(answer, events=comparable(answer.events))
    return answer


def run_oracle(store_name: str, examples: int, seed_: int, *, shrink: bool = True) -> int:
    """Run the state machine on this kind of store. Returns the number of generated histories."""
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if shrink else [])]
    Oracle.trials = 0
    # A new class, since hypothesis stores the seed on the class.
    machine = seed(seed_)(type("Oracle", (Oracle,), {"store_name": store_name}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return machine.trials


@pytest.mark.parametrize(
    ("store_name", "examples"),
    [
        ("sqlite", 25),
        *(pytest.param(name, EXAMPLES // 4 if name == "shared" else EXAMPLES, marks=pytest.mark.slow) for name in REAL),
    ],
)
def test_a_store_answers_as_the_model(store_name: str, examples: int) -> None:
    """The results agree for appends, repeats, conflicts, filters, pages, orders, snapshots, counts, graphs, flows and
    maps."""
    print(f"WHENCE_TEST_SEED={SEED}")
    assert run_oracle(store_name, examples, SEED) >= examples


ONE_IN = {"sqlite": 1, "postgres": 1} if soak() else {"sqlite": 15, "postgres": 40}
"""A trial takes up to half a minute. The tests of the contract catch every mutant, so the oracle tries some of them; in
its long form, all."""

RARE = () if LONG else (mutants.merge_skips_twice,)
"""It shows only in a page of several types or actors that has an offset. Few of the short histories ask for one."""

BROKEN = [
    (store, mutant)
    for number, mutant in enumerate((*mutants.ALL, *cause_mutants.UNSOUND))
    for store in mutant.breaks
    if number % ONE_IN[store] == 1 % ONE_IN[store] and mutant not in RARE
]


@pytest.mark.slow
@pytest.mark.parametrize(("store_name", "mutant"), BROKEN, ids=[f"{name}-{each.__name__}" for name, each in BROKEN])
def test_a_broken_store_is_told_from_the_model(store_name: str, mutant: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short run finds each mutant, by a difference from the model or by an error of the broken store."""
    mutant(monkeypatch)
    with pytest.raises((AssertionError, WhenceError, LookupError)):
        run_oracle(store_name, EXAMPLES_OF_MUTANT, 1, shrink=False)

"""Lays a trace out as a story: which events get a row, which fold, and how deep a row stands. Pure.

Order follows cause, never the clock. The causes of the event in question, and it, form one straight line. Below it, a
row stands further in only where an event has two or more effects. A start and its end share a row, unless that would
hide what a failure was about. Rows that say the same of the same object are joined into one. Calm stretches are folded
into a row that counts them. A failure is never folded away.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import msgspec

from whence.cli.graph_text import chain_of, effects_of
from whence.sentences import Sentence
from whence.wire.trace_bodies import NodeBody, TraceBody

__all__ = [
    "Fold",
    "More",
    "ObjectOf",
    "Row",
    "Story",
    "StoryStep",
    "failures_apart",
    "joined",
    "objects_in",
    "runs_joined",
    "story_of",
]

_CLOSE = 9
"""Causes of the event in question, nearest first, that are never folded."""

_NEAR_FAILURE = 2
"""Rows on either side of a failure that are never folded."""

_FOLDED_MIN = 3
_EFFECTS_MAX = 5
"""Effects of one event that are shown; further ones are counted, failures are shown first."""

_START = ".started"


ObjectOf = Callable[[NodeBody], str]
"""What an event is about, equal for events of the same object; empty if it is about nothing, or if that is unknown."""


class Row(msgspec.Struct, frozen=True):
    """One event, or a start and its `end`. `level` is how far in it stands. `begins`: it is one of several effects of
    its cause, and so begins a branch; `is_last` that no further one follows the branch in which it stands. `repeats`
    are the further rows of a run, which this row stands for too."""

    node: NodeBody
    end: NodeBody | None = None
    level: int = 0
    is_last: bool = True
    begins: bool = False
    repeats: tuple["Row", ...] = ()

    @property
    def rows(self) -> tuple["Row", ...]:
        """The rows of the run, in order; a row that stands for itself alone."""
        return (self, *self.repeats)

    @property
    def last(self) -> NodeBody:
        """The event that the row ends with."""
        row = self.rows[-1]
        return row.end or row.node

    @property
    def failed(self) -> bool:
        """Whether one of its events is a failure."""
        return any(node.outcome == "failure" for node in self.nodes)

    @property
    def nodes(self) -> tuple[NodeBody, ...]:
        """Its events."""
        return tuple(node for row in self.rows for node in (row.node, row.end) if node is not None)


class Fold(msgspec.Struct, frozen=True):
    """A calm stretch of rows."""

    rows: tuple[Row, ...]

    @property
    def level(self) -> int:
        """How far in it stands."""
        return self.rows[0].level

    @property
    def nodes(self) -> tuple[NodeBody, ...]:
        """All of its events."""
        return tuple(node for row in self.rows for node in row.nodes)


class More(msgspec.Struct, frozen=True):
    """Effects of one event that are not shown, and how many failures there are among them and what they led to."""

    effects: int
    failures: int
    level: int


StoryStep = Row | Fold | More


class Story(msgspec.Struct, frozen=True):
    """The rows above the event in question, its own, and those below it."""

    because: Sequence[StoryStep]
    focus: Row
    led_to: Sequence[StoryStep]

    @property
    def rows(self) -> list[Row]:
        """The rows that show an event, in order."""
        return [step for step in (*self.because, self.focus, *self.led_to) if isinstance(step, Row)]


def objects_in(sentences: Mapping[str, Sentence]) -> ObjectOf:
    """What events are about whose sentences are here, by id: the name in the payload, else the resource."""

    def object_of(node: NodeBody) -> str:
        sentence = sentences.get(node.id)
        if sentence is None or not sentence.object:
            return ""
        return sentence.object if sentence.is_named else f"{node.resource_type}/{node.resource_id}"

    return object_of


def story_of(trace: TraceBody, object_of: ObjectOf | None = None, *, full: bool = False) -> Story:
    """The story of a trace. Runs are joined if `object_of` is given. With `full`, nothing is joined or folded, and
    every effect is shown.
    """
    chain = chain_of(trace)
    if full:
        return Story(_paired(chain), Row(chain[-1]), list(_tree(trace, None, full=True)))
    above: list[StoryStep] = _paired(chain)
    below: list[StoryStep] = list(_tree(trace, object_of, full=False))
    if object_of is not None:
        above, below = _causes_joined(above, object_of), _chains_joined(below, object_of)
    first = {0, 1} if chain[0].id == trace.root_id else set[int]()
    because = _folded(above, first | set(range(len(above) - _CLOSE, len(above))))
    after_root = {0} if trace.event_id == trace.root_id else set[int]()
    return Story(because, Row(chain[-1]), _folded(below, after_root | {len(below) - 1}))


def runs_joined(story: Story, object_of: ObjectOf) -> Story:
    """The story with the runs joined among the rows that it shows."""
    return msgspec.structs.replace(
        story, because=_causes_joined(story.because, object_of), led_to=_chains_joined(story.led_to, object_of)
    )


def failures_apart(story: Story, detailed: Collection[str]) -> Story:
    """The story with two rows for each start and its failure, if the start is among `detailed`, the ids of events whose
    sentences have a detail, or if they have different actors.
    """
    return msgspec.structs.replace(
        story, because=_parted(story.because, detailed), led_to=_parted(story.led_to, detailed)
    )


def _parted(steps: Sequence[StoryStep], detailed: Collection[str]) -> list[StoryStep]:
    found: list[StoryStep] = []
    for step in steps:
        end = step.end if isinstance(step, Row) else None
        if not isinstance(step, Row) or end is None or end.outcome != "failure":
            found.append(step)
            continue
        same_actor = (step.node.actor_type, step.node.actor_id) == (end.actor_type, end.actor_id)
        if same_actor and step.node.id not in detailed:
            found.append(step)
            continue
        alone = msgspec.structs.replace(step, end=None)
        found += [alone, msgspec.structs.replace(alone, node=end, begins=False)]
    return found


def _tree(trace: TraceBody, object_of: ObjectOf | None, *, full: bool) -> Iterator[Row | More]:
    """The effects of the event in question, each after its cause, and those of one cause in the order of time."""
    effects: dict[str | None, list[NodeBody]] = defaultdict(list)
    for node in effects_of(trace):
        effects[node.causation_id].append(node)
    root = Row(next(node for node in trace.nodes if node.id == trace.event_id))
    waiting = _shown(root, effects, object_of, full=full)[::-1]
    while waiting:
        step = waiting.pop()
        yield step
        if isinstance(step, Row):
            waiting += _shown(step, effects, object_of, full=full)[::-1]


_Effects = Mapping[str | None, Sequence[NodeBody]]


def _shown(cause: Row, effects: _Effects, object_of: ObjectOf | None, *, full: bool) -> list[Row | More]:
    """The rows of the effects of one event: a lone one on the line of its cause, several further in."""
    found = effects.get(cause.last.id, ())
    if len(found) == 1:
        return [_with_end(Row(found[0], level=cause.level, is_last=cause.is_last), effects)]
    level = cause.level + 1
    rows = [_with_end(Row(node, level=level, is_last=node is found[-1], begins=True), effects) for node in found]
    if object_of is not None:
        rows = _leaves_joined(rows, object_of)
    if full or len(rows) <= _EFFECTS_MAX:
        return [*rows]
    first = sorted(rows, key=lambda row: (row.node.outcome != "failure", not row.node.failures_below))[:_EFFECTS_MAX]
    kept = {row.node.id for row in first}
    hidden = [row.node for each in rows if each.node.id not in kept for row in each.rows]
    failures = sum((node.outcome == "failure") + node.failures_below for node in hidden)
    shown = (msgspec.structs.replace(row, is_last=False) for row in rows if row.node.id in kept)
    return [*shown, More(len(hidden), failures, level)]


def _with_end(row: Row, effects: _Effects) -> Row:
    """The row of a start with its end, if that is what directly follows."""
    later = effects.get(row.node.id, ())
    return msgspec.structs.replace(row, end=later[0]) if len(later) == 1 and _is_end(row.node, later[0]) else row


def _paired(chain: Sequence[NodeBody]) -> list[StoryStep]:
    """The rows of the causes of the last event in a chain. Each end is in the row of its start if it directly follows;
    the nearest cause stays alone.
    """
    rows: list[StoryStep] = []
    for node in chain[:-1]:
        start = rows[-1] if rows else None
        is_nearest = node is chain[-2]
        if isinstance(start, Row) and start.end is None and not is_nearest and _is_end(start.node, node):
            rows[-1] = msgspec.structs.replace(start, end=node)
        else:
            rows.append(Row(node))
    return rows


def _is_end(one: NodeBody, other: NodeBody) -> bool:
    return (
        one.event_type.endswith(_START)
        and not other.event_type.endswith(_START)
        and other.causation_id == one.id
        and one.effects == 1
        and (one.resource_type, one.resource_id) == (other.resource_type, other.resource_id)
        and one.event_type.rpartition(".")[0] == other.event_type.rpartition(".")[0]
    )


def joined(row: Row, later: Row, object_of: ObjectOf) -> Row | None:
    """One row for both if they say the same: the same actors did the same to the same object, and all went well."""
    before = row.rows[-1]
    nodes, others = (before.node, before.end), (later.node, later.end)
    is_alike = (
        all(_kind(one) == _kind(other) for one, other in zip(nodes, others, strict=True))
        and not (before.failed or later.failed or _is_doubtful(before) or _is_doubtful(later))
        and object_of(before.node) == object_of(later.node) != ""
    )
    if not is_alike:
        return None
    return msgspec.structs.replace(row, repeats=(*row.repeats, *later.rows), is_last=later.is_last)


def _kind(node: NodeBody | None) -> tuple[str, str, str] | None:
    return None if node is None else (node.event_type, node.actor_type, node.actor_id)


def _causes_joined(steps: Sequence[StoryStep], object_of: ObjectOf) -> list[StoryStep]:
    """The rows of causes with their runs joined. The first one and the nearest cause stay alone."""
    return [*steps[:1], *_chains_joined(steps[1:-1], object_of), *steps[1:][-1:]]


def _chains_joined(steps: Sequence[StoryStep], object_of: ObjectOf) -> list[StoryStep]:
    """The steps with each run of rows, of which each is the only effect of the one before, in one row."""
    found: list[StoryStep] = []
    for step in steps:
        row = found[-1] if found else None
        run = None
        if isinstance(row, Row) and isinstance(step, Row) and step.node.causation_id == row.last.id and not step.begins:
            run = joined(row, step, object_of)
        if run is None:
            found.append(step)
        else:
            found[-1] = run
    return found


def _leaves_joined(rows: Sequence[Row], object_of: ObjectOf) -> list[Row]:
    """The effects of one event with each run of those, that led to nothing themselves, in one row."""
    found: list[Row] = []
    for row in rows:
        run = None
        if found and not (found[-1].last.effects or row.last.effects):
            run = joined(found[-1], row, object_of)
        if run is None:
            found.append(row)
        else:
            found[-1] = run
    return found


def _folded(steps: Sequence[StoryStep], kept: set[int]) -> list[StoryStep]:
    """The steps with each stretch of three or more in one row, apart from those at `kept` and near a failure."""
    failures = [number for number, step in enumerate(steps) if not _is_calm(step)]
    near = {number + distance for number in failures for distance in range(-_NEAR_FAILURE, _NEAR_FAILURE + 1)}
    found: list[StoryStep] = []
    stretch: list[Row] = []

    def end_stretch() -> None:
        found.extend([Fold(tuple(stretch))] if len(stretch) >= _FOLDED_MIN else stretch)
        stretch.clear()

    for number, step in enumerate(steps):
        if number in kept or number in near or not isinstance(step, Row) or _is_doubtful(step):
            end_stretch()
            found.append(step)
            continue
        if stretch and stretch[0].level != step.level:
            end_stretch()
        stretch.append(step)
    end_stretch()
    return found


def _is_calm(step: StoryStep) -> bool:
    if isinstance(step, More):
        return not step.failures
    return not any(node.outcome == "failure" for node in step.nodes)


def _is_doubtful(row: Row) -> bool:
    return any(node.skewed or node.other_flow or node.cycle for node in row.nodes)

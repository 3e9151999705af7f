"""Lays a trace out as a story: which events get a row, which fold, and how deep a row stands. Pure.

Order follows cause, never the clock. The causes of the event in question, and it, form one straight line. Below it, a
row stands further in only where an event has two or more effects. A start and its end share a row, unless that would
hide what a failure was about. Calm stretches are folded into a row that counts them. A failure is never folded away.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

import msgspec

from whence.cli.graph_text import chain_of, effects_of
from whence.wire.traces import NodeBody, TraceBody

__all__ = ["Fold", "More", "Row", "Step", "Story", "failures_apart", "story_of"]

_CLOSE = 9
"""Causes of the event in question, nearest first, that are never folded."""

_NEAR_FAILURE = 2
"""Rows on either side of a failure that are never folded."""

_FOLDED_MIN = 3
_EFFECTS_MAX = 5
"""Effects of one event that are shown; further ones are counted, failures are shown first."""

_START = ".started"


class Row(msgspec.Struct, frozen=True):
    """One event, or a start and its `end`. `level` is how far in it stands. `begins`: it is one of several effects of
    its cause, and so begins a branch; `is_last` that no further one follows the branch in which it stands."""

    node: NodeBody
    end: NodeBody | None = None
    level: int = 0
    is_last: bool = True
    begins: bool = False

    @property
    def last(self) -> NodeBody:
        """The event that the row ends with."""
        return self.end or self.node

    @property
    def failed(self) -> bool:
        """Whether one of its events is a failure."""
        return any(node.outcome == "failure" for node in self.nodes)

    @property
    def nodes(self) -> tuple[NodeBody, ...]:
        """Its events."""
        return (self.node,) if self.end is None else (self.node, self.end)


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


Step = Row | Fold | More


class Story(msgspec.Struct, frozen=True):
    """The rows above the event in question, its own, and those below it."""

    because: Sequence[Step]
    focus: Row
    led_to: Sequence[Step]

    @property
    def rows(self) -> list[Row]:
        """The rows that show an event, in order."""
        return [step for step in (*self.because, self.focus, *self.led_to) if isinstance(step, Row)]


def story_of(trace: TraceBody, *, full: bool = False) -> Story:
    """The story of a trace. With `full`, nothing is folded and every effect is shown."""
    chain = chain_of(trace)
    above = _paired([Row(node) for node in chain[:-1]], kept=len(chain) - 2)
    below = _paired(list(_tree(trace, full=full)), kept=-1)
    if full:
        return Story(above, Row(chain[-1]), below)
    first = {0, 1} if chain[0].id == trace.root_id else set[int]()
    because = _folded(above, first | set(range(len(above) - _CLOSE, len(above))))
    after_root = {0} if trace.event_id == trace.root_id else set[int]()
    return Story(because, Row(chain[-1]), _folded(below, after_root | {len(below) - 1}))


def failures_apart(story: Story, detailed: Collection[str]) -> Story:
    """The story with two rows for each start and its failure, if the start is among `detailed`, the ids of events whose
    sentences have a detail, or if they have different actors.
    """
    return msgspec.structs.replace(
        story, because=_parted(story.because, detailed), led_to=_parted(story.led_to, detailed)
    )


def _parted(steps: Sequence[Step], detailed: Collection[str]) -> list[Step]:
    found: list[Step] = []
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


def _tree(trace: TraceBody, *, full: bool) -> Iterator[Row | More]:
    """The effects of the event in question, each after its cause, and those of one cause in the order of time."""
    effects: dict[str | None, list[NodeBody]] = defaultdict(list)
    for node in effects_of(trace):
        effects[node.causation_id].append(node)
    root = Row(next(node for node in trace.nodes if node.id == trace.event_id))
    waiting: list[Row | More] = _shown(effects[trace.event_id], root, full=full)[::-1]
    while waiting:
        step = waiting.pop()
        yield step
        if isinstance(step, Row):
            waiting += _shown(effects[step.node.id], step, full=full)[::-1]


def _shown(effects: list[NodeBody], cause: Row, *, full: bool) -> list[Row | More]:
    """The rows of the effects of one event: a lone one on the line of its cause, several further in."""
    level = cause.level
    if len(effects) == 1:
        return [Row(effects[0], level=level, is_last=cause.is_last)]
    shown = effects
    if not full and len(effects) > _EFFECTS_MAX:
        first = sorted(effects, key=lambda node: (node.outcome != "failure", not node.failures_below))[:_EFFECTS_MAX]
        shown = [node for node in effects if node in first]
    rows: list[Row | More] = [Row(node, level=level + 1, is_last=node is effects[-1], begins=True) for node in shown]
    hidden = [node for node in effects if node not in shown]
    if hidden:
        failures = sum((node.outcome == "failure") + node.failures_below for node in hidden)
        rows.append(More(len(hidden), failures, level + 1))
    return rows


def _paired(steps: Sequence[Row | More], kept: int) -> list[Row | More]:
    """The steps with each end, that directly follows its start, in the row of the start. That at `kept` stays alone."""
    found: list[Row | More] = []
    for number, step in enumerate(steps):
        start = found[-1] if found else None
        if isinstance(start, Row) and isinstance(step, Row) and number != kept and _is_end(start, step):
            found[-1] = msgspec.structs.replace(start, end=step.node)
        else:
            found.append(step)
    return found


def _is_end(start: Row, end: Row) -> bool:
    one, other = start.node, end.node
    return (
        start.end is None
        and start.level == end.level
        and one.event_type.endswith(_START)
        and not other.event_type.endswith(_START)
        and other.causation_id == one.id
        and one.effects == 1
        and (one.resource_type, one.resource_id) == (other.resource_type, other.resource_id)
        and one.event_type.rpartition(".")[0] == other.event_type.rpartition(".")[0]
    )


def _folded(steps: Sequence[Row | More], kept: set[int]) -> list[Step]:
    """The steps with each stretch of three or more in one row, apart from those at `kept` and near a failure."""
    failures = [number for number, step in enumerate(steps) if not _is_calm(step)]
    near = {number + distance for number in failures for distance in range(-_NEAR_FAILURE, _NEAR_FAILURE + 1)}
    found: list[Step] = []
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


def _is_calm(step: Row | More) -> bool:
    return not (step.failed if isinstance(step, Row) else step.failures)


def _is_doubtful(row: Row) -> bool:
    return any(node.skewed or node.other_flow or node.cycle for node in row.nodes)

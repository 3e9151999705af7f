"""Renders a story as text for a terminal of a given width, and the paragraph that sums it up. Pure.

The line of causes is solid above the event in question and dotted below it. Rows are cut at the width, but for the
event, its cause and failures, which are wrapped.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Protocol

import msgspec

from whence.cli.graph_text import chain_of, effects_of, reference, span
from whence.cli.layout import Style, cut, wrapped
from whence.cli.story import Fold, Row, Story, StoryStep
from whence.cli.terminal import printable
from whence.counting import counted
from whence.identities import is_uuid
from whence.sentences import Grammar, Sentence
from whence.wire.trace_bodies import NodeBody, TraceBody

__all__ = [
    "NO_ID",
    "SOLID",
    "RowContext",
    "StoryColumns",
    "StoryContext",
    "ended",
    "headline",
    "led_to_lines",
    "short_clause",
    "since",
    "story_lines",
    "summary",
]

SOLID, _DOTTED, _LAST = "│", "┊", "└"
NO_ID = "is not an event's id"
"""Said of a cause that can be no event of the log, since it is no UUID."""

_FAILED = "✗"
_COMPLETED = "completed"
_LEVELS_MAX = 8
"""Deeper rows stand no further in, and begin with their level."""

_HANGING = 2
"""Columns by which wrapped lines stand further in."""

_GAP_LEAST_US = 10_000_000
_GAP_OF_MEDIAN = 8


class StoryContext(msgspec.Struct, frozen=True):
    """What is needed to tell a trace: the sentences of its events by id, and the form of the output."""

    trace: TraceBody
    sentences: Mapping[str, Sentence]
    grammar: Grammar
    style: Style
    full: bool = False
    notes: Mapping[str, str] = {}


class RowContext(Protocol):
    """What rows need: the sentences of events and notes on them by id, and the form of the output."""

    @property
    def sentences(self) -> Mapping[str, Sentence]:
        """The sentences by the ids of events."""
        ...

    @property
    def grammar(self) -> Grammar:
        """The words of sentences."""
        ...

    @property
    def style(self) -> Style:
        """The width and the colours."""
        ...

    @property
    def full(self) -> bool:
        """Whether no row is cut."""
        ...

    @property
    def notes(self) -> Mapping[str, str]:
        """What is to be said of single events, by their ids."""
        ...


# ------------------------------------------------------------------------------------------------------------- summary


def summary(context: StoryContext) -> str:
    """What happened, because of what, how far back the root lies, and what it led to, in whole sentences."""
    trace = context.trace
    chain = chain_of(trace)
    parts = [ended(headline(context.sentences[trace.event_id])), _because(context, chain), _root(trace, chain)]
    parts.append(_effects(trace, chain[-1]))
    return printable(" ".join(part for part in parts if part))


def headline(sentence: Sentence) -> str:
    """The sentence without a full stop. That of a failure begins with what failed."""
    if not (sentence.is_failure and sentence.object):
        return str(sentence).rstrip(".")
    if not sentence.is_verb:
        why = f": {sentence.shown_detail}" if sentence.detail else ""
        return f"{sentence.actor}: {sentence.verb} {sentence.object}{why}".rstrip(".")
    detail = f": {sentence.shown_detail}" if sentence.detail else ""
    return f"{sentence.object} {sentence.verb}{detail}".rstrip(".")


def _because(context: StoryContext, chain: Sequence[NodeBody]) -> str:
    """At most two causes, the nearest first."""
    names = [context.sentences[node.id] for node in chain[:-1][::-1][:2]]
    if not names:
        return ""
    clauses, object_ = [], context.sentences[context.trace.event_id].object
    for sentence in names:
        named = msgspec.structs.replace(sentence, object="it") if object_ and sentence.object == object_ else sentence
        clauses.append(f"because {short_clause(named)}")
    return ended(f"That is {', '.join(clauses)}")


def ended(text: str) -> str:
    """The sentence with a full stop, unless a quotation ends it."""
    return text if text.endswith((".", ".”", "!”", "?”", "…”")) else f"{text}."


def short_clause(sentence: Sentence) -> str:
    """The sentence without its detail; of what somebody said, with the first sentence."""
    detail = _first_sentence(sentence.detail) if sentence.is_quote else ""
    return str(msgspec.structs.replace(sentence, detail=detail))


def _first_sentence(text: str) -> str:
    ends = [place for mark in ".!?" if (place := text.find(f"{mark} ")) >= 0]
    return text[: min(ends) + 1] if ends else text


def _root(trace: TraceBody, chain: Sequence[NodeBody]) -> str:
    hops, at_root = trace.summary.hops, chain[0].id == trace.root_id
    missing = trace.missing[0] if trace.missing and at_root else None
    absent = "has not arrived" if chain[-1].position is not None else "has not arrived, or this key may not read it"
    if missing is not None and not is_uuid(missing):
        absent = NO_ID
    if len(chain) == 1 and at_root and trace.root_known:
        return "Nothing came before it: it is the root." if missing is None else f"Its cause {missing} {absent}."
    lasted_us = chain[-1].since_root_us - chain[0].since_root_us
    back = f"{counted(hops, 'hop')} back, and by its clock {span(-lasted_us)} later"
    if lasted_us >= 0:
        back = f"{counted(hops, 'hop')} and {span(lasted_us)} back"
    failed = sum(node.outcome == "failure" for node in chain[:-1])
    also = f"; {counted(failed, 'cause')} on the way failed too" if failed else ""
    if not (trace.root_known and at_root):
        return f"The first known cause lies at least {back}{also}."
    if missing is not None:
        return f"The first known cause lies {back}{also}. The cause of that, {missing}, {absent}."
    return f"The root lies {back}{also}."


def _effects(trace: TraceBody, event: NodeBody) -> str:
    if not event.all_effects:
        return "It has led to nothing so far."
    least = "at least " if trace.at_least else ""
    lasted = max((node.since_root_us for node in effects_of(trace)), default=event.since_root_us) - event.since_root_us
    failed = f", and {least}{event.failures_below:,} of them failed" if event.failures_below else ""
    return f"It led to {least}{counted(event.all_effects, 'event')} in {span(lasted)}{failed}."


# ---------------------------------------------------------------------------------------------------------------- rows


def story_lines(story: Story, context: StoryContext) -> list[str]:
    """The story from the root to the last effect, with a heading above the causes and one above the effects."""
    columns = _columns(story, context)
    lines = []
    if story.because:
        lines += [columns.heading("Because", *_causes(context.trace)), *columns.lines(story.because, SOLID)]
    lines += columns.row(story.focus, SOLID, is_focus=True)
    if story.led_to:
        lines += [columns.heading("Led to", *_effects_read(context.trace)), *columns.lines(story.led_to, _DOTTED)]
    return lines


def _causes(trace: TraceBody) -> tuple[int, int]:
    """How many causes the trace holds, and how many there are."""
    read = len(chain_of(trace)) - 1
    return read, max(read, trace.summary.hops)


def _effects_read(trace: TraceBody) -> tuple[int, int]:
    """How many effects the trace holds, and how many there are."""
    read = len(effects_of(trace))
    event = next(node for node in trace.nodes if node.id == trace.event_id)
    return read, max(read, event.all_effects)


def led_to_lines(story: Story, context: StoryContext) -> list[str]:
    """The effects alone."""
    return list(_columns(story, context).lines(story.led_to, _DOTTED))


def _columns(story: Story, context: StoryContext) -> "StoryColumns":
    return StoryColumns(story.rows, context, frozenset(node.id for node in chain_of(context.trace)[-2:]))


class StoryColumns:
    """The columns of a story: reference, time since the root, the line of causes, and the sentence."""

    def __init__(self, rows: Sequence[Row], context: RowContext, important: frozenset[str]) -> None:
        """Columns that fit these rows. The events in `important`, by id, are wrapped and not cut."""
        self._context, self._style, self._important = context, context.style, important
        self._wide_ref = max(len(reference(row.last)) for row in rows)
        self._wide_time = max(len(since(row.node.since_root_us)) for row in rows)
        steps = [later.node.since_root_us - row.last.since_root_us for row, later in pairwise(rows)]
        self._gap_us = max(_GAP_LEAST_US, _GAP_OF_MEDIAN * median(steps)) if steps else float("inf")
        self._before: Row | None = None
        self._goes_on: list[bool] = []
        """For each level of the last row, whether a later row joins its line."""

    def heading(self, words: str, events: int, of: int) -> str:
        """A line of its own, with the number of events that follow, of how many there are."""
        margin = " " * (self._wide_ref + self._wide_time + 2)
        number = counted(of, "event") if events >= of else f"{events:,} of {counted(of, 'event')}"
        return f"{margin} {self._style.strong(words)} {number}"

    def lines(self, steps: Sequence[StoryStep], spine: str) -> Iterator[str]:
        """The lines of some steps."""
        for step in steps:
            if isinstance(step, Row):
                yield from self.row(step, spine)
            elif isinstance(step, Fold):
                yield self._aside(spine, step.level, f"┈ {self._folded(step)}", _fold_corner(step))
                self._enter(step.rows[-1])
            else:
                failed = f", {step.failures:,} failed" if step.failures else ""
                yield self._aside(spine, step.level, f"+{step.effects:,} more{failed}", _LAST)

    def row(self, row: Row, spine: str, *, is_focus: bool = False) -> Iterator[str]:
        """The lines of one row, after one that tells of a long time without events."""
        later_us = row.node.since_root_us - self._before.last.since_root_us if self._before is not None else 0
        if later_us >= self._gap_us:
            yield self._aside(spine, row.level, f"{span(later_us)} later")
        self._enter(row)
        style, context = self._style, self._context
        mark = style.failure(_FAILED) if row.failed else " "
        left = f"{reference(row.last):>{self._wide_ref}} {since(row.node.since_root_us):>{self._wide_time}} "
        line = f"{spine}{self._guide(row.level, _corner(row))}"
        words, suffix = printable(self._words(row)), printable(self._suffix(row))
        used = len(left) + len(line) + 2
        important = is_focus or row.failed or row.node.id in self._important or context.full
        if style.width is None:
            pieces = [words + suffix]
        elif important:
            pieces = wrapped(words + suffix, style.width - used - _HANGING)
        else:
            pieces = [cut(words, style.width - used - len(suffix)) + suffix]
        first = style.strong(pieces[0]) if is_focus else pieces[0]
        yield f"{style.faint(left)}{line}{mark} {first}"
        hanging = f"{' ' * len(left)}{spine}{self._guide(row.level, self._line_at(row.level))}{' ' * (2 + _HANGING)}"
        for piece in pieces[1:]:
            yield f"{hanging}{style.strong(piece) if is_focus else piece}"

    def _words(self, row: Row) -> str:
        """What a row says: of a run how many times, and if that differs, in which detail the last time."""
        sentences = self._context.sentences
        shown = row.rows[-1]
        sentence = sentences[shown.node.id]
        if row.repeats:
            said = {tuple(sentences[node.id].detail for node in (each.node, each.end) if node) for each in row.rows}
            last = ", last" if len(said) > 1 else ""
            sentence = msgspec.structs.replace(sentence, object=f"{sentence.object} ×{len(row.rows):,}{last}")
        if shown.end is None:
            return str(sentence)
        end = sentences[shown.end.id]
        if end.verb != _COMPLETED:  # how it ended says more than what went in
            return f"{msgspec.structs.replace(sentence, detail='')} {end.verb} {end.shown_detail}".rstrip()
        return f"{sentence} → {end.shown_detail}" if end.detail else str(sentence)

    def _suffix(self, row: Row) -> str:
        """How long the row took, and what is doubtful of its links. It is never cut off."""
        notes = [span(row.last.since_root_us - row.node.since_root_us)] if row.end or row.repeats else []
        notes += [doubt for node in row.nodes for doubt in doubts_of(node)]
        notes += [self._context.notes[node.id] for node in row.nodes if node.id in self._context.notes]
        return f" ({'; '.join(notes)})" if notes else ""

    def _folded(self, fold: Fold) -> str:
        lasted = fold.rows[-1].last.since_root_us - fold.rows[0].node.since_root_us
        about = Counter[str]()
        seen = set[tuple[str, str]]()
        for node in fold.nodes:
            if node.resource_type in self._context.grammar.without_object:
                about["message"] += 1
            elif (node.resource_type, node.resource_id) not in seen:
                seen.add((node.resource_type, node.resource_id))
                about[node.resource_type.replace("_", " ")] += 1
        kinds = ", ".join(counted(number, noun) for noun, number in about.most_common())
        return f"{counted(len(fold.nodes), 'event')}: {kinds}, {span(lasted)}"

    def _aside(self, spine: str, level: int, words: str, corner: str = "") -> str:
        margin = " " * (self._wide_ref + self._wide_time + 2)
        guide = self._guide(level, corner or self._line_at(level))
        return f"{margin}{spine}{guide}  {self._style.faint(printable(words))}"

    def _enter(self, row: Row) -> None:
        """Take note of the row that was shown last, and of the lines that pass by below it."""
        self._before = row
        missing = row.level - len(self._goes_on)
        self._goes_on = [*self._goes_on[: row.level], *([False] * missing)]
        if row.level:
            self._goes_on[-1] = not row.is_last

    def _line_at(self, level: int) -> str:
        """What stands at this level below the last row: its line, or nothing."""
        return SOLID if 0 < level <= len(self._goes_on) and self._goes_on[level - 1] else " "

    def _guide(self, level: int, corner: str) -> str:
        """The lines of the branches around a row of this level, and its own corner."""
        if not level:
            return ""
        around = "".join(f" {self._line_at(each)}" for each in range(1, min(level, _LEVELS_MAX + 1)))
        return f"{around}{level}{corner}" if level > _LEVELS_MAX else f"{around} {corner}"


def doubts_of(node: NodeBody) -> list[str]:
    """What is to be known of the link from an event to its cause."""
    doubts = []
    if node.skewed and node.since_cause_us is not None:
        doubts.append(f"{span(-node.since_cause_us)} before its cause")
    if node.other_flow:
        doubts.append("in another flow than its cause")
    if node.cycle:
        doubts.append("its cause is one of its own effects: cut here")
    return doubts


def since(us: int) -> str:
    """A time since the root: +0:06.8, +1:02:03 or +2d 03:04."""
    sign, tenths = ("-" if us < 0 else "+"), abs(us) // 100_000
    seconds, tenth = divmod(tenths, 10)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{sign}{minute}:{second:02}.{tenth}"
    days, hour = divmod(hours, 24)
    return f"{sign}{days}d {hour:02}:{minute:02}" if days else f"{sign}{hour}:{minute:02}:{second:02}"


def _fold_corner(fold: Fold) -> str:
    """What stands before a stretch that is further in: the corner of a branch, if one begins in it."""
    begins = any(row.begins for row in fold.rows)
    return _corner(msgspec.structs.replace(fold.rows[-1], begins=begins))


def _corner(row: Row) -> str:
    """What stands before a row that is further in: where its branch begins a corner, and then the line that goes on."""
    if row.begins:
        return _LAST if row.is_last else "├"
    return " " if row.is_last else SOLID

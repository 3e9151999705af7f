"""The command `tail`: the last events, and then those that are stored."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from whence.cli import INTERRUPTED
from whence.cli.event_rows import EVENT_COLUMNS, EventColumns, EventTable, chosen_columns, load_words, rows_of
from whence.cli.events import QueryOptions
from whence.cli.layout import style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import out, out_json, printable, say
from whence.client import Whence, follow_request, list_request, parse_body, parse_page
from whence.errors import Invalid, PositionGone, WhenceError
from whence.wire.bodies import EventBody, FeedBody

__all__ = ["tail"]

_SHOWN = 10
_PART = 1_000


def tail(
    *,
    filters: QueryOptions | None = None,
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with the events that are stored from now on.")
    ] = False,
    limit: Annotated[
        int | None, Parameter(name=["--limit", "-n"], help="The number of events to begin with, 1 to 100. Default: 10.")
    ] = None,
    since: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            help="Begin with the first event that was recorded since this time: RFC 3339, a date, or like -15m.",
        ),
    ] = None,
    after: Annotated[str | None, Parameter(help="Begin after this position, where an earlier tail ended.")] = None,
    columns: EventColumns = None,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print each event as JSON, one a line.")] = False,
    server: ServerOptions | None = None,
) -> int:
    """Show the last events, the newest at the end, and with -f those that are stored from now on.

    An interrupted tail says how to go on without missing an event.
    """
    if sum(each is not None for each in (limit, since, after)) > 1:
        raise Invalid.at((), "Pass only one of --limit, --since and --after.")
    shown = _Shown(EventTable(style_of_stdout(), chosen_columns(columns, EVENT_COLUMNS, json=json)), json=json)
    with client_for(server) as whence:
        asked: dict[str, Any] = (filters or QueryOptions()).resolved(whence) | {"include": "outcome,position"}
        tailing = _Tail(whence, asked, after, since)
        try:
            for events in tailing.parts(_SHOWN if limit is None else limit, follow=follow):
                shown.show(events)
        except KeyboardInterrupt:
            if tailing.after is not None:
                say(f"Continue with: whence tail -f --after {printable(str(tailing.after))}")
            return INTERRUPTED
        except PositionGone as error:
            if error.resume_after is not None:
                say(f"Continue with what is left: whence tail -f --after {printable(str(error.resume_after))}")
            raise
    return 0


class _Shown:
    """Prints events as they come."""

    def __init__(self, table: EventTable, *, json: bool) -> None:
        self._table, self._json, self._words = table, json, load_words()

    def show(self, events: Iterable[EventBody]) -> None:
        """Print events at once."""
        if self._json:
            lines = b"\n".join(map(msgspec.json.encode, events))
            if lines:
                out_json(lines)
            return
        rows = rows_of(events, self._words)
        if rows:
            out("\n".join(self._table.lines(rows)))


class _Tail:
    """Reads the events of a tail, and knows after which place it goes on."""

    def __init__(self, whence: Whence, asked: dict[str, Any], after: str | None, since: str | None) -> None:
        self.after: int | str | None = after
        self._whence, self._asked, self._since = whence, asked, since
        self._begun: frozenset[str] = frozenset()
        self._is_lost = False

    def parts(self, limit: int, *, follow: bool) -> Iterator[list[EventBody]]:
        """The events in groups: from the place that was given, or the last ones; then those to come, if wanted."""
        if self.after is None and self._since is None:
            yield self._last_ones(limit)
        else:
            yield from self._to_the_end()
        if follow:
            yield from self._to_come()

    def _last_ones(self, limit: int) -> list[EventBody]:
        """The last events. Their end is asked for first: what is stored meanwhile may be among them and come again."""
        self.after = self._part({"from": "now"}).next_after
        page = parse_page(self._whence.send(list_request(**self._asked, limit=limit)))
        self._begun = frozenset(event.id for event in page.events)
        return list(reversed(page.events))

    def _to_the_end(self) -> Iterator[list[EventBody]]:
        """What is there now, part by part."""
        start: dict[str, Any] = {"from": self._since} if self.after is None else {"after": self.after}
        while True:
            part = self._part(start)
            yield part.events
            self.after = part.next_after
            if not part.has_more:
                return
            start = {"after": self.after}

    def _part(self, start: dict[str, Any]) -> FeedBody:
        request = follow_request(**self._asked, **start, limit=_PART)
        return parse_body(self._whence.send(request), FeedBody)

    def _to_come(self) -> Iterator[list[EventBody]]:
        """One event after the other, without an end."""
        coming = self._whence.follow(on_retry=self._say_lost, after=self.after, **self._asked)
        for event in coming:
            if self._is_lost:
                say("Connected again.")
                self._is_lost = False
            if event.id not in self._begun:
                yield [event]
            self.after = coming.after  # once it is printed

    def _say_lost(self, error: WhenceError) -> None:
        """Say once that the connection is lost, until events come again."""
        if not self._is_lost:
            say(f"{error} Trying again; nothing is missed.")
            self._is_lost = True

"""An independent count over a log file in plain Python, and the requests whose responses it predicts.

It shares no code with the program: lines are parsed by `json`, times by `datetime`, and the rules are written again.
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2

TENANT = "default"
EVENTS = "/api/v1/events"
PAGE = 100

SUCCESS = {"completed", "complete", "succeeded", "approved", "delivered", "verified", "sent"}
FAILURE = {"failed", "errored", "crashed", "denied", "expired", "missed"}


class Row(NamedTuple):
    """The fields of an event that are counted, and its line."""

    at: datetime
    number: int
    event_type: str
    resource_type: str
    resource_id: str
    actor_type: str
    actor_id: str
    outcome: str
    flow: str
    line: bytes


def outcome_of(event_type: str) -> str:
    """The outcome by the last word of the last segment; no event type of this log is in the catalogue."""
    word = event_type.rpartition(".")[2].rpartition("_")[2]
    return "success" if word in SUCCESS else "failure" if word in FAILURE else "none"


def read(path: Path) -> list[Row]:
    """The events of a file in order of time, ties in the order of the file."""
    rows = []
    with gzip.open(path) as lines:
        for number, line in enumerate(lines):
            sent = json.loads(line)
            rows.append(
                Row(
                    datetime.fromisoformat(sent["occurredAt"].replace("Z", "+00:00")),
                    number,
                    intern(sent["eventType"]),
                    intern(sent["resourceType"]),
                    intern(sent["resourceId"]),
                    intern(sent["actorType"]),
                    intern(sent["actorId"]),
                    sent.get("outcome") or outcome_of(sent["eventType"]),
                    intern(sent["correlationId"]),
                    line,
                )
            )
    return sorted(rows, key=lambda row: (row.at, row.number))


def shown(at: datetime) -> str:
    """A time as in responses."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S" + (".%f" if at.microsecond else "") + "Z")


def answered(row: Row) -> dict[str, Any]:
    """The event as in responses: the fields as sent, and its tenant."""
    return {**json.loads(row.line), "occurredAt": shown(row.at), "tenantId": TENANT}


class Question(NamedTuple):
    """A request, its kind, and the response that the count predicts."""

    kind: str
    path: str
    parameters: dict[str, Any]
    answer: dict[str, Any]


def page(rows: Sequence[Row], offset: int, limit: int) -> dict[str, Any]:
    """A page of these rows, which are in the order of the page."""
    events = [answered(row) for row in rows[offset : offset + limit]]
    total = len(rows)
    has_next = offset + len(events) < total
    return {"events": events, "total": total, "limit": limit, "offset": offset, "hasNext": has_next}


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """The response of the aggregate route."""

    def by(field: Callable[[Row], str]) -> list[dict[str, Any]]:
        found = Counter(map(field, rows))
        return [{"key": key, "count": count} for key, count in sorted(found.items(), key=lambda x: (-x[1], x[0]))]

    return {
        "total": len(rows),
        "byEventType": by(lambda row: row.event_type),
        "byResourceType": by(lambda row: row.resource_type),
        "byActorType": by(lambda row: row.actor_type),
    }


def actors(rows: Sequence[Row]) -> dict[str, Any]:
    """The response of the statistics route."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        found.setdefault((row.actor_type, row.actor_id), Counter()).update((row.outcome, "total"))
    stats = [
        {
            "actorType": actor_type,
            "actorId": actor_id,
            "total": count["total"],
            "successes": count["success"],
            "failures": count["failure"],
        }
        for (actor_type, actor_id), count in found.items()
    ]
    return {"actors": sorted(stats, key=lambda stat: (-stat["total"], stat["actorType"], stat["actorId"]))}


class Window(NamedTuple):
    """A time range, and the filters of the request."""

    since: datetime | None
    until: datetime | None
    filters: dict[str, str]

    def parameters(self) -> dict[str, str]:
        ends = {"from": self.since, "to": self.until}
        return {name: at.isoformat() for name, at in ends.items() if at is not None} | self.filters

    def holds(self, row: Row) -> bool:
        inside = (self.since is None or self.since <= row.at) and (self.until is None or row.at < self.until)
        return inside and all(
            row.event_type.startswith(value[:-1]) if value.endswith(".*") else getattr(row, name) == value
            for name, value in self.filters.items()
        )


def windows(rows: Sequence[Row]) -> list[Window]:
    """Windows with odd and even bounds, at the times of events and next to them, with and without filters."""
    at = [rows[len(rows) * part // 12].at for part in range(12)]
    day: dict[str, Any] = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}
    odd = timedelta(minutes=17, seconds=23, microseconds=456_789)
    busiest = Counter((row.actor_type, row.actor_id) for row in rows).most_common(2)[-1][0][1]
    return [
        Window(None, at[3], {}),
        Window(at[2], None, {}),
        Window(at[1], at[9], {}),
        Window(at[4].replace(**day), at[8].replace(**day), {}),
        Window(at[2] - odd, at[2] + odd, {}),
        Window(at[5] - odd, at[10] + odd, {"event_type": "w.*"}),
        Window(at[1], at[6] + odd, {"actor_id": busiest}),
        Window(None, at[7] + odd, {"outcome": "success"}),
        Window(at[3] - odd, None, {"outcome": "none", "resource_type": "action_run"}),
        Window(at[1] - odd, at[11], {"event_type": "a.submitted.complete", "actor_type": "user", "actor_id": busiest}),
        Window(None, at[11], {"actor_type": "system"}),
        Window(at[6], at[6], {}),
    ]


def sought(rows: Sequence[Row]) -> tuple[list[str], list[tuple[str, str]]]:
    """Ten flows and ten resources: the first ones, the largest, and some between."""
    flows = Counter(row.flow for row in rows)
    resources = Counter((row.resource_type, row.resource_id) for row in rows)
    step = len(flows) // 7
    ten_flows = [*list(flows)[:2], *(flow for flow, _ in flows.most_common(2)), *list(flows)[step::step]][:10]
    step = len(resources) // 7
    ten = [*list(resources)[:2], *(each for each, _ in resources.most_common(2)), *list(resources)[step::step]][:10]
    return ten_flows, ten


def questions(rows: Sequence[Row], count: Sequence[Row]) -> Iterator[Question]:
    """Requests that are chosen from `rows`, with responses predicted from `count`, which should be the same events."""
    newest = list(reversed(count))
    yield Question("total", "", {"limit": 1}, page(newest, 0, 1))
    yield Question("aggregate", "/aggregate", {}, counts(count))
    yield Question("actors", "/stats/by-actor", {}, actors(count))
    flows, resources = sought(rows)
    for flow in flows:
        found = [row for row in count if row.flow == flow]
        for offset in range(0, len(found), PAGE):
            asked = {"limit": PAGE, "offset": offset}
            yield Question("flow", f"/correlation/{quote(flow, safe='')}", asked, page(found, offset, PAGE))
    for kind, each in resources:
        found = [row for row in newest if (row.resource_type, row.resource_id) == (kind, each)]
        for offset in range(0, len(found), PAGE):
            asked = {"limit": PAGE, "offset": offset}
            yield Question("resource", f"/resource/{kind}/{each}", asked, page(found, offset, PAGE))
    for window in windows(rows):
        found = [row for row in newest if window.holds(row)]
        narrowed = window.parameters()
        last = max(0, len(found) - 7)
        yield Question("window", "", {**narrowed, "limit": 20}, page(found, 0, 20))
        yield Question("window", "", {**narrowed, "limit": 20, "offset": last}, page(found, last, 20))
        yield Question("window", "/aggregate", narrowed, counts(found))
        yield Question("window", "/stats/by-actor", narrowed, actors(found))
    size = len(rows)
    deep = (200_000,) if size > 200_000 else ()
    for offset in (0, 1, 99, size // 3, size // 2, *deep, size - 150, size - 1, size, size + 5):
        asked = {"limit": PAGE, "offset": offset}
        yield Question("page", "", asked, page(newest, offset, PAGE))
        yield Question("page", "", {**asked, "order": "asc"}, page(count, offset, PAGE))


def wrong(api: httpx2.Client, asked: Iterator[Question]) -> list[Question]:
    """The requests whose responses differ from the prediction."""
    found = []
    for question in asked:
        answer = api.get(EVENTS + question.path, params=question.parameters)
        assert answer.status_code == 200, (question.path, question.parameters, answer.text)
        if answer.json() != question.answer:
            found.append(question)
    return found


def walk(api: httpx2.Client, count: Sequence[Row]) -> int:
    """Follow the links from the first page to the last and compare each event. Returns the number of equal events
    before the first difference or the end.
    """
    newest = list(reversed(count))
    url, seen = f"{EVENTS}?limit={PAGE}", 0
    while True:
        answer = api.get(url)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        if body["offset"] != seen or body["total"] != len(newest):
            return seen
        for event in body["events"]:
            if seen == len(newest) or event != answered(newest[seen]):
                return seen
            seen += 1
        link = answer.headers.get("link")
        if link is None or not body["hasNext"]:
            assert link is None and not body["hasNext"] and seen == len(newest)
            return seen
        url = link.partition("<")[2].partition(">")[0]

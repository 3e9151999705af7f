"""The commands `webhook …`: endpoints that the server sends events to, and `webhook listen` for one on this machine."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal

import httpx2
import msgspec
from cyclopts import App, Parameter

from whence.addresses import is_loopback_url
from whence.cli import INTERRUPTED
from whence.cli.events import FieldOptions, QueryOptions
from whence.cli.layout import Style, style_of_stdout
from whence.cli.profiles import ServerOptions, client_for
from whence.cli.terminal import JsonFlag, out, out_json, printable, say, table_or_lines
from whence.client import WebhookFields, Whence
from whence.errors import Invalid
from whence.webhooks import new_secret, secret_bytes, signed_headers
from whence.wire.bodies import EventBody
from whence.wire.webhook_bodies import (
    AttemptBody,
    DeliveriesBody,
    DeliveryBody,
    WebhookBody,
    WebhookDetailBody,
    WebhooksBody,
)

__all__ = ["app"]

app = App(name="webhook", help_format="plaintext", version_flags=[])

Id = Annotated[str, Parameter(name="ID", help="The id of the webhook, from 'whence webhook list'.")]
Position = Annotated[str, Parameter(name="POSITION", help="The position of the event, from 'webhook deliveries'.")]
Form = Literal["whence", "cloudevents", "slack"]

_TIMEOUT_S = 15.0
_SHOWN = 100


@app.command(name="list")
def list_webhooks(*, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """List the webhooks, oldest first."""
    with client_for(server) as whence:
        found = whence.webhooks.list()
    if json:
        out_json(msgspec.json.encode(WebhooksBody(webhooks=found)))
        return
    if not found:
        say("There are no webhooks. 'whence webhook create' makes one.")
        return
    style = style_of_stdout()
    rows = [(each.id, _state(each), each.format, printable(_filters(each)), printable(each.url)) for each in found]
    lines = (line for row in rows for line in _lines(row, style))
    out(table_or_lines(("ID", "STATE", "FORMAT", "FILTERS", "URL"), rows, lines, style.width))


@app.command
def create(
    webhook_url: Annotated[str, Parameter(name="URL", help="Where to send events, https://…")],
    /,
    *,
    filters: FieldOptions | None = None,
    description: Annotated[str, Parameter(help="A note on what it is for.")] = "",
    form: Annotated[
        Form, Parameter(name="--format", help="The form of the bodies: whence, cloudevents, or slack for a text.")
    ] = "whence",
    fifo: Annotated[bool, Parameter(negative="", help="One event after the other, in order.")] = False,
    disabled: Annotated[bool, Parameter(negative="", help="Send nothing yet.")] = False,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """Create a webhook for the events that are stored from now on, and print its secret.

    The secret cannot be shown again. Without filters it gets every event.
    """
    fields: WebhookFields = {
        "description": description,
        "format": form,
        "fifo": fifo,
        "enabled": not disabled,
    }
    with client_for(server) as whence:
        fields["filters"] = _given(filters, whence)
        made = whence.webhooks.create(webhook_url, **fields)
    if json:
        out_json(msgspec.json.encode(made))
        return
    say(f"Created {made.id}. 'whence webhook test {made.id}' sends a test event. Its secret:")
    out(printable(made.secret))


@app.command
def show(webhook_id: Id, /, *, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """Show a webhook, how far it is, and how it goes."""
    with client_for(server) as whence:
        found = whence.webhooks.get(webhook_id)
    if json:
        out_json(msgspec.json.encode(found))
    else:
        out("\n".join(f"{name:<13} {printable(text)}" for name, text in _details(found)))


@app.command
def update(
    webhook_id: Id,
    /,
    *,
    filters: FieldOptions | None = None,
    target: Annotated[str | None, Parameter(name="--to", help="Another URL.")] = None,
    description: Annotated[str | None, Parameter(help="Another note.")] = None,
    form: Annotated[Form | None, Parameter(name="--format", help="Another form of the bodies.")] = None,
    fifo: Annotated[bool | None, Parameter(negative="--no-fifo", help="In order, or in parallel.")] = None,
    enabled: Annotated[
        bool | None, Parameter(name="--enable", negative="--disable", help="Send again, or nothing more for now.")
    ] = None,
    take_over: Annotated[
        bool, Parameter(negative="", help="Go on with the key of this request, and with what that may read.")
    ] = False,
    server: ServerOptions | None = None,
) -> None:
    """Change a webhook. Filters replace all filters that it has."""
    given: dict[str, Any] = {"description": description, "format": form, "fifo": fifo, "enabled": enabled}
    fields: WebhookFields = {name: value for name, value in given.items() if value is not None}  # type: ignore[assignment]  # of these names
    with client_for(server) as whence:
        asked = _given(filters, whence)
        if asked:
            fields["filters"] = asked
        whence.webhooks.update(webhook_id, url=target, take_over=take_over, **fields)
    say("Changed.")


@app.command
def delete(webhook_id: Id, /, *, server: ServerOptions | None = None) -> None:
    """Delete a webhook, with its deliveries."""
    with client_for(server) as whence:
        whence.webhooks.delete(webhook_id)
    say("Deleted.")


@app.command
def rotate(webhook_id: Id, /, *, json: JsonFlag = False, server: ServerOptions | None = None) -> None:
    """Make a new secret and print it. The old one signs for 24 hours more."""
    with client_for(server) as whence:
        made = whence.webhooks.rotate_secret(webhook_id)
    if json:
        out_json(msgspec.json.encode(made))
        return
    say(f"Messages are signed with the old secret too until {printable(made.old_secret_valid_until or 'now')}.")
    out(printable(made.secret))


@app.command
def test(webhook_id: Id, /, *, json: JsonFlag = False, server: ServerOptions | None = None) -> int:
    """Send one test event now, and show what came of it. Exits with 1 unless the answer was a 2xx."""
    with client_for(server) as whence:
        attempt = whence.webhooks.test(webhook_id)
    if json:
        out_json(msgspec.json.encode(attempt))
    else:
        out(_attempt(attempt))
    return 0 if attempt.status is not None and 200 <= attempt.status < 300 else 1


@app.command
def deliveries(
    webhook_id: Id,
    position: Annotated[str | None, Parameter(name="POSITION", help="Show the attempts of this one.")] = None,
    /,
    *,
    state: Annotated[
        Literal["pending", "delivered", "failed"] | None, Parameter(help="Only those in this state.")
    ] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="How many.")] = _SHOWN,
    json: JsonFlag = False,
    server: ServerOptions | None = None,
) -> None:
    """List the deliveries of a webhook by position, or the attempts of one. They are kept for 30 days."""
    with client_for(server) as whence:
        if position is not None:
            one = whence.webhooks.delivery(webhook_id, position.removeprefix("@"))
            if json:
                out_json(msgspec.json.encode(one))
            else:
                out("\n".join(["  ".join(_row(one)), *map(_attempt, one.history)]))
            return
        found = whence.webhooks.deliveries(webhook_id, state=state)
        shown = list(islice(found, limit))
        after = shown[-1].position if next(found, None) is not None else None
    if json:
        out_json(msgspec.json.encode(DeliveriesBody(deliveries=shown, next_after=after)))
        return
    style = style_of_stdout()
    rows = [_row(each) for each in shown]
    lines = (line for row in rows for line in _lines(row, style))
    out(table_or_lines(("POSITION", "STATE", "ATTEMPTS", "CHANGED", "DUE"), rows, lines, style.width))


@app.command
def resend(webhook_id: Id, position: Position, /, *, server: ServerOptions | None = None) -> None:
    """Make a finished delivery again."""
    with client_for(server) as whence:
        whence.webhooks.resend(webhook_id, position.removeprefix("@"))
    say("It is sent again now.")


@app.command
def replay(
    webhook_id: Id,
    /,
    *,
    after: Annotated[str | None, Parameter(help="Those of events after this position.")] = None,
    since: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="Those of events recorded since this time: RFC 3339, a date, -1d."),
    ] = None,
    every: Annotated[
        bool, Parameter(name="--all", negative="", help="Every matching event, also the delivered ones.")
    ] = False,
    server: ServerOptions | None = None,
) -> None:
    """Make the failed deliveries again, since a time or after a position."""
    if (after is None) == (since is None):
        raise Invalid.at((), "Pass either --after or --since.")
    with client_for(server) as whence:
        begin = whence.webhooks.replay(webhook_id, after=after, since=since, state="all" if every else "failed")
    say(f"They are sent again: {'all' if every else 'the failed ones'} after position {printable(str(begin))}.")


@app.command
def listen(
    *,
    forward: Annotated[str, Parameter(help="The URL on this machine that gets the events, http://localhost:PORT/…")],
    filters: QueryOptions | None = None,
    after: Annotated[str | None, Parameter(help="Begin after this position, instead of now.")] = None,
    secret: Annotated[str | None, Parameter(help="The secret that signs; else a new one, which is printed.")] = None,
    server: ServerOptions | None = None,
) -> int:
    """Send the events that come to a program on this machine, as a webhook would, and print what it answers.

    Nothing is set up on the server, and nothing is sent twice: this is for trying a receiver.
    """
    if not is_loopback_url(forward):
        raise Invalid.at((), "--forward names a URL on this machine, like http://localhost:3000/webhooks.")
    signing = secret or new_secret()
    secret_bytes(signing)
    say(f"Events are forwarded as they are stored. They are signed with {printable(signing)}")
    with client_for(server) as whence, httpx2.Client(timeout=_TIMEOUT_S, trust_env=False) as local:
        asked: dict[str, Any] = _given(filters, whence)
        coming = whence.follow(after=after, on_retry=lambda error: say(f"{error} Trying again."), **asked)
        try:
            for event in coming:
                out(f"@{event.position}  {printable(event.event_type)}  {_forwarded(local, forward, event, signing)}")
        except KeyboardInterrupt:
            if coming.after is not None:
                say(f"Continue with: --after {printable(str(coming.after))}")
            return INTERRUPTED
    return 0


def _forwarded(local: httpx2.Client, url: str, event: EventBody, secret: str) -> str:
    """Send an event, and return what came of it."""
    body = msgspec.json.encode({"type": event.event_type, "timestamp": event.occurred_at, "data": event})
    headers = {"Content-Type": "application/json", **signed_headers(event.id, int(time.time()), body, [secret])}
    began = time.monotonic()
    try:
        answer = local.post(url, content=body, headers=headers)
    except httpx2.HTTPError as error:
        return f"no answer ({type(error).__name__})"
    text = printable(" ".join(answer.text[:200].split()))
    return f"{answer.status_code} in {(time.monotonic() - began) * 1000:.0f} ms  {text}".rstrip()


def _given(filters: FieldOptions | None, whence: Whence) -> Any:
    """The filters that were given."""
    asked = {} if filters is None else filters.resolved(whence)
    return {name: value for name, value in asked.items() if value}


def _lines(row: tuple[str, ...], style: Style) -> Iterator[str]:
    """A row in some lines, for a terminal that is too narrow for a table."""
    yield from style.filled(" · ".join(filter(None, row)))


def _state(webhook: WebhookBody) -> str:
    if not webhook.enabled:
        return "disabled"
    return "enabled" if webhook.stands_still is None else "stands still"


def _filters(webhook: WebhookBody) -> str:
    texts = [f"{name}={','.join(values)}" for name, values in webhook.filters.items()]
    return " ".join(texts) or "every event"


def _details(webhook: WebhookDetailBody) -> Iterator[tuple[str, str]]:
    """What is known of a webhook, as names and texts."""
    yield "id", webhook.id
    yield "url", webhook.url
    if webhook.description:
        yield "description", webhook.description
    yield "state", _state(webhook)
    if webhook.stands_still is not None:
        yield "because", webhook.stands_still
    if webhook.disabled_reason is not None:
        yield "because", f"{webhook.disabled_reason} ({webhook.disabled_at})"
    yield "filters", _filters(webhook)
    yield "format", f"{webhook.format}{', in order' if webhook.fifo else ''}"
    yield "key", webhook.key_id
    if webhook.old_secret_valid_until is not None:
        yield "old secret", f"valid until {webhook.old_secret_valid_until}"
    if webhook.failing_since is not None:
        yield "failing", f"since {webhook.failing_since}"
    if webhook.deliveries is not None:
        counts = webhook.deliveries
        yield "read to", str(webhook.read_to)
        yield "deliveries", f"{counts.pending:,} pending, {counts.delivered:,} delivered, {counts.failed:,} failed"
    for gap in webhook.gaps or ():
        yield "gap", f"after {gap.after}, resumed after {gap.resumed_after} ({gap.at})"


def _row(delivery: DeliveryBody) -> tuple[str, ...]:
    return (
        f"@{delivery.position}" if isinstance(delivery.position, int) else printable(delivery.position),
        delivery.state,
        str(delivery.attempts),
        delivery.changed_at,
        delivery.due_at or "",
    )


def _attempt(attempt: AttemptBody) -> str:
    came = attempt.error if attempt.status is None else str(attempt.status)
    answer = printable(" ".join(attempt.answer[:200].split()))
    return f"{attempt.number}. {attempt.started_at}  {printable(came)} in {attempt.duration_ms} ms  {answer}".rstrip()

"""The route that exports events: all that match, as of one position, as they can be read."""

from collections.abc import Iterator, Sequence

from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from whence.api.context import context_of, now_us, principal_of
from whence.api.operation import Operation, ResponseSpec
from whence.api.part_streams import Part, PartStream
from whence.api.request import Request
from whence.events import Event, Keyset, PartRequest
from whence.permissions import READ
from whence.storage.feed import EVENT_BYTES
from whence.wire.exports import MEDIA, encode_export, export_head, parse_export
from whence.wire.parameters import PARAMETERS

__all__ = ["ROUTES"]

_PART = 500
"""Events of a part, at most."""

_CSV = MEDIA["csv"].partition(";")[0]
_BODY = {
    "type": "string",
    "description": "One event a line. An export that does not come to its end is cut off, and not completed.",
}


@HTTPRouteHandler(
    "/api/v1/events/export",
    http_method=["GET", "HEAD"],
    status_code=200,
    opt={
        "scope": READ,
        "operation": Operation(
            tag="Events",
            summary="Export Events",
            description=(
                "Exactly the events that match when the request arrives, however many there are. In CSV, a cell that "
                "a spreadsheet would take for a formula has an apostrophe before it."
            ),
            parameters=PARAMETERS["export"],
            responses={200: ResponseSpec("The events", _BODY, media=MEDIA["ndjson"], also_media=[_CSV])},
            errors=(422,),
        ),
    },
)
async def export_events(request: Request) -> ASGIApp:
    """All matching events, as NDJSON or CSV."""
    context, principal = context_of(request), principal_of(request)
    asked = parse_export(request.scope["query_string"], now=now_us(), vocabulary=context.vocabulary)
    context.admission.hold_export(request, principal.tenant)
    viewer, store = principal.viewer, context.store
    as_of = (await store.head(principal.tenant)).size

    async def read(after: Keyset | None) -> Part[Event, Keyset]:
        part = PartRequest(limit=_PART, as_of=as_of, ascending=asked.ascending, after=after)
        found = await store.list_part(viewer, asked.query, part)
        return Part(found.events, sum(EVENT_BYTES + len(event.payload or b"") for event in found.events), found.after)

    def encode(events: Sequence[Event]) -> Iterator[bytes]:
        return encode_export(events, asked, viewer)

    name, media, head = f"events.{asked.format}", MEDIA[asked.format], export_head(asked)
    export = PartStream(request, read, encode, name=name, media=media, head=head)
    await export.begin(as_of)
    return export


ROUTES: list[HTTPRouteHandler] = [export_events]
"""The handlers of this module."""

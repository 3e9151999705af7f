"""The data of `whence demo`: recorded runs of an airline's service agent.

`data/SOURCE.md` names their source and licence.
"""

import gzip
import time
from importlib.resources import files

from whence.errors import WhenceError
from whence.events import NewEvent, Vocabulary
from whence.storage import Store, Write
from whence.wire.event import BATCH_EVENTS_MAX, IngestContext, parse_batch

__all__ = ["FAILED_EVENT", "fill", "recording"]

FAILED_EVENT = "16ea97ab-1bf6-568b-a87a-32d3903c035b"
"""The id of the first failed action in the recording, a payment with a wrong amount."""


def recording() -> bytes:
    """The recorded events as NDJSON, oldest first."""
    return gzip.decompress(files("whence").joinpath("data/airline-agent-runs.ndjson.gz").read_bytes())


async def fill(store: Store, tenant: str) -> int:
    """Store the recording as events of this tenant. Returns their number. Raises the errors of the store."""
    lines = recording().splitlines()
    context = IngestContext(tenant=tenant, vocabulary=Vocabulary(), now=time.time_ns() // 1_000)
    for start in range(0, len(lines), BATCH_EVENTS_MAX):
        parsed = parse_batch(b"\n".join(lines[start : start + BATCH_EVENTS_MAX]), True, context)
        events = []
        for event in parsed:
            if not isinstance(event, NewEvent):
                raise event
            events.append(event)
        for result in await store.append(tenant, [Write(tuple(events), atomic=True)]):
            if isinstance(result, WhenceError):
                raise result
    return len(lines)

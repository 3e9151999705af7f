"""A batch of events of which some are dropped before they are sent. Pure."""

from collections.abc import Sequence

import msgspec

from whence.client.requests import ApiRequest, batch_request
from whence.wire.bodies import BatchBody, BatchResultBody

__all__ = ["batch_of", "results_of"]

_NOT_SENT = 204
"""The status of an event of a batch that was dropped."""


def batch_of(bodies: Sequence[bytes | None], atomic: bool) -> ApiRequest | None:
    """The request for a batch; None if all of its events are dropped."""
    kept = [body for body in bodies if body is not None]
    return None if bodies and not kept else batch_request(b"\n".join(kept), atomic=atomic)


def results_of(bodies: Sequence[bytes | None], sent: BatchBody | None) -> BatchBody:
    """The results of the events that were sent, and of those that were dropped, in the order of the events."""
    if all(body is not None for body in bodies) and sent is not None:
        return sent
    results = iter(sent.results if sent is not None else ())
    return BatchBody(
        results=[
            BatchResultBody(id=None, index=index, status=_NOT_SENT)
            if body is None
            else msgspec.structs.replace(next(results), index=index)
            for index, body in enumerate(bodies)
        ]
    )

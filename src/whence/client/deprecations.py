"""Notices of what a server announces as deprecated: a line in the log, once in a process for each kind of request.

No `DeprecationWarning` is issued. Most requests are sent by a thread of the client, where a warning that a program has
made an error would keep its events from being sent.
"""

import logging
from collections.abc import Mapping

from whence.client.requests import ApiRequest
from whence.identities import is_uuid
from whence.wire.deprecation import deprecation_notice

__all__ = ["log_deprecation"]

_log = logging.getLogger("whence")

_NOTICES_MAX = 100
_noted: set[tuple[str, str, tuple[str, ...]]] = set()


def log_deprecation(url: str, request: ApiRequest, headers: Mapping[str, str]) -> None:
    """Log what the response to this request announces, unless that was done for such a request."""
    announced = deprecation_notice(headers)
    path, _, query = request.path.partition("?")
    route = "/".join("{id}" if is_uuid(part) else part for part in path.split("/"))
    names = {name for name, _ in request.query} | {pair.partition("=")[0] for pair in query.split("&") if pair}
    kind = (request.method, route, tuple(sorted(names)))
    if announced is None or kind in _noted or len(_noted) >= _NOTICES_MAX:
        return
    _noted.add(kind)
    parameters = f" with {', '.join(kind[2])}" if names else ""
    _log.warning(
        "Something that %s %s%s uses is %s. %s/docs says what to use instead.",
        request.method,
        route,
        parameters,
        announced,
        url,
    )

"""The options of a client, and what each takes."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from whence.client.emitter import OnFull
from whence.client.encoding import Default
from whence.client.reporting import OnError
from whence.errors import WhenceError
from whence.wire.fields import nearest

if TYPE_CHECKING:
    import httpx2

__all__ = ["BeforeSend", "ClientCert", "ClientOptions", "check_options"]

ClientCert = Path | str | tuple[Path | str, Path | str] | tuple[Path | str, Path | str, str]
"""A PEM file with certificate and private key; or two files; or two files and the password of the key."""

BeforeSend = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Given an event with the keys of the API, as JSON has it, returns the event to send, or None to drop it."""


class ClientOptions(TypedDict, total=False):
    """The options of a client. All may be left out.

    - `profile` names the saved profile whose URL and key are used. Default: WHENCE_PROFILE.
    - `tenant` names the folder of the spool. Without it the API key does, so set it if keys are rotated.
    - `queue_events_max` (10,000) and `queue_bytes_max` (64 MiB) bound the queue in memory.
    - `on_full`: what `emit` does when the queue is full. "spill", the default, writes to the spool. "drop", the default
      without a spool, counts the event as lost and reports that. "raise" raises QueueFull. "block" waits at most
      `block_timeout_s` (10) for room, then raises QueueFull; on an event loop it raises at once.
    - `on_error` is called with errors of queued events; see `OnError`.
    - `spool` is the folder that holds all spools, or False for no spool. Default: WHENCE_SPOOL_DIR, or a folder in the
      user's state directory.
    - `spool_bytes_max` (1 GiB) bounds the spool of one tenant, and its file of rejected events likewise.
    - `exit_timeout_s` (5) bounds how long closing waits for queued events to be sent.
    - `flush_on_signals`: whether SIGTERM sends or spools the queued events, before it ends the process as usual.
    - `jwt_secret` is the secret shared with the server, for `for_tenant`. Default: WHENCE_JWT_SECRET. Without it,
      `for_tenant` needs an operator's key as the API key.
    - `jwt_claims` are added to the tokens of `for_tenant`.
    - `default` returns a form that JSON has for a value that JSON has none for, as that of `json.dumps`.
    - `before_send` sees every event before it is queued or sent, in the thread that emits it, and may change or drop
      it. If it raises an exception, the event is dropped, and the exception is logged. It may emit events: it is called
      for these too, and for theirs, but what is emitted deeper inside is dropped.
    - `disabled` makes `emit` build and check events, and drop them. Default: WHENCE_DISABLED.
    - `ca` is a PEM file or a folder with the certificates to trust, instead of those of the system.
    - `client_cert` is the certificate that the server or a proxy asks for; see `ClientCert`.
    - `proxy` is the URL of an HTTP proxy. Default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
    - `http_client` and `async_http_client` make the HTTP clients to use. They are called once, and again after a fork.
      Then the three options above have no effect, and an API key is not required.
    """

    profile: str | None
    tenant: str
    queue_events_max: int
    queue_bytes_max: int
    on_full: OnFull
    block_timeout_s: float
    on_error: OnError
    spool: Path | str | Literal[False]
    spool_bytes_max: int
    exit_timeout_s: float
    flush_on_signals: bool
    jwt_secret: str
    jwt_claims: Mapping[str, object]
    default: Default | None
    before_send: BeforeSend | None
    disabled: bool | None
    ca: Path | str | None
    client_cert: ClientCert | None
    proxy: str | None
    http_client: "Callable[[], httpx2.Client] | None"
    async_http_client: "Callable[[], httpx2.AsyncClient] | None"


Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value != "")


def _is_certificate(value: Any) -> bool:
    if not isinstance(value, tuple):
        return _is_path(value)
    return len(value) in (2, 3) and all(map(_is_path, value[:2])) and all(map(_is_text, value[2:]))


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= threading.TIMEOUT_MAX


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


_COUNT: tuple[Check, str] = _is_count, "a whole number, 0 or more"
_POSITIVE: tuple[Check, str] = lambda value: _is_count(value, 1), "a whole number, 1 or more"
_SECONDS: tuple[Check, str] = _is_seconds, "a finite number of seconds, 0 or more"
_TEXT: tuple[Check, str] = _or_none(_is_text), "a text"
_PATH: tuple[Check, str] = _or_none(_is_path), "a path"
_FUNCTION: tuple[Check, str] = _or_none(callable), "a function"

_OPTIONS: dict[str, tuple[Check, str]] = {
    "profile": _TEXT,
    "tenant": _TEXT,
    "queue_events_max": _POSITIVE,
    "queue_bytes_max": _POSITIVE,
    "on_full": (lambda value: value in get_args(OnFull), f"one of: {', '.join(get_args(OnFull))}"),
    "block_timeout_s": _SECONDS,
    "on_error": _FUNCTION,
    "spool": (_or_none(lambda value: value is False or _is_path(value)), "the path of a folder, or False"),
    "spool_bytes_max": _COUNT,
    "exit_timeout_s": _SECONDS,
    "flush_on_signals": (lambda value: isinstance(value, bool), "True or False"),
    "jwt_secret": _TEXT,
    "jwt_claims": (_or_none(lambda value: isinstance(value, Mapping)), "a mapping"),
    "default": _FUNCTION,
    "before_send": _FUNCTION,
    "disabled": (_or_none(lambda value: isinstance(value, bool)), "True or False"),
    "ca": _PATH,
    "client_cert": (_or_none(_is_certificate), "a path, or a pair of two paths, with the password as a third item"),
    "proxy": _TEXT,
    "http_client": _FUNCTION,
    "async_http_client": _FUNCTION,
    "timeout_s": _SECONDS,
    "retries": _COUNT,
}
"""For each option of a client a check, and what the option takes. None is accepted where it means the default."""


def check_options(client: str, options: Mapping[str, Any]) -> None:
    """Raise TypeError for an option that this kind of client does not have, and WhenceError for a wrong value."""
    for name, value in options.items():
        if name not in _OPTIONS:
            raise TypeError(
                f"{client}.__init__() got an unexpected keyword argument {name!r}. "
                f"The option with the nearest name is {nearest(name, _OPTIONS)!r}."
            )
        check, wanted = _OPTIONS[name]
        if not check(value):
            raise WhenceError(f"The option {name} takes {wanted}.")
    if options.get("spool") is False and options.get("on_full") == "spill":
        raise WhenceError('on_full="spill" needs a spool. Pass "drop", "raise" or "block", or leave out spool=False.')

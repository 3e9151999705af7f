"""A folder with everything of a tenant: written from what a server sends, and checked without one.

tenant.json          the name of the tenant, and the SHA-256 of the files beside it
events/              all events that are sealed, as an export with proof; see `export_check`
log_keys.json        the keys that verify the checkpoints, by epoch
checkpoints.json     the signed checkpoints that are kept
keys.json            the API keys, without secrets and without their hashes
webhooks.json        the webhooks, without secrets
alert_rules.json, retention.json, holds.json, erasures.json, views.json, followers.json

The events and checkpoints are proven by the log's key. The other files are what the server said; tenant.json shows that
none was changed by accident since.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from whence.cli.export_check import check_folder, described
from whence.cli.export_folder import unfinished_folder, write_folder
from whence.cli.trusted_keys import Trust
from whence.client import ApiRequest, ApiResponse, Whence, error_of, list_keys_request
from whence.client.responses import next_link
from whence.errors import Invalid, Unsound
from whence.wire.export_manifests import ExportFileBody, ExportManifestBody
from whence.wire.times import format_time

__all__ = ["TENANT", "check_tenant_folder", "write_tenant_folder"]

TENANT, EVENTS = "tenant.json", "events"
_FORMAT = 1
_MANIFEST_MAX = 1024 * 1024
_CHECKPOINTS_AT_ONCE = 100

_ROUTES = {
    "log_keys.json": "/api/v1/log/key",
    "webhooks.json": "/api/v1/webhooks",
    "alert_rules.json": "/api/v1/alert-rules",
    "retention.json": "/api/v1/retention",
    "holds.json": "/api/v1/holds",
    "erasures.json": "/api/v1/erasures",
    "views.json": "/api/v1/views",
    "followers.json": "/api/v1/followers",
}
"""The files that are a single answer, as it came."""

_FILES = frozenset({*_ROUTES, "checkpoints.json", "keys.json"})


class TenantManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What tenant.json has."""

    exported_at: str
    files: list[ExportFileBody]
    format: int
    tenant_id: str


def write_tenant_folder(whence: Whence, tenant: str, folder: Path) -> ExportManifestBody:
    """Write everything of the tenant that the client stands for into a new folder. Returns the manifest of its events.
    An error leaves no folder. Raises Invalid for a folder that is there, and as `write_folder`."""
    if folder.exists():
        raise Invalid.at((), "The folder for the export must not be there yet.")
    with unfinished_folder(folder) as unfinished:
        manifest = write_folder(whence, unfinished / EVENTS, {}, "ndjson", complete=True)
        for name, path in _ROUTES.items():
            (unfinished / name).write_bytes(_ask(whence, ApiRequest(method="GET", path=path)).body)
        _write_list(unfinished / "keys.json", "keys", _keys(whence))
        _write_list(unfinished / "checkpoints.json", "checkpoints", _checkpoints(whence))
        body = TenantManifest(
            exported_at=format_time(time.time_ns() // 1_000),
            files=[described(unfinished / name) for name in sorted(_FILES)],
            format=_FORMAT,
            tenant_id=tenant,
        )
        (unfinished / TENANT).write_bytes(msgspec.json.format(msgspec.json.encode(body)) + b"\n")
    return manifest


def check_tenant_folder(folder: Path, trust: Trust) -> ExportManifestBody:
    """The manifest of the events in the folder of a tenant, if they are proven by a checkpoint that those signed who
    have to, and no other file was changed since. Raises Unsound with the first thing that is wrong."""
    with (folder / TENANT).open("rb") as file:
        data = file.read(_MANIFEST_MAX)
    try:
        body = msgspec.json.decode(data, type=TenantManifest)
    except msgspec.MsgspecError:
        raise _unsound(f"{TENANT} cannot be read.") from None
    if body.format != _FORMAT:
        raise _unsound("A later release wrote it. Check it with that release.")
    names = [each.name for each in body.files]
    there = {path.name for path in folder.iterdir()}
    if names != sorted(_FILES) or there != {TENANT, EVENTS, *_FILES}:
        raise _unsound("It has other files than those of the export of a tenant.")
    for each in body.files:
        if described(folder / each.name) != each:
            raise _unsound(f"{each.name} is not the file that {TENANT} describes.")
    manifest = check_folder(folder / EVENTS, trust)
    if manifest.tenant_id != body.tenant_id or manifest.filter.text or manifest.complete_from is None:
        raise _unsound("The events are not all of those of the tenant.")
    return manifest


def _ask(whence: Whence, request: ApiRequest) -> ApiResponse:
    answer = whence.send(request)
    if answer.status >= 400:
        raise error_of(answer)
    return answer


def _keys(whence: Whence) -> Iterator[msgspec.Raw]:
    """The API keys of every page."""
    link: str | None = None
    while True:
        answer = _ask(whence, list_keys_request(link))
        yield from msgspec.json.decode(answer.body, type=dict[str, list[msgspec.Raw]])["keys"]
        link = next_link(answer)
        if link is None:
            return


class _Sized(msgspec.Struct):
    size: int


def _checkpoints(whence: Whence) -> Iterator[msgspec.Raw]:
    """The checkpoints that are kept, the newest first."""
    query: tuple[tuple[str, str], ...] = (("limit", str(_CHECKPOINTS_AT_ONCE)),)
    before: tuple[tuple[str, str], ...] = ()
    while True:
        answer = _ask(whence, ApiRequest(method="GET", path="/api/v1/log/checkpoints", query=(*query, *before)))
        found = msgspec.json.decode(answer.body, type=dict[str, list[msgspec.Raw]])["checkpoints"]
        yield from found
        if len(found) < _CHECKPOINTS_AT_ONCE:
            return
        before = (("before", str(msgspec.json.decode(found[-1], type=_Sized).size)),)


def _write_list(path: Path, name: str, items: Iterator[msgspec.Raw]) -> None:
    """Write a JSON object with one list, an item a line."""
    with path.open("wb") as file:
        file.write(b'{"%s":[' % name.encode())
        for number, item in enumerate(items):
            file.write((b",\n" if number else b"\n") + bytes(item))
        file.write(b"\n]}\n")


def _unsound(reason: str) -> Unsound:
    return Unsound(f"The export is not valid. {reason}")

"""The routes that let anybody check the log: its checkpoints and keys, the tiles of its tree, and proofs.

Sizes and positions count hidden events too, so a narrowed credential is refused by all of them.
"""

from urllib.parse import unquote

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler

from whence.api.context import context_of, now_us, principal_of
from whence.api.credentials import check_json_media
from whence.api.operation import Operation, ResponseSpec, document_route, read_route, ref
from whence.api.reads import event_id_of
from whence.api.recording import actor_name
from whence.api.request import Request
from whence.api.request_body import read_body
from whence.api.responses import JSON, JsonResponse
from whence.checkpoints import LogProof
from whence.errors import Forbidden, Invalid, NotFound, NotSealedYet
from whence.log_keys import LogKeys
from whence.merkle import HASH_SIZE
from whence.merkle_proofs import consistency_ranges, inclusion_ranges
from whence.notes import encode_base64
from whence.permissions import ADMIN
from whence.storage.base import Store
from whence.storage.followers import Definition
from whence.storage.replication import evidence_from
from whence.storage.seals import EPOCH, EpochReason, EpochRequest, Origin, SealedCheckpoint, Seals, hashes_of
from whence.tiles import TILE_WIDTH, Tile, entry_bundle, parse_tile_path
from whence.wire.epochs import EpochBody, parse_epoch_reason
from whence.wire.query import refuse_parameters
from whence.wire.seals import (
    CheckpointBody,
    CheckpointsBody,
    ConsistencyBody,
    LogKeyBody,
    LogKeysBody,
    encode_evidence,
    parse_checkpoints,
    parse_consistency,
    parse_cosigned,
    parse_proof_request,
)
from whence.wire.times import format_time
from whence.witnesses import cosigned_checkpoint

__all__ = ["ROUTES", "latest_size", "tenant_of"]

_ENTRIES = "entries/"
_TAG = "Proof"
_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_BODY_MAX = 1024

_NOTE = ResponseSpec("A signed note, as C2SP tlog-checkpoint has it", {"type": "string"}, media=_TEXT)
_PROOF = ResponseSpec("A proof, as C2SP tlog-proof has it", {"type": "string"}, media=_TEXT)
_TILE = ResponseSpec("The hashes of the tile, joined", {"type": "string", "format": "binary"}, media=_BYTES)


@document_route("/api/v1/log/checkpoint", "Latest Checkpoint", "checkpoint", _NOTE, _TAG)
async def latest_checkpoint(request: Request) -> JsonResponse:
    """The newest signed checkpoint of the tenant's log. It has the cosignatures of witnesses once a quorum of them has
    cosigned it."""
    cosigned = parse_cosigned(request.scope["query_string"])
    found = await _checkpoint(request, tenant_of(request), cosigned=cosigned)
    return JsonResponse(found.note.encode(), media=_TEXT)


@read_route("/api/v1/log/checkpoints", "List Checkpoints", "checkpoints", CheckpointsBody, tag=_TAG)
async def list_checkpoints(request: Request) -> JsonResponse:
    """The checkpoints that are kept, the newest first: the latest one, and the first of each hour."""
    asked, tenant, seals = parse_checkpoints(request.scope["query_string"]), tenant_of(request), _seals(request)
    names = {each.epoch: each.name for each in await seals.list_origins(tenant)}
    kept = await _kept(request, tenant)
    found = await seals.list_checkpoints(tenant, asked.before, asked.limit)
    bodies = [
        CheckpointBody(
            epoch=each.epoch,
            note=_with_cosignatures(each, kept).note,
            origin=names[each.epoch],
            root=encode_base64(each.root),
            signed_at=format_time(each.signed_at),
            size=each.size,
        )
        for each in found
        if each.epoch in names  # not of an origin that was made between the two reads
    ]
    return JsonResponse(msgspec.json.encode(CheckpointsBody(checkpoints=bodies)))


@read_route("/api/v1/log/key", "Log Keys", "log", LogKeysBody, tag=_TAG)
async def list_log_keys(request: Request) -> JsonResponse:
    """The keys that verify the checkpoints of the tenant's log. The last one is in use."""
    refuse_parameters(request.scope["query_string"])
    origins = await _seals(request).list_origins(tenant_of(request))
    log_keys = context_of(request).log_keys
    keys = [
        LogKeyBody(epoch=each.epoch, key=each.key, ml_dsa_key=_ml_dsa_key(log_keys, each), origin=each.name)
        for each in origins
    ]
    return JsonResponse(msgspec.json.encode(LogKeysBody(keys=keys)))


@document_route("/api/v1/log/tile/{tile:path}", "Log Tile", "log", _TILE, _TAG)
async def read_tile(request: Request) -> JsonResponse:
    """A tile of the log's tree, by its name in C2SP tlog-tiles. Only tiles of the newest checkpoint are there. Those of
    the level `entries` are bundles of envelopes, each after its length in two bytes."""
    refuse_parameters(request.scope["query_string"])
    tenant, seals = tenant_of(request), _seals(request)
    path = unquote(str(request.path_params["tile"])).removeprefix("/")
    is_bundle = path.startswith(_ENTRIES)
    tile = parse_tile_path(path.replace(_ENTRIES, "0/", 1) if is_bundle else path)
    size = (await _latest(seals, tenant)).size
    if tile is None or tile.number * TILE_WIDTH + tile.width > size // TILE_WIDTH**tile.level:
        raise NotFound("The newest checkpoint has no such tile.")
    if is_bundle:
        admission = context_of(request).admission
        async with admission.page_place(tenant, indexed=False):
            bundle = await _bundle(context_of(request).store, tenant, tile)
        admission.hold_answer(request, tenant, len(bundle))
        return JsonResponse(bundle, media=_BYTES)
    [hashes] = await seals.read_tiles(tenant, [tile])
    if len(hashes) != tile.width * HASH_SIZE:
        raise NotFound("The tile is not kept.")
    return JsonResponse(hashes, media=_BYTES)


@read_route("/api/v1/log/consistency", "Log Consistency", "consistency", ConsistencyBody, tag=_TAG, missing=True)
async def prove_consistency(request: Request) -> JsonResponse:
    """The proof that an earlier state of the log is the beginning of a later one, which is sealed."""
    old, new = parse_consistency(request.scope["query_string"])
    tenant, seals = tenant_of(request), _seals(request)
    size = (await _latest(seals, tenant)).size
    new = size if new is None else new
    if new > size:
        raise NotSealedYet("The log has no checkpoint of this size yet.")
    if old > new:
        raise Invalid.at(("query", "from"), "The size in from is larger than that of the checkpoint.", "size_range")
    hashes = await hashes_of(seals, tenant, consistency_ranges(old, new))
    body = ConsistencyBody(from_=old, hashes=[encode_base64(each) for each in hashes], to=new)
    return JsonResponse(msgspec.json.encode(body))


@document_route("/api/v1/events/{event_id:str}/proof", "Prove Event", "proof", _PROOF, _TAG)
async def prove_event(request: Request) -> JsonResponse:
    """The proof that an event is in the log of the newest checkpoint. `extra` holds what its leaf is made of: a JSON
    object with the envelope, the salt and the payload in base64."""
    asked = parse_proof_request(request.scope["query_string"])
    event_id, tenant, seals = event_id_of(request), tenant_of(request), _seals(request)
    evidence = await seals.get_evidence(tenant, event_id)
    if evidence is None:
        raise NotFound("There is no event with this id.")
    if asked.epoch is None:
        found = await _checkpoint(request, tenant, cosigned=asked.cosigned)
    elif (of_epoch := await seals.last_checkpoint(tenant, asked.epoch)) is not None:
        found = of_epoch
    else:
        raise NotSealedYet("The log has no checkpoint of this epoch.")
    if evidence.position > found.size and asked.epoch is not None:
        raise NotSealedYet("The event is newer than the last checkpoint of this epoch.")
    if evidence.position > found.size:
        raise NotSealedYet("The event is newer than the newest checkpoint. Ask again in a second.")
    index = evidence.position - 1
    hashes = await hashes_of(seals, tenant, inclusion_ranges(index, found.size))
    extra = encode_evidence(evidence.envelope, evidence.salt, evidence.payload)
    proof = str(LogProof(index, tuple(hashes), found.note, extra)).encode()
    context_of(request).admission.hold_answer(request, tenant, len(proof))
    return JsonResponse(proof, media=_TEXT)


@post(
    "/api/v1/log/epochs",
    status_code=202,
    opt={
        "scope": ADMIN,
        "operation": Operation(
            tag=_TAG,
            summary="Begin Epoch",
            responses={202: ResponseSpec("What was asked for", EpochBody)},
            request_content={JSON: ref("NewEpoch")},
            errors=(404, 413, 415, 422),
        ),
    },
)
async def begin_epoch(request: Request) -> JsonResponse:
    """Give the log a new origin and key: after a restore of an older backup, now and then, or when somebody else may
    have the key. An event of the log says so. The same request again asks for nothing more until it is done."""
    principal, context = principal_of(request), context_of(request)
    tenant = principal.tenant
    refuse_parameters(request.scope["query_string"])
    async with read_body(request, context.admission, tenant, _BODY_MAX) as body:
        check_json_media(request)
        reason = EpochReason(parse_epoch_reason(body))
    origins = await context.store.seals.list_origins(tenant)
    if not origins:
        raise NotSealedYet("The log has no origin yet: it is empty or new, or this server does not seal.")
    actor_type, actor_id = actor_name(principal)
    asked = EpochRequest(
        ended=origins[-1].name, reason=reason, actor_type=actor_type, actor_id=actor_id, requested_at=now_us()
    )
    number = origins[-1].epoch + 1
    followers = context.store.followers
    definition = Definition(tenant, EPOCH, str(number), 1, msgspec.json.encode(asked))
    if not await followers.put_definition(definition):
        stored = await followers.get_definition(tenant, EPOCH, str(number))
        asked = asked if stored is None else msgspec.json.decode(stored.body, type=EpochRequest)
    answer = EpochBody(
        ended=asked.ended, epoch=number, reason=asked.reason, requested_at=format_time(asked.requested_at)
    )
    return JsonResponse(msgspec.json.encode(answer), 202)


ROUTES: list[HTTPRouteHandler] = [
    begin_epoch,
    latest_checkpoint,
    list_checkpoints,
    list_log_keys,
    read_tile,
    prove_consistency,
    prove_event,
]
"""The handlers of this module. Each refuses a narrowed credential."""


def tenant_of(request: Request) -> str:
    """The tenant of a credential that may read every event. Raises Forbidden for another."""
    viewer = principal_of(request).viewer
    if not viewer.sees_all:
        raise Forbidden("This credential may not read every event, and the size of the log counts the others too.")
    return viewer.tenant


async def latest_size(request: Request, tenant: str) -> int:
    """The size of the newest checkpoint. Raises NotSealedYet."""
    return (await _latest(_seals(request), tenant)).size


async def _bundle(store: Store, tenant: str, tile: Tile) -> bytes:
    """The envelopes of the events of a tile. Raises NotFound when one of them is no longer kept."""
    first = tile.number * TILE_WIDTH
    end = first + tile.width
    envelopes: list[bytes] = []
    while len(envelopes) < tile.width:
        after = first + len(envelopes)
        part = await store.read_log(tenant, after, end - after)
        if not part or part[0].event.position != after + 1:
            raise NotFound("The events of this bundle are not all kept.")
        envelopes += [evidence_from(hashed).envelope for hashed in part]
    return entry_bundle(envelopes)


def _seals(request: Request) -> Seals:
    return context_of(request).store.seals


async def _checkpoint(request: Request, tenant: str, *, cosigned: bool) -> SealedCheckpoint:
    """The newest checkpoint with the cosignatures that it has, or the newest with those of a quorum. Raises
    NotSealedYet."""
    store = context_of(request).store
    latest = await _latest(store.seals, tenant)
    if not cosigned:
        return _with_cosignatures(latest, await _kept(request, tenant))
    kept = await cosigned_checkpoint(store, tenant)
    if kept is None or kept.epoch != latest.epoch:
        raise NotSealedYet("No checkpoint of this log has the cosignatures of a quorum yet.")
    return kept


async def _kept(request: Request, tenant: str) -> SealedCheckpoint | None:
    """The newest checkpoint with a quorum; None also for a server that asks no witnesses."""
    context = context_of(request)
    return None if context.settings.witness_policy is None else await cosigned_checkpoint(context.store, tenant)


def _with_cosignatures(found: SealedCheckpoint, kept: SealedCheckpoint | None) -> SealedCheckpoint:
    """A checkpoint, with cosignatures if it is the one that was kept with them."""
    is_kept = kept is not None and (kept.epoch, kept.size, kept.root) == (found.epoch, found.size, found.root)
    return kept if kept is not None and is_kept else found


def _ml_dsa_key(log_keys: LogKeys, origin: Origin) -> str | None:
    """The second key of an origin; None if it has none, or if the store has another secret since."""
    if str(log_keys.key(origin.name)) != origin.key:
        return None
    key = log_keys.ml_dsa_key(origin.name)
    return None if key is None else str(key)


async def _latest(seals: Seals, tenant: str) -> SealedCheckpoint:
    """The newest checkpoint. Raises NotSealedYet."""
    found = await seals.list_checkpoints(tenant, None, 1)
    if not found:
        raise NotSealedYet("The log has no checkpoint yet: it is empty or new, or this server does not seal.")
    return found[0]

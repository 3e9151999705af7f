"""The frames between the processes of a server and the process that writes: four bytes of length, then MessagePack.

    acceptor -> writer    call     [0, number, name, arguments]
    writer -> acceptor    result   [0, number, result]
                          failure  [1, number, error]
                          growth   [2, tenants]

Events travel as arrays of their fields, in the order of the struct. Of a new event the result repeats nothing: only
what the writer decided goes back.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import asdict, astuple

from whence import errors
from whence.errors import Conflict, Invalid, Problem, RetryLater, Unauthenticated, Unavailable, WhenceError
from whence.events import Event, NewEvent, stored_event
from whence.permissions import ApiKey
from whence.storage.base import Receipt, Write
from whence.storage.credentials import Session
from whence.storage.deletions import DeletionRefused, LogGrew, TenantDeletion
from whence.storage.followers import Attempt, Definition, Delivery, DeliveryFilter, Place
from whence.storage.removals import HoldsChanged, HoldVersion, LaterEvents, Purge
from whence.storage.seals import NewCheckpoint, Origin, TileRow

__all__ = [
    "ARGUMENTS",
    "Failure",
    "FrameBuffer",
    "Growth",
    "Reply",
    "Result",
    "decode_call",
    "decode_reply",
    "encode_append",
    "encode_call",
    "encode_failure",
    "encode_growth",
    "encode_result",
    "pack_error",
    "pack_results",
    "pack_stored",
    "unpack_error",
    "unpack_results",
    "unpack_stored",
]

_LENGTH = struct.Struct(">I")


class _NewEventFrame(NewEvent, frozen=True, kw_only=True, gc=False, array_like=True):
    pass


class _EventFrame(Event, frozen=True, kw_only=True, gc=False, array_like=True):
    pass


class _WriteFrame(msgspec.Struct, frozen=True, array_like=True):
    events: tuple[_NewEventFrame, ...]
    atomic: bool
    readable: tuple[str, ...] | None


class _ErrorFrame(msgspec.Struct, frozen=True, array_like=True):
    """An error by the name of its class."""

    kind: str
    message: str
    retry_after_s: int = 0
    fields: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class _Stored(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """What the writer decided about a new event."""

    position: int
    recorded_at: int
    outcome: str
    correlation_id: str
    actor_id: str


class _Replayed(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    event: _EventFrame


class _Refused(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What was not stored: an event, a whole request, or a checkpoint."""

    error: _ErrorFrame


class _Answered(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A request whose events have a receipt each."""

    receipts: tuple[_Stored | _Replayed | _Refused, ...]


class Result(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The call with this number has returned."""

    number: int
    result: msgspec.Raw


class Failure(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The call with this number has raised."""

    number: int
    error: _ErrorFrame


class Growth(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """The logs of these tenants have grown, by whatever process."""

    tenants: tuple[str, ...]


Reply = Result | Failure | Growth


class _Call(msgspec.Struct, frozen=True, array_like=True, tag=0):
    number: int
    name: str
    arguments: msgspec.Raw


class _AppendArguments(msgspec.Struct, frozen=True, array_like=True):
    tenant: str
    writes: tuple[_WriteFrame, ...]


ARGUMENTS: dict[str, Any] = {
    "append": _AppendArguments,
    "check": tuple[None],
    "put_key": tuple[ApiKey, bool],
    "revoke_key": tuple[str, str, int],
    "touch_keys": tuple[dict[str, int]],
    "put_session": tuple[Session],
    "end_session": tuple[bytes],
    "take_session": tuple[bytes],
    "put_definition": tuple[Definition],
    "delete_definition": tuple[str, str, str],
    "save_place": tuple[str, Place],
    "delete_place": tuple[str, str],
    "add_deliveries": tuple[str, str, list[int], int, Place],
    "record_attempts": tuple[str, list[tuple[Delivery, Attempt]]],
    "retry_deliveries": tuple[str, DeliveryFilter, int, int],
    "delete_deliveries": tuple[str, str, int | None, int],
    "add_origin": tuple[str, Origin],
    "put_checkpoints": tuple[list[NewCheckpoint]],
    "put_tiles": tuple[str, list[TileRow], bytes | None],
    "erase_payloads": tuple[str, list[int], int, list[HoldVersion]],
    "purge": tuple[str, Purge, list[HoldVersion]],
    "erase_actor": tuple[str, tuple[str, str], str, int, list[HoldVersion], int | None],
    "settle": tuple[str],
    "scrub": tuple[()],
    "index_payloads": tuple[str, list[str]],
    "delete_tenant": tuple[str, TenantDeletion],
    "remove_rows": tuple[int, int],
}
"""Every call, and the types of its arguments."""

_OF_STORES: dict[str, type[WhenceError]] = {
    kind.__name__: kind for kind in (HoldsChanged, LaterEvents, DeletionRefused, LogGrew)
}
"""The errors that are not in `whence.errors`, by name."""

_encode = msgspec.msgpack.Encoder().encode
_decode_call = msgspec.msgpack.Decoder(_Call).decode
_decode_arguments = {name: msgspec.msgpack.Decoder(types).decode for name, types in ARGUMENTS.items()}
_decode_reply = msgspec.msgpack.Decoder(Reply).decode
_decode_results = msgspec.msgpack.Decoder(tuple[_Answered | _Refused, ...]).decode
_decode_stored = msgspec.msgpack.Decoder(tuple[bool | _Refused, ...]).decode


class FrameBuffer:
    """Puts frames together from what a socket yields."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now."""
        self._data += data
        start, held = 0, self._data
        while len(held) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, start)
            end = start + _LENGTH.size + length
            if len(held) < end:
                break
            yield bytes(memoryview(held)[start + _LENGTH.size : end])
            start = end
        del held[:start]


def encode_call(number: int, name: str, *arguments: Any) -> bytes:
    """A call of one of `ARGUMENTS`."""
    return _frame((0, number, name, arguments))


def encode_append(number: int, tenant: str, writes: Sequence[Write]) -> bytes:
    """A call of `append`."""
    packed = [([astuple(new) for new in write.events], write.atomic, write.readable) for write in writes]
    return encode_call(number, "append", tenant, packed)


def decode_call(frame: bytes) -> tuple[int, str, Any]:
    """The number, the name and the arguments of a call. Raises msgspec.MsgspecError and KeyError."""
    call = _decode_call(frame)
    arguments = _decode_arguments[call.name](call.arguments)
    if isinstance(arguments, _AppendArguments):
        writes = [Write(write.events, write.atomic, write.readable) for write in arguments.writes]
        return call.number, call.name, (arguments.tenant, writes)
    return call.number, call.name, arguments


def encode_result(number: int, result: Any) -> bytes:
    """The result of a call."""
    return _frame((0, number, result))


def encode_failure(number: int, error: WhenceError) -> bytes:
    """The error of a call."""
    return _frame((1, number, pack_error(error)))


def encode_growth(tenants: Sequence[str]) -> bytes:
    """The tenants whose logs have grown."""
    return _frame((2, tenants))


def decode_reply(frame: bytes) -> Reply:
    """What the writer sent. Raises msgspec.MsgspecError."""
    reply: Reply = _decode_reply(frame)
    return reply


def pack_results(results: Sequence[list[Receipt] | WhenceError]) -> list[Any]:
    """The results of an append, ready to be encoded."""
    return [
        _Refused(pack_error(result))
        if isinstance(result, WhenceError)
        else (3, [_pack_receipt(receipt) for receipt in result])
        for result in results
    ]


def unpack_results(tenant: str, writes: Sequence[Write], packed: msgspec.Raw) -> list[list[Receipt] | WhenceError]:
    """The results of an append of these requests. Raises msgspec.MsgspecError."""
    return [
        unpack_error(result.error)
        if isinstance(result, _Refused)
        else [_unpack_receipt(tenant, *pair) for pair in zip(write.events, result.receipts, strict=True)]
        for write, result in zip(writes, _decode_results(packed), strict=True)
    ]


def pack_stored(results: Sequence[bool | WhenceError]) -> list[Any]:
    """Whether each thing was stored, or its error, ready to be encoded."""
    return [_Refused(pack_error(each)) if isinstance(each, WhenceError) else each for each in results]


def unpack_stored(packed: msgspec.Raw) -> list[bool | WhenceError]:
    """What was packed. Raises msgspec.MsgspecError."""
    return [unpack_error(each.error) if isinstance(each, _Refused) else each for each in _decode_stored(packed)]


def pack_error(error: WhenceError) -> _ErrorFrame:
    """An error, ready to be encoded."""
    return _ErrorFrame(
        type(error).__name__,
        str(error),
        error.retry_after_s if isinstance(error, RetryLater) else 0,
        error.fields if isinstance(error, Conflict) else (),
        error.problems if isinstance(error, Invalid) else (),
    )


def unpack_error(packed: _ErrorFrame) -> WhenceError:
    """The error that was packed."""
    kind: type[WhenceError] = _OF_STORES.get(packed.kind) or getattr(errors, packed.kind)
    if issubclass(kind, Invalid):
        return kind(packed.problems)
    if issubclass(kind, Conflict):
        return kind(packed.fields)
    if issubclass(kind, RetryLater):
        return kind(packed.message, packed.retry_after_s)
    return kind() if issubclass(kind, Unauthenticated) else kind(packed.message)


def _pack_receipt(receipt: Receipt) -> Any:
    event = receipt.event
    if event is None:
        return _Refused(pack_error(receipt.error or Unavailable("The store failed. Send it again.")))
    if receipt.replayed:
        return 1, astuple(event)
    return _Stored(event.position, event.recorded_at, event.outcome, event.correlation_id, event.actor_id)


def _unpack_receipt(tenant: str, new: NewEvent, packed: _Stored | _Replayed | _Refused) -> Receipt:
    if isinstance(packed, _Stored):
        return Receipt(
            stored_event(
                new,
                tenant_id=tenant,
                position=packed.position,
                actor_id=packed.actor_id,
                correlation_id=packed.correlation_id,
                outcome=packed.outcome,
                recorded_at=packed.recorded_at,
            )
        )
    if isinstance(packed, _Replayed):
        return Receipt(Event(**asdict(packed.event)), replayed=True)
    return Receipt(error=unpack_error(packed.error))


def _frame(content: Any) -> bytes:
    body = _encode(content)
    return _LENGTH.pack(len(body)) + body

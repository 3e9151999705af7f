"""The frames between a server's processes: what goes in comes out, in whatever pieces it arrives."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.made import new, uuid, whole
from tests.unit.mutants import PROPERTY, catches, replaced
from whence import errors
from whence.errors import Conflict, Invalid, Problem, RetryLater, Unauthenticated, Unavailable, WhenceError
from whence.events import Event, NewEvent
from whence.storage.base import Receipt, Write
from whence.storage.sqlite.frames import (
    FrameBuffer,
    Growth,
    Result,
    decode_call,
    decode_reply,
    encode_append,
    encode_call,
    encode_growth,
    encode_result,
    pack_error,
    pack_results,
    pack_stored,
    unpack_error,
    unpack_results,
    unpack_stored,
)

TEXT = st.text(max_size=20)
NEW = st.builds(
    NewEvent,
    id=st.integers(0, 2**128 - 1).map(uuid),
    event_type=TEXT,
    actor_type=TEXT,
    actor_id=TEXT,
    resource_type=TEXT,
    resource_id=TEXT,
    occurred_at=st.integers(-(2**62), 2**62),
    payload=st.binary(max_size=30),
    correlation_id=st.none() | TEXT,
    causation_id=st.none() | TEXT,
    outcome=st.none() | TEXT,
)
WRITE = st.builds(
    Write,
    st.lists(NEW, max_size=3).map(tuple),
    st.booleans(),
    st.none() | st.lists(TEXT, max_size=2).map(tuple),
)


def classes(kind: type[WhenceError] = WhenceError) -> list[type[WhenceError]]:
    """An error class and all below it that this package defines."""
    return [
        kind,
        *(each for below in kind.__subclasses__() for each in classes(below) if below.__module__ == errors.__name__),
    ]


def example(kind: type[WhenceError]) -> WhenceError:
    """An error of a class, with everything that it can hold."""
    if issubclass(kind, Invalid):
        return kind([Problem(("body", 3, "id"), "It is wrong.", "wrong"), Problem((), "That too.", "other")])
    if issubclass(kind, Conflict):
        return kind(("payload", "actorId"))
    if issubclass(kind, RetryLater):
        return kind("Later.", 17)
    return kind() if issubclass(kind, Unauthenticated) else kind("A sentence.")


def only(frame: bytes) -> bytes:
    """The content of a frame."""
    [content] = FrameBuffer().feed(frame)
    return content


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_error_arrives_as_it_was_raised(kind: type[WhenceError]) -> None:
    """With its sentence, its code and what else it holds; a new class needs no change unless it holds something new."""
    sent = example(kind)
    [got] = unpack_results("t", [Write(())], decode_reply_of(pack_results([sent])))
    assert type(got) is kind and isinstance(got, WhenceError)
    assert (str(got), got.code, vars(got)) == (str(sent), sent.code, vars(sent))
    assert vars(unpack_error(pack_error(sent))) == vars(sent)


def decode_reply_of(result: object) -> msgspec.Raw:
    """The result in a reply, after it went through a frame."""
    reply = decode_reply(only(encode_result(7, result)))
    assert isinstance(reply, Result) and reply.number == 7
    return reply.result


def test_what_became_of_checkpoints_arrives() -> None:
    """That they were stored or not, and errors as they were raised."""
    *arrived, error = unpack_stored(decode_reply_of(pack_stored([True, False, Unavailable("Later.", 3)])))
    assert arrived == [True, False]
    assert isinstance(error, Unavailable) and vars(error) == vars(Unavailable("Later.", 3))


@PROPERTY
@given(st.lists(WRITE, max_size=3), TEXT)
def test_an_append_arrives_as_it_was_sent(writes: list[Write], tenant: str) -> None:
    number, name, (got_tenant, got) = decode_call(only(encode_append(3, tenant, writes)))
    assert (number, name, got_tenant) == (3, "append", tenant)
    assert [(each.atomic, each.readable) for each in got] == [(each.atomic, each.readable) for each in writes]
    for sent, arrived in zip(writes, got, strict=True):
        assert [msgspec.structs.asdict(each) for each in arrived.events] == [
            msgspec.structs.asdict(each) for each in sent.events
        ]


def stored(event: NewEvent, position: int) -> Event:
    """What the store makes of an event: other texts for the correlation and the actor than were sent."""
    kept = msgspec.structs.asdict(event) | {"correlation_id": "flow", "outcome": "success", "actor_id": "spelled"}
    return Event(tenant_id="acme", position=position, recorded_at=position * 9, **kept)


def test_receipts_arrive_as_they_were_given() -> None:
    """A stored event is put together from what was sent and what the writer decided; a replayed one is sent whole."""
    news = tuple(new(number, payload=b'{"n":%d}' % number, causation_id=uuid(9)) for number in range(3))
    erased = msgspec.structs.replace(stored(new(1, payload=b"{}"), 8), payload=None)
    given_ = [
        [Receipt(stored(news[0], 5)), Receipt(erased, replayed=True), Receipt(error=Conflict(("id",)))],
        Unavailable("Later.", 3),
    ]
    got = unpack_results("acme", [Write(news), Write(news)], decode_reply_of(pack_results(given_)))
    assert isinstance(got[0], list) and isinstance(got[1], Unavailable)
    assert got[0][:2] == given_[0][:2]  # type: ignore[index]  # the first result is a list
    assert isinstance(got[0][2].error, Conflict) and got[0][2].error.fields == ("id",)
    assert got[1].retry_after_s == 3


def test_every_field_of_an_event_arrives() -> None:
    """Of a new event, and of a stored one in both forms: put together, and sent whole."""
    writes, receipts = [Write((whole(1), whole(2)))], [Receipt(stored(whole(1), 5)), Receipt(stored(whole(2), 6), True)]
    _, _, (_, [got]) = decode_call(only(encode_append(3, "acme", writes)))
    assert [msgspec.structs.asdict(each) for each in got.events] == [
        msgspec.structs.asdict(each) for each in writes[0].events
    ]
    assert unpack_results("acme", writes, decode_reply_of(pack_results([receipts]))) == [receipts]


@catches(
    replaced(FrameBuffer, "feed", lambda self, data: iter([data[4:]]), "takes_each_piece_for_a_frame"),
)
@PROPERTY
@given(st.lists(st.binary(max_size=50), max_size=6), st.data())
def test_frames_are_put_together_from_any_pieces(names: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(encode_call(number, "end_session", name) for number, name in enumerate(names))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    buffer, got = FrameBuffer(), []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        got += list(buffer.feed(sent[start:end]))
    assert [decode_call(frame)[2] for frame in got] == [(name,) for name in names]


def test_growth_names_the_tenants() -> None:
    assert decode_reply(only(encode_growth(["a", "b"]))) == Growth(("a", "b"))


def test_what_is_no_call_is_refused() -> None:
    for content in (b"\x90", b"", msgspec.msgpack.encode((0, 1, "append", "x"))):
        with pytest.raises(msgspec.MsgspecError):
            decode_call(content)
    with pytest.raises(KeyError):
        decode_call(msgspec.msgpack.encode((0, 1, "drop_table", ())))

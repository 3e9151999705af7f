"""UUIDs: generated, derived from names, and parsed."""

import threading
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.mutants import PROPERTY, catches, replaced
from whence.wire import ids
from whence.wire.ids import derived_uuid, parse_uuid

NOW_NS = 1_700_000_000_000_000_000


class _Trusting(ids._Uuid7):
    def next(self) -> str:
        self._recent = ids._Millisecond(0)
        return super().next()


class _Overwriting(ids._Millisecond):
    """Mutant: looks whether another thread has begun the next millisecond, and then writes, in two steps."""

    def follow(self, ms: int) -> ids._Millisecond:
        time.sleep(0.0002)  # between reading and writing
        self._following[None] = _Overwriting(ms)
        return self._following[None]


class _Rereading(ids._Millisecond):
    """Mutant: reads the counter, and yields to other threads before it writes it."""

    def __init__(self, ms: int) -> None:
        super().__init__(ms)
        self.numbers = iter(self._count, -1)
        self._counted = 0

    def _count(self) -> int:
        counted = self._counted
        time.sleep(0)
        self._counted = counted + 1
        return counted


TRUSTING = replaced(ids, "_Uuid7", _Trusting, "the_clock_is_trusted")


@catches(TRUSTING)
def test_ids_rise_strictly_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the clock stands still, steps back an hour or jumps ahead, every id is greater than all before it."""
    steps_s = [0] * 5_000 + [-3_600, -3_600, 1, 0, -1, 86_400, 0, -86_400, 0]
    made = []
    generator = ids._Uuid7()
    for step in steps_s:
        monkeypatch.setattr(ids.time, "time_ns", lambda step=step: NOW_NS + step * 1_000_000_000)
        made.append(generator.next())
    assert made == sorted(set(made))
    assert made[0].startswith(f"{NOW_NS // 1_000_000:012x}"[:8])
    assert made[-1][:13].replace("-", "") >= f"{NOW_NS // 1_000_000 + 86_400_000:012x}"


@catches(
    replaced(ids, "_Millisecond", _Overwriting, "two_milliseconds_follow_one"),
    replaced(ids, "_Millisecond", _Rereading, "a_number_is_read_twice"),
)
def test_ids_rise_strictly_in_every_thread() -> None:
    """Threads that share a generator never get the same counter twice, and each sees its own ids rise."""
    generator = ids._Uuid7()
    made: list[list[str]] = [[] for _ in range(4)]
    begin = threading.Barrier(len(made))

    def make(into: list[str]) -> None:
        begin.wait()
        into.extend(generator.next() for _ in range(300))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counters = [one[:18] for into in made for one in into]  # milliseconds, version and counter
    assert len(set(counters)) == len(counters)
    assert all(into == sorted(into) for into in made)


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    """RFC 9562: the version, the variant, milliseconds first, and 62 random bits."""
    before_ms = time.time_ns() // 1_000_000
    made = [uuid.UUID(ids.new_uuid7()) for _ in range(50)]
    after_ms = time.time_ns() // 1_000_000
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {uuid.RFC_4122}
    assert all(before_ms <= one.int >> 80 <= after_ms + 1 for one in made)
    assert len({one.int & (1 << 62) - 1 for one in made}) == 50
    assert all(str(one) == parse_uuid(str(one)) for one in made)


@catches(replaced(ids, "_NAMESPACE", uuid.NAMESPACE_URL, "another_namespace"))
def test_derived_ids_never_change() -> None:
    """Derived ids are constant: with another value, a repeat of a stored event would be stored as a second event."""
    assert ids.derived_uuid("acme", "order-1") == "0bc2605d-5bd7-5ffb-953b-d7ce7676ae96"
    assert ids.derived_uuid("acme", "order-1", "0") == "c2f8bf92-0db8-511c-86f8-e2013fd6b5ae"
    assert ids.derived_uuid("cloudevents:/billing", "Ünïcode 😀") == "0da82d2e-a6a7-5ae8-8948-d24a2481b60a"


def joined(namespace: str, *rest: str) -> str:
    return str(uuid.uuid5(uuid.uuid5(ids._NAMESPACE, namespace), "".join(rest)))


names = st.lists(st.text("ab1:", max_size=3), min_size=1, max_size=4)


@catches(replaced(ids, "derived_uuid", joined, "names_run_together"))
@PROPERTY
@given(a=names, b=names)
def test_other_names_give_another_id(a: list[str], b: list[str]) -> None:
    """Names that are divided differently give different ids; the same names always give the same id."""
    assert (ids.derived_uuid(*a) == ids.derived_uuid(*b)) == (a == b)
    assert uuid.UUID(ids.derived_uuid(*a)).version == 5


def test_names_do_not_run_together() -> None:
    """("a", "bc") is not ("ab", "c"), nor is a tenant's key that holds a colon."""
    assert derived_uuid("t", "a", "bc") != derived_uuid("t", "ab", "c")
    assert derived_uuid("t", "1:a1:b") != derived_uuid("t", "a", "b")
    assert derived_uuid("ta", "b") != derived_uuid("t", "ab")


GOOD = "5b0c3bd0-6f5d-4ef4-8d0c-6a1a7c7f0001"


@pytest.mark.parametrize("text", [GOOD, GOOD.upper(), str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1)).upper()])
def test_a_hyphenated_uuid_is_read_in_any_case(text: str) -> None:
    """UUIDs of any version, nil and max are accepted and returned in lower case."""
    assert parse_uuid(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.replace("-", ""),
        f"{{{GOOD}}}",
        f"urn:uuid:{GOOD}",
        f"{GOOD}\n",
        f" {GOOD}",
        GOOD[:-1],
        GOOD + "0",
        GOOD.replace("b", "g"),
        GOOD.replace("-", "\u2013"),
        GOOD.replace("0", "\u0660"),
        GOOD.replace("0", "\uff10"),
        GOOD.replace("-", "", 1) + "-",
        "5b0c3bd06-f5d-4ef4-8d0c-6a1a7c7f0001",
    ],
    ids=ascii,
)
def test_every_other_spelling_is_refused_without_an_echo(text: str) -> None:
    """Other spellings that Python's UUID accepts are refused, and the message does not repeat them."""
    with pytest.raises(ValueError, match="32 hexadecimal digits") as caught:
        parse_uuid(text)
    assert not text or text not in str(caught.value)

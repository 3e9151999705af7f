"""Random digits: each is given out once, in this process and in those that it forks."""

import os

from tests.unit.mutants import catches, replaced
from whence.random_digits import RandomDigits
from whence.wire import ids


def test_no_digits_are_given_out_twice() -> None:
    """Also across a refill, and for numbers that do not divide it."""
    supply = RandomDigits()
    taken = [supply.take(number) for _ in range(200) for number in (16, 32, 7)]
    assert [len(each) for each in taken] == [16, 32, 7] * 200
    long = [each for each in taken if len(each) > 7]
    assert len(set(long)) == len(long)
    assert set("".join(taken)) == set("0123456789abcdef")


def random_part_in_a_child() -> str:
    """The random part of the first id that a forked child makes."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, ids.new_uuid7()[20:].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        return pipe.read()


@catches(replaced(RandomDigits, "reset_after_fork", lambda self: vars(self).setdefault("_digits", ""), "keeps_them"))
def test_forked_children_get_other_digits() -> None:
    ids.new_uuid7()
    made = {random_part_in_a_child() for _ in range(3)} | {ids.new_uuid7()[20:]}
    assert len(made) == 4

"""A mutant that no test notices makes a test fail."""

import types

import pytest

from tests.unit.mutants import catches, replaced

HOUSE = types.SimpleNamespace(rooms=3)
FEWER = replaced(HOUSE, "rooms", 2, "a_room_less")


@catches(FEWER)
def test_a_mutant_is_caught() -> None:
    """A decorated test passes without the mutant, and with it because the assertion fails."""
    assert HOUSE.rooms == 3


def test_a_mutant_that_survives_is_named() -> None:
    """A test that passes on its mutant fails, and the failure names the mutant."""

    @catches(FEWER)
    def looks_away() -> None:
        assert HOUSE.rooms

    with pytest.MonkeyPatch.context() as patch, pytest.raises(pytest.fail.Exception, match="a_room_less survived"):
        looks_away(mutant=FEWER, monkeypatch=patch)


def test_a_mutant_that_breaks_the_test_itself_is_an_error() -> None:
    """A mutant of a missing name, and one that raises a TypeError in the test, do not count as caught."""

    @catches(FEWER)
    def stumbles() -> None:
        raise TypeError("of the test")

    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(TypeError, match="of the test"):
            stumbles(mutant=FEWER, monkeypatch=patch)
        with pytest.raises(AttributeError):
            stumbles(mutant=replaced(HOUSE, "cellar", 0, "no_cellar"), monkeypatch=patch)

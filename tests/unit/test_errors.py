"""The error tree and the public names."""

import inspect
import re

import pytest

import whence
from whence import errors
from whence.errors import Invalid, Problem, RetryLater, WhenceError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, WhenceError)]


def test_the_tree_is_drawn_as_it_is() -> None:
    """The tree in the module's docstring has every error class and no other."""
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"── (\w+)", errors.__doc__))
    assert drawn == {kind.__name__ for kind in KINDS} - {"WhenceError"}
    assert drawn < set(errors.__all__)


def test_every_error_has_a_code_of_its_own() -> None:
    """Programs tell errors apart by their codes, so each is a unique slug. The base class RetryLater has none."""
    codes = [kind.code for kind in KINDS if kind is not RetryLater]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch("[a-z]+(_[a-z]+)*", code) for code in codes)


def test_a_problem_of_an_item_is_placed_at_its_index() -> None:
    """The index is inserted after the first part of `loc`; message and rule are unchanged."""
    error = Invalid([Problem(("body", "actorId"), "No.", "x"), Problem(("body",), "Never.", "y")])
    assert error.within_item(7).problems == (
        Problem(("body", 7, "actorId"), "No.", "x"),
        Problem(("body", 7), "Never.", "y"),
    )
    assert str(error) == str(error.within_item(7)) == "No. Never."


def test_public_names_are_pinned() -> None:
    """Each public name resolves, and any other name raises AttributeError."""
    assert whence.__all__ == [
        *("AsyncWhence", "Conflict", "Forbidden", "Invalid", "NotFound", "Unauthenticated"),
        *("Whence", "WhenceError", "__version__"),
    ]
    assert all(getattr(whence, name) for name in whence.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = whence.nothing

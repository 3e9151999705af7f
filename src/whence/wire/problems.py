"""How many problems a refusal names, so that neither the work nor the answer grows with what was sent; and bodies that
are no JSON object, which are refused before they have fields."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from whence.errors import Invalid, Problem
from whence.json_decoding import decode_json
from whence.wire.fields import near

__all__ = [
    "MORE_PROBLEMS",
    "PROBLEMS_MAX",
    "Hints",
    "json_object",
    "limit_batch",
    "limit_problems",
    "nearest_or_all",
    "shown_name",
    "unknown_names",
]

PROBLEMS_MAX = 100
"""Beyond these, only the first problem of each event is named, and the others are counted."""

MORE_PROBLEMS = "more_problems"
"""The type of the final entry, which counts the problems that are not named."""

_HINTS_MAX = 20
_NAME_MAX = 255

Item = TypeVar("Item")


class Hints(msgspec.Struct):
    """How many unknown names of one request still get a hint at the nearest known one. Finding it takes 20 µs."""

    left: int = _HINTS_MAX

    def take(self) -> bool:
        """Whether one more name gets a hint."""
        self.left -= 1
        return self.left >= 0


def shown_name(name: str) -> str:
    """An unknown name as a part of `loc`: as it was sent, or the first 255 characters and an ellipsis."""
    return name if len(name) <= _NAME_MAX else name[:_NAME_MAX] + "…"


def nearest_or_all(known: Collection[str], all_are: str) -> Callable[[str], str]:
    """What says of an unknown name which known one is the nearest, or `all_are` and every known one. Only so many names
    get the nearest one; see `Hints`."""
    hints = Hints()

    def hint(name: str) -> str:
        found = near(name, known) if hints.take() else None
        return f"the nearest is {found}" if found else f"{all_are} {', '.join(known)}"

    return hint


def unknown_names(
    names: Iterable[str], known: Collection[str], loc: tuple[str | int, ...], sentence: Callable[[str], str]
) -> list[Problem]:
    """A problem for each name that is not known, in their order. Beyond a hundred, one entry counts the others.
    `sentence` says of a name what is wrong with it."""
    unknown = [name for name in names if name not in known]
    named = [Problem((*loc, shown_name(name)), sentence(name), "extra_forbidden") for name in unknown[:PROBLEMS_MAX]]
    return [*named, _more(len(unknown) - PROBLEMS_MAX)] if len(unknown) > PROBLEMS_MAX else named


def limit_problems(problems: Sequence[Problem], uncounted: int = 0) -> tuple[Problem, ...]:
    """The first problems of an event, and a final entry for the others and for `uncounted` ones that are not listed."""
    dropped = max(len(problems) - PROBLEMS_MAX, 0) + uncounted
    return (*problems[:PROBLEMS_MAX], *([_more(dropped)] if dropped else []))


def limit_batch(parsed: Sequence[Item]) -> list[Item | Invalid]:
    """The items of a batch, with at most 100 problems, or one for each refused event if those are more.

    The problems that are left out are counted in one entry, the last of the last event that is Invalid.
    """
    limited: list[Item | Invalid] = []
    left, dropped, last = PROBLEMS_MAX, 0, 0
    named: tuple[Problem, ...] = ()
    for item in parsed:
        if isinstance(item, Invalid):
            last, named = len(limited), item.problems[: max(left, 1)]
            left -= len(named)
            dropped += len(item.problems) - len(named)
            limited.append(Invalid(named))
        else:
            limited.append(item)
    if dropped:
        limited[last] = Invalid((*named, _more(dropped)))
    return limited


def _more(count: int) -> Problem:
    return Problem(("body",), f"{count} more problems are not listed.", MORE_PROBLEMS)


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body of a request. Raises Invalid for another body."""
    try:
        asked = decode_json(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Invalid.at(("body",), "The body must be JSON.", "json_invalid") from None
    if not isinstance(asked, dict):
        raise Invalid.at(("body",), "The body must be a JSON object.", "dict_type")
    return asked

"""Saved views of the console: a name for one of its addresses. Pure."""

import re
from typing import Any

import msgspec

from whence.errors import Invalid, Problem
from whence.wire.bodies import TimeText, WireBody
from whence.wire.problems import json_object, unknown_names
from whence.wire.times import format_time

__all__ = ["ADDRESS_MAX", "ADDRESS_PATTERN", "NAME_MAX", "View", "ViewBody", "ViewsBody", "parse_view", "view_body"]

NAME_MAX = 100
"""Characters of the name of a view."""

ADDRESS_MAX = 4_000
"""Characters of an address."""

ADDRESS_PATTERN = r"/(?![/\\])[^\x00-\x20\x7f\\]*"
"""A path of the console and its search. It cannot lead to another host: it begins with one slash, and has no backslash,
which browsers take for one."""

_ADDRESS = re.compile(ADDRESS_PATTERN)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A saved view as it is kept. `created_by` names the credential that made it; the time is in microseconds."""

    name: str
    address: str
    created_at: int
    created_by: str


class ViewBody(WireBody, frozen=True, kw_only=True):
    """A saved view. `createdBy` is the id of the API key that made it, or the subject of a token."""

    address: str
    created_at: TimeText
    created_by: str
    id: str
    name: str


class ViewsBody(WireBody, frozen=True, kw_only=True):
    """The saved views of a tenant, oldest first."""

    views: list[ViewBody]


def view_body(view_id: str, view: View) -> ViewBody:
    """The body of a view."""
    return ViewBody(
        address=view.address,
        created_at=format_time(view.created_at),
        created_by=view.created_by,
        id=view_id,
        name=view.name,
    )


def parse_view(body: bytes) -> tuple[str, str]:
    """The name and the address of a new view. Raises Invalid with every problem."""
    asked = json_object(body)
    sentence = "There is no such field; known are name and address."
    problems = unknown_names(asked, _FIELDS, ("body",), lambda _name: sentence)
    problems += [Problem(("body", name), f"{name} is required.", "missing") for name in _FIELDS if name not in asked]
    name, address = (asked.get(field, None) for field in _FIELDS)
    if "name" in asked and not _is_name(name):
        sentence = f"A name is printable text of 1 to {NAME_MAX} characters, with no blank at its ends."
        problems.append(Problem(("body", "name"), sentence, "name"))
    if "address" in asked and not _is_address(address):
        sentence = (
            f"An address is a path of the console with its search, like /explore?q=…, of at most {ADDRESS_MAX:,} "
        )
        problems.append(Problem(("body", "address"), f"{sentence}characters without blanks.", "address"))
    if problems:
        raise Invalid(problems)
    return str(name), str(address)


_FIELDS = ("name", "address")


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= NAME_MAX and name.isprintable() and name == name.strip()


def _is_address(address: Any) -> bool:
    return isinstance(address, str) and len(address) <= ADDRESS_MAX and _ADDRESS.fullmatch(address) is not None

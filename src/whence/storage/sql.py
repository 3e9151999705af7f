"""Loads the named blocks of `.sql` files, and splits a text into its statements."""

import re
from importlib.resources import files
from types import MappingProxyType

__all__ = ["load_blocks", "statements_of"]

_PART = re.compile(r"--[^\n]*|\$\$.*?\$\$|'(?:[^']|'')*'|;|[^;'$-]+|.", re.DOTALL)
"""A comment, a quoted text, the end of a statement, or anything else."""

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_blocks(package: str, filename: str = "queries.sql") -> MappingProxyType[str, str]:
    """The blocks of an SQL file in `package`, each by the name in the `-- name:` line before it.

    Raises ValueError when two blocks have the same name.
    """
    _, *parts = _NAME.split(files(package).joinpath(filename).read_text("utf-8"))
    names, bodies = parts[::2], [body.strip() for body in parts[1::2]]
    if len(set(names)) != len(names):
        raise ValueError(f"Two SQL blocks of {package}/{filename} have the same name.")
    return MappingProxyType(dict(zip(names, bodies, strict=True)))


def statements_of(text: str) -> list[str]:
    """The statements of an SQL text, without comments between them. Texts are quoted by `'` or `$$` only.

    Citus sends the whole text of a message that changes a table to its shards, so each statement is a message.
    """
    found = [""]
    for part in _PART.findall(text):
        if part == ";":
            found.append("")
        elif not part.startswith("--"):
            found[-1] += part
    return [statement.strip() for statement in found if statement.strip()]

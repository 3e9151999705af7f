"""Loads the named blocks of `.sql` files."""

import re
from importlib.resources import files
from types import MappingProxyType

__all__ = ["load_blocks"]

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

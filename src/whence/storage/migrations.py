"""Loads migrations: `migrations/0001_name.sql` and so on. Both stores have the same numbers and names."""

from importlib.resources import files

import msgspec

__all__ = ["Migration", "load_migrations"]


class Migration(msgspec.Struct, frozen=True):
    """One migration. `number` is the version of the schema after it."""

    number: int
    name: str
    sql: str


def load_migrations(package: str) -> tuple[Migration, ...]:
    """The migrations of a store's package, in order. Raises ValueError when a number is missing or used twice."""
    found = sorted(
        (path.name, path.read_text("utf-8"))
        for path in files(package).joinpath("migrations").iterdir()
        if path.name.endswith(".sql")
    )
    steps = tuple(Migration(int(name[:4]), name[5:-4], sql) for name, sql in found)
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        raise ValueError(f"The migrations of {package} must be numbered 1, 2, 3 and so on.")
    return steps

"""Writes `catalogue.tsv`, which says what the migrations for PostgreSQL make: `python -m tests.storage.make_catalogue`.

Run it after a new migration, and read the difference.
"""

import asyncio
from importlib.resources import files
from pathlib import Path

import asyncpg

from tests.databases import fresh_database
from whence.storage.postgres.catalogue import read_catalogue

PATH = Path(str(files("whence.storage.postgres"))) / "catalogue.tsv"


async def catalogue_of(url: str) -> str:
    """The file's content for a database: a line for each object, sorted."""
    connection = await asyncpg.connect(url)
    try:
        rows = await read_catalogue(connection)
    finally:
        await connection.close()
    lines = sorted("\t".join((each.type, each.table, each.name, definition)) for each, definition, _ in rows)
    return "\n".join(lines) + "\n"


async def _main() -> None:
    PATH.write_text(await catalogue_of(await fresh_database()), "utf-8")


if __name__ == "__main__":
    asyncio.run(_main())

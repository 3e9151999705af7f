"""A migration is sent statement by statement."""

import re

import pytest

from tests.unit.mutants import catches, replaced
from whence.storage import sql
from whence.storage.migrations import load_migrations
from whence.storage.sql import statements_of


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("-- of; two\nSELECT 1;\n-- and; three\n;;", ["SELECT 1"]),
        ("SELECT 2 - $1", ["SELECT 2 - $1"]),
        ("", []),
    ],
)
def test_a_text_is_split_into_its_statements(text: str, statements: list[str]) -> None:
    """A semicolon in a comment ends none."""
    assert statements_of(text) == statements


@catches(replaced(sql, "_PART", re.compile(r"--[^\n]*|;|[^;-]+|."), "splits_quoted_texts"))
@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT ';' || 'it''s; - $'; SELECT 2 - 1", ["SELECT ';' || 'it''s; - $'", "SELECT 2 - 1"]),
        ("DO $$ BEGIN a; b; END $$;\nSELECT $1", ["DO $$ BEGIN a; b; END $$", "SELECT $1"]),
    ],
)
def test_a_quoted_text_is_not_split(text: str, statements: list[str]) -> None:
    """Neither a literal nor the body of a block."""
    assert statements_of(text) == statements


def bare(text: str) -> str:
    """Without comments, white space and semicolons."""
    return re.sub(r"[ \n;]", "", "\n".join(line.partition("--")[0] for line in text.splitlines()))


def test_no_statement_of_a_migration_is_lost() -> None:
    """What is left out is comments and the semicolons between statements."""
    for step in load_migrations("whence.storage.postgres"):
        assert bare(" ; ".join(statements_of(step.sql))) == bare(step.sql)

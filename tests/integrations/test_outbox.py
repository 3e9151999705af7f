"""The SQLAlchemy outbox: events are committed with their transaction, and sent afterwards."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, event, serving
from tests.cli.program import Cli
from tests.client.fake_server import fake_server, refuse
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Unreachable, Whence
from whence.integrations.pytest_plugin import RecordingWhence
from whence.permissions import READ, WRITE

sqlalchemy = pytest.importorskip("sqlalchemy")

from sqlalchemy.orm import Session  # noqa: E402  (needs the check above)

from whence.integrations import sqlalchemy as integration  # noqa: E402  (as above)
from whence.integrations.sqlalchemy import (  # noqa: E402  (as above)
    DrainResult,
    OutboxRows,
    SendResult,
    drain,
    drain_async,
    outbox,
    outbox_table,
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/app.db"


@pytest.fixture
def engine(url: str) -> Iterator["sqlalchemy.Engine"]:
    made = sqlalchemy.create_engine(url)
    metadata = sqlalchemy.MetaData()
    outbox_table(metadata)
    metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outbox")) as running:
        yield running


def rows(engine: "sqlalchemy.Engine") -> list[str | None]:
    with engine.connect() as connection:
        return list(connection.execute(sqlalchemy.text("SELECT refused FROM whence_outbox ORDER BY number")).scalars())


def in_order(engine: "sqlalchemy.Engine", count: int) -> None:
    with Session(engine) as session, session.begin():
        for number in range(count):
            outbox(session).emit(event(actorId=f"a{number}"))


def test_an_event_is_committed_with_its_transaction(
    engine: "sqlalchemy.Engine", served: Served, whence_events: RecordingWhence
) -> None:
    """An event that was rolled back is not sent. The event has the cause of the current context."""
    root = whence_events.emit(event())
    with Whence(served.url, served.key(READ, WRITE, tenant="outbox")) as log:
        with Session(engine) as session, whence_events.cause(root):
            kept = outbox(session).emit(event())
            session.commit()
            outbox(session).emit(event())
            session.rollback()
        assert drain(engine, log) == DrainResult(1, 0)
        (stored,) = log.list().events
        assert (stored.id, stored.causation_id) == (kept.id, root.id)
        assert rows(engine) == []
        assert drain(engine, log) == DrainResult(0, 0)


def test_a_refused_event_stays_with_its_reason(engine: "sqlalchemy.Engine") -> None:
    """The others are sent in order, also when the server refuses a batch as a whole."""
    for whole in (False, True):
        in_order(engine, 5)
        with fake_server() as server, Whence(server.url, "whk_x", retries=0) as log:
            server.rule = refuse("a1", whole=whole)
            assert drain(engine, log) == DrainResult(4, 1)
            assert server.actors == ["a0", "a2", "a3", "a4"]
    assert [bool(reason) for reason in rows(engine)] == [True, True]


@catches(replaced(integration, "send_rows", lambda log, rows: ([number for number, _ in rows], {}), "deleted_unsent"))
def test_without_a_server_no_row_is_deleted(engine: "sqlalchemy.Engine") -> None:
    """A row stays until the server has responded."""
    in_order(engine, 3)
    with Whence("http://127.0.0.1:1", "whk_x", retries=0) as log, contextlib.suppress(Unreachable):
        drain(engine, log)
    assert rows(engine) == [None] * 3


async def drained_async(url: str, log: AsyncWhence) -> DrainResult:
    """Drain the outbox at a sync URL with an async engine."""
    pytest.importorskip("greenlet", reason="SQLAlchemy needs it for asyncio")
    pytest.importorskip("aiosqlite", reason="a driver for asyncio is missing")
    asyncio_ = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = asyncio_.create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    try:
        return await drain_async(engine, log)
    finally:
        await engine.dispose()


async def test_an_async_engine_is_drained_too(engine: "sqlalchemy.Engine", url: str, served: Served) -> None:
    """In order, in more than one batch."""
    in_order(engine, 700)
    async with AsyncWhence(served.url, served.key(READ, WRITE, tenant="async")) as log:
        assert await drained_async(url, log) == DrainResult(700, 0)
        page = await log.list(limit=2, order="asc")
        assert ([each.actor_id for each in page.events], page.total) == (["a0", "a1"], 700)
        assert rows(engine) == []
        assert await drained_async(url, log) == DrainResult(0, 0)


async def test_an_async_drain_leaves_refused_events(engine: "sqlalchemy.Engine", url: str) -> None:
    """The others are sent in order, also when the server refuses a batch as a whole."""
    for whole in (False, True):
        in_order(engine, 5)
        with fake_server() as server:
            server.rule = refuse("a1", whole=whole)
            async with AsyncWhence(server.url, "whk_x", retries=0) as log:
                assert await drained_async(url, log) == DrainResult(4, 1)
            assert server.actors == ["a0", "a2", "a3", "a4"]
    assert [bool(reason) for reason in rows(engine)] == [True, True]


async def all_stored(_log: object, rows: OutboxRows) -> SendResult:
    """Reports every row as stored, and sends none."""
    return [number for number, _ in rows], {}


@catches(replaced(integration, "send_rows_async", all_stored, "deleted_unsent"))
def test_without_a_server_an_async_drain_deletes_no_row(engine: "sqlalchemy.Engine", url: str) -> None:
    """A row stays until the server has responded."""
    in_order(engine, 3)

    async def drain_in_vain() -> None:
        async with AsyncWhence("http://127.0.0.1:1", "whk_x", retries=0) as log:
            await drained_async(url, log)

    with contextlib.suppress(Unreachable):
        asyncio.run(drain_in_vain())
    assert rows(engine) == [None] * 3


@pytest.mark.slow
def test_relay_drains_an_outbox(engine: "sqlalchemy.Engine", url: str, served: Served, tmp_path: Path) -> None:
    """The command `whence relay --database`, in more than one batch."""
    in_order(engine, 700)
    key = served.key(READ, WRITE, tenant="relayed")
    cli = Cli(tmp_path / "home").given(url=served.url, api_key=key)
    assert cli.ok("relay", "--database", url).out == "700 stored, 0 refused.\n"
    with Whence(served.url, key) as log:
        assert [each.actor_id for each in log.events(order="asc")][:2] == ["a0", "a1"]
        assert log.list().total == 700
    assert rows(engine) == []
    assert cli.run("relay").code == 2
    assert cli.run("relay", "--database", f"sqlite:///{tmp_path}/none.db").code == 1


def test_relay_sends_an_abandoned_spool(served: Served, tmp_path: Path) -> None:
    """The command `whence relay --spool`, for a program that is gone or whose key was rotated."""
    gone = Whence("http://127.0.0.1:1", "whk_old", spool=tmp_path / "spool", exit_timeout_s=0.05)
    for number in range(20):
        gone.emit(event(actorId=f"a{number}"))
    gone.close()
    key = served.key(READ, WRITE, tenant="left")
    cli = Cli(tmp_path / "home").given(url=served.url, api_key=key)
    said = cli.ok("relay", "--spool", gone.spool_folder).out
    assert said == "20 stored, 0 already there, 0 refused, 0 left.\n"
    assert list(gone.spool_folder.glob("*.segment")) == []
    assert cli.ok("relay", "--spool", gone.spool_folder).out.startswith("0 stored")
    assert cli.run("relay", "--spool", tmp_path / "none").code == 2
    assert "no spool files" in cli.fails(2, "relay", "--spool", tmp_path)

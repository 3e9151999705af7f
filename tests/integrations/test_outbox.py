"""The outbox: both or neither, sent afterwards, and nothing is held up."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Served, event, serving
from tests.cli.program import Cli
from tests.client.takers import refuse, taking
from tests.unit.mutants import catches, replaced
from whence.client import AsyncWhence, Unreachable, Whence
from whence.integrations.pytest_plugin import Recorded
from whence.permissions import READ, WRITE

sqlalchemy = pytest.importorskip("sqlalchemy")

from sqlalchemy.orm import Session  # noqa: E402  (after it is known to be there)

from whence.integrations import sqlalchemy as integration  # noqa: E402  (as above)
from whence.integrations.sqlalchemy import Drained, drain, drain_async, outbox, outbox_table  # noqa: E402  (as above)


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


def test_an_event_is_there_with_its_transaction_or_not_at_all(
    engine: "sqlalchemy.Engine", served: Served, whence_events: Recorded
) -> None:
    """What was rolled back was never emitted; the cause of here and now is kept."""
    root = whence_events.emit(event())
    with Whence(served.url, served.key(READ, WRITE, tenant="outbox")) as log:
        with Session(engine) as session, whence_events.cause(root):
            kept = outbox(session).emit(event())
            session.commit()
            outbox(session).emit(event())
            session.rollback()
        assert drain(engine, log) == Drained(1, 0)
        (one,) = log.list().events
        assert (one.id, one.causation_id) == (kept.id, root.id)
        assert rows(engine) == []
        assert drain(engine, log) == Drained(0, 0)


def test_what_is_refused_stays_with_its_reason(engine: "sqlalchemy.Engine") -> None:
    """The rest goes on, in order, also when the server refuses a batch as a whole."""
    for whole in (False, True):
        in_order(engine, 5)
        with taking() as taker, Whence(taker.url, "whk_x", retries=0) as log:
            taker.rule = refuse("a1", whole=whole)
            assert drain(engine, log) == Drained(4, 1)
            assert taker.actors == ["a0", "a2", "a3", "a4"]
    assert [bool(reason) for reason in rows(engine)] == [True, True]


@catches(replaced(integration, "_sent", lambda log, rows: ([number for number, _ in rows], {}), "deleted_unsent"))
def test_without_a_server_everything_waits(engine: "sqlalchemy.Engine") -> None:
    """No row is touched until the server said what became of it."""
    in_order(engine, 3)
    with Whence("http://127.0.0.1:1", "whk_x", retries=0) as log, contextlib.suppress(Unreachable):
        drain(engine, log)
    assert rows(engine) == [None] * 3


async def drained_async(url: str, log: AsyncWhence) -> Drained:
    """The outbox at a URL of an engine that blocks, drained by one that awaits."""
    pytest.importorskip("greenlet", reason="SQLAlchemy needs it for asyncio")
    pytest.importorskip("aiosqlite", reason="a driver for asyncio is missing")
    asyncio_ = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = asyncio_.create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"))
    try:
        return await drain_async(engine, log)
    finally:
        await engine.dispose()


async def test_an_async_engine_is_drained_too(engine: "sqlalchemy.Engine", url: str, served: Served) -> None:
    """In order, over more than one batch."""
    in_order(engine, 700)
    async with AsyncWhence(served.url, served.key(READ, WRITE, tenant="async")) as log:
        assert await drained_async(url, log) == Drained(700, 0)
        page = await log.list(limit=2, order="asc")
        assert ([one.actor_id for one in page.events], page.total) == (["a0", "a1"], 700)
        assert rows(engine) == []
        assert await drained_async(url, log) == Drained(0, 0)


async def test_an_async_drain_leaves_what_is_refused(engine: "sqlalchemy.Engine", url: str) -> None:
    """The rest goes on, in order, also when the server refuses a batch as a whole."""
    for whole in (False, True):
        in_order(engine, 5)
        with taking() as taker:
            taker.rule = refuse("a1", whole=whole)
            async with AsyncWhence(taker.url, "whk_x", retries=0) as log:
                assert await drained_async(url, log) == Drained(4, 1)
            assert taker.actors == ["a0", "a2", "a3", "a4"]
    assert [bool(reason) for reason in rows(engine)] == [True, True]


async def _sent_unasked(_log: object, waiting: integration.Waiting) -> integration.Outcome:
    return [number for number, _ in waiting], {}


@catches(replaced(integration, "_sent_async", _sent_unasked, "deleted_unsent"))
def test_without_a_server_an_async_drain_touches_nothing(engine: "sqlalchemy.Engine", url: str) -> None:
    """No row is touched until the server said what became of it."""
    in_order(engine, 3)

    async def drained() -> None:
        async with AsyncWhence("http://127.0.0.1:1", "whk_x", retries=0) as log:
            await drained_async(url, log)

    with contextlib.suppress(Unreachable):
        asyncio.run(drained())
    assert rows(engine) == [None] * 3


def test_relay_drains_an_outbox(engine: "sqlalchemy.Engine", url: str, served: Served, tmp_path: Path) -> None:
    """As a command, with a batch after the other."""
    in_order(engine, 700)
    key = served.key(READ, WRITE, tenant="relayed")
    cli = Cli(tmp_path / "home").given(url=served.url, api_key=key)
    assert cli.ok("relay", "--database", url).out == "700 stored, 0 refused.\n"
    with Whence(served.url, key) as log:
        assert [one.actor_id for one in log.events(order="asc")][:2] == ["a0", "a1"]
        assert log.list().total == 700
    assert rows(engine) == []
    assert cli.run("relay").code == 2
    assert cli.run("relay", "--database", f"sqlite:///{tmp_path}/none.db").code == 1


def test_relay_sends_a_spool_that_was_left_behind(served: Served, tmp_path: Path) -> None:
    """For a program that is gone, or whose key was changed."""
    gone = Whence("http://127.0.0.1:1", "whk_old", spool=tmp_path / "spool", exit_timeout_s=0.05)
    for number in range(20):
        gone.emit(event(actorId=f"a{number}"))
    gone.close()
    key = served.key(READ, WRITE, tenant="left")
    cli = Cli(tmp_path / "home").given(url=served.url, api_key=key)
    said = cli.ok("relay", "--spool", gone.spool_folder).out
    assert said == "20 stored, 0 already there, 0 refused, 0 left.\n"
    assert list(gone.spool_folder.glob("*.segment")) == []
    assert cli.run("relay", "--spool", tmp_path / "none").code == 2

"""The registry of storage engines: the URL chooses the engine, and a new one needs no other change."""

import importlib
import sys
import types

import pytest

from whence.errors import StoreRefused
from whence.settings import Settings
from whence.storage import backend_for, backends, create_store
from whence.storage.backends import ENGINES, Engine, StoreOptions


class InMemory:
    """A made-up engine that returns what it was asked for."""

    def create_store(self, url: str, options: StoreOptions) -> tuple[str, StoreOptions]:
        return url, options


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> InMemory:
    """The made-up engine, entered in the registry."""
    module = types.ModuleType("made_up_engine")
    backend = InMemory()
    module.BACKEND = backend  # type: ignore[attr-defined]  # a module takes any attribute
    monkeypatch.setitem(sys.modules, module.__name__, module)
    engine = Engine("Memory", "memory://", "memory://name", module.__name__)
    monkeypatch.setattr(backends, "ENGINES", (*ENGINES, engine))
    return backend


def test_a_new_engine_is_an_entry_in_the_registry(in_memory: InMemory) -> None:
    """Its URLs are valid settings, choose its backend, and pass every option on."""
    assert Settings(store="memory://log").shown_store == "memory://log"
    assert backend_for("memory://log") is in_memory
    created = create_store("memory://log", serving=False, pooler=True, listen_url="memory://other")
    assert created == ("memory://log", StoreOptions(serving=False, pooler=True, listen_url="memory://other"))


@pytest.mark.parametrize("url", ["memory://log", "sqlite:///", "sqlite://log.db", "postgres://db", "log.db", ""])
def test_a_url_of_no_engine_is_refused_with_examples(url: str) -> None:
    """By the storage and by the settings; the message has an example URL of each engine."""
    with pytest.raises(StoreRefused) as refused:
        create_store(url)
    assert all(engine.url_example in str(refused.value) for engine in ENGINES)
    with pytest.raises(ValueError, match="WHENCE_STORE"):
        Settings(store=url)


def test_a_missing_driver_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine needs asyncpg, which only the extra `postgres` installs."""
    # The import below sets the attribute of the package; it is put back together with the modules.
    monkeypatch.setattr("whence.storage.postgres", importlib.import_module("whence.storage.postgres"))
    for name in [name for name in sys.modules if name.startswith("whence.storage.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreRefused, match=r"asyncpg.*pip install 'whence\[server,postgres\]'"):
        backend_for("postgresql://db/whence")


def test_only_sqlite_creates_a_log_by_opening_it() -> None:
    """PostgreSQL's log is made by a migration alone."""
    sqlite, postgres = (backend_for(url) for url in ("sqlite:////nowhere/log.db", "postgresql://db/whence"))
    assert sqlite.creates_log("sqlite:////nowhere/log.db")
    assert not postgres.creates_log("postgresql://db/whence")

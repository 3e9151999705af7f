"""Where a log is kept. `open_store` is the one way in."""

from whence.errors import StoreRefused
from whence.storage.base import Head, Receipt, Session, Store, Write
from whence.storage.sqlite.engine import SQLiteStore

__all__ = ["Head", "Receipt", "Session", "Store", "Write", "open_store"]


def open_store(url: str, *, serving: bool = True, accept_rollback: bool = False) -> Store:
    """Open the store at `url`, and make it when it is not there.

    `sqlite:///relative/or//absolute/path` names a SQLite file. One process at a time may open a file for `serving`,
    which is what `append` needs; with `serving=False` the file is opened beside it, for keys and for reading.
    A store that has lost what it acknowledged is refused, unless `accept_rollback` takes it as it is.

    Raises StoreRefused, with a sentence that says what to do, when the store must not be opened.
    """
    scheme, separator, path = url.partition(":///")
    if not separator or scheme != "sqlite" or not path:
        raise StoreRefused("A store is named by a URL such as sqlite:///whence.db or sqlite:////var/lib/whence.db.")
    return SQLiteStore(path, serving=serving, accept_rollback=accept_rollback)

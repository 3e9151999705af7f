"""How erasures and deletions ended whose process was stopped, by what the file has committed.

The ledger gets the intent within the transaction of a removal, and its end after the commit. Whoever holds the write
lock finds an intent without an end only if its process was stopped in between, or is about to note the end. The file
says in either case how it ended.
"""

from contextlib import suppress

import apsw

from whence.errors import StoreRefused
from whence.storage.removals import Erased
from whence.storage.sql import load_blocks
from whence.storage.sqlite.erasure_ledger import ErasureLedger
from whence.storage.sqlite.rows import key_of

__all__ = ["decide", "decide_removals"]

_SQL = load_blocks("whence.storage.sqlite")


def decide_removals(path: str, connection: apsw.Connection) -> None:
    """Note in the ledger of the file at `path` how the removals ended that were interrupted. What cannot be found out
    or noted now is left for the next process that opens the file, or for the operator."""
    ledger = ErasureLedger(path)
    with suppress(apsw.Error, OSError, StoreRefused):
        if ledger.undecided():
            connection.execute("BEGIN IMMEDIATE")
            try:
                decide(connection, ledger)
            finally:
                connection.execute("ROLLBACK")


def decide(connection: apsw.Connection, ledger: ErasureLedger) -> None:
    """Note how each undecided removal ended. The connection holds the write lock. A ledger that is damaged or cannot be
    written is left as it is: only a restore has to refuse it."""
    with suppress(OSError, StoreRefused):
        ledger.end([(intent, _happened(connection, intent)) for intent in ledger.undecided()])


def _happened(connection: apsw.Connection, intent: Erased) -> bool:
    if intent.deleted_at is not None:
        return bool(connection.execute(_SQL["was_deleted"], (intent.tenant, intent.deleted_at)).get)
    # All of it or nothing, in one commit. An event that is gone has nothing left to erase.
    tenant_no: int = connection.execute(_SQL["tenant_no"], (intent.tenant,)).get or 0
    events = [(key_of(tenant_no, position), leaf) for position, leaf in intent.events]
    if intent.new_id is None:
        return not all(connection.execute(_SQL["has_payload"], event).get for event in events)
    return not all(connection.execute(_SQL["has_another_actor"], (*event, intent.new_id)).get for event in events)
